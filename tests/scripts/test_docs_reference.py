"""docs/reference: what scripts/docs-reference makes of the source, with every key and every flag."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import optlstm
from optlstm.cli.commands import make_app
from optlstm.config.schema import StudyConfig
from optlstm.models.model import Model
from optlstm.training.hparams import FACETS, NO_PARAMS

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "docs-reference"))


def test_the_pages_are_those_of_this_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert SCRIPT["main"](["--check"]) == 0, capsys.readouterr().out


def test_every_key_has_a_row_with_its_meaning() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| [^|]+.*\| \S[^|]+ \|$", SCRIPT["config_page"](), re.MULTILINE)
    models = {name: getattr(f.annotation, "model_fields", {}) for name, f in StudyConfig.model_fields.items()}
    keys = [f"{name}.{key}" if key else name for name, inner in models.items() for key in inner or [""]]
    params = [f"space.{name}" for name in FACETS if name not in NO_PARAMS]

    assert set(rows) == {*keys, *params}


def test_every_public_name_of_python_has_a_row_that_needs_no_site() -> None:
    page = re.sub("<!--.*?-->", "", SCRIPT["python_page"](), flags=re.DOTALL)
    rows = set(re.findall(r"^\| `([\w.]+)[(`].*\| \S.* \|$", page, re.MULTILINE))
    methods = {f"model.{name}" for name in vars(Model) if not name.startswith("_")}

    assert {f"optlstm.{name}" for name in optlstm.__all__ if name not in ("Model", "Result")} <= rows
    assert {"model.predict", "model.save", "result.refit", "trial.track", "optlstm.errors.InputError"} <= rows
    assert methods <= rows


def test_every_flag_of_every_command_has_a_row() -> None:
    parts = re.split(r"^### ", SCRIPT["commands_page"](), flags=re.MULTILINE)[1:]
    pages = {part.split("\n", 1)[0]: part for part in parts}
    app = make_app()

    assert list(pages) == list(app.commands)
    for name, page in pages.items():
        flags = [opt for p in app.commands[name].load().params for opt in p.opts if opt.startswith("--")]
        assert [flag for flag in flags if not re.search(rf"^\| `(-\w, )?{flag}[ `]", page, re.MULTILINE)] == []

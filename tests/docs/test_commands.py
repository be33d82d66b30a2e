"""README.md and docs/: every command is one that the program takes, every snippet is read, whole tutorials are run."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import optlstm
from optlstm import estimators
from optlstm.cli.commands import make_app
from optlstm.config.reference import schema_keys, space_keys
from optlstm.config.sources import read_override
from tests.conftest import Cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"python", "toml", "sh", "text", "diff", "sql", "dockerfile"}  # text: what is printed
TUTORIALS = ["forecast", "panel", "sequences", "numbers", "texts", "objective"]
PROGRAM = re.compile(r"^(?:\w+=\S+ )*(?:python -m optlstm|optlstm|scripts/study)(?= |$)")
QUICK = "--trials 1 --epochs 1 --workers 1"
SMALL = " --set data.folds=0 --set space.hidden_size=4 --set space.num_layers=1 --set artifacts=0"
FREE = {"sampler", "pruner", "enqueue"}  # their keys are those of the name, or of the space
OF_SPACE = {"space.only", "space.preset"}
NOT_RUN = {"fit"}  # for minutes; tests/cli/test_fit.py
Block = tuple[str, str]


def blocks(page: Path) -> list[Block]:
    """Language and text of each fenced block."""
    return re.findall(r"^ *```(\w*)\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of each command of the program in a block."""
    for line in text.replace("\\\n", " ").splitlines():
        if match := PROGRAM.match(line.strip()):
            arguments = shlex.split(line.strip()[match.end() :], comments=True)
            yield [*(["study"] if "scripts/" in match[0] else []), *(a for a in arguments if a != "...")]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_and_key_is_known(page: Path) -> None:
    app, known = make_app(), {key.name for key in (*schema_keys(), *space_keys())} | OF_SPACE
    for language, text in blocks(page):
        given = list(commands(text))
        assert language in LANGUAGES or (not language and given), f"a block without language is output: mark it\n{text}"
        for name, *arguments in given if language in ("", "sh") else ():
            context = app.commands[name].make_context(name, arguments) if not name.startswith("-") else None
            for override in (context and context.params.get("overrides")) or ():
                _check_key(read_override(override), known)
        if language == "toml":
            _check_key(tomllib.loads(text), known)
        if language == "python" and "..." not in text:
            ast.parse(text)


def _check_key(table: dict[str, object], known: set[str]) -> None:
    for section, content in table.items():
        names = [f"{section}.{key}" for key in content] if isinstance(content, dict) else [section]
        assert [name for name in names if name not in known and section not in FREE] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_else_is_to_be_typed_is_there(page: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = page.read_text(encoding="utf-8")
    for names in re.findall(r"(?:optlstm|\.)\[([\w,]+)\]'", text):
        assert set(names.split(",")) <= extras.keys()
    for script in re.findall(r"(?<![\w/])(scripts/[\w/.-]*\w)", text):
        assert (ROOT / script).exists(), script


@pytest.mark.parametrize("name", ["start", *(f"tutorials/{name}" for name in TUTORIALS)])
def test_a_tutorial_runs_as_it_stands(name: str, cli: Cli) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for language, text in blocks(ROOT / "docs" / f"{name}.md"):
        if language == "python" and text.startswith("# objective.py"):
            Path("objective.py").write_text(text)
        elif language == "python":
            exec(text, namespace)
        for command in commands(text) if language == "sh" else ():
            if command[0] not in NOT_RUN:
                outcome = cli(*smaller(command))
                assert outcome.code == 0, f"{command}: {outcome.err}"


def test_the_lines_of_python_in_the_readme_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tiny.csv").rename("sales.csv")
    small = {"n_trials": 1, "epochs": 1, "workers": 1, "progress": False, "folds": 0}
    tune = optlstm.tune
    monkeypatch.setattr(optlstm, "tune", lambda data, **given: tune(data, **{**given, **small}), raising=False)
    ((_, text),) = [block for block in blocks(ROOT / "README.md") if block[0] == "python"]
    namespace: dict[str, Any] = {}

    exec(text, namespace)

    assert list(namespace["forecast"]) == ["ds", "y", "y-lo-80", "y-hi-80", "y-lo-90", "y-hi-90"]
    assert Path("sales-model/model.json").is_file()


def test_the_lines_of_scikit_learn_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"n_trials": 1, "epochs": 1, "folds": 0, "space": {"hidden_size": 4, "num_layers": 1}}
    tune = estimators.tune
    monkeypatch.setattr(estimators, "tune", lambda data, **given: tune(data, **{**given, **small}))
    ((_, text),) = [block for block in blocks(ROOT / "docs" / "labels.md") if block[0] == "python"]

    exec(text, {})

    assert Path("speeds-model/model.json").is_file()


def smaller(command: list[str]) -> list[str]:
    """A command that takes a moment."""
    match command:
        case ["study"]:
            return ["study", "--dry-run"]
        case ["study", "objective.py", *_]:
            return [*command, *QUICK.split()]
        case ["study", *rest]:
            few = "" if "--task" in rest else " --set data.epoch_windows=16 --set data.epoch_steps=1"
            return [*command, *f"{QUICK}{SMALL}{few}".split()]
        case ["refit", *_]:
            return [*command, "--top", "1", "--seeds", "1"]
    return command

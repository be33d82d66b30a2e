"""The examples of CONTRIBUTING.md work as they stand; what else the root's files say of this version."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import optlstm
import optlstm.config.flags  # before a task is added: its texts are made when it is loaded
from optlstm.backends.driver import Run
from optlstm.study.registry import check
from optlstm.study.samplers import SAMPLERS
from optlstm.tasks.registry import TASKS
from tests.backends.contract import INLINE, Studies, job, reference, table
from tests.conftest import Cli

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(r"^## A (\w+)\n.*?^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S)
SOURCE = dict(EXAMPLES)


def run_example(name: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": name}
    exec(SOURCE[name], namespace)
    return namespace


@pytest.fixture
def studies(tmp_path: Path) -> Any:
    opened = Studies(tmp_path)
    yield opened
    opened.close()


def test_a_sampler_is_a_function(studies: Studies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLERS, "cautious", None)
    run_example("sampler")

    wrong = check("sampler", SAMPLERS, "cautious", {"n_startup_trials": 0})
    assert wrong == ["sampler.n_startup_trials: must be at least 1, got 0"]
    for total in (3, 6):  # continued
        INLINE.work(Run(studies.ledger(sampler="cautious"), total), job(), 1)
    assert table(studies.ledger(sampler="cautious")) == reference(studies, 6, sampler="cautious")


def test_a_task_is_searched_continued_and_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("recall.py").write_text(SOURCE["task"])
    monkeypatch.setitem(TASKS, "recall", "recall:Recall")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "recall", raising=False)
    command = ("study", "--task", "recall", "--horizon", 3, "--epochs", 2, "--workers", 1, "--name", "r")

    assert cli(*command, "--trials", 1).code == 0
    outcome = cli(*command, "--trials", 2)

    assert outcome.code == 0, outcome.err
    assert "study r: the first of 3 bits" in outcome.err
    shown = json.loads(cli("show", "r", "--format", "json").out)
    assert shown["counts"] == {"COMPLETE": 2}
    assert shown["trials"][0]["params"] == {"hidden_size": 8, "learning_rate": 0.01}


def test_a_backend_is_a_function(studies: Studies) -> None:
    run_here = run_example("backend")["run_here"]
    trouble = {1: (2, "raise"), 2: (1, "nan")}

    run_here(Run(studies.ledger(), 6), job(trouble=trouble), 1)

    assert table(studies.ledger()) == reference(studies, 6, curve={"trouble": trouble})
    assert studies.ledger().counts["FAIL"] == 2


def test_the_files_name_this_version() -> None:
    assert f"\nversion: {optlstm.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {optlstm.__version__} " in (ROOT / "CHANGELOG.md").read_text()
    assert [name for name, _ in EXAMPLES] == ["sampler", "task", "backend"]

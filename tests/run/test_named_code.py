"""Code runs where a command names it, or a database does that named the very same code at this user's command."""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from optlstm.errors import InputError
from optlstm.study.record import CONFIG_KEY
from optlstm.util import trusted_code
from optlstm.util.user_code import Stored, UserFunction
from tests.conftest import URL, Cli

OBJECTIVE = (
    "from pathlib import Path\n"
    "Path('ran').touch()\n"
    "def space(trial):\n    return {'x': trial.suggest_float('x', 0, 1)}\n"
    "def objective(trial, params):\n    return params['x']\n"
)
NETWORKS = (
    "from pathlib import Path\n"
    "Path('ran').touch()\n"
    "import torch\n"
    "def make(config, inputs, outputs):\n    return torch.nn.Linear(inputs['window'], outputs)\n"
)
MINE = ("study", "mine.py", "--trials", 2, "--workers", 1)
COMMANDS = (
    ("study", "--name", "mine", "--trials", 3, "--workers", 1),
    ("study", "--name", "mine", "--dry-run"),
    ("study", "--import", "mine", "--name", "other"),
    ("report", "mine"),
    ("refit", "mine", "-o", "model"),
    ("show", "mine"),
    ("studies",),
)


@pytest.fixture(autouse=True)
def _another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has run nothing here yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(trusted_code, "_here", set())


def forget(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    """As a new process of this user, or of another one."""
    Path("ran").unlink(missing_ok=True)
    monkeypatch.setattr(trusted_code, "_here", set())
    if folder is not None:
        monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    sys.modules.pop("networks_there", None)


def leave(package: str) -> None:
    """As a process that has not imported it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def test_no_command_runs_a_file_that_only_the_database_names(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.py").write_text(OBJECTIVE)
    assert cli(*MINE).code == 0
    forget(monkeypatch, tmp_path / "another")

    for command in COMMANDS:
        outcome = cli(*command)
        assert not Path("ran").exists(), command
        if command[0] == "study":
            (line,) = outcome.lines
            assert outcome.code == 2
            assert line.startswith("objective: ")
            assert line.endswith(f"to run it: study {Path('mine.py').absolute()} --name mine")
    assert cli("study", "mine.py", "--name", "mine", "--trials", 3, "--workers", 1).code == 0


def test_this_users_own_file_is_run_again_while_it_is_the_same(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text(OBJECTIVE)
    assert cli(*MINE).code == 0
    forget(monkeypatch, None)

    assert cli("study", "--name", "mine", "--trials", 3, "--workers", 1).code == 0
    assert Path("ran").exists()
    forget(monkeypatch, None)
    assert cli("study", "--name", "mine", "--dry-run").code == 2
    Path("mine.py").write_text(OBJECTIVE.replace("['x']", "['x'] + 1"))
    changed = cli("study", "--name", "mine", "--trials", 4)
    assert (changed.code, Path("ran").exists()) == (2, False)
    assert "it has changed since the study was made: put it back, or name it to a new study" in changed.err
    Path("mine.py").rename("moved.py")
    moved = cli("study", "--name", "mine", "--trials", 4)
    assert moved.code == 2
    assert "does not exist" in moved.lines[0]
    assert moved.lines[0].endswith("where it was moved: study NEW_PLACE/mine.py --name mine")


def test_where_no_home_can_be_written_a_named_file_still_runs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    Path("mine.py").write_text(OBJECTIVE)

    assert cli(*MINE).code == 0


def test_a_file_that_others_can_write_names_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted_code.remember("/mine.py", "a" * 64)
    forget(monkeypatch, None)
    file = tmp_path / "state" / "optlstm" / "named-code.jsonl"
    assert (trusted_code.is_trusted("/mine.py", "a" * 64), file.stat().st_mode & 0o777) == (True, 0o600)
    assert {folder.stat().st_mode & 0o777 for folder in (file.parent, file.parent.parent)} == {0o700}

    file.write_text(f"half a li\n[1]\n{json.dumps(['/other.py', 'b'])}\n")
    assert trusted_code.is_named("/other.py")
    file.chmod(0o666)
    assert not trusted_code.is_named("/other.py")
    file.unlink()
    (tmp_path / "theirs").write_text(json.dumps(["/mine.py", "c"]))
    os.symlink(tmp_path / "theirs", file)
    assert not trusted_code.is_named("/mine.py")


def test_networks_are_made_by_what_the_command_names(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    Path("networks_there.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(str(folder))
    factory = "networks_there:make"
    assert cli("study", "tiny.toml", "--set", f"model.factory={factory}").code == 0
    forget(monkeypatch, tmp_path / "another")

    for command, remedy in (
        (("refit", "tiny", "-o", "model"), f"--factory {factory}"),
        (("study", "--name", "tiny", "--trials", 4), f"--set model.factory={factory}"),
    ):
        outcome = cli(*command)
        assert (outcome.code, len(outcome.lines)) == (2, 1)
        assert outcome.err.startswith(f"model.factory: {factory} is named by study 'tiny' alone")
        assert outcome.err.rstrip().endswith(f"to run it: {remedy}")
    assert cli("report", "tiny").code == 0
    assert "A report runs no code of yours" in Path("tiny.html").read_text()
    other = cli("refit", "tiny", "-o", "model", "--factory", "os:system")
    assert "--factory: os:system is not what made them" in other.err
    assert not Path("ran").exists()
    assert cli("refit", "tiny", "-o", "model", "--factory", factory).code == 0


def test_a_metric_decides_where_the_command_names_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    Path("metrics_there.py").write_text(
        "from pathlib import Path\nPath('ran').touch()\ndef late(t, p):\n    return 1\n"
    )
    Path("lines.csv").write_text("label,t0\n" + "".join(f"{i / 8},{i}\n" for i in range(40)))
    monkeypatch.syspath_prepend(str(folder))
    metric, source = "training.metric=metrics_there:late", ("--task", "sequence", "--data", "lines.csv")
    command = ("study", *source, "--name", "m", "--trials", 1, "--epochs", 1, "--workers", 1, "--set", "data.folds=0")
    assert cli(*command, "--set", metric).code == 0
    forget(monkeypatch, tmp_path / "another")

    for other in (("refit", "m", "-o", "model"), ("study", "--name", "m", "--trials", 2)):
        outcome = cli(*other)
        assert outcome.code == 2
        assert outcome.err.startswith("training.metric: metrics_there:late is named by study 'm' alone")
        assert outcome.err.rstrip().endswith(f"to run it: study --name m --set {metric}")
    assert cli("report", "m").code == 0
    assert "A report runs no code of yours" in Path("m.html").read_text()
    assert not Path("ran").exists()
    assert cli("study", "--name", "m", "--trials", 1, "--set", metric).code == 0
    assert cli("refit", "m", "-o", "model").code == 0


@pytest.mark.parametrize("forged", ["bytecode", "package"])
def test_a_named_module_runs_from_the_text_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    """Neither from a bytecode cache that another has written beside it, nor in a package that has changed since."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    package, module = Path("nets/__init__.py"), Path("nets/lstm.py")
    package.parent.mkdir()
    package.write_text("from nets.lstm import make")
    module.write_text(NETWORKS.replace("Path('ran').touch()", ""))
    function = UserFunction.read("model.factory", "nets.lstm:make", "function() -> x")
    assert UserFunction.read("model.factory", "nets.lstm:make", "", Stored("s", "-")) == function
    sys.path.remove(os.getcwd())
    leave("nets")
    if forged == "bytecode":
        code = compile("from pathlib import Path\nPath('ran').touch()\ndef make(): pass", "x", "exec")
        for source, name in ((package, "__init__"), (module, "lstm")):
            cache = Path(f"nets/__pycache__/{name}.{sys.implementation.cache_tag}.pyc")
            cache.parent.mkdir(exist_ok=True)
            stat = source.stat()
            header = b"".join(n.to_bytes(4, "little") for n in (0, int(stat.st_mtime), stat.st_size))
            cache.write_bytes(importlib.util.MAGIC_NUMBER + header + marshal.dumps(code))
        again = UserFunction.read("model.factory", "nets.lstm:make", "", Stored("s", "-", function.fingerprint))
        assert again == function
        leave("nets")
        assert again.load().__code__.co_argcount == 3  # as in a worker
    else:
        package.write_text("from pathlib import Path\nPath('ran').touch()\n")
        with pytest.raises(InputError, match="it has changed since"):
            UserFunction.read("model.factory", "nets.lstm:make", "", Stored("s", "-", function.fingerprint))
        assert os.getcwd() not in sys.path
    leave("nets")
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "stored",
    [
        {"objective": "OBJECTIVE"},
        {"model": {"factory": "networks_there:make"}},
        {"model": {"factory": "os:system"}},
        {"scheduler": "pbt", "pbt": {"explore": "networks_there:make"}},
        {"backend": "ray", "ray": {"address": "203.0.113.7:6379"}, "storage_path": "elsewhere", "workers": 64},
        {"tracking": {"wandb_mode": "online", "trackers": []}, "name": "another", "storage": "sqlite:///elsewhere.db"},
    ],
    ids=str,
)
def test_what_is_put_into_a_stored_config_neither_runs_nor_reaches_elsewhere(
    cached_cli: Cli, cli: Cli, stored: dict[str, Any]
) -> None:
    Path("networks_there.py").write_text(NETWORKS)
    Path("mine.py").write_text(OBJECTIVE)
    cached_cli("study", "tiny.toml")
    study = optuna.load_study(study_name="tiny", storage=URL)
    stored = json.loads(json.dumps(stored).replace("OBJECTIVE", str(Path("mine.py").absolute())))
    study.set_user_attr(CONFIG_KEY, {**study.user_attrs[CONFIG_KEY], **stored})
    before = set(Path().rglob("*"))

    for command in (("study", "--name", "tiny", "--dry-run"), ("study", "--name", "tiny"), ("report", "tiny")):
        outcome = cli(*command)
        assert outcome.code in (0, 2)
        assert not Path("ran").exists()
    assert cli("refit", "tiny", "-o", "model").code in (0, 2)
    made = {path for path in set(Path().rglob("*")) - before if path.parts[0] not in ("runs", "model", "tiny.html")}
    assert {path for path in made if path.suffix != ".pyc" and path.name != "__pycache__"} == set()

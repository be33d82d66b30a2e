"""What a custom objective prints goes to a file per trial, and never to standard output."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from optlstm.cli.show import _log
from optlstm.errors import InputError
from optlstm.run import trial_log
from optlstm.run.trial_log import logs_folder
from optlstm.study.failures import FAILURE_KEY, HUNG
from optlstm.util.files import Location
from tests.backends.contract import INLINE, RAY, Backend, Studies, backend_param
from tests.run.custom import plan_of, run

PRINTING = """
import logging
import sys
import warnings
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", force=True)  # keeps the stream it meets
print("read")


def objective(trial):
    print("hello from", trial.number)
    sys.stderr.write("to stderr\\n")
    logging.info("logged")
    if trial.number == 1:
        raise ValueError("what went wrong")
    return trial.suggest_float("x", 0, 1)
"""


@pytest.fixture
def _handlers() -> object:
    before = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = before


@pytest.mark.parametrize("backend", [backend_param(INLINE), backend_param(RAY)])
@pytest.mark.usefixtures("_handlers")
def test_prints_logs_and_tracebacks_are_in_the_trials_file(
    request: pytest.FixtureRequest, tmp_path: Path, backend: Backend, capfd: pytest.CaptureFixture[str]
) -> None:
    if backend.name == "ray":
        request.getfixturevalue("local_ray")
    file = tmp_path / "printing.py"
    file.write_text(PRINTING)
    plan = plan_of(file)
    file.write_text("")  # as on another machine, which has no such file
    capfd.readouterr()
    ledger = run(Studies(tmp_path), "printing", plan, tmp_path / "kept", 2, backend)
    logs = {path.name: path.read_text() for path in (tmp_path / "kept" / "logs").iterdir()}
    printed = "hello from {}\nto stderr\nINFO logged\n"
    assert logs.keys() == {"trial-00000.txt", "trial-00001.txt"}
    assert logs["trial-00000.txt"] == printed.format(0)
    assert logs["trial-00001.txt"].startswith(printed.format(1) + "Traceback")
    for text in (logs["trial-00001.txt"], ledger.trials[1].user_attrs["traceback"]):
        assert 'raise ValueError("what went wrong")' in text
    assert "hello" not in (out := capfd.readouterr()).out + out.err
    assert "read" not in out.out


@pytest.mark.parametrize("remote", [False, True], ids=["path", "URL"])
def test_a_log_is_continued_and_has_an_end(tmp_path: Path, remote: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_log, "MOST_CHARACTERS", 12)
    checkpoints: Location = f"file://{tmp_path}" if remote else tmp_path
    output = trial_log.Output()
    for text in ("first\n", "0123456789abc\n", "never seen"):
        with output.of_trial(checkpoints, 3):
            print(text, end="")
            print("" if text == "first\n" else "dropped", end="")
    kept = logs_folder(checkpoints).read("trial-00003.txt").decode()
    more = "\n... and more, which is not kept\n"
    assert kept == f"first\n0123456789ab{more}never seendr{more}"


@pytest.mark.usefixtures("_handlers")
def test_handlers_that_were_made_before_write_to_the_log_while_a_trial_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with os.fdopen(os.dup(2), "w") as other, open(2, "w", closefd=False) as standard:
        logging.root.handlers[:] = [logging.StreamHandler(standard), logging.StreamHandler(other)]
        with trial_log.Output().of_trial(tmp_path, 0):
            logging.warning("from a trial")
        logging.warning("from no trial")
    assert logs_folder(tmp_path).read("trial-00000.txt") == b"from a trial\n"
    assert capfd.readouterr().err.count("from no trial") == 2


@pytest.mark.parametrize("remote", [False, True], ids=["path", "URL"])
def test_child_processes_and_bytes_are_in_the_log_and_the_stream_is_as_others_are(
    tmp_path: Path, remote: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints: Location = f"file://{tmp_path}" if remote else tmp_path
    output = trial_log.Output((1, 2))
    with output.of_trial(checkpoints, 0):
        subprocess.run(["sh", "-c", "echo out; echo err >&2"], check=True)
        sys.stdout.buffer.write("bytes é\n".encode())
        subprocess.run(["echo", "by its number"], stdout=sys.stdout, check=True)
        assert (sys.stdout.encoding, sys.stdout.isatty()) == ("utf-8", False)
    with output.of_trial(checkpoints, 1):
        pass
    assert logs_folder(checkpoints).read("trial-00000.txt").decode() == "out\nerr\nbytes é\nby its number\n"
    assert logs_folder(checkpoints).names() == {"trial-00000.txt"}
    os.write(1, b"again outside\n")
    assert capfd.readouterr() == ("again outside\n", "")


def test_a_log_that_cannot_be_written_is_no_trials_error(tmp_path: Path) -> None:
    with trial_log.Output().of_trial(tmp_path / "gone", 0):
        print("nobody reads this")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(("kind", "shown"), [(HUNG, "File loop.py\n"), ("diverged", None)])
def test_the_stack_of_a_trial_that_hung_is_shown_with_its_log(kind: str, shown: str | None) -> None:
    study, attrs = optuna.create_study(), {FAILURE_KEY: kind, "traceback": "File loop.py"}
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs=attrs))

    if shown is None:
        with pytest.raises(InputError, match="nothing that trial 0"):
            _log(study, 0, None)
    else:
        assert _log(study, 0, None) == shown

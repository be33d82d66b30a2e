"""What is left of a driver on Ray that ended without a word."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from optlstm.backends.ray.guardian import LINE, MARK, Guardian
from optlstm.util.temporary import temporary_folder
from tests.study.processes import exit_code, start
from tests.waiting import wait_until


def drive(folder: Path, silent: bool) -> None:
    """A driver that has started something in its folder, and ends, or waits to be killed."""
    with (folder / "said").open("w") as said:
        os.dup2(said.fileno(), 2)
    os.environ["TMPDIR"] = str(folder)
    with temporary_folder() as own:
        guardian = Guardian(own)
        started = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: str(own)}, start_new_session=True)
        (folder / "pid").write_text(f"{started.pid}\n")
        if silent:
            guardian.silence()
            os._exit(130)
        signal.pause()


@pytest.mark.parametrize(("silent", "code", "line"), [(False, -9, LINE), (True, 130, "")])
def test_what_a_driver_has_started_ends_with_it_and_its_folder_goes(
    tmp_path: Path, silent: bool, code: int, line: str
) -> None:
    driver = start(drive, tmp_path, silent)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
    started = psutil.Process(int((tmp_path / "pid").read_text()))
    if not silent:
        os.kill(driver.pid, signal.SIGKILL)

    assert exit_code(driver) == code
    wait_until(lambda: not started.is_running() or started.status() == psutil.STATUS_ZOMBIE)
    wait_until(lambda: not list(tmp_path.glob("optlstm-*")))
    assert (tmp_path / "said").read_text() == line


def test_a_guardian_that_is_dismissed_says_and_does_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    guardian = Guardian(tmp_path)
    guardian.dismiss()

    assert guardian._process.returncode == 0
    assert capfd.readouterr().err == ""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from optlstm.util.temporary import keep, temporary_folder

HOLDER = """
import sys, time
from optlstm.util.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "logs").mkdir()
    (folder / "logs" / "one").touch()
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_is_removed_by_the_next_and_a_living_ones_is_not(parent: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(parent)}
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, env=environment, text=True) as holder:
        assert holder.stdout is not None
        left = Path(holder.stdout.readline().strip())
        with temporary_folder():
            assert (left / "logs" / "one").exists()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert (left / "logs" / "one").exists()
        with temporary_folder() as mine:
            assert list(parent.iterdir()) == [mine]
    assert list(parent.iterdir()) == []


def test_only_folders_that_were_made_here_are_removed(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / ".optlstm-lock").touch()  # what another made look like an abandoned one
    (parent / "optlstm-link").symlink_to(elsewhere)
    (parent / "optlstm-mine").mkdir()  # no lock
    (parent / "optlstm-linked").mkdir()
    (parent / "optlstm-linked" / ".optlstm-lock").symlink_to(elsewhere / ".optlstm-lock")
    (parent / "optlstm-file").touch()
    with temporary_folder() as kept:
        keep(kept)
    names = {"optlstm-link", "optlstm-mine", "optlstm-linked", "optlstm-file", kept.name}
    with temporary_folder() as folder:
        (folder / "link").symlink_to(elsewhere)
        assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in parent.iterdir()} == names
    assert (elsewhere / ".optlstm-lock").exists()


def test_where_the_usual_folder_is_too_deep_for_a_socket_it_is_made_in_tmp(parent: Path) -> None:
    with temporary_folder(len(str(parent)) + 10) as folder:
        assert folder.parent == Path("/tmp")
    with temporary_folder(len(str(parent)) + 17) as folder:
        assert folder.parent == parent

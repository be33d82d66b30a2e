"""A file a command is asked to write: refused before the work, whole or not at all after it."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from optlstm.errors import InputError, OptlstmError
from optlstm.util.files import LocalFolder, check_folder
from optlstm.util.output_file import OutputFile
from tests.damage import make_link


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("old")
    Path("folder").mkdir()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("folder", "-o: folder is a folder; name a file in it"),
        ("", "-o: . is a folder; name a file in it"),
        ("out.txt", "-o: out.txt does not end in .csv, and CSV is what is written"),
        ("data.csv/out.csv", "-o: cannot write below data.csv: Not a directory"),
        ("/proc/nowhere/out.csv", "-o: cannot write below /proc/nowhere: "),
        ("x" * 300 + ".csv", f"-o: {'x' * 300}.csv: File name too long"),
        ("data.csv", "-o: data.csv is the data itself; name another file"),
        ("link.csv", "-o: link.csv is the data itself; name another file"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is_made(path: str, expected: str) -> None:
    Path("link.csv").symlink_to("data.csv")
    before = sorted(os.listdir())

    with pytest.raises(InputError) as caught:
        OutputFile(Path(path), ".csv").check({Path("data.csv"): "the data"})

    assert str(caught.value).startswith(expected)
    assert sorted(os.listdir()) == before


def test_a_write_that_fails_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OptlstmError, match=r"^cannot write data\.csv: No space left on device$"):
        OutputFile(Path("data.csv")).write(b"half")

    assert Path("data.csv").read_text() == "old"
    assert sorted(os.listdir()) == ["data.csv", "folder"]


def test_folders_are_made_and_links_followed() -> None:
    Path("link.csv").symlink_to("new/deep/out.csv")
    file = OutputFile(Path("link.csv"), ".csv")

    file.check()
    file.write(b"rows")

    assert Path("link.csv").is_symlink()
    assert Path("new/deep/out.csv").read_bytes() == b"rows"
    assert os.listdir("new/deep") == ["out.csv"]


def test_a_link_of_another_user_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    make_link("out.csv", "data.csv", monkeypatch)
    make_link("trial", "folder", monkeypatch)

    with pytest.raises(
        InputError, match=r"^-o: cannot write out\.csv: \S+/out\.csv is a link that another user has made;"
    ):
        OutputFile(Path("out.csv")).check()
    with pytest.raises(OptlstmError, match="another user"):
        OutputFile(Path("out.csv")).write(b"rows")
    with pytest.raises(OSError, match="another user"):
        LocalFolder(Path("trial")).write("weights", b"rows")

    assert Path("data.csv").read_text() == "old"
    assert not os.listdir("folder")


@pytest.mark.parametrize("write", [lambda: OutputFile(Path("out")), lambda: LocalFolder(Path())], ids=["-o", "folder"])
def test_files_are_first_written_where_nobody_can_have_put_a_link(
    write: Callable[[], OutputFile | LocalFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partial file's name is random, and even one that was guessed is not written through."""
    guessed = f".out.{socket.gethostname()}-{os.getpid()}.partial"  # what it once was
    Path(guessed).symlink_to("data.csv")
    target = write()
    target.write(b"1") if isinstance(target, OutputFile) else target.write("out", b"1")
    assert (Path("data.csv").read_text(), Path("out").is_symlink()) == ("old", False)

    monkeypatch.setattr(secrets, "token_hex", lambda count: "guessed")
    Path(".out.guessed.partial").symlink_to("data.csv")
    with pytest.raises((OptlstmError, FileExistsError), match="File exists"):
        target.write(b"2") if isinstance(target, OutputFile) else target.write("out", b"2")
    assert Path("data.csv").read_text() == "old"


def test_no_link_is_read_in_a_file_s_place() -> None:
    Path("folder/weights").symlink_to("../data.csv")

    with pytest.raises(OSError, match="symbolic link"):
        LocalFolder(Path("folder")).read("weights")


def test_standard_output_gets_the_bytes(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    file = OutputFile(Path("/dev/stdout"), ".csv")

    file.check()
    file.write(b"a,b\n")

    assert file.is_stdout
    assert capfdbinary.readouterr().out.startswith(b"a,b\n")


def test_a_folder_to_write_into_may_be_new_and_no_file() -> None:
    check_folder(Path("folder"))
    check_folder(Path("folder/new"))
    with pytest.raises(InputError, match=r"^-o: data\.csv is a file; name a folder$"):
        check_folder(Path("data.csv"))
    assert sorted(os.listdir()) == ["data.csv", "folder"]

"""Links of other users on the way to a file: nothing behind them is written, read, listed or removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from optlstm.errors import InputError, OptlstmError
from optlstm.util.files import LocalFolder, check_folder, check_writable
from optlstm.util.links import ForeignLink, behind_link
from optlstm.util.output_file import OutputFile
from tests.damage import make_link


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `theirs` of this user's, whatever its name says, with a file in it."""
    monkeypatch.chdir(tmp_path)
    Path("theirs/deep").mkdir(parents=True)
    Path("theirs/deep/file").write_text("theirs")
    Path("theirs/deep/.old.partial").touch()
    Path("ours").mkdir()
    return tmp_path


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> None:
    """To `theirs`, made by another user, with a link of ours that leads through it."""
    Path("ours/way").symlink_to("../link/deep")
    make_link("link", "theirs", monkeypatch)


@pytest.mark.usefixtures("link")
@pytest.mark.parametrize("way", ["link/deep", "ours/way", "ours/../link/deep", "link/new"])
@pytest.mark.parametrize(
    "act",
    [
        lambda way: LocalFolder(way).write("file", b"ours"),
        lambda way: LocalFolder(way).read("file"),
        lambda way: LocalFolder(way).sha256("file"),
        lambda way: LocalFolder(way).names(),
        lambda way: LocalFolder(way).settle(["file"]),
        lambda way: LocalFolder(way).remove("file"),
        lambda way: LocalFolder(way).size(),
        lambda way: LocalFolder(way).tidy(),
        lambda way: OutputFile(way / "file").check(),
        lambda way: OutputFile(way / "file").write(b"ours"),
        lambda way: check_folder(way),
        lambda way: check_writable(way, "storage_path"),
    ],
    ids=["write", "read", "sha256", "names", "settle", "remove", "size", "tidy", "-o", "-o write", "folder", "path"],
)
def test_nothing_is_done_behind_another_user_s_link(act: Callable[[Path], object], way: str) -> None:
    with pytest.raises((OptlstmError, ForeignLink), match="is a link that another user has made"):
        act(Path(way))

    assert [path.name for path in sorted(Path("theirs").rglob("*"))] == ["deep", ".old.partial", "file"]
    assert Path("theirs/deep/file").read_text() == "theirs"


def test_one_s_own_links_are_followed(here: Path) -> None:
    Path("mine").symlink_to(here / "theirs")
    Path("ours/again").symlink_to("../mine/./deep")

    assert behind_link(Path("ours/again/../deep/new/file")) == here / "theirs/deep/new/file"
    LocalFolder(Path("ours/again")).write("file", b"ours")
    assert Path("theirs/deep/file").read_text() == "ours"


def test_links_in_a_circle_lead_nowhere() -> None:
    Path("a").symlink_to("b")
    Path("b").symlink_to("a")

    with pytest.raises(OSError, match="symbolic links"):
        LocalFolder(Path("a")).names()
    with pytest.raises(InputError, match="symbolic links"):
        check_folder(Path("a/b"))

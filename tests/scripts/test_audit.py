"""scripts/audit: what is pinned, admitted and installed is held against the list that comes with it, or OSV's."""

from __future__ import annotations

import json
import runpy
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
AUDIT = runpy.run_path(str(ROOT / "scripts" / "audit"))
LIST = "# a comment\ndate: 2026-01-02\nA-b.c  <1.0|>=2.0,<2.1.5  CVE-1  it is bad\n"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "list.txt").write_text(LIST)
    (tmp_path / "c.txt").write_text("# a==0\na_b-c==2.1.4\nother==1\n")
    (tmp_path / "p.toml").write_text('[project]\ndependencies = ["a_b_c[x]>=0.9,<3", "other>=1", "more"]\n')
    named = {"--advisories": "list.txt", "--constraints": "c.txt", "--pyproject": "p.toml"}
    return [text for option, name in named.items() for text in (option, str(tmp_path / name))]


def test_this_version_has_no_known_vulnerability(capsys: pytest.CaptureFixture[str]) -> None:
    code = AUDIT["main"]([])

    printed = capsys.readouterr()
    assert (code, printed.out) == (0, ""), printed.out
    assert "advisories of 20" in printed.err


def test_each_finding_is_a_line(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert AUDIT["main"](files) == 1
    assert capsys.readouterr().out.splitlines() == [
        "c.txt: a_b-c 2.1.4: CVE-1: it is bad",
        "p.toml: a_b_c 0.9: CVE-1: it is bad",
    ]


@pytest.mark.parametrize(("version", "bad"), [("0.9.9", 1), ("1.0", 0), ("2.0", 1), ("2.1.5", 0)])
def test_bounds_are_those_of_the_range(files: list[str], tmp_path: Path, version: str, bad: int) -> None:
    (tmp_path / "c.txt").write_text(f"a-b-c=={version}\n")
    (tmp_path / "p.toml").write_text("[project]\ndependencies = []\n")

    assert AUDIT["main"](files) == bad


def entry(events: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    package = {"ecosystem": "PyPI", "name": "Other"}
    affected = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    return {"id": "GHSA-1", "aliases": ["CVE-2"], "summary": "worse", "affected": [affected], **more}


@pytest.mark.parametrize(
    ("advisory", "bad"),
    [
        (entry([{"introduced": "0"}, {"fixed": "1.1"}]), True),
        (entry([{"introduced": "0.5"}, {"last_affected": "1"}]), True),
        (entry([{"introduced": "0"}]), True),
        (entry([{"introduced": "0"}, {"fixed": "1"}]), False),
        (entry([{"introduced": "0"}], withdrawn="2026-01-01"), False),
    ],
)
def test_osv_s_export_is_read_too(
    files: list[str], tmp_path: Path, advisory: dict[str, Any], bad: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("GHSA-1.json", json.dumps(advisory))

    AUDIT["main"]([*files, "--osv", str(tmp_path / "all.zip")])

    assert ("c.txt: other 1: CVE-2: worse" in capsys.readouterr().out) == bad


@pytest.mark.parametrize("text", ["a-b-c  1.0  CVE-1  no operator\n", "a-b-c <1\n"])
def test_a_list_that_cannot_be_read_is_an_error(files: list[str], tmp_path: Path, text: str) -> None:
    (tmp_path / "list.txt").write_text(text)

    assert AUDIT["main"](files) == 2
    assert AUDIT["main"]([*files[2:], "--osv", str(tmp_path / "c.txt")]) == 2

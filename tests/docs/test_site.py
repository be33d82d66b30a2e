"""mkdocs.yml: the site is built without a warning and loads nothing from elsewhere; file formats are complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from optlstm.models.card import Card
from optlstm.study.database import attributes
from optlstm.training import checkpoints

ROOT = Path(__file__).parents[2]
LOADED = re.compile(r"""<(?:script|img|iframe|link (?!rel="canonical")[^>]*?)[^>]*?(?:src|href)=["']?(https?:)?//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr  # with --quiet no warning would be counted
    return folder


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert {
        "index.html",
        "start.html",
        "tutorial.html",
        "tutorials/panel.html",
        "reference/config.html",
    } <= pages.keys()
    assert [name for name, text in pages.items() if LOADED.search(text)] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]*", styles) == []


def test_links_lead_from_page_to_page_and_docstrings_are_shown(site: Path) -> None:
    index, python = (site / "index.html").read_text(), (site / "reference/python.html").read_text()
    assert 'href="tutorials/forecast.html"' in index
    assert 'href="CONTRIBUTING.html"' in index
    assert 'href="../tutorial.html"' in (site / "tutorials/index.html").read_text()
    assert "Run a study, or continue the one of this name." in python
    assert "The metrics of the untouched test rows." in python


def test_every_stored_key_is_on_the_page_of_file_formats() -> None:
    page = (ROOT / "docs" / "reference" / "files.md").read_text()
    named = set(re.findall(r"`([\w:.]+)`", page))
    keys = attributes.STUDY_USER | attributes.STUDY_SYSTEM | attributes.TRIAL_USER | attributes.TRIAL_SYSTEM
    assert {*keys, *Card.model_fields, *checkpoints._KEYS} - named == set()

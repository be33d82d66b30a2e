"""Where a report is written, and what is refused before anything is."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conftest import Cli

STUDY = ("study", "tiny.toml")


def test_what_cannot_be_written_is_said_before_anything_is(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY)
    Path("taken").write_text("")

    refused = cli("report", "tiny", "-o", "", "--png", "taken", "--compare", "tiny")

    assert refused.code == 2
    assert refused.lines == [
        "-o: . is a folder; name a file in it",
        "--png: taken is a file; name a folder",
        "--compare: 'tiny' is named twice",
    ]
    assert not list(Path.cwd().glob("*.html"))
    nowhere = cli("report", "tiny", "--png", "/dev/null/pictures")
    assert nowhere.code == 2
    assert nowhere.lines == ["--png: cannot write below /dev/null/pictures: Not a directory"]
    assert not list(Path.cwd().glob("*.html"))


def test_a_pipe_gets_the_page_and_stays_a_pipe(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY)
    os.mkfifo("pipe")

    with ThreadPoolExecutor(1) as reader:
        page = reader.submit(Path("pipe").read_text)
        said = cli("report", "tiny", "-o", "pipe")
        assert said.code == 0, said.err
        assert "<!doctype html>" in page.result()
    assert Path("pipe").is_fifo()


def test_folders_above_the_page_are_made(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY)

    said = cli("report", "tiny", "-o", "new/folder/r.html")

    assert said.code == 0, said.err
    assert "<!doctype html>" in Path("new/folder/r.html").read_text()


def test_bad_input_is_one_line_a_problem(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY)

    outcome = cli("report", "tinny", "--compare", "nobody", "-o", "tiny.csv/r.html")

    assert outcome.code == 2
    assert outcome.lines[0].startswith("study 'tinny' is not in this database; did you mean 'tiny'?")
    assert outcome.lines[1].startswith("study 'nobody' is not in this database")
    assert outcome.lines[2] == "-o: cannot write below tiny.csv: Not a directory"
    assert not list(Path.cwd().glob("*.html"))

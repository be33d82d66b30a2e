"""Bad files and bad configs through the whole command: exit 2, a line for each problem, nothing created."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest
import torch
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from optlstm.study.database.connection import open_database
from optlstm.study.database.optuna_tables import StudyStorage
from tests.cli.test_bad_input import Lines, refuses
from tests.conftest import Cli, series

ROWS = series().splitlines()
HOURS = [f"2021-03-{27 + h // 24:02d} {h % 24:02d}:00" for h in range(20, 92)]


def column(cells: list[object], header: str = "ds,y") -> str:
    return "\n".join([header, *(f"{i},{cell}" for i, cell in enumerate(cells))]) + "\n"


def numbers(**changed: object) -> str:
    """A sound column of 120 numbers with another cell in row 7."""
    cells: list[object] = [i % 12 for i in range(120)]
    cells[5] = changed["cell"]
    return column(cells)


FILES: dict[str, tuple[bytes | str, Lines]] = {
    "empty": ("", [["is empty"]]),
    "header only": ("ds,y\n", [["has a header and no rows"]]),
    "duplicate columns": (column(["1,2"] * 120, "ds,y,y"), [["row 1", "more than one column is named 'y'"]]),
    "no header": ("\n".join(ROWS[1:]), [["no time column 'ds'", "no header: columns c1, c2"], ["no target column"]]),
    "names or data": (column([1] * 120, "2,1"), [["row 1 holds only whole numbers (2, 1)", "data.header=false"]]),
    "two separators": (column(["1|2;3"] * 120, "ds;y|z"), [["tiny.csv may be separated by ';' and '|'"]]),
    "decimal commas": (column(['"1,5"'] * 120), [["column 'y'", "row 2: '1,5'", "--set data.decimal=,"]]),
    "an extra field in every row": (column(["1,9"] * 120), [["120 row(s)", "row 2 has 3"]]),
    "a ragged row": (numbers(cell="1,2"), [["1 row(s)", "row 7 has 3"]]),
    "a short row": (series().replace("\n5,0.550000", "\n5"), [["1 row(s)", "row 7 has 1"]]),
    "UTF-16": (series().encode("utf-16-le"), [["UTF-16", "--set data.encoding=utf-16-le"]]),
    "Latin-1": (
        series(header="père,y").encode("latin-1"),
        [["names are not UTF-8 ('père'): it looks like Latin-1; --set data.encoding=windows-1252"]],
    ),
    "Cyrillic names": (
        series(header="Дата,Продажи").encode("windows-1251"),
        [["names are not UTF-8", "Cyrillic: windows-1251", "--set data.encoding=NAME"]],
    ),
    "a web page": ("<!DOCTYPE html>\n<html><body>404", [["is a web page, not the table"]]),
    "a pointer": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        [["a pointer of Git LFS"]],
    ),
    "NUL byte": (numbers(cell="\0"), [["row 7", "a NUL byte"]]),
    "gaps": ("\n".join([*ROWS[:8], *ROWS[10:]]), [["2 missing row(s) in 1 gap(s)", "row 9: 9 after 6"]]),
    "all NaN": (column([""] * 120), [["column 'y'", "120 empty or NaN value(s)", "row 2"]]),
    "text": (numbers(cell="much"), [["column 'y'", "row 7: 'much'"]]),
    "no numbers": (column(["yes", "no"] * 60), [["120 cell(s) are not numbers", "it is no column of numbers"]]),
    "both marks": (
        column(["1.5", '"2,5"'] * 60),
        [["60 cell(s) are not numbers", "write decimal points, not decimal commas"]],
    ),
    "thousands separators": (numbers(cell='"1,500"'), [["'1,500' may be 1500 or 1.500"]]),
    "1e400": (numbers(cell="1e400"), [["column 'y'", "1 infinite value(s)", "row 7"]]),
    "integers above 2^53": (column([2**54 + i for i in range(120)]), [["120 whole number(s) above 2^53", "row 2"]]),
    "a missing column": (series(header="ds,z"), [["no target column 'y'", "name it: --target z"]]),
    "duplicate timestamps": ("\n".join([*ROWS[:9], ROWS[8], *ROWS[9:]]), [["1 repeated time(s)", "row 10: 7"]]),
    "unordered": ("\n".join([*ROWS[:8], ROWS[9], ROWS[8], *ROWS[10:]]), [["1 time(s) earlier", "row 10"]]),
    "mixed time zones": (
        "ds,y\n2021-01-01T00:00Z,1\n" + "".join(f"2021-01-01T{h:02d}:00,1\n" for h in range(1, 24)),
        [["time column 'ds'", "some, like '2021-01-01T01:00', have none"]],
    ),
    "a daylight-saving gap": (
        "ds,y\n" + "".join(f"{time},1\n" for time in HOURS if time != "2021-03-28 02:00"),
        [["1 missing row(s)", "2021-03-28 03:00:00 after 2021-03-28 01:00:00", "convert the times to UTC"]],
    ),
    "too large to be standardised": (
        column(["-1e300", "1e300"] * 60),
        [["column 'y' of tiny.csv: 120 value(s) beyond 1e+140 are too large to be standardised (row 2: -1e+300, row"]],
    ),
    "a very long cell": (column([1, "x" * 100_000, *range(118)]), [[f"(row 3: '{'x' * 59}…'); correct them"]]),
    "fewer rows than needed": (
        series(9),
        [["train has 6 rows and needs at least 12"], ["validation has 1"], ["test has 2"]],
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_bad_file_is_refused_where_it_is_bad(cli: Cli, kind: str) -> None:
    content, expected = FILES[kind]
    Path("tiny.csv").write_bytes(content if isinstance(content, bytes) else content.encode())

    refuses(cli, ("study", "tiny.toml"), expected)


def test_a_truncated_gzip_is_refused(cli: Cli) -> None:
    Path("cut.csv.gz").write_bytes(gzip.compress(series().encode())[:-20])

    refuses(cli, ("study", "tiny.toml", "--data", "cut.csv.gz"), [["cut.csv.gz is truncated or damaged"]])


def test_a_damaged_gzip_is_said_in_a_line_and_plain_text_is_none(cli: Cli) -> None:
    content = bytearray(gzip.compress(series(400).encode()))
    content[495] ^= 0x55
    Path("flipped.csv.gz").write_bytes(content)
    Path("plain.csv.gz").write_text(series())

    refuses(cli, ("study", "tiny.toml", "--data", "flipped.csv.gz"), [["flipped.csv.gz is truncated or damaged"]])
    refuses(cli, ("study", "tiny.toml", "--data", "plain.csv.gz"), [["plain.csv.gz is no gzip file", "name it .csv"]])


def test_sequences_and_many_series_too_large_to_be_standardised_are_refused(cli: Cli) -> None:
    huge = [f"{i},{i // 20},{'ab'[i // 20 % 2]},{(-1) ** i}e300" for i in range(400)]
    Path("huge.csv").write_text("\n".join(["ds,series,label,y", *huge]) + "\n")
    expected = [["column 'y' of huge.csv: 400 value(s) beyond 1e+140 are too large to be standardised (row 2: 1e+300,"]]

    refuses(cli, ("study", "--data", "huge.csv", "--series", "series", "--target", "y"), expected)
    sequence = ("--task", "sequence", "--series", "series", "--set", "data.channels=['y']")
    refuses(cli, ("study", "--data", "huge.csv", *sequence), expected)


def test_a_constant_series_with_a_byte_order_mark_is_taken_with_a_warning(cli: Cli) -> None:
    Path("tiny.csv").write_text("\ufeff" + column([5] * 120), encoding="utf-8")

    outcome = cli("study", "tiny.toml", "--trials", 1)

    assert outcome.code == 0, outcome.err
    assert any("column 'y' of tiny.csv is constant (5 in every row)" in line for line in outcome.lines)


CONFIGS: dict[str, tuple[tuple[str, ...], Lines]] = {
    "duplicate choices": (
        ("--set", "space.hidden_size={choices=[4, 4]}"),
        [["space.hidden_size: choice 4 is given twice"]],
    ),
    "timeout below 0": (("--timeout", "-1"), [["timeout: must be above 0, got -1"]]),
    "dropout of 1": (("--set", "space.dropout=1.0"), [["space.dropout: must be a number of at least 0 and below 1"]]),
    "dropout up to 1": (("--set", "space.dropout={low=0, high=1.0}"), [["space.dropout: high = 1.0: must be"]]),
    "dropout below 0": (("--set", "space.dropout=-0.1"), [["space.dropout: must be a number of at least 0"]]),
    "unknown metric": (
        ("--set", "training.metric=mape"),
        [["training.metric: must be one of mse, mae, rmse, smape, mase, wql, crps, msis, got 'mape'"]],
    ),
    "missing driver": (
        ("--storage", "postgresql+pg8000://u@h/d"),
        [["storage: the driver of postgresql+pg8000:// is"]],
    ),
    "unwritable folder": (
        ("--storage-path", "tiny.csv/below"),
        [["storage_path: cannot write below", "tiny.csv"]],
    ),
    "a population that brings its trials": (
        ("--scheduler", "pbt", "--epochs", "8"),
        [["trials: with --scheduler pbt they follow from pbt.population"]],
    ),
    "a population of one": (("--set", "pbt.population=1"), [["pbt.population: must be at least 2, got 1"]]),
    "grace period above epochs": (
        ("--pruner", "asha", "--set", "pruner.grace_period=3"),
        [["pruner.grace_period: 3 epochs is more than training.epochs = 2"]],
    ),
    "a trial timeout of 0": (("--set", "trial_timeout=0"), [["trial_timeout: must be above 0, got 0"]]),
    "a storage timeout below 0": (("--set", "storage_timeout=-1"), [["storage_timeout: must be above 0, got -1"]]),
    "failures below 0": (("--set", "stop.failures=-1"), [["stop.failures: must be at least 0, got -1"]]),
}


PLACES: dict[str, tuple[tuple[str, ...], Lines]] = {
    "no such file system": (
        ("--storage-path", "postgresql://u@h/d?k=sentinel"),
        [["storage_path: cannot open postgresql://h/d: Unrecognized filesystem type"]],
    ),
    "no URL": (("--storage-path", "file://::"), [["storage_path: cannot open file://::: "]]),
    "a password": (
        ("--storage-path", "postgresql://u:sentinel@h/d"),
        [["storage_path: postgresql://h/d came with a password, which would be kept; give it in the environment"]],
    ),
    "no folder": (("--storage-path", "/dev/null"), [["storage_path: cannot write below /dev/null: Not a directory"]]),
    "no disk": (("--storage-path", "/proc/nope"), [["storage_path: cannot write below /proc/nope: "]]),
    "no disk for the database": (
        ("--storage", "sqlite:////proc/x/y.db"),
        [["storage: cannot write below /proc/x: No such file"]],
    ),
    "a folder for a database": (
        ("--storage", "sqlite:////proc"),
        [["storage: /proc is a folder; name a file in it"]],
    ),
    "unknown driver": (
        ("--storage", "postgresql+foo://u@h/d"),
        [["storage: cannot open postgresql+foo://u@h/d: Can't"]],
    ),
    "no server": (
        ("--storage", "postgresql://u:sentinel@127.0.0.1:1/d"),
        [["storage: cannot open postgresql+psycopg://u:***@127.0.0.1:1/d: ", "onnection refused"]],
    ),
    "what is for Ray": (
        ("--cpus-per-trial", "2", "--address", "auto"),
        [[f"{flag}: is for --backend ray"] for flag in ("--address", "--cpus-per-trial")],
    ),
}


@pytest.mark.parametrize("kind", PLACES)
def test_where_a_study_cannot_be_kept_or_run_is_said_before_it_begins(cli: Cli, kind: str) -> None:
    arguments, expected = PLACES[kind]

    said = refuses(cli, ("study", "tiny.toml", *arguments), expected)

    assert refuses(cli, ("study", "tiny.toml", *arguments, "--dry-run"), expected) == said
    assert "sentinel" not in "".join(said)


def test_a_storage_path_that_cannot_be_opened_is_one_line_wherever_it_is_given(cli: Cli, cached_cli: Cli) -> None:
    assert cached_cli("study", "tiny.toml").code == 0
    expected = [["storage_path: cannot open file://::: "]]
    for command in (("doctor",), ("studies",), ("copy", "tiny", "--to", "sqlite:///other.db")):
        refuses(cli, (*command, "--storage-path", "file://::"), expected)


def test_a_study_file_may_say_what_is_for_ray(cli: Cli) -> None:
    Path("both.toml").write_text(Path("tiny.toml").read_text() + "[ray]\ncpus_per_trial = 2\n")

    assert cli("study", "both.toml", "--dry-run").code == 0


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_bad_config_is_refused_by_its_key(cli: Cli, kind: str) -> None:
    arguments, expected = CONFIGS[kind]

    refuses(cli, ("study", "tiny.toml", *arguments), expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(cli: Cli) -> None:
    refuses(
        cli, ("study", "tiny.toml", "--set", "training.device=cuda"), [["training.device: cuda asked for, and torch"]]
    )


def test_a_study_is_not_continued_as_another_one(cli: Cli, cached_cli: Cli) -> None:
    assert cached_cli("study", "tiny.toml").code == 0
    changes = {
        "space.hidden_size": ("--set", "space.hidden_size=8"),
        "data.horizon": ("--set", "data.horizon=5"),
        "sampler.name": ("--sampler", "random"),
        "seed": ("--seed", "4"),
        "training.metric": ("--set", "training.metric=mae"),
    }
    for key, change in changes.items():
        refuses(cli, ("study", "tiny.toml", *change), [["study 'tiny' exists and is another search"], [f"  {key}: "]])
    Path("tiny.csv").write_text(series(121))
    other_data = cli("study", "tiny.toml", "--trials", 4)
    assert other_data.code == 2
    assert other_data.lines[1].startswith("  data: another file, or another content: the study has 120 rows from ")
    assert not [line for line in other_data.lines if "data.rows" in line]  # that line has it
    more = [f"space.{key}" for key in ("batch_size=8", "grad_clip=2.5", "optimizer=sgd", "lr_schedule=cosine")]
    changes |= {key: ("--set", key) for key in more}
    refused = cli("study", "tiny.toml", *itertools.chain(*changes.values()))
    assert refused.lines[10] == "  ... and 1 more"


def test_a_copy_gets_no_name_that_a_study_could_not_have(cli: Cli, cached_cli: Cli) -> None:
    cached_cli("study", "tiny.toml")
    for name in ("x" * 513, "a\x1b[2Jb", " "):
        refuses(cli, ("copy", "tiny", "--to", "sqlite:///other.db", "--as", name), [["--as: must be 1 to 512 "]])


def test_a_server_that_stops_answering_after_the_start_is_said_in_one_line(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "runs").mkdir()
    open_database("sqlite:///runs/optlstm.db").close()

    def gone(*_: object) -> None:
        lost = OperationalError("SELECT", {}, Exception("connection is bad: no such file or directory"))
        raise StorageInternalError("An exception is raised during the commit.") from lost

    monkeypatch.setattr(StudyStorage, "get_all_studies", gone)
    outcome = cli("studies")

    assert outcome.code == 1
    (line,) = outcome.lines
    assert line.startswith("storage: the study database failed: connection is bad")
    assert "resume with the same command" in line

"""The `.ts` and `.tsf` files of public archives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optlstm.data.panel_reader import PanelColumns, read_panel
from optlstm.data.sequence_columns import SequenceColumns
from optlstm.data.sequence_reader import read_sequences
from optlstm.data.table import DataFile, read_table
from optlstm.errors import InputError

UNIVARIATE = "#UCR\n@problemName Gun\n@timeStamps false\n@univariate true\n@classLabel true 1 2\n@data\n{}"
MULTIVARIATE = "@problemName Basic\n@timestamps false\n@univariate false\n@classLabel true walk run\n@data\n{}"
SERIES = (
    "# Monash\n@relation x\n@attribute series_name string\n@attribute state string\n@attribute start_timestamp date\n"
    "@frequency {}\n@horizon 12\n@missing true\n@equallength false\n@data\n{}"
)


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_sequences_of_one_length_and_one_channel(tmp_path: Path) -> None:
    sequences = read_sequences(write(tmp_path, "x.ts", UNIVARIATE.format("1,2,3:1\n4,5,6.5:2\n")), SequenceColumns())
    assert sequences.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6.5]
    assert (sequences.labels, sequences.starts.tolist()) == (("1", "2"), [0, 3, 6])
    assert sequences.columns == ("t0", "t1", "t2")


def test_sequences_of_several_channels_and_lengths(tmp_path: Path) -> None:
    path = write(tmp_path, "x.ts", MULTIVARIATE.format("1,2,3:4,5,6:walk\n7,8:9,10:run\n"))
    sequences = read_sequences(path, SequenceColumns())
    assert sequences.values.tolist() == [[1, 4], [2, 5], [3, 6], [7, 9], [8, 10]]
    assert (sequences.labels, sequences.channels) == (("walk", "run"), ("dim_0", "dim_1"))
    assert sequences.notes == ("data: x.ts read as: a table of series_id, t, dim_0, dim_1, label",)


def test_long_sequences_are_a_row_a_step(tmp_path: Path) -> None:
    path = write(tmp_path, "x.ts", UNIVARIATE.format("1," * 20_000 + "2:1\n"))
    assert DataFile(path).names == ["series_id", "t", "dim_0", "label"]
    assert read_table(DataFile(path))["dim_0"].sum() == 20_002


def test_series_have_the_times_of_their_start_and_frequency(tmp_path: Path) -> None:
    text = SERIES.format("monthly", "T1:NSW:1979-01-31 00-00-00:1,2.5,?,4\nT2:VIC:2000-02-01 12-00-00:5,6\n")
    panel = read_panel(write(tmp_path, "x.tsf", text), PanelColumns(static=["state"], gaps=True))
    assert panel.ids == ("T1", "T2")
    np.testing.assert_array_equal(panel.values[:, 0], [1, 2.5, np.nan, 4, 5, 6])
    assert list(panel.time) == [
        *(
            pd.Timestamp("1979-01-31"),
            pd.Timestamp("1979-02-28"),
            pd.Timestamp("1979-03-31"),
            pd.Timestamp("1979-04-30"),
        ),
        *(pd.Timestamp("2000-02-01 12:00"), pd.Timestamp("2000-03-01 12:00")),
    ]


@pytest.mark.parametrize(
    ("frequency", "second"),
    [
        ("4_seconds", "2020-01-30 00:00:04"),
        ("10_minutes", "2020-01-30 00:10"),
        ("half_hourly", "2020-01-30 00:30"),
        ("weekly", "2020-02-06"),
        ("monthly", "2020-02-29"),
        ("quarterly", "2020-04-30"),
        ("yearly", "2021-01-30"),
    ],
)
def test_steps(frequency: str, second: str, tmp_path: Path) -> None:
    path = write(tmp_path, "x.tsf", SERIES.format(frequency, "T1:a:2020-01-30 00-00-00:1,2\n"))
    assert read_table(DataFile(path), ["ds"])["ds"].tolist()[1] == pd.Timestamp(second)


def test_series_without_times_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path, "x.tsf", "@relation x\n@frequency yearly\n@data\n1,2,3\n")
    assert read_table(DataFile(path)).to_dict("list") == {"unique_id": ["T1"] * 3, "ds": [0, 1, 2], "y": [1, 2, 3]}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("x.ts", "", "x.ts has no line @data"),
        ("x.ts", "1,2:a\n", "x.ts has no line @data"),
        ("x.ts", UNIVARIATE.format(""), "has a header and no rows"),
        ("x.ts", UNIVARIATE.format("1,x:1\n"), "row 7: not all of its values are numbers"),
        ("x.ts", UNIVARIATE.format("1" * 401 + ",1:1\n"), "row 7: not all of its values are numbers"),
        (
            "x.tsf",
            SERIES.format("999999_hours", "T1:a:2020-02-01 00-00-00:" + "1," * 99 + "1\n"),
            "row 11: its times go",
        ),
        ("x.ts", MULTIVARIATE.format("1,2:3,4,5:run\n"), "row 6: its channels are not of one length"),
        ("x.ts", MULTIVARIATE.format("1,2:3,4:run\n1,2:run\n"), "row 7: it has 1 channels, and the first 2"),
        ("x.ts", MULTIVARIATE.format("run\n"), "row 6: its channels are not of one length"),
        ("x.ts", UNIVARIATE.replace("@timeStamps false", "@timeStamps true").format("(0,1):1\n"), "a time with every"),
        (
            "x.tsf",
            SERIES.format("daily", "T1:2020-01-01 00-00-00:1\n"),
            "row 11: it has 2 attributes, and",
        ),
        ("x.tsf", SERIES.format("now and then", "T1:a:2020-01-01 00-00-00:1\n"), "row 10: @frequency is 'now'"),
        ("x.tsf", SERIES.format("daily", "T1:a:2020-02-31 00-00-00:1\n"), "row 11: start_timestamp is '2020-02-31"),
        (
            "x.tsf",
            SERIES.format("daily", "T1:a:2020-02-01 00-00-00:1_0\n"),
            "row 11: not all of its values are",
        ),
        (
            "x.tsf",
            SERIES.format("daily", "T1:ł:2020-02-01 00-00-00:1\n"),
            r"x.tsf is not utf-8 text; --set data",
        ),
    ],
)
def test_what_does_not_hold_to_the_formats(name: str, text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("cp1250"))
    with pytest.raises(InputError, match=problem) as caught:
        read_table(DataFile(path))
    assert caught.value.problems[0].startswith("data: x.ts")


def test_a_flaw_names_the_line_of_its_sequence(tmp_path: Path) -> None:
    path = write(tmp_path, "x.ts", MULTIVARIATE.format("1,2:4,5:walk\n\n7,inf:9,10:run\n"))
    with pytest.raises(InputError, match=r"column 'dim_0' of x\.ts: 1 infinite value\(s\) \(row 8\)"):
        read_sequences(path, SequenceColumns())

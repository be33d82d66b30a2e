"""Files of labelled sequences, in both forms, and what is wrong with bad ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from optlstm.data.sequence_columns import SequenceColumns
from optlstm.data.sequence_reader import read_sequences
from optlstm.errors import InputError, Problem

WIDE = "label,t0,t1,t2\nup,1,2,3\ndown,5,4,\nup,0,2,4\n"
LONG = "series_id,t,x,y,label\na,0,1,10,up\nb,0,5,50,down\na,1,2,20,up\nb,1,4,40,down\na,2,3,30,up\n"


def write(folder: Path, text: str, name: str = "s.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_row_is_a_sequence_and_empty_cells_at_its_end_make_it_shorter(tmp_path: Path) -> None:
    found = read_sequences(write(tmp_path, WIDE), SequenceColumns())

    assert found.starts.tolist() == [0, 3, 5, 8]
    assert found.values[:, 0].tolist() == [1, 2, 3, 5, 4, 0, 2, 4]
    assert found.labels == ("up", "down", "up")


def test_a_row_is_a_step_and_the_rows_of_a_sequence_may_lie_apart(tmp_path: Path) -> None:
    found = read_sequences(write(tmp_path, LONG), SequenceColumns())

    assert found.starts.tolist() == [0, 3, 5]
    np.testing.assert_array_equal(found.values, [[1, 10], [2, 20], [3, 30], [5, 50], [4, 40]])
    assert (found.labels, found.ids, found.channels) == (("up", "down"), ("a", "b"), ("x", "y"))


def test_the_fingerprint_hangs_on_the_numbers_and_not_on_the_order_of_other_sequences_rows(tmp_path: Path) -> None:
    lines = LONG.splitlines()
    apart = "\n".join([lines[0], lines[1], lines[3], lines[5], lines[2], lines[4]]) + "\n"

    one = read_sequences(write(tmp_path, LONG), SequenceColumns())
    other = read_sequences(write(tmp_path, apart, "other.csv"), SequenceColumns())
    changed = read_sequences(write(tmp_path, LONG.replace("30", "31"), "changed.csv"), SequenceColumns())

    assert one.fingerprint == other.fingerprint != changed.fingerprint


def test_columns_by_name(tmp_path: Path) -> None:
    text = "who,when,kind,x,note,person\na,2024-01-01,up,1,hm,p\na,2024-01-02,up,2,hm,p\n"
    columns = SequenceColumns("kind", "who", "when", "person", ["x"])

    found = read_sequences(write(tmp_path, text), columns)

    assert (found.groups, found.channels, found.labels) == (("p",), ("x",), ("up",))


def test_a_step_may_be_called_t(tmp_path: Path) -> None:
    text = "label,t,u,v\nup,1,2,3\ndown,1,2,3\nup,4,4,3\ndown,2,9,3\n"

    assert read_sequences(write(tmp_path, text), SequenceColumns()).starts.tolist() == [0, 3, 6, 9, 12]


@pytest.mark.parametrize("text", [LONG.replace("20,up", "20,").replace("40,down", "40,"), LONG.replace("10,up", "10,")])
def test_a_label_in_one_row_is_that_of_the_sequence(tmp_path: Path, text: str) -> None:
    whole = read_sequences(write(tmp_path, LONG), SequenceColumns())

    sequences = read_sequences(write(tmp_path, text), SequenceColumns())

    assert (sequences.labels, sequences.fingerprint) == (whole.labels, whole.fingerprint)
    count = text.count(",\n")
    assert sequences.notes == (
        f"data: column 'label' of s.csv: {count} empty row(s) take the value of their sequence's other rows",
    )
    assert whole.notes == ()


def test_without_labels_where_none_are_needed(tmp_path: Path) -> None:
    found = read_sequences(write(tmp_path, "t0,t1\n1,2\n3,4\n"), SequenceColumns(labelled=False))

    assert found.labels == ()
    assert found.values[:, 0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "columns", "lines"),
    [
        ("kind,t0\nup,1\n", SequenceColumns(), ["no label column 'label' in s.csv; name it with --label COLUMN"]),
        (WIDE, SequenceColumns("labl"), ["column 'labl' not found in s.csv; did you mean 'label'?"]),
        (
            WIDE.replace("5,4,", "5,,6"),
            SequenceColumns(),
            ["1 sequence(s) of s.csv with an empty or NaN value", "row 3"],
        ),
        (WIDE.replace("5,4,", ",,"), SequenceColumns(), ["1 sequence(s) of s.csv have no value", "row 3"]),
        (
            WIDE.replace("down", "").replace("up", ""),
            SequenceColumns(),
            ["column 'label' of s.csv: no row has a value"],
        ),
        (WIDE.replace("5,4", "x,4"), SequenceColumns(), ["column 't0' of s.csv: 1 cell(s) are not numbers"]),
        (WIDE.replace("5,4", "5,four"), SequenceColumns(), ["column 't1' of s.csv: 1 cell(s) are not numbers"]),
        (LONG.replace("a,1,2", "a,0,2"), SequenceColumns(), ["1 row(s) repeat a (series_id, t)", "row 4: 'a' at 0"]),
        (LONG.replace("a,1,2", "a,9,2"), SequenceColumns(), ["1 row(s) are earlier", "row 6: 'a' at 2"]),
        (
            LONG.replace("20,up", "20,down"),
            SequenceColumns(),
            ["column 'label' of s.csv changes within", "'a'", "row 4"],
        ),
        (
            LONG.replace("down", "").replace("up", ""),
            SequenceColumns(),
            ["column 'label' of s.csv: no row of 2 sequence(s) has a value ('a', 'b')", "fill it in for one"],
        ),
        (LONG.replace("series_id", "id"), SequenceColumns(), ["one row a step", "--series id --time t; if"]),
        (LONG.replace("series_id,t", "who,Date"), SequenceColumns(channels=["x"]), ["--series who --time Date; if"]),
        (WIDE, SequenceColumns(time="t0"), ["--time t0 is for files of one row a step"]),
    ],
)
def test_a_flaw_is_named_with_its_row(tmp_path: Path, text: str, columns: SequenceColumns, lines: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        read_sequences(write(tmp_path, text), columns)

    (problem,) = caught.value.problems
    assert all(line in problem for line in lines), problem


@pytest.mark.parametrize("text", [WIDE.replace("down", " "), LONG.replace("down", "")])
def test_sequences_without_a_label_are_left_out_with_a_note(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)

    sequences, every = read_sequences(path, SequenceColumns()), read_sequences(path, SequenceColumns(labelled=False))

    kept = [i for i, name in enumerate(every.ids) if name in sequences.ids]
    assert (set(sequences.labels), len(kept)) == ({"up"}, len(every.ids) - 1)
    np.testing.assert_array_equal(np.diff(sequences.starts), np.diff(every.starts)[kept])
    np.testing.assert_array_equal(sequences.values[:3], every.values[:3])
    (note,) = sequences.notes
    assert note.startswith(
        f"data: column 'label' of s.csv: 1 of {len(every.ids)} sequences have no value; they are left"
    )


GAPS = "label,t0,t1,t2,t3\nup,1,,3,\ndown,,4,,8\n"


def test_gaps_are_interpolated_within_a_sequence_where_that_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read_sequences(write(tmp_path, GAPS), SequenceColumns())
    (problem,) = refused.value.problems
    assert "have them filled from their sequence: --gaps interpolate" in problem
    assert isinstance(problem, Problem)
    assert problem.fix == {"data.gaps": "interpolate"}

    wide = read_sequences(write(tmp_path, GAPS), SequenceColumns(gaps=True))

    assert wide.values[:, 0].tolist() == [1, 2, 3, 4, 4, 6, 8]  # the empty cell at an end is no gap
    assert wide.notes == ("data: s.csv: 3 missing value(s) were interpolated within their sequences",)

    text = LONG.replace("1,2,20", "1,,20").replace("0,5,50", "0,,50").replace("1,4,40", "1,,40")
    with pytest.raises(InputError, match="--gaps interpolate"):
        read_sequences(write(tmp_path, text), SequenceColumns())
    steps = read_sequences(write(tmp_path, text), SequenceColumns(gaps=True))
    np.testing.assert_array_equal(steps.values, [[1, 10], [2, 20], [3, 30], [np.nan, 50], [np.nan, 40]])
    assert steps.notes == (
        "data: s.csv: 1 missing value(s) were interpolated within their sequences",
        "data: s.csv: 2 missing value(s), whose sequences have none to fill them from, are read as the channel's mean",
    )


@pytest.mark.parametrize("columns", [{"by_step": True}, {"per_step": True, "causal": True}])
def test_gaps_are_filled_from_the_past_where_the_future_is_not_known(tmp_path: Path, columns: dict[str, bool]) -> None:
    text = rows_of("series_id,t,x,label", lambda i: f"a,{i},{i if i % 3 == 1 else ''},{i}", 6)

    sequences = read_sequences(write(tmp_path, text), SequenceColumns(gaps=True, **columns))

    np.testing.assert_array_equal(sequences.values[:, 0], [np.nan, 1, 1, 1, 4, 4])
    assert "3 missing value(s) were replaced by the last ones before them" in sequences.notes[0]


def test_columns_without_a_name_are_no_steps(tmp_path: Path) -> None:
    """What to_csv() writes before each row is its number; a separator too many makes an empty column behind it."""
    lines = WIDE.splitlines()
    numbered = "\n".join([f",{lines[0]},", *(f"{i},{line}," for i, line in enumerate(lines[1:]))])
    path = write(tmp_path, numbered, "numbered.csv")

    plain, sequences = read_sequences(write(tmp_path, WIDE), SequenceColumns()), read_sequences(path, SequenceColumns())

    assert sequences.fingerprint == plain.fingerprint
    last = len(lines[0].split(",")) + 1
    assert sequences.notes == (
        f"data: columns of numbered.csv without a name are not read: Unnamed: 0, Unnamed: {last}",
    )
    older = SequenceColumns(channels=["", *plain.columns], wide=True, like="the model")
    assert read_sequences(path, older).columns == ("Unnamed: 0", *plain.columns)


def rows_of(head: str, row: Callable[[int], str], rows: int = 12) -> str:
    return head + "\n" + "".join(f"{row(i)}\n" for i in range(rows))


@pytest.mark.parametrize(
    ("text", "channels", "note"),
    [
        (
            rows_of("index,t0,t1,t2,t3,age,label", lambda i: f"{i},1,2,3,4,{20 + i * 7 % 9},up"),
            ("t0", "t1", "t2", "t3"),
            "the steps of s.csv are t0 to t3; not read: index, age; data.channels names others",
        ),
        (
            rows_of("t0,t1,t2,t3,patient,target2,label", lambda i: f"1,2,3,4,P0{i},5,up"),
            ("t0", "t1", "t2", "t3"),
            "the steps of s.csv are t0 to t3; not read: patient, target2; data.channels names others; "
            "where 'patient' says whose a row is, --set data.group=patient",
        ),
        (
            rows_of("ax_1,ax_2,ay_1,ay_2,Day,label", lambda i: f"1,2,3,4,2020-01-{i + 1:02},up"),
            ("ax_1", "ax_2", "ay_1", "ay_2"),
            "the steps of s.csv are ax_1, ax_2, ay_1, ay_2; not read: Day; data.channels names others",
        ),
        (
            rows_of("row,jan,feb,customerId,label", lambda i: f"{i},1,2,7,up"),
            ("jan", "feb"),
            "the steps of s.csv are jan, feb; not read: customerId, row (counts the rows); data.channels names others; "
            "where 'customerId' says whose a row is, --set data.group=customerId",
        ),
        (
            rows_of("series_id,n,x,device,label", lambda i: f"{'ab'[i % 2]},{i // 2},{i * 7 % 5},A,up", 30),
            ("x",),
            "the channels of s.csv are x; not read: device (text), n (counts the rows); data.channels names others",
        ),
        (
            rows_of("series_id,Timestamp,x,label", lambda i: f"{'ab'[i % 2]},{i * i},{i * 7 % 5},up", 30),
            ("x",),
            "'Timestamp' of s.csv is taken for the time; --time Timestamp says so",
        ),
    ],
)
def test_columns_that_are_no_values_are_left_out_with_a_note(
    tmp_path: Path, text: str, channels: tuple[str, ...], note: str
) -> None:
    path = write(tmp_path, text)

    sequences = read_sequences(path, SequenceColumns())

    assert (sequences.columns, sequences.notes) == (channels, (f"data: {note}",))
    everything = [name for name in text.splitlines()[0].split(",") if name not in ("label", "series_id")]
    numbers = [name for name in everything if name not in ("patient", "Day", "device")]
    assert read_sequences(path, SequenceColumns(channels=numbers)).columns == tuple(numbers)
    assert read_sequences(path, SequenceColumns(channels=[f"{channels[0][:1]}*"])).columns[0] == channels[0]


def test_an_index_that_is_measured_is_a_channel(tmp_path: Path) -> None:
    text = rows_of("series_id,row_index,heat_index,Price Index,label", lambda i: f"{'ab'[i % 2]},9,{i},{i * i},up", 8)

    assert read_sequences(write(tmp_path, text), SequenceColumns()).columns == ("heat_index", "Price Index")


def test_a_column_called_time_whose_numbers_fall_is_a_channel(tmp_path: Path) -> None:
    text = rows_of("series_id,time,x,label", lambda i: f"{'ab'[i % 2]},{i * 3 % 7},{i * 7 % 5},up", 30)

    assert read_sequences(write(tmp_path, text), SequenceColumns()).columns == ("time", "x")

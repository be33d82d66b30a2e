"""What a DataFrame, a series or an array is read as, in place of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from optlstm.data.frames import as_file, errors_name_frame, naming_frame
from optlstm.data.table import DataFile, read_table
from optlstm.errors import InputError, StudyConflict

DAYS = pd.date_range("2020-01-01", periods=4, freq="D")
Y = np.array([1.0, 2.5, 3.0, 0.0])
FRAME = pd.DataFrame({"ds": DAYS, "y": Y})


class Polars:
    """As a DataFrame of polars: Arrow's interface with texts as views, and `to_arrow`."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        views = pa.schema([(name, pa.string_view() if name == "s" else pa.null()) for name in self._table.column_names])
        return self._table.cast(views).__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> Any:
        return self._table


def read(data: Any) -> pd.DataFrame:
    with as_file(data) as path:
        return read_table(DataFile(path))


@pytest.mark.parametrize(
    "data",
    [
        FRAME,
        FRAME.set_index("ds"),
        FRAME.set_index("ds", drop=False),
        FRAME.set_index(DAYS),  # without a name, beside a column of the same times
        FRAME.set_index(DAYS.astype("datetime64[s]")),
        FRAME[["y"]].set_index(DAYS),
        FRAME[["y"]].set_index(pd.period_range("2020-01-01", periods=4, freq="D")),
        FRAME.assign(ds=pd.period_range("2020-01-01", periods=4, freq="D")),
        pd.Series(Y, index=DAYS),
        FRAME.set_index("ds")["y"],
        Polars(pa.table({"ds": DAYS, "y": Y})),
        pa.table({"ds": DAYS, "y": Y}),
    ],
)
def test_times_and_values_of_a_frame(data: Any) -> None:
    read_back = read(data)

    assert list(read_back) == ["ds", "y"]
    assert list(read_back["ds"]) == list(DAYS)
    assert list(read_back["y"]) == list(Y)


@pytest.mark.parametrize("data", [Y, pd.Series(Y), pd.Series(Y, index=[0, 1, 2, 3], name="y"), Polars(pa.array(Y))])
def test_an_array_is_a_series_in_the_order_of_its_rows(data: Any) -> None:
    assert read(data).to_dict("list") == {"ds": [0, 1, 2, 3], "y": list(Y)}


@pytest.mark.parametrize(("names", "columns"), [(["store", "day"], ["store", "day", "y"]), ([None, None], None)])
def test_an_index_of_series_and_times_is_two_columns(names: list[str | None], columns: list[str] | None) -> None:
    index = pd.MultiIndex.from_product([["a", "b"], DAYS], names=names)

    read_back = read(pd.DataFrame({"y": [*Y, *Y]}, index=index))

    assert list(read_back) == (columns or ["unique_id", "ds", "y"])
    assert list(read_back.iloc[:, 0]) == ["a"] * 4 + ["b"] * 4
    assert list(read_back.iloc[:, 1]) == [*DAYS, *DAYS]


def test_texts_as_views_are_texts() -> None:
    frame = read(pa.table({"s": pa.array(["a", "", None, "b"], pa.string_view())}))

    assert frame["s"].tolist()[::3] == ["a", "b"]
    assert frame["s"].isna().tolist() == [False, True, True, False]


def test_a_column_of_several_kinds_is_text_and_blocks_nothing() -> None:
    frame = read(FRAME.assign(junk=[1, "a", None, 2.5]))

    assert frame["y"].tolist() == list(Y)
    assert frame["junk"].tolist()[:2] == ["1", "a"]


def test_columns_of_two_levels_have_one_name_each() -> None:
    columns = pd.MultiIndex.from_tuples([("Close", "A"), ("Close", "B")])

    assert list(read(pd.DataFrame(np.c_[Y, Y], index=DAYS, columns=columns))) == ["ds", "Close_A", "Close_B"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (FRAME.set_index(DAYS[::-1]), "an index and a column named 'ds', with other values; leave one out"),
        (FRAME[["y"]].set_index(pd.Index(DAYS, name="y")), "an index and a column named 'y', with other values"),
        (pd.concat([FRAME, FRAME], axis=1), "more than one column named 'ds'; give each a different name"),
        (np.ones((4, 2)), r"an array has no column names; give pandas.DataFrame\(array, columns="),
        ([1, 2, 3], "must be a DataFrame .* or the path of a file, got list"),
        (FRAME.assign(y=Y.astype(complex)), "the DataFrame cannot be stored"),
    ],
)
def test_what_is_no_table(data: Any, problem: str) -> None:
    with pytest.raises(InputError, match=f"^data: .*{problem}"):
        read(data)


def test_errors_name_the_frame_and_not_the_file_made_of_it() -> None:
    missing = r"^data: column 'z' not found in the DataFrame \(columns: ds, y\)$"
    with pytest.raises(InputError, match=missing), as_file(FRAME) as path:
        read_table(DataFile(path), ["z"])
    with pytest.raises(StudyConflict, match=r"^the DataFrame differs$"), errors_name_frame():
        raise StudyConflict("data-0123456789ab.parquet differs")


def test_notes_name_the_frame_too() -> None:
    lines = ["column 'z' of data-0123456789ab.parquet is constant", "DataFrame.parquet has 3 rows", "data-1.parquet"]

    assert naming_frame(lines) == ["column 'z' of the DataFrame is constant", "the DataFrame has 3 rows", lines[2]]


def test_a_file_keeps_its_name(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"'DataFrame\.parquet' not found"),
        as_file(tmp_path / "DataFrame.parquet") as path,
    ):
        read_table(DataFile(path))

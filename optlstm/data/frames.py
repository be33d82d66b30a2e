"""A DataFrame, or what holds the like, in place of a file: the same checks and messages."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from optlstm.errors import InputError
from optlstm.util.format import quoted

_TEMPORARY, _FRAME = "DataFrame.parquet", "the DataFrame"
_FILES = re.compile(r"\b(DataFrame\.parquet|data-[0-9a-f]{12}(\.parquet)?)\b")
_TIME, _SERIES = "ds", "unique_id"  # columns made of an index without a name: of times, of anything else


class ArrowTable(Protocol):
    """What Arrow's C interface reads: a DataFrame of polars, a table of pyarrow, a relation of DuckDB."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


Frame = pd.DataFrame | pd.Series | npt.NDArray[Any] | ArrowTable
Data = Frame | str | Path


@contextmanager
def as_file(data: Data) -> Iterator[Path]:
    """The path of a file, or of a temporary one with the DataFrame's columns."""
    if isinstance(data, str | Path):
        yield Path(data).expanduser()
        return
    with tempfile.TemporaryDirectory(prefix="optlstm-") as folder:
        path = Path(folder) / _TEMPORARY
        path.write_bytes(frame_bytes(data))
        with errors_name_frame():
            yield path


def shown_name(path: Path) -> str:
    """A file's name in messages; of a temporary one that holds a DataFrame, that it is one."""
    return _FRAME if path.name == _TEMPORARY else path.name


def is_frame(path: Path) -> bool:
    """Whether a file holds a DataFrame."""
    return shown_name(path) == _FRAME


def frame_file(content: bytes) -> str:
    """The name of the file that keeps a DataFrame for its study."""
    return f"data-{hashlib.sha256(content).hexdigest()[:12]}.parquet"


def naming_frame(lines: Iterable[str]) -> list[str]:
    """Lines about files that were made of a DataFrame: they name it, and not the file."""
    return [_FILES.sub(_FRAME, line) for line in lines]


@contextmanager
def errors_name_frame() -> Iterator[None]:
    """Errors about such a file name the DataFrame."""
    try:
        yield
    except InputError as error:
        raise type(error)(naming_frame(error.problems)) from error


def with_whole_numbers(frame: pd.DataFrame, path: Path, names: Iterable[str]) -> pd.DataFrame:
    """A frame whose ids of series are whole numbers again, where they are in the Parquet file `path`."""
    schema = parquet.read_schema(path)
    whole = [name for name in names if name in schema.names and pa.types.is_integer(schema.field(name).type)]
    return frame.astype({name: schema.field(name).type.to_pandas_dtype() for name in whole if name in frame})


def time_of_index(data: Data) -> str | None:
    """The name of the index, or of its only level, that holds times; None where there is none, or a column `ds`."""
    if not isinstance(data, pd.DataFrame | pd.Series) or (isinstance(data, pd.DataFrame) and _TIME in data):
        return None
    levels = [data.index.get_level_values(level) for level in range(data.index.nlevels)]
    times = [level.name for level in levels if isinstance(level, pd.DatetimeIndex | pd.PeriodIndex)]
    return str(times[0]) if len(times) == 1 and times[0] is not None else None


def frame_bytes(data: Frame) -> bytes:
    """The columns as a Parquet file; periods as the times at which they begin.

    An index that has a name, holds times or has several levels is made columns; where it has no name, times are `ds`,
    and what is beside them `unique_id`. A series, or an array of one dimension, is the column `y` (or its name) beside
    `ds`.

    Raises:
        InputError: it is none of these, or one of its columns cannot be stored.
    """
    sink = pa.BufferOutputStream()
    try:
        parquet.write_table(_arrow_table(data), sink)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"data: the DataFrame cannot be stored: {error}") from error
    return bytes(sink.getvalue())


def _arrow_table(data: Any) -> Any:
    if isinstance(data, np.ndarray):
        if data.ndim != 1:
            raise InputError("data: an array has no column names; give pandas.DataFrame(array, columns=[...])")
        data = pd.Series(data)
    if isinstance(data, pd.Series):
        unnamed = data.index.nlevels == 1 and data.index.name is None
        data = data.to_frame("y" if data.name is None else data.name)
        data = data.rename_axis(index=_TIME) if unnamed else data
    if isinstance(data, pd.DataFrame):
        return pa.Table.from_pandas(_flat(data), preserve_index=False)
    if hasattr(data, "__arrow_c_stream__"):
        # The texts of polars' stream are views, which Parquet cannot hold as categories.
        table = data.to_arrow() if hasattr(data, "to_arrow") else pa.table(data)
        return table if isinstance(table, pa.Table) else _arrow_table(table.to_pandas())  # a column alone
    raise InputError(
        "data: must be a DataFrame (of pandas, polars or anything else with Arrow's interface), an array or the path"
        f" of a file, got {type(data).__name__}"
    )


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """With its index among the columns, names in one piece, no periods, and texts where values are of several kinds."""
    names = ["_".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in frame.columns]
    frame = frame.set_axis(pd.Index(names, dtype=object), axis=1)
    if not frame.columns.is_unique:
        repeated = quoted(frame.columns[frame.columns.duplicated()][0])
        raise InputError(f"data: the DataFrame has more than one column named {repeated}; give each a different name")
    for level in range(frame.index.nlevels):
        values = frame.index.get_level_values(level)
        times = isinstance(values, pd.DatetimeIndex | pd.PeriodIndex)
        if values.name is None and not times and frame.index.nlevels == 1:
            continue  # the numbers of the rows
        name = str(values.name) if values.name is not None else _TIME if times else _SERIES
        if name not in frame:
            frame.insert(level, name, values)
        elif not values.equals(pd.Index(frame[name])):
            raise InputError(
                f"data: the DataFrame has an index and a column named {quoted(name)}, with other values; leave one out"
                " (df.reset_index(drop=True)), or rename it (df.rename_axis('NAME'))"
            )
    changed = {name: _storable(frame[name]) for name, dtype in frame.dtypes.items() if _is_odd(dtype)}
    return frame.assign(**{str(name): column for name, column in changed.items()})


def _is_odd(dtype: Any) -> bool:
    return isinstance(dtype, pd.PeriodDtype) or pd.api.types.is_object_dtype(dtype)


def _storable(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.PeriodDtype):
        return cast("pd.Series", column.dt.to_timestamp())
    try:
        pa.array(column, from_pandas=True)
    except pa.ArrowException:
        return column.map(str, na_action="ignore")
    return column

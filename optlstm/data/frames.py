"""A DataFrame in place of a file, with the same checks and messages."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from optlstm.errors import InputError

_NAME = "DataFrame.parquet"  # what errors call it


@contextmanager
def as_file(data: pd.DataFrame | str | Path) -> Iterator[Path]:
    """The path of a file, or of a temporary one with the DataFrame's columns."""
    if isinstance(data, str | Path):
        yield Path(data).expanduser()
        return
    with tempfile.TemporaryDirectory(prefix="optlstm-") as folder:
        path = Path(folder) / _NAME
        path.write_bytes(frame_bytes(data))
        yield path


def frame_bytes(frame: pd.DataFrame) -> bytes:
    """The columns as a Parquet file; an index with a name, or of times, is a column too (`ds` where it has no name).

    Raises:
        InputError: it is no DataFrame, or one of its columns cannot be stored.
    """
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"data: must be a DataFrame or the path of a file, got {type(frame).__name__}")
    if frame.index.name is not None or isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.rename_axis(index=str(frame.index.name or "ds")).reset_index()
    frame = frame.rename(columns=str)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise InputError(f"data: the DataFrame cannot be stored: {error}") from error
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    return bytes(sink.getvalue())

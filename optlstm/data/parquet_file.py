"""Parquet files: what one would take in memory is looked up in its footer before anything of that size is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
from pyarrow import parquet

from optlstm.data.arrow import bytes_as_text
from optlstm.errors import InputError
from optlstm.util.format import quoted

_CELL = 8  # bytes, at least, once it is read: a value that is repeated takes none in the file
_ERRORS = (pa.ArrowException, OSError, MemoryError, ValueError, OverflowError)


def open_parquet(path: Path) -> Any:
    """Raises InputError where it is no Parquet file."""
    try:
        return parquet.ParquetFile(path)
    except _ERRORS as error:
        raise InputError(f"data: {path.name} is damaged or no Parquet file; write or download it again") from error


def parquet_head(path: Path, rows: int) -> Any:
    """The first rows; None where there are none. Raises as `read_parquet`."""
    file = open_parquet(path)
    _check_size(path, file, file.schema_arrow.names, groups=1)
    try:
        return next(file.iter_batches(batch_size=rows), None)
    except _ERRORS as error:
        raise InputError(f"data: {path.name} is damaged; write or download it again") from error


def read_parquet(path: Path, wanted: Sequence[str]) -> Any:
    """The Arrow table of these columns.

    Raises:
        InputError: It is damaged, larger than the memory, or holds lists or structs.
    """
    file = open_parquet(path)
    nested = [name for name in wanted if pa.types.is_nested(file.schema_arrow.field(name).type)]
    if nested:
        problem, remedy = "holds lists or structs", "write one value per cell, a column for each"
        raise InputError([f"data: column {quoted(name)} of {path.name} {problem}; {remedy}" for name in nested])
    _check_size(path, file, wanted)
    try:
        table = file.read(columns=list(wanted)).select(list(wanted))
        table = table.replace_schema_metadata()  # pandas' own is parsed unasked
        table.validate(full=True)  # text that is no UTF-8
    except _ERRORS as error:
        raise InputError(f"data: {path.name} is damaged; write or download it again") from error
    return bytes_as_text(table, path.name)


def _check_size(path: Path, file: Any, columns: Sequence[str], groups: int | None = None) -> None:
    """groups: how many row groups are read; None: all."""
    wanted, size = set(columns), 0
    for number in range(file.metadata.num_row_groups)[:groups]:
        group = file.metadata.row_group(number)
        chunks = [group.column(i) for i in range(group.num_columns)]
        sizes = [chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.partition(".")[0] in wanted]
        size += max(sum(sizes), group.num_rows * len(sizes) * _CELL)
    free = psutil.virtual_memory().available
    if size > free:
        problem = f"{path.name} asks for {size / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free"
        raise InputError(f"data: {problem}; read it on a larger machine, or leave rows out")

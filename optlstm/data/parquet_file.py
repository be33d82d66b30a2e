"""Parquet files: what one would take in memory is looked up in its footer before anything of that size is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
from pyarrow import compute, parquet

from optlstm.data.arrow import bytes_as_text
from optlstm.errors import InputError
from optlstm.util.format import quoted

_CELL = 8  # bytes, at least, once it is read: a value that is repeated takes none in the file
_BATCH = 1 << 16  # rows whose lengths of text are looked at together
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
    try:
        _check_size(path, file, file.schema_arrow.names, rows)
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
    try:
        _check_size(path, file, wanted)
        table = file.read(columns=list(wanted)).select(list(wanted))
        table = table.replace_schema_metadata()  # pandas' own is parsed unasked
        table.validate(full=True)  # text that is no UTF-8
    except _ERRORS as error:
        raise InputError(f"data: {path.name} is damaged; write or download it again") from error
    return bytes_as_text(table, path.name)


def _check_size(path: Path, file: Any, columns: Sequence[str], rows: int | None = None) -> None:
    """Raises InputError where they would not fit into the memory; rows: how many first ones are read; None: all."""
    groups = range(file.metadata.num_row_groups)[: None if rows is None else 1]
    free, size = psutil.virtual_memory().available, 0
    for number in groups:
        size += _group_size(file.metadata, number, set(columns))
    _check_free(path, size, free)
    for lengths in _text_sizes(path, file, columns, groups, rows, free):
        size += lengths
        _check_free(path, size, free)


def _check_free(path: Path, size: int, free: int) -> None:
    if size > free:
        problem = f"{path.name} asks for {size / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free"
        raise InputError(f"data: {problem}; read it on a larger machine, or leave rows out")


def _group_size(metadata: Any, number: int, names: set[str]) -> int:
    """Bytes of a row group's columns, as the footer has them."""
    group = metadata.row_group(number)
    wanted = [i for i in range(group.num_columns) if group.column(i).path_in_schema.partition(".")[0] in names]
    encoded = sum(group.column(i).total_uncompressed_size for i in wanted)
    return int(max(encoded, sum(group.num_rows * max(_CELL, metadata.schema.column(i).length) for i in wanted)))


def _text_sizes(
    path: Path, file: Any, columns: Sequence[str], groups: range, rows: int | None, free: int
) -> Iterator[int]:
    """Bytes of the columns of text, batch by batch.

    Text that is repeated, or differs from the one before in its end alone, takes next to nothing in a file. The first
    is read as a dictionary, which takes no more in memory. For the second batches are small: no text is longer than
    its row group.
    """
    texts = [name for name in columns if _is_text(file.schema_arrow.field(name).type)]
    if not texts or not groups:
        return
    chunks = [file.metadata.row_group(g).column(i) for g in groups for i in range(file.metadata.num_columns)]
    by_ends = {chunk.path_in_schema for chunk in chunks if "DELTA_BYTE_ARRAY" in chunk.encodings}.intersection(texts)
    batch = min(_BATCH, rows or _BATCH)
    if by_ends:
        longest = max(_group_size(file.metadata, number, by_ends) for number in groups)
        batch = min(batch, max(1, free // max(1, longest)))
    folded = parquet.ParquetFile(path, read_dictionary=[name for name in texts if name not in by_ends])
    seen = 0
    for part in folded.iter_batches(batch, row_groups=list(groups), columns=texts):
        yield sum(map(_text_size, part.columns))
        seen += part.num_rows
        if rows is not None and seen >= rows:
            return


def _text_size(column: Any) -> int:
    """Bytes of a column's texts, each as often as it stands there."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = compute.binary_length(column.dictionary).cast(pa.int64())
    return compute.sum(lengths.take(column.indices)).as_py() or 0


def _is_text(kind: Any) -> bool:
    value, types = kind.value_type if pa.types.is_dictionary(kind) else kind, pa.types
    kinds = (types.is_string, types.is_large_string, types.is_string_view)
    return any(check(value) for check in (*kinds, types.is_binary, types.is_large_binary, types.is_binary_view))

"""Arrow tables as they are read, converted to the few types that the rest of the program handles."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import psutil
import pyarrow as pa
from pyarrow import compute

from optlstm.errors import InputError

_MAX_RATIO, _MEMORY_SHARE = 200, 8  # numbers in text shrink to a fifth, deflate's best is a thousandth


def tidy(table: Any, coded: str | None) -> Any:
    """The Arrow table with its columns in the few types that `read_table` promises."""
    for i, field in enumerate(table.schema):
        column = table.column(i)
        if field.name == coded:
            table = table.set_column(i, field.name, _coded(column))
            continue
        if pa.types.is_dictionary(field.type):
            column = column.cast(field.type.value_type)
        if pa.types.is_string_view(column.type):
            column = column.cast(pa.large_string())
        if pa.types.is_null(column.type) or pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            blank = compute.equal(column, "")
            if compute.any(blank).as_py():
                column = compute.if_else(blank, pa.scalar(None, column.type), column)
        table = table.set_column(i, field.name, column)
    return table


def empty_at_end(table: Any) -> int:
    """How many rows at the end of a table have no value in any column."""
    rows = table.num_rows
    while rows and all(column[rows - 1].as_py() in (None, "") for column in table.columns):
        rows -= 1
    return int(table.num_rows - rows)


def bytes_as_text(table: Any, file: str) -> Any:
    """The table with its columns of bytes decoded. Raises InputError where some are no UTF-8."""
    for i, field in enumerate(table.schema):
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            try:
                table = table.set_column(i, field.name, table.column(i).cast(pa.large_string()))
            except pa.ArrowInvalid as error:
                problem = f"data: column '{field.name}' of {file} holds bytes that are no UTF-8 text"
                raise InputError(f"{problem}; write them as text") from error
    return table


def _coded(column: Any) -> Any:
    """A column as text, each text once, in order of appearance; the empty one is missing."""
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    column = column.unify_dictionaries()
    texts = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
    if column.type != pa.dictionary(pa.int32(), pa.string()) or "" in texts:
        decoded = column.cast(pa.string())
        blank = compute.equal(decoded, "")
        column = compute.if_else(blank, pa.scalar(None, pa.string()), decoded).dictionary_encode()
    return column.unify_dictionaries()


class Watched:
    """A file for pyarrow to read. Records what pyarrow does not refuse: NUL bytes, quotes, and an odd number of them.

    Reading raises InputError where a compressed file swells as no table does, beyond a share of the memory.
    """

    closed = False

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self._limit = max(_MAX_RATIO * path.stat().st_size, psutil.virtual_memory().available // _MEMORY_SHARE)
        self._count = 0
        self.quotes = self.odd_quotes = False
        self.nul = False

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._count += len(chunk)
        if self._count > self._limit:
            swollen = f"unpacks to more than {_MAX_RATIO} times its size, {self._count / 1e9:,.1f} GB so far"
            raise InputError(f"data: {self._path.name} {swollen}; if it is a table, give it uncompressed")
        count = chunk.count(b'"')
        self.quotes |= count > 0
        self.odd_quotes ^= count % 2 == 1
        self.nul |= b"\0" in chunk
        return chunk

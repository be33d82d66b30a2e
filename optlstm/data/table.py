"""Data files: CSV (also gzipped) and Parquet, read whole and strictly, or refused with the reasons.

A good CSV file is read once, by pyarrow, which refuses ragged rows that pandas would pad or shift. Only a bad file is
read a second time, row by row in Python, to say where it is bad.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import pandas as pd
import pyarrow as pa
from pyarrow import csv as pa_csv

from optlstm.data.arrow import Watched, tidy
from optlstm.data.parquet_file import open_parquet, parquet_head, read_parquet
from optlstm.errors import InputError, did_you_mean
from optlstm.util.format import first_few, in_a_line, quoted, short

_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_OTHERS = {b"\x1f\x8b": "gzip: name it .csv.gz", b"PAR1": "Parquet: name it .parquet", b"PK\x03\x04": "Excel or zip"}
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
_MISSING = ("", "#N/A", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "<NA>", "-nan", "-NaN")
_BREAKS_OFF = "is truncated or damaged (its gzip stream breaks off); copy or download it again"
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", re.IGNORECASE)
# Bytes that are no UTF-8, as `errors="surrogateescape"` reads them.
_STRAY = re.compile("[\udc80-\udcff]")
_MANY = re.compile("[\udc80-\udcff]{3}")  # in a row: no western language has so many letters with accents together
_CONTROL = re.compile("[\udc80-\udc9f]")  # where Latin-1 has no letters
_STREAM_BYTES, _BLOCK_BYTES = 1 << 20, 8 << 20  # of a block; a row must fit into the larger one
SHOWN = 3  # rows named in one problem


def read_table(
    path: Path, columns: Sequence[str] | None = None, *, coded: str | None = None, texts: Sequence[str] = ()
) -> pd.DataFrame:
    """The rows of a CSV, gzipped CSV or Parquet file, with `columns` (all where None) in the order given.

    Numbers come as int64, float64 or bool (empty, NA, NaN: NaN), ISO dates and times as datetime64 (with an offset: in
    UTC), everything else as pandas strings, of which only the empty one is missing. The column `coded` comes as text in
    a pandas Categorical, its categories in order of appearance: it takes little where few texts come again and again.
    The cells of a CSV's columns `texts` come as they stand, whatever they look like.

    Raises:
        InputError: the file is missing, empty, damaged, ragged, not UTF-8, has no header or lacks a column.
    """
    names = column_names(path)
    wanted = names if columns is None else list(dict.fromkeys(columns))
    known = set(names)
    unknown = [unknown_column(path, names, column) for column in wanted if column not in known]
    if unknown:
        raise InputError(unknown)
    table = read_parquet(path, wanted) if _is_parquet(path) else _csv_table(path, wanted, coded, texts)
    if table.num_rows == 0:
        raise InputError(f"data: {path.name} has a header and no rows")
    try:
        table = tidy(table, coded)
        frame = table.to_pandas(date_as_object=False, ignore_metadata=True, self_destruct=True, split_blocks=True)
    except pa.ArrowException as error:
        raise InputError(f"data: {path.name} cannot be read: {in_a_line(error, 200)}") from error
    pa.default_memory_pool().release_unused()  # a large file's buffers are worth returning to the system
    return cast("pd.DataFrame", frame)


def column_names(path: Path) -> list[str]:
    """The file's column names, in order, without surrounding blanks.

    Raises:
        InputError: the file cannot be opened, is not what its name says, or has no proper header.
    """
    _check_file(path)
    if _is_parquet(path):
        names = [str(name) for name in open_parquet(path).schema_arrow.names]
    else:
        _check_beginning(path)
        names = [name.strip() for name in _csv_header(path)]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        remedy = "give every column a different name"
        raise InputError(
            [f"data: {path.name}, row 1: more than one column is named {quoted(c)}; {remedy}" for c in repeated]
        )
    return names


def dataset_name(file: str) -> str:
    """A data file's name without its suffix."""
    return re.sub(r"(\.csv|\.csv\.gz|\.parquet)$", "", file, flags=re.IGNORECASE)


def first_cells(path: Path, rows: int = 100) -> dict[str, list[str]]:
    """The text of the first `rows` cells of each column, to guess what it holds; nothing in them is checked."""
    names = column_names(path)
    if _is_parquet(path):
        head = parquet_head(path, rows)
        return {name: [str(cell) for cell in head.column(name).to_pylist()] if head else [] for name in names}
    cells: dict[str, list[str]] = {name: [] for name in names}
    with suppress(csv.Error, *_DAMAGED):
        for _, row in islice(_records(path), 1, rows + 1):
            for name, cell in zip(names, row, strict=False):
                cells[name].append(cell)
    return cells


def file_rows(path: Path, positions: Sequence[int]) -> dict[int, int]:
    """Where rows of the table (positions from 0) stand in its file: line of a CSV (header: 1), row of a Parquet."""
    if _is_parquet(path):
        return {position: position + 1 for position in positions}
    rows = {position: position + 2 for position in positions}
    with suppress(csv.Error, *_DAMAGED):
        for position, (line, _) in enumerate(islice(_records(path), 1, max(positions, default=-1) + 2)):
            if position in rows:
                rows[position] = line
    return rows


def unknown_column(path: Path, names: Sequence[str], column: str) -> str:
    """The problem line of a column that the file lacks."""
    near = did_you_mean(column, [name for name in names if name == short(name)])
    return f"data: column '{column}' not found in {path.name}{near} (columns: {list_columns(names)})"


def list_columns(names: Sequence[str], most: int = 12) -> str:
    """`a, b, c`, cut after `most` names with the number of all of them."""
    shown = ", ".join(short(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _check_file(path: Path) -> None:
    try:
        is_folder = path.is_dir()
    except OSError as error:  # a name that the system does not take
        raise InputError(f"data: file '{short(path.name)}' cannot be opened: {error.strerror}") from error
    if is_folder:
        raise InputError(f"data: '{path.name or path}' is a folder; name a file in it")
    if not path.is_file():
        folder = path.absolute().parent
        near = did_you_mean(path.name, [file.name for file in folder.iterdir()]) if folder.is_dir() else ""
        raise InputError(f"data: file '{path.name}' not found{near}")
    if path.suffix.lower() == ".gz" and path.stat().st_size:
        with _open(path, unpack=False) as file:
            if file.read(2) != b"\x1f\x8b":
                raise InputError(f"data: {path.name} is no gzip file, despite its name; compress it, or name it .csv")
    if not path.name.lower().endswith(_SUFFIXES):
        raise InputError(f"data: {path.name} is none of {', '.join(_SUFFIXES)}; save it as one of these")


def _open(path: Path, *, unpack: bool = True) -> IO[bytes]:
    try:
        gzipped = unpack and path.suffix.lower() == ".gz"
        return cast("IO[bytes]", gzip.open(path)) if gzipped else path.open("rb")
    except OSError as error:
        raise InputError(f"data: {path.name} cannot be opened: {error.strerror}") from error


def _check_beginning(path: Path) -> None:
    """Refuse files whose first bytes are no UTF-8 text."""
    try:
        with _open(path) as file:
            head = file.read(4096)
    except _DAMAGED as error:
        raise InputError(f"data: {path.name} {_BREAKS_OFF}") from error
    if not head.removeprefix(b"\xef\xbb\xbf").strip():
        raise InputError(f"data: {path.name} is empty")
    for magic, kind in _OTHERS.items():
        if head.startswith(magic):
            raise InputError(f"data: {path.name} is not CSV text, it looks like {kind}")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or head.count(0) * 4 > len(head):
        raise InputError(f"data: {path.name} is UTF-16 text; save it again as UTF-8")


def _csv_header(path: Path) -> list[str]:
    """The header's cells as they stand; other separators, numbers and stray bytes in it are refused."""
    cells: list[str] = []
    with suppress(csv.Error, *_DAMAGED):
        _, cells = next(_records(path))
    if not cells or any(True for _ in _bad_cells(cells)):
        raise InputError(_diagnose(path))
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if ",".join(cells).count(mark) >= len(cells):
            raise InputError(f"data: {path.name} is separated by {name}; save it again with commas, and decimal points")
    if all(_NUMBER.fullmatch(cell) for cell in cells):
        numbers = f"row 1 holds only numbers ({list_columns(cells, 3)})"
        raise InputError(f"data: {path.name} has no header: {numbers}; put the column names above it")
    return cells


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, cells) of the header and every row; bytes that are no UTF-8 come as surrogates."""
    with io.TextIOWrapper(_open(path), encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(_lines(text), strict=True)
        line = 1
        try:
            for cells in reader:
                if cells:
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise csv.Error(f"row {line}: {error}") from error


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Raises csv.Error for a line that no table has: a small compressed file may hold one of many gigabytes."""
    while line := text.readline(_BLOCK_BYTES):
        if len(line) == _BLOCK_BYTES:
            raise csv.Error(f"a line of more than {_BLOCK_BYTES >> 20} million characters")
        yield line


def _diagnose(path: Path) -> list[str]:
    """The problems of a CSV file's text: row widths, NUL bytes, encoding, quotes, a gzip stream that breaks off."""
    ragged: list[str] = []
    first: dict[str, str] = {}
    names: list[str] = []
    try:
        for line, cells in _records(path):
            names = names or cells
            if len(cells) != len(names):
                ragged.append(f"row {line} has {len(cells)}")
            for at, kind, remedy in _bad_cells(cells):
                name = _guess_encoding(names[at])[1] if at < len(names) else None
                column = str(at + 1) if name is None or "\0" in name else quoted(name.strip())
                first.setdefault(kind, f"data: {path.name}, row {line}, column {column}: {kind}{remedy}")
    except csv.Error as error:
        first["quotes"] = f'data: {path.name}, {error} (a quote that is not closed?); write " within quotes as ""'
    except _DAMAGED:
        return [f"data: {path.name} {_BREAKS_OFF}"]  # the rows read so far mean nothing
    if ragged:
        first["ragged"] = (
            f"data: {path.name}: {len(ragged)} row(s) without the {len(names)} fields of the header "
            f"({first_few(ragged, SHOWN)}); "
            "put quotes around a field with a comma in it, and write decimal points"
        )
    return list(first.values())


def _bad_cells(cells: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """(column from 0, kind, remedy) of every cell with bytes that are no text."""
    line = "".join(cells)
    if line.isascii() and "\0" not in line:
        return
    for at, cell in enumerate(cells):
        if _STRAY.search(cell):
            guess, read_so = _guess_encoding(cell)
            quoted = "" if read_so is None else f" ('{read_so[:40]}')"
            yield at, "not UTF-8", f", {guess}{quoted}; save the file again as UTF-8"
        if "\0" in cell:
            yield at, "a NUL byte", "; the file is damaged, write or download it again"


def _guess_encoding(text: str) -> tuple[str, str | None]:
    """(the likely encoding of a text read with `errors="surrogateescape"`, the text in it; None: unknown)."""
    if _MANY.search(text):
        return "perhaps the code page of another alphabet (windows-1251, if it is Cyrillic)", None
    if _CONTROL.search(text):
        return "it looks like windows-1252", _read_as(text, "cp1252")
    return "it looks like Latin-1", _read_as(text, "latin-1")


def _read_as(text: str, encoding: str) -> str:
    return _STRAY.sub(lambda match: bytes([ord(match[0]) & 0xFF]).decode(encoding, "replace"), text)


def _csv_table(path: Path, wanted: list[str], coded: str | None, texts: Sequence[str]) -> Any:
    raw = {name.strip(): name for name in _csv_header(path)}
    columns = [raw[name] for name in wanted]
    kinds = {raw[name]: pa.string() for name in texts}
    kinds |= {raw[coded]: pa.dictionary(pa.int32(), pa.string())} if coded in raw else {}
    try:
        try:
            table, suspicious = _arrow_table(path, columns, kinds, streaming=True)
        except pa.ArrowInvalid:  # also where a column's type shows itself only below the first block
            table, suspicious = _arrow_table(path, columns, kinds, streaming=False)
    except (pa.ArrowInvalid, *_DAMAGED) as error:
        raise InputError(_diagnose(path) or f"data: {path.name} cannot be read: {in_a_line(error, 200)}") from error
    if suspicious or any(pa.types.is_binary(field.type) for field in table.schema):
        problems = _diagnose(path)
        if problems:
            raise InputError(problems)
    return table.rename_columns(wanted)


def _arrow_table(path: Path, columns: list[str], kinds: dict[str, Any], streaming: bool) -> tuple[Any, bool]:
    """(the table, is there anything to diagnose). Streaming takes half the memory, with types from the first block."""
    reading = pa_csv.ReadOptions(block_size=_STREAM_BYTES if streaming else _BLOCK_BYTES)
    parsing = pa_csv.ParseOptions(newlines_in_values=True)
    converting = pa_csv.ConvertOptions(include_columns=columns, null_values=_MISSING, column_types=kinds)
    read = pa_csv.open_csv if streaming else pa_csv.read_csv
    with _open(path) as file:
        watched = Watched(file, path)
        result = read(watched, reading, parsing, converting)
        table = result.read_all() if streaming else result
    return table, watched.nul or watched.odd_quotes

"""Text files of rows: CSV and its relatives (other separators, encodings, lines above the header), also packed.

A good file is read once, by pyarrow, which refuses ragged rows that pandas would pad or shift. Only a bad file is read
a second time, row by row in Python, to say where it is bad.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pyarrow import csv as pa_csv

from optlstm.data.arrow import Watched
from optlstm.data.detect import MISSING, MOST_NOTES, detect, is_value
from optlstm.data.encoding import STRAY, WESTERN, guess_encoding, told_encoding
from optlstm.data.file_format import BLANKS, UTF8, FileFormat, FileOptions, separator_name
from optlstm.data.text_stream import DAMAGED, LONGEST_LINE, TOO_LONG, breaks_off, open_bytes, open_utf8
from optlstm.errors import InputError, Problem
from optlstm.util.format import first_few, in_a_line, quoted

_OTHERS = {b"\x1f\x8b": "gzip: name it .csv.gz", b"PAR1": "Parquet: name it .parquet", b"PK\x03\x04": "Excel or zip"}
_NO_TABLES = {  # by how they begin
    b"<!doctype html": "a web page, not the table; download the file itself (on GitHub: Raw)",
    b"<html": "a web page, not the table; download the file itself",
    b"version https://git-lfs": "a pointer of Git LFS, not the data: git lfs pull fetches that",
}
_STREAM_BYTES, _BLOCK_BYTES = 1 << 20, 8 << 20  # of a block; a row must fit into the larger one
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 200, 1 << 18  # at the beginning of a file, by which its form is told
_NOT_UTF8 = "not UTF-8"
SHOWN = 3  # rows named in one problem


def find_format(path: Path, options: FileOptions) -> FileFormat:
    """How a file is to be read.

    Raises:
        InputError: It is empty or no text, or its form must be named.
    """
    head = _beginning(path)
    encoding = options.encoding or UTF8
    if options.encoding is None and not _is_utf8(head):
        encoding = told_encoding(path, head) or UTF8
    if encoding == UTF8 and head.count(0) * 4 > len(head):
        raise InputError(f"data: {path.name} is UTF-16 text without its mark: --set data.encoding=utf-16-le, or -be")
    form = FileFormat((), options.separator or ",", encoding)
    try:
        lines = list(_sample(path, form))
    except (csv.Error, *DAMAGED):
        raise InputError(_problems(path, form).values()) from None
    told = detect(path.name, lines, options, encoding)
    if not told.names or any("\0" in name for name in told.names):
        problems = _problems(path, form).values()
        raise InputError(problems or f"data: {path.name} has no row that can be read")
    return told


def rows_of(path: Path, form: FileFormat) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, cells) of every row of data; bytes that are no UTF-8 come as surrogates.

    Raises:
        csv.Error: Quotes that are not closed, or a line that no table has.
    """
    yield from _records(path, form, form.data_line)


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and error.end == len(head)  # a character that is cut
    return True


def _beginning(path: Path) -> bytes:
    """The file's first bytes. Raises InputError where they are no text."""
    try:
        with open_bytes(path) as file:
            head = file.read(1 << 16)
    except DAMAGED as error:
        raise InputError(f"data: {path.name} {breaks_off(error)}") from error
    if not head.removeprefix(b"\xef\xbb\xbf").strip():
        raise InputError(f"data: {path.name} is empty")
    start = head[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, kind in _NO_TABLES.items():
        if start.startswith(mark):
            raise InputError(f"data: {path.name} is {kind}")
    for magic, kind in _OTHERS.items():
        if head.startswith(magic):
            raise InputError(f"data: {path.name} is not CSV text, it looks like {kind}")
    return head


def _sample(path: Path, form: FileFormat) -> Iterator[str]:
    """The first lines, at least two."""
    size = 0
    with io.TextIOWrapper(open_utf8(path, form), "utf-8-sig", errors="surrogateescape", newline="") as text:
        for i, line in enumerate(islice(_lines(text), _SAMPLE_LINES)):
            size += len(line)
            if i > 1 and size > _SAMPLE_CHARACTERS:
                return
            yield line


def _records(path: Path, form: FileFormat, first: int) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, cells) of the rows from line `first` on."""
    with io.TextIOWrapper(open_utf8(path, form), "utf-8-sig", errors="surrogateescape", newline="") as text:
        lines, before = _lines(text), first - 1
        for _ in islice(lines, before):
            pass
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if _has_quotes(form) else csv.QUOTE_NONE
        reader = csv.reader(lines, delimiter=form.separator, quoting=quoting, strict=True)
        line = first
        try:
            for cells in reader:
                if cells:
                    yield line, cells
                line = before + reader.line_num + 1
        except csv.Error as error:
            raise csv.Error(f"row {line}: {error}") from error


def _has_quotes(form: FileFormat) -> bool:
    return form.quoted and form.separator != BLANKS


def _has_bare_quotes(path: Path, form: FileFormat) -> bool:
    """Whether tabs alone cut every line into the columns, and some cell begins with a quote that it does not end with.

    Read as CSV it would swallow the rows up to the next quote.
    """
    if form.separator != "\t" or not form.quoted:
        return False
    bare = False
    with (
        suppress(csv.Error, *DAMAGED),
        io.TextIOWrapper(open_utf8(path, form), "utf-8-sig", errors="surrogateescape", newline="") as text,
    ):
        for line in islice(_lines(text), form.data_line - 1, None):
            cells = line.rstrip("\r\n").split("\t")
            if len(cells) != len(form.names) and cells != [""]:
                return False
            bare = bare or ('"' in line and any(c[:1] == '"' and (len(c) < 2 or c[-1] != '"') for c in cells))
        return bare
    return False


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Raises csv.Error for a line that no table has: a small compressed file may hold one of many gigabytes."""
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise csv.Error(TOO_LONG)
        yield line


def _problems(path: Path, form: FileFormat, wanted: Sequence[int] | None = None) -> dict[str, str]:
    """The problems of a file's text by kind: row widths, NUL bytes, encoding, quotes, a packed file that breaks off.

    wanted: columns (from 0) whose encoding matters; None: all, and the first row is the header.
    """
    ragged: list[str] = []
    first: dict[str, str] = {}
    names = list(form.names) if wanted is not None else []
    rows = _records(path, form, form.data_line if wanted is not None else 1)
    if wanted is not None and form.header_line:
        rows = chain([(form.header_line, names)], rows)
    try:
        for line, cells in rows:
            names = names or cells
            if len(cells) != len(names):
                ragged.append(f"row {line} has {len(cells)}")
            for at, kind, remedy in _bad_cells(cells, wanted):
                name = guess_encoding(names[at])[1] if at < len(names) else None
                column = str(at + 1) if name is None or "\0" in name else quoted(name.strip())
                fix = {"data.encoding": WESTERN} if f"data.encoding={WESTERN}" in remedy else None
                problem = f"data: {path.name}, row {line}, column {column}: {kind}{remedy}"
                first.setdefault(kind, Problem(problem, fix))
    except csv.Error as error:
        first["quotes"] = f'data: {path.name}, {error} (a quote that is not closed?); write " within quotes as ""'
    except DAMAGED as error:
        return {"gzip": f"data: {path.name} {breaks_off(error)}"}  # the rows read so far mean nothing
    if ragged:
        quotes = "; put quotes around a field with a comma in it (of decimal commas, then --set data.decimal=,)"
        remedy = quotes if form.separator == "," else f"; the separator is {separator_name(form.separator)}"
        first["ragged"] = (
            f"data: {path.name}: {len(ragged)} row(s) without the {len(names)} fields of the header "
            f"({first_few(ragged, SHOWN)}){remedy}"
        )
    return first


def _bad_cells(cells: Sequence[str], wanted: Sequence[int] | None) -> Iterator[tuple[int, str, str]]:
    """(column from 0, kind, remedy) of every cell with bytes that are no text; wanted: as of `_problems`."""
    line = "".join(cells)
    if line.isascii() and "\0" not in line:
        return
    for at, cell in enumerate(cells):
        if (wanted is None or at in wanted) and STRAY.search(cell):
            guess, read_so = guess_encoding(cell)
            text = "" if read_so is None else f" ('{read_so[:40]}')"
            named = "NAME names it" if read_so is None else f"{WESTERN} reads it so"
            yield at, _NOT_UTF8, f", {guess}{text}; --set data.encoding={named}, or save the file again as UTF-8"
        if "\0" in cell:
            yield at, "a NUL byte", "; the file is damaged, write or download it again"


def read_rows(
    path: Path, form: FileFormat, wanted: Sequence[int], kinds: Mapping[int, Any], options: FileOptions
) -> tuple[Any, FileFormat]:
    """The Arrow table of some columns (from 0), in their order, named by their numbers; and the form it was read in.

    That has another encoding than `form` where the first lines did not show it.

    Args:
        kinds: The Arrow types of columns that are not to be guessed.

    Raises:
        InputError: The rows are not of one width, or no text of the encoding.
    """
    if any(STRAY.search(form.names[i]) for i in wanted):
        raise InputError(_problems(path, form, wanted).values())
    reader = _Reader(path, form, wanted, kinds, (*MISSING, *options.missing_texts))
    problems: dict[str, str] = {}
    try:
        try:
            table = reader.table(streaming=True)
        except pa.ArrowInvalid:  # also where a column's type shows itself only below the first block
            table = reader.table(streaming=False)
        if reader.quotes and _has_bare_quotes(path, form):
            return read_rows(path, replace(form, quoted=False), wanted, kinds, options)
        if reader.suspicious or any(pa.types.is_binary(field.type) for field in table.schema):
            problems = _problems(path, form, wanted)
    except (pa.ArrowInvalid, *DAMAGED) as error:
        if not form.notes and (notes := _notes_at_end(path, form)):
            return read_rows(path, replace(form, notes=notes), wanted, kinds, options)
        if _has_bare_quotes(path, form):
            return read_rows(path, replace(form, quoted=False), wanted, kinds, options)
        problems = _problems(path, form, wanted)
        if not problems:
            raise InputError(f"data: {path.name} cannot be read: {in_a_line(error, 200)}") from error
    if not problems:
        return table, form
    told = told_encoding(path, b"") if problems.keys() == {_NOT_UTF8} and options.encoding is None else None
    if told in (None, form.encoding):
        raise InputError(problems.values())
    return read_rows(path, replace(form, encoding=str(told)), wanted, kinds, options)


def _notes_at_end(path: Path, form: FileFormat) -> tuple[str, ...]:
    """The cells of the last rows that have one of text alone, where all others have as many as there are columns."""
    notes: list[str] = []
    with suppress(csv.Error, *DAMAGED):
        for _, cells in rows_of(path, form):
            if len(form.names) > 1 == len(cells) and len(notes) < MOST_NOTES and not is_value(cells[0]):
                notes += cells
            elif notes or len(cells) != len(form.names):
                return ()
        return tuple(notes)
    return ()


@dataclass
class _Reader:
    path: Path
    form: FileFormat
    wanted: Sequence[int]
    kinds: Mapping[int, Any]
    missing: Sequence[str]
    suspicious: bool = False  # is there anything to diagnose
    quotes: bool = False  # are there any

    def table(self, *, streaming: bool) -> Any:
        """Streaming takes half the memory, with types from the first block."""
        form = self.form
        reading = pa_csv.ReadOptions(
            block_size=_STREAM_BYTES if streaming else _BLOCK_BYTES,
            column_names=[str(i) for i in range(len(form.names))],
            skip_rows=form.data_line - 1,
        )
        quote = '"' if _has_quotes(form) else False
        parsing = pa_csv.ParseOptions(
            delimiter=form.separator,
            quote_char=quote,
            newlines_in_values=True,
            invalid_row_handler=(lambda _: "skip") if form.notes else None,
        )
        converting = pa_csv.ConvertOptions(
            include_columns=[str(i) for i in self.wanted],
            null_values=self.missing,
            column_types={str(i): kind for i, kind in self.kinds.items()},
        )
        read = pa_csv.open_csv if streaming else pa_csv.read_csv
        with open_utf8(self.path, form) as file:
            watched = Watched(file, self.path)
            result = read(watched, reading, parsing, converting)
            table = result.read_all() if streaming else result
        self.suspicious = watched.nul or (watched.odd_quotes and _has_quotes(form))
        self.quotes = watched.quotes
        return table

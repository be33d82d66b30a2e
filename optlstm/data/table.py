"""Data files: text (CSV and its relatives) and Parquet, read whole and strictly, or refused with the reasons."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pyarrow as pa
from pyarrow import compute

from optlstm.data.archive_file import SUFFIXES as ARCHIVES
from optlstm.data.archive_file import ArchiveTable, read_archive
from optlstm.data.arrow import empty_at_end, tidy
from optlstm.data.csv_file import SHOWN, find_format, read_rows, rows_of
from optlstm.data.encoding import STRAY, WESTERN, guess_encoding
from optlstm.data.file_format import TOLD, FileFormat, FileOptions
from optlstm.data.frames import shown_name
from optlstm.data.number_marks import looks_marked, read_marked
from optlstm.data.other_files import conversion
from optlstm.data.parquet_file import open_parquet, parquet_head, read_parquet
from optlstm.data.text_stream import DAMAGED, PACKED, open_bytes
from optlstm.errors import InputError, Problem, did_you_mean
from optlstm.util.format import in_a_line, many, quoted, short

__all__ = ["SHOWN", "DataFile", "dataset_name", "first_cells", "list_columns", "read_table", "unknown_column"]

_TEXT = (".csv", ".tsv", ".txt", ".dat")
_SUFFIXES = (*_TEXT, *(f"{suffix}{packed}" for suffix in _TEXT for packed in PACKED), ".zip", ".parquet", *ARCHIVES)
_SHOWN = f"{', '.join(_TEXT)} (also with {', '.join(PACKED)}), .parquet, {', '.join(ARCHIVES)}"
_UNITS = "%$€£¥"  # of labels that are numbers
_MARKED = re.compile(r"[-+\u2212]?[\d.,](?:.*[\d.,])?")  # without what makes a class of a label: `1-`, `2WD`


class DataFile:
    """A data file, and the form it is read in: told once, and the same for everything that is read of it."""

    def __init__(self, path: Path, options: FileOptions = TOLD) -> None:
        self.path, self.options = path, options
        self.name = shown_name(path)
        self.decimal: str | None = None  # mark, where the columns that were read tell it
        self._empty_rows = 0  # left out at its end
        self._marks = ""  # what was understood of its numbers

    @property
    def is_parquet(self) -> bool:
        return self.path.suffix.lower() == ".parquet"

    @property
    def is_archive(self) -> bool:
        return self.path.suffix.lower() in ARCHIVES

    @cached_property
    def archive(self) -> ArchiveTable:
        """The table of a `.ts` or `.tsf` file. Raises InputError where it cannot be opened, or holds to no format."""
        _check_file(self.path)
        return read_archive(self.path, self.options)

    @cached_property
    def form(self) -> FileFormat:
        """Of a text file. Raises InputError where it cannot be opened, or is no table."""
        _check_file(self.path)
        return find_format(self.path, self.options)

    @cached_property
    def names(self) -> list[str]:
        """The column names, in order, without surrounding blanks; one without a name is called `Unnamed: 2`.

        Raises:
            InputError: The file cannot be opened, is not what its name says, or has no proper header.
        """
        if self.is_parquet:
            _check_file(self.path)
            return [str(name) for name in open_parquet(self.path).schema_arrow.names]
        return [*self.archive.table.column_names] if self.is_archive else list(self.form.names)

    @property
    def unnamed(self) -> list[str]:
        """The columns without a name, as pandas calls them."""
        return [name for i, name in enumerate(self.names) if name == f"Unnamed: {i}"]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was understood of a file that is not plain CSV, in a line."""
        if self.is_archive:
            return (f"data: {self.name} read as: a table of {list_columns(self.names)}",)
        parts = [] if self.is_parquet else self.form.parts(self._marks)
        parts += [f"{many(self._empty_rows, 'empty row')} at the end left out"] if self._empty_rows else []
        return (f"data: {self.name} read as: {', '.join(parts)}",) if parts else ()

    def table(
        self,
        wanted: Sequence[str],
        coded: str | None,
        texts: Sequence[str],
        times: Sequence[str],
        categories: Sequence[str],
    ) -> Any:
        """The Arrow table of these columns. Raises as `read_table`."""
        if self.is_parquet:
            return read_parquet(self.path, wanted)
        if self.is_archive:
            return self.archive.table.select(list(wanted))
        positions = {name: i for i, name in enumerate(self.names)}
        at = [positions[name] for name in wanted]
        kinds = {positions[name]: pa.string() for name in texts}
        kinds |= {positions[coded]: pa.dictionary(pa.int32(), pa.string())} if coded in positions else {}
        table, self.form = read_rows(self.path, self.form, at, kinds, self.options)
        table = self._with_texts(table, [positions[name] for name in times])
        known = {*kinds, *(positions[name] for name in (*times, *categories))}
        table = self._with_numbers(table, [i for i in at if i not in known])
        table = self._without_empty_end(table) if times else table  # elsewhere it may be an empty text
        return table.rename_columns(list(wanted))

    def _with_texts(self, table: Any, times: Sequence[int]) -> Any:
        """The table with the text of columns of times that look like numbers with decimals: 01.2020 is a month."""
        floats = [i for i in times if pa.types.is_floating(table.column(str(i)).type)]
        if not floats:
            return table
        text, _ = read_rows(self.path, self.form, floats, dict.fromkeys(floats, pa.string()), self.options)
        for i in floats:
            if _are_months(text.column(str(i))):
                table = table.set_column(table.schema.get_field_index(str(i)), str(i), text.column(str(i)))
        return table

    def _without_empty_end(self, table: Any) -> Any:
        """The table without rows at its end that are separators and nothing else, as spreadsheets write them."""
        empty = empty_at_end(table)
        if empty:
            rows = islice(rows_of(self.path, self.form), table.num_rows - empty, table.num_rows)
            filled = [i for i, (_, cells) in enumerate(rows, 1) if any(map(str.strip, cells))]
            empty -= max(filled, default=0)  # a column that is not read may hold something
        self._empty_rows = empty
        return table.slice(0, table.num_rows - empty)

    @property
    def _commas(self) -> bool:
        """Whether the config says that decimal marks are commas."""
        return self.options.decimal == "," or self.options.thousands == "."

    @property
    def _points(self) -> bool:
        """Whether commas are between the columns, and so no decimal marks; else 1.234 may be 1234."""
        return self.form.separator == "," and not self._commas

    def marked_numbers(self, column: str, cells: Sequence[str]) -> dict[str, str]:
        """Those cells of a column of a text file that are numbers with marks, percent or a currency, as plain ones.

        They are read as the file's other numbers are; a sign is left out that all have. Raises InputError where nothing
        tells decimal commas from thousands.
        """
        alike = all(len({sign in cell for cell in cells}) == 1 for sign in _UNITS)
        plain = {cell: cell.strip(_UNITS + " \u00a0") if alike else cell for cell in cells}
        plain = {cell: text for cell, text in plain.items() if _MARKED.fullmatch(text)}
        options = replace(self.options, usual_decimal=self.decimal or self.options.usual_decimal)
        texts = pa.array(plain.values(), pa.string())
        numbers, *_ = read_marked(self.name, {column: texts}, options, points=self._points)
        read = zip(plain, numbers.get(column, texts).to_pylist(), strict=True)
        return {cell: str(number).removesuffix(".0") for cell, number in read if str(number) != cell}

    def _with_numbers(self, table: Any, columns: Sequence[int]) -> Any:
        """The table with numbers where text of these columns has decimal commas, or thousands apart."""
        types = {i: table.column(str(i)).type for i in columns}
        literal = self._points and not self.form.quoted_commas
        unsure = [i for i in columns if pa.types.is_string(types[i])]
        if literal:
            unsure = [i for i in unsure if looks_marked(table.column(str(i)))]
        else:
            unsure += [i for i in columns if pa.types.is_floating(types[i])]
        if not unsure:
            return table
        text, _ = read_rows(self.path, self.form, unsure, dict.fromkeys(unsure, pa.string()), self.options)
        as_text = {self.names[i]: text.column(str(i)) for i in unsure}
        numbers, self._marks, self.decimal = read_marked(self.name, as_text, self.options, points=self._points)
        for i in unsure:
            column = numbers.get(self.names[i], as_text[self.names[i]] if self._commas else None)
            if column is not None:
                table = table.set_column(table.schema.get_field_index(str(i)), str(i), column)
        return table


def read_table(
    file: DataFile,
    columns: Sequence[str] | None = None,
    *,
    coded: str | None = None,
    texts: Sequence[str] = (),
    times: Sequence[str] = (),
    categories: Sequence[str] = (),
) -> pd.DataFrame:
    """The rows of a file, with `columns` (all where None) in the order given.

    Numbers come as int64, float64 or bool (empty, NA, NaN: NaN), ISO dates and times as datetime64 (with an offset: in
    UTC), everything else as pandas strings, of which only the empty one is missing. The column `coded` comes as text in
    a pandas Categorical, its categories in order of appearance: it takes little where few texts come again and again.
    The cells of a text file's columns `texts` come as they stand, whatever they look like; those of `times` and of
    `categories` are no numbers with decimal commas, thousands apart or units.

    Raises:
        InputError: The file is missing, empty, damaged, ragged, not UTF-8, has no header or lacks a column, or a column
            to be read is not the only one of its name.
    """
    names = file.names
    wanted = names if columns is None else list(dict.fromkeys(columns))
    known = Counter(names)
    problems = [unknown_column(file, names, column) for column in wanted if column not in known]
    problems += [
        f"data: {file.name}, row 1: more than one column is named {quoted(name)}; give every column a different name"
        for name in dict.fromkeys(wanted)
        if known[name] > 1
    ]
    if problems:
        raise InputError(problems)
    table = file.table(wanted, coded, texts, times, categories)
    if table.num_rows == 0:
        raise InputError(f"data: {file.name} has a header and no rows")
    try:
        table = tidy(table, coded)
        frame = table.to_pandas(date_as_object=False, ignore_metadata=True, self_destruct=True, split_blocks=True)
    except pa.ArrowException as error:
        raise InputError(f"data: {file.name} cannot be read: {in_a_line(error, 200)}") from error
    pa.default_memory_pool().release_unused()  # a large file's buffers are worth returning to the system
    return cast("pd.DataFrame", frame)


def dataset_name(file: str) -> str:
    """A data file's name without its suffix."""
    return re.sub(r"(\.(csv|tsv|txt|dat|parquet|ts|tsf))?(\.(gz|bz2|xz|zip))?$", "", file, flags=re.IGNORECASE)


def first_cells(file: DataFile, rows: int = 100) -> dict[str, list[str]]:
    """The text of the first `rows` cells of each column, to guess what it holds; nothing in them is checked."""
    names = file.names
    if file.is_parquet or file.is_archive:
        head = parquet_head(file.path, rows) if file.is_parquet else file.archive.table.slice(0, rows)
        return {name: [str(cell) for cell in head.column(name).to_pylist()] if head else [] for name in names}
    cells: dict[str, list[str]] = {name: [] for name in names}
    with suppress(csv.Error, *DAMAGED):
        for _, row in islice(rows_of(file.path, file.form), rows):
            for name, cell in zip(names, row, strict=False):
                cells[name].append(cell)
    return cells


def file_rows(file: DataFile, positions: Sequence[int]) -> dict[int, int]:
    """Where rows of the table (positions from 0) stand in its file: line of a text, row of a Parquet, both from 1."""
    if file.is_parquet:
        return {position: position + 1 for position in positions}
    if file.is_archive:
        return {position: int(file.archive.lines[position]) for position in positions}
    rows = {position: position + file.form.data_line for position in positions}
    with suppress(csv.Error, *DAMAGED):
        for position, (line, _) in enumerate(islice(rows_of(file.path, file.form), max(positions, default=-1) + 1)):
            if position in rows:
                rows[position] = line
    return rows


def unknown_column(file: DataFile, names: Sequence[str], column: str) -> str:
    """The problem line of a column that the file lacks."""
    near = did_you_mean(column, [name for name in names if name == short(name)])
    return f"data: column '{column}' not found in {file.name}{near} {listed(file, names)}"


def encoding_problem(file: DataFile, names: Sequence[str]) -> str | None:
    """What is wrong with names of columns that are not UTF-8, with the likely encoding; None: they are text."""
    stray = next((name for name in names if STRAY.search(name)), None)
    if stray is None:
        return None
    guess, read_so = guess_encoding("".join(names))
    shown = "" if read_so is None else f" ({quoted(guess_encoding(stray)[1])})"
    key = f"--set data.encoding={'NAME' if read_so is None else WESTERN}"
    line = f"data: {file.name} has columns whose names are not UTF-8{shown}: {guess}; {key}, or save it again as UTF-8"
    return Problem(line, {"data.encoding": WESTERN} if read_so is not None else None)


def listed(file: DataFile, names: Sequence[str]) -> str:
    """`(columns: a, b)`, for the problem line of a column that was not found."""
    form = None if file.is_parquet or file.is_archive else file.form
    of_no_header = form is not None and not form.header_line
    units = f"; row {form.units_line} was taken for units" if form is not None and form.units else ""
    return f"({'it has no header: columns ' if of_no_header else 'columns: '}{list_columns(names)}{units})"


def list_columns(names: Sequence[str], most: int = 12) -> str:
    """`a, b, c`, cut after `most` names with the number of all of them."""
    shown = ", ".join(short(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"


def _are_months(column: Any) -> bool:
    """Whether all texts are as 01.2020, or empty."""
    return bool(compute.all(compute.match_substring_regex(column, r"^\s*\d{1,2}\.\d{4}\s*$")).as_py())


def _check_file(path: Path) -> None:
    try:
        is_folder = path.is_dir()
    except OSError as error:  # a name that the system does not take
        raise InputError(f"data: file '{short(path.name)}' cannot be opened: {error.strerror}") from error
    if is_folder:
        line = conversion(path)
        remedy = f"this makes a file of its folders, a class each: {line}" if line else "name a file in it"
        raise InputError(f"data: '{path.name or path}' is a folder; {remedy}")
    if not path.is_file():
        folder = path.absolute().parent
        near = did_you_mean(path.name, [file.name for file in folder.iterdir()]) if folder.is_dir() else ""
        raise InputError(f"data: file '{path.name}' not found{near}")
    suffix = path.suffix.lower()
    if suffix in PACKED and path.stat().st_size:
        kind, magic = PACKED[suffix]
        with open_bytes(path, unpack=False) as file:
            if file.read(len(magic)) != magic:
                raise InputError(f"data: {path.name} is no {kind} file, despite its name; pack it, or name it .csv")
    if suffix and not path.name.lower().endswith(_SUFFIXES):
        line = conversion(path)
        raise InputError(
            f"data: {path.name} is no text of rows; this writes one: {line}"
            if line
            else f"data: {path.name} is none of {_SHOWN}; save it as one of these"
        )

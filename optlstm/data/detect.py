"""The form of a text file, told by its first lines: separator, header, and lines that are none of the table."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from optlstm.data.file_format import BLANKS, FileFormat, FileOptions, separator_name
from optlstm.errors import InputError, Problem
from optlstm.util.format import listed

MISSING = ("", "#N/A", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "<NA>", "-nan", "-NaN")
_MARKS = (";", "\t", "|")
_WHOLE = re.compile(r"\s*\d+\s*")
# A number with marks, or a time: nothing that a unit looks like.
_VALUE = re.compile(
    r"[-+]?[\d.,' \u00a0\u202f]*\d[\d.,]*(e[-+]?\d+)?|\d[\d\-/.:, ]*(T[\d:.]+)?(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE
)
_LIKE_A_TIME = re.compile(r"\d[-/:T]|\d\.\d+\.\d")  # of values
_DECIMAL_COMMA = re.compile(r"\s*[-+]?(0|\d+(\.\d{3})*),(\d{1,2}|\d{4,9})\s*")  # for sure
_LONGEST_VALUE = 64  # characters
_MOST_ABOVE = 60  # lines above a header
MOST_NOTES = 5  # rows at the end of a file that are none of the table
_LEAST_BELOW = 2  # rows that agree with a header, where there are lines above it
_MOST_VALUES = 1  # rows of values above a header: with more, two tables stand in the file


class _SeveralSeparatorsError(Exception):
    """Two separators make columns of the same lines."""


@dataclass(frozen=True)
class _Layout:
    """The first lines of a file, cut by one separator. rows: (line, cells), the header's first."""

    separator: str
    rows: list[tuple[int, list[str]]]
    above: int = 0  # lines that are skipped, neither blank nor part of the table

    @property
    def header(self) -> list[str]:
        return self.rows[0][1]

    @property
    def regular(self) -> bool:
        """Whether every row has as many cells as the header, and more than one; but for notes at the end."""
        width, rows = len(self.header), self.rows[1:]
        while width > 1 and len(rows) > 1 and len(rows[-1][1]) == 1 and len(self.rows) - len(rows) <= MOST_NOTES:
            rows = rows[:-1]
        return width > 1 and bool(rows) and all(len(cells) == width for _, cells in rows)


def detect(name: str, lines: Sequence[str], options: FileOptions, encoding: str) -> FileFormat:
    """The form of a file, by its first lines and what is known of it. `names` may repeat, and be empty.

    Args:
        name: Of the file.
        lines: With their ends; the last one may be cut.

    Raises:
        InputError: Nothing tells whether the first row is a header, or which separator it is.
    """
    lines, named = _without_sep_line(lines)
    given, header = options.separator or named, options.header
    try:
        if isinstance(header, int) and not isinstance(header, bool):
            layout = _below(lines, header - 1, given)
        else:
            layout = _found(lines, given)
    except _SeveralSeparatorsError as error:
        raise InputError(f"data: {name} may be separated by {error}; --set data.separator=NAME says by which") from None
    if layout is None:
        return FileFormat((), given or ",", encoding)
    values = all(map(is_value, layout.header))
    data = values and _certainly_data(layout)
    if header is None and values and not data and all(map(_WHOLE.fullmatch, layout.header)):
        shown = ", ".join(cell.strip() for cell in layout.header[:3]) + (", ..." if len(layout.header) > 3 else "")
        line = f"data: {name}: row {layout.rows[0][0]} holds only whole numbers ({shown}), which may be names or data; "
        line += "--set data.header=false if they are data, or true"
        raise InputError(Problem(line, {"data.header": "false"}, otherwise={"data.header": "true"}))
    if header is False or (header is None and data):
        first = layout.rows[0][0]
        names = tuple(f"c{i + 1}" for i in range(len(layout.header)))
        return FileFormat(names, layout.separator, encoding, 0, first, layout.above)
    return _with_header(layout, lines, encoding)


def comment_lines(lines: Sequence[str]) -> int:
    """How many first lines are blank, or comments (`# ...`)."""
    return next((i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))


def _without_sep_line(lines: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """The lines with `sep=;`, which spreadsheets write above a header, as a comment; and the separator it names."""
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    match = re.fullmatch(r'"?sep=([^\w\s"]|\t)"?\s*', "".join(lines[first : first + 1]))
    return ([*lines[:first], "#\n", *lines[first + 1 :]], match[1]) if match else (lines, None)


def _with_header(layout: _Layout, lines: Sequence[str], encoding: str) -> FileFormat:
    units = layout.rows[1][1] if _holds_units(layout) else []
    line, last = layout.rows[0][0], layout.rows[1 if units else 0]
    below = layout.rows[2 if units else 1 :]
    end = below[0][0] if below else last[0] + 1 + sum(cell.count("\n") for cell in last[1])
    cells = [cell.strip() for cell in layout.header]
    names = tuple(cell or f"Unnamed: {i}" for i, cell in enumerate(cells))  # as pandas has it
    commas = layout.separator == "," and any(_DECIMAL_COMMA.fullmatch(cell) for _, row in layout.rows for cell in row)
    return FileFormat(
        names, layout.separator, encoding, line, end, layout.above, tuple(units), last[0] if units else 0, commas
    )


def _certainly_data(layout: _Layout) -> bool:
    """Whether numbers and times in the first row cannot be names.

    Names that are numbers are whole, and differ; a column with a time for its name holds numbers.
    """
    cells = [cell.strip() for cell in layout.header]
    times = [i for i, cell in enumerate(cells) if _LIKE_A_TIME.search(cell)]
    if times:
        below = [[cells[i] for _, cells in layout.rows[1:] if i < len(cells)] for i in times]
        return all(column and all(map(_LIKE_A_TIME.search, column)) for column in below)
    return len(set(cells)) < len(cells) or not all(map(_WHOLE.fullmatch, cells))


def _found(lines: Sequence[str], given: str | None) -> _Layout | None:
    """The table, below comments and other lines above it where there are any."""
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    start = comment_lines(lines)
    plain = _best(lines, first, given)
    if plain is None or (plain.regular and start == first and not _is_padded_title(plain)):
        return plain
    if start > first:
        below = _below(lines, start, given)
        if below is not None and _is_header(below):
            return below
        if below is not None and not plain.regular and (below.regular or len(below.header) == 1):
            return _commented_header(lines, start, below) or below
        return plain
    for at in range(first + 1, min(first + _MOST_ABOVE, len(lines))):
        below = _below(lines, at, given) if lines[at].strip() else None
        named = below is not None and (_is_header(below) or _is_wide_header(below))
        if below is not None and below.regular and len(below.rows) > _LEAST_BELOW and named:
            above = [cells for _, cells in _cut(lines[:at], 0, below.separator)]
            values = sum(len(cells) > 1 and any(map(is_value, cells)) for cells in above)
            alike = any(len(cells) == len(below.header) and all(map(str.strip, cells)) for cells in above)
            return plain if alike or values > _MOST_VALUES else below
    return plain


def _is_padded_title(layout: _Layout) -> bool:
    """Whether the first row may be a title that was made as wide as the table: `Sales 2020,,`."""
    return not all(map(str.strip, layout.header)) and not _is_header(layout)


def _is_wide_header(layout: _Layout) -> bool:
    """Whether the first row names a column of text, then years: each is a column of numbers."""
    cells = [cell.strip() for cell in layout.header]
    years = [int(cell) for cell in cells if re.fullmatch(r"1[89]\d\d|2[01]\d\d", cell)]
    return (
        not is_value(cells[0]) and len(years) > _LEAST_BELOW and years == list(range(years[0], years[0] + len(years)))
    )


def _below(lines: Sequence[str], at: int, given: str | None) -> _Layout | None:
    """As `_best`, with the number of lines above that are not blank."""
    layout = _best(lines, at, given)
    return layout and replace(layout, above=sum(bool(line.strip()) for line in lines[:at]))


def _commented_header(lines: Sequence[str], start: int, below: _Layout) -> _Layout | None:
    """The header in the last comment (`# ds y`), where its names are as many as the columns."""
    at = max(i for i in range(start) if lines[i].strip())
    cells = _cut([lines[at].lstrip().lstrip("#").strip() + "\n"], at, below.separator)[:1]
    if not cells or len(cells[0][1]) != len(below.header) or any(map(is_value, cells[0][1])):
        return None
    above = sum(bool(line.strip()) for line in lines[:at])
    return _Layout(below.separator, [cells[0], *below.rows], above)


def _is_header(layout: _Layout) -> bool:
    """Whether the first row names columns: text, above a column of numbers or times."""
    header = layout.header
    if any(is_value(cell) for cell in header) or not any(cell.strip() for cell in header):
        return False
    return any(_holds_values(layout.rows[1:], i) for i in range(len(header)))


def _holds_values(rows: Sequence[tuple[int, list[str]]], i: int) -> bool:
    """Whether a column holds numbers or times and nothing else."""
    cells = [cells[i].strip() for _, cells in rows if i < len(cells)]
    given = [cell for cell in cells if cell not in MISSING]
    return bool(given) and all(map(is_value, given))


def is_value(cell: str) -> bool:
    """Whether it is a number or a time."""
    return len(cell) < _LONGEST_VALUE and bool(_VALUE.fullmatch(cell.strip()))


def _holds_units(layout: _Layout) -> bool:
    """Whether the row under the header is text where the columns of numbers and times, two or more, are not."""
    if not layout.regular or len(layout.rows) < 4:
        return False
    units, rows = [cell.strip() for cell in layout.rows[1][1]], layout.rows[2:]
    above = [units[i] for i in range(len(units)) if _holds_values(rows, i)]
    text = [cell for cell in above if cell and cell not in MISSING and not is_value(cell)]
    named = any(re.search(r"[^\W\d_]|[%°]", cell) for cell in text)  # else they stand for gaps: ?, -, .
    return len(above) > 1 and named and all(cell in text or not cell for cell in above)


def _best(lines: Sequence[str], at: int, given: str | None) -> _Layout | None:
    """The rows from a line on, cut by the likeliest separator. Commas, where they make columns."""
    if given is not None:
        return _layout(lines, at, given)
    commas = _layout(lines, at, ",")
    joined = ",".join(commas.header) if commas is not None else lines[at] if at < len(lines) else ""
    width = len(commas.header) if commas is not None else 0
    if commas is not None and width > 1 and not any(joined.count(mark) >= width for mark in _MARKS):
        return _of_values(lines, at, commas)
    others = [layout for mark in _MARKS if mark in joined and (layout := _layout(lines, at, mark)) is not None]
    regular = [layout for layout in others if layout.regular]
    if not regular and width < 2:
        blanks = _layout(lines, at, BLANKS)
        regular = [blanks] if blanks is not None and blanks.regular and _holds_numbers(blanks) else []
    if len(regular) > 1:
        raise _SeveralSeparatorsError(listed(separator_name(layout.separator) for layout in regular))
    return max(regular or [o for o in others if len(o.header) > 1], key=lambda o: len(o.header), default=commas)


def _of_values(lines: Sequence[str], at: int, commas: _Layout) -> _Layout:
    """Where the first row holds values and no names, the layout in which each cell is one; commas may be decimal."""
    text = lines[at]
    marks = [mark for mark in (*_MARKS, BLANKS) if mark in text]
    others = [layout for mark in marks if (layout := _layout(lines, at, mark)) and _is_row_of_values(layout)]
    if others and (_is_row_of_values(commas) or len(others) > 1):
        layouts = [*([commas] if _is_row_of_values(commas) else []), *others]
        raise _SeveralSeparatorsError(listed(separator_name(layout.separator) for layout in layouts))
    return others[0] if others else commas


def _is_row_of_values(layout: _Layout) -> bool:
    cells = layout.header
    return layout.regular and all(is_value(cell) and not ("," in cell and ":" in cell) for cell in cells)


def _holds_numbers(layout: _Layout) -> bool:
    """Whether some column, of rows that have no quotes, is all numbers: else it may be any text with blanks."""
    rows = layout.rows[2:] or layout.rows[-1:]  # there may be units under the header
    if any('"' in cell for _, cells in layout.rows for cell in cells):
        return False
    return any(all(is_value(cells[i]) for _, cells in rows) for i in range(len(layout.header)))


def _layout(lines: Sequence[str], at: int, separator: str) -> _Layout | None:
    rows = _cut(lines[at:], at, separator)
    return _Layout(separator, rows) if rows else None


def _cut(lines: Sequence[str], before: int, separator: str) -> list[tuple[int, list[str]]]:
    """(line in the file, cells) of the rows; before: how many lines of the file come before them."""
    if separator == BLANKS:
        return [(before + i + 1, line.split()) for i, line in enumerate(lines) if line.strip()]
    rows: list[tuple[int, list[str]]] = []
    reader, line = csv.reader(lines, delimiter=separator, strict=True), before + 1
    try:
        for cells in reader:
            if cells:
                rows.append((line, cells))
            line = before + reader.line_num + 1
    except csv.Error:  # the quotes; a row that is cut off
        pass
    return rows

"""Files with a column for each time: told by the names of their columns, with the line of pandas that melts them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from optlstm.data.date_parts import part_of
from optlstm.data.file_format import UTF8
from optlstm.data.frames import is_frame
from optlstm.data.table import DataFile, dataset_name, list_columns
from optlstm.errors import Problem

_LEAST = 5  # columns of times
_NUMBERED = 20  # columns that are numbered, where nothing else tells of times
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_YEAR = r"(?:1[89]|2[01])\d\d"
_DATE = re.compile(
    rf"{_YEAR}( \[YR\d{{4}}\])?|{_YEAR}[-/ ]?[MQ]?\d{{1,2}}|\d{{1,2}}[-/]{_YEAR}|"
    rf"\d{{1,4}}([-/.])\d{{1,2}}\2\d{{1,4}}([ T][\d:.]+)?|({'|'.join(_MONTHS)})[a-z]{{0,6}}[ -]?(\d\d|{_YEAR})",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?")
_NUMBER = re.compile(r"(\D*)\d+")
_UNQUOTED = set('"$`\\!\n')  # which a shell would read in double quotes


def wide_problem(file: DataFile, cells: Mapping[str, Sequence[str]], dates: Sequence[str]) -> Problem | None:
    """What is wrong with a file that has a column for each time, and how to write it otherwise; None: it has none.

    cells: The first ones of each column. dates: The columns that hold times.
    """
    names = [name for name in file.names if name not in file.unnamed]
    for columns, new in _times(names, cells, dates):
        others = [name for name in names if name not in columns]
        if len(columns) < max(_LEAST, len(others)) or len(set(names)) < len(names):
            continue
        keys = [name for name in others if name in dates or part_of(name) == "year"]
        series = [name for name in others if name not in keys and any(map(str.isalpha, "".join(cells[name])))]
        line = (
            f"data: {file.name} has a column for each time ({list_columns(columns, 3)}), and is to have a row for each"
        )
        melt = f"melt({others!r}, var_name={new!r}, value_name='y').dropna(subset='y')" + _read_as(columns)
        if is_frame(file.path):
            return Problem(f"{line}: df.{melt}")
        out = f"{dataset_name(file.path.name)}-long.csv"
        code = f"import pandas as pd; pd.{_reader(file)}.{melt}.to_csv({out!r}, index=False)"
        line += f'; this writes it so: python -c "{code}"' if not _UNQUOTED & {*code} else " (pandas.melt)"
        command = ["study", "--data", out, *(["--series", ",".join(series)] if series else [])]
        command += ["--time", ",".join([*keys, new]), "--set", "data.sort=true"] if keys else []
        return Problem(line, instead=command)
    return None


def _times(
    names: Sequence[str], cells: Mapping[str, Sequence[str]], dates: Sequence[str]
) -> Iterator[tuple[list[str], str]]:
    """The columns that may be one for each time, and what a column of these times is called."""
    yield [name for name in names if _DATE.fullmatch(name)], "ds"
    yield [name for name in names if _CLOCK.fullmatch(name)], "time"
    if any(part_of(name) == "year" for name in names):
        yield [name for name in names if name.isalpha() and name.lower()[:3] in _MONTHS], "month"
    numbered = [name for name in names[1:] if _NUMBER.fullmatch(name)]
    first = cells[names[0]] if names else []
    counts = len(set(first)) == len(first) and names[0] not in dates and _stem(numbered) is not None
    if len(numbered) == len(names) - 1 >= _NUMBERED and counts:
        yield numbered, "ds"


def _stem(names: Sequence[str]) -> str | None:
    """What all names of numbered columns have before their number."""
    stems = {match[1] for name in names if (match := _NUMBER.fullmatch(name))}
    return stems.pop() if len(stems) == 1 else None


def _read_as(columns: Sequence[str]) -> str:
    """The end of a line of pandas that makes times of the names of numbered columns, or of `1960 [YR1960]`."""
    stem = _stem(columns)
    if columns[0].endswith("]"):
        return ".assign(ds=lambda d: d.ds.str[:4])"
    return f".assign(ds=lambda d: d.ds.str[{len(stem)}:].astype(int))" if stem else ""


def _reader(file: DataFile) -> str:
    """`read_csv(...)` of a file in its form, without columns that have no name."""
    path = str(file.path)
    if file.is_parquet:
        return f"read_parquet({path!r})"
    form, given = file.form, ""
    given += f", sep={form.separator!r}" if form.separator != "," else ""
    given += f", skiprows={form.header_line - 1}" if form.header_line > 1 else ""
    given += f", encoding={form.encoding!r}" if form.encoding != UTF8 else ""
    given += f", decimal={file.options.decimal!r}" if file.options.decimal else ""
    return f"read_csv({path!r}{given})" + (f".drop(columns={file.unnamed!r})" if file.unnamed else "")

"""Times and names of series that stand in several columns, or, of times, in none."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.columns import Flaws
from optlstm.data.date_parts import OF_DAY, OF_YEAR, PARTS, part_of
from optlstm.data.label_cells import label_texts
from optlstm.data.table import SHOWN, DataFile, read_table
from optlstm.data.time_column import BY_THE_CELLS, TimeColumn, TimeReading, read_times
from optlstm.data.time_format import DIGITS, read_numbers
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import listed, quoted
from optlstm.util.time_formats import INTEGER

ROW = "row"  # in place of a time column: there is none, and the rows are in order
_CLOCK = r"\s*(\d{1,2})[:.](\d\d)(?:[:.](\d\d(?:\.\d+)?))?\s*([AaPp][Mm])?\s*"
_US = 10**6
_ROWS_OF_SERIES = 3  # at least, on the average
_CANDIDATES = 8


def texts_of_day(times: Sequence[str]) -> list[str]:
    """Which of several columns of times are read as text: 20.30 is no number there."""
    return [name for name in times[1:] if part_of(name) is None]


def split_names(asked: str, names: Collection[str]) -> tuple[str, ...]:
    """The columns that are asked for: one, or several with commas between them."""
    return (asked,) if asked in names else tuple(part.strip() for part in asked.split(","))


def whole_names(asked: Sequence[str], names: Sequence[str], others: Collection[str] = ()) -> tuple[str, ...]:
    """The columns that are asked for: `store_*` is all of those but `others`; parts of a name with commas are one."""
    plain = {re.sub(r"\s*,\s*", ",", name): name for name in names}
    rest, columns = list(asked), list[str]()
    most = 1 + max((name.count(",") for name in plain), default=0)
    while rest:
        parts = next((n for n in range(min(most, len(rest)), 1, -1) if ",".join(rest[:n]) in plain), 1)
        name, rest = ",".join(rest[:parts]), rest[parts:]
        like = [other for other in names if "*" in name and fnmatchcase(other, name) and other not in others]
        columns += like if name not in plain and like else [plain.get(name, name)]
    return tuple(dict.fromkeys(columns)) if len(set(asked)) == len(asked) else tuple(columns)


def row_numbers(codes: npt.NDArray[np.int32]) -> TimeColumn:
    """The rows of each series, numbered from 0. codes: the series of each row."""
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    numbers = np.empty(len(codes), dtype=np.int64)
    numbers[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return TimeColumn(pd.Index(numbers, name=ROW), INTEGER, "times: none; the rows are in order, numbered from 0")


def read_time_columns(
    frame: pd.DataFrame, names: Sequence[str], flaws: Flaws, reading: TimeReading = BY_THE_CELLS
) -> TimeColumn | None:
    """Columns of a table that are a time together; None where they have flaws.

    They are named year, month, day, hour, ... in any order, or the first is a date and the others are of its day: hour,
    minute and second by their names, or one time of day such as 17:24:00.
    """
    together = ",".join(names)
    parts = {name: part_of(name) for name in names}
    empty = np.flatnonzero(frame[list(names)].isna().any(axis=1).to_numpy())
    flaws.add(f"time columns {together} of {flaws.file}: {len(empty)} empty cell(s)", empty, "fill them in")
    if len(empty):
        return None
    if "year" in parts.values():
        dates, index = None, _of_parts(frame, parts, flaws)
    else:
        dates = read_times(frame[names[0]], flaws, reading)
        index = None if dates is None else _of_date(frame, dates.index, names, flaws)
    if index is None:
        return None
    wrong = np.flatnonzero(index.isna())
    remedy = "correct them; hours are those of a column named hour"
    notes = [" ".join(str(frame[name].iloc[i]) for name in names) for i in wrong[:SHOWN]]
    flaws.add(f"time columns {together} of {flaws.file}: {len(wrong)} row(s) are not times", wrong, remedy, notes)
    if len(wrong):
        return None
    note = f"times: {listed(map(quoted, names))} are read together, the first row as {index[0]}"
    note += f" ({dates.note.removeprefix('times: ')})" if dates is not None and dates.note else ""
    return TimeColumn(index.rename(together), None if dates is None else dates.format, note)


def read_series_columns(frame: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """A category for each combination of their cells, in order of appearance, named as a CSV row has them.

    Some of the cells may be empty, as those of totals are, in series of three rows or more on the average.
    """
    codes, missing = np.zeros(len(frame), dtype=np.int64), np.ones(len(frame), dtype=bool)
    partly = np.zeros(len(frame), dtype=bool)
    texts: list[npt.NDArray[np.object_]] = []
    for name in names:
        numbered, distinct = pd.factorize(frame[name], use_na_sentinel=False)
        numbers, labels = pd.factorize(np.array(label_texts(pd.Series(distinct))[0], dtype=object))
        empty = (labels == "")[numbers[numbered]]
        missing, partly = missing & empty, partly | empty
        codes = codes * max(1, len(labels)) + numbers[numbered]
        texts.append(labels)
    if np.count_nonzero(partly) < _ROWS_OF_SERIES * len(np.unique(codes[partly])):
        missing = partly
    numbered, combined = pd.factorize(codes[~missing])
    of_row = np.full(len(frame), -1)
    of_row[~missing] = numbered
    ids = []
    for code in combined.tolist():
        cells: list[str] = []
        for labels in reversed(texts):
            code, at = divmod(code, len(labels))
            cells.insert(0, str(labels[at]))
        ids.append(csv_line(cells))
    return pd.Series(pd.Categorical.from_codes(of_row, categories=pd.Index(ids, dtype="str")))


def columns_of_series(file: DataFile, names: Sequence[str], keys: Integers) -> tuple[str, ...]:
    """One or two of these columns, of text before whole numbers, whose values make the times unique; () if none do.

    keys: [2, rows] as they are in the file: their times, and what numbers the series that are known.
    """
    names = [name for name in names if list(file.names).count(name) == 1]
    frame = read_table(file, names) if names else pd.DataFrame()
    rows = keys.shape[1]
    if len(frame) != rows:
        return ()
    numbered = {}
    for name in sorted(names, key=lambda name: pd.api.types.is_numeric_dtype(frame[name])):
        column = frame[name]
        codes, distinct = pd.factorize(column)
        text = not pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_datetime64_any_dtype(column)
        few = 1 < len(distinct) <= rows / _ROWS_OF_SERIES and (codes >= 0).all()
        if few and (text or pd.api.types.is_integer_dtype(column)):
            numbered[name] = codes
    candidates = list(numbered)[:_CANDIDATES]
    for chosen in [*((name,) for name in candidates), *itertools.combinations(candidates, 2)]:
        if not pd.DataFrame(np.column_stack([*keys, *(numbered[name] for name in chosen)])).duplicated().any():
            return chosen
    return ()


def split_id(name: str) -> list[str]:
    """The cells of an id that `read_series_columns` made."""
    return next(csv.reader([name]))


def csv_line(cells: Sequence[str]) -> str:
    """Cells as a row of a CSV file."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue()


def _of_parts(frame: pd.DataFrame, parts: Mapping[str, str | None], flaws: Flaws) -> pd.DatetimeIndex | None:
    """Of columns of year, month and what follows them. parts: by column."""
    given = set(parts.values())
    if len(parts) == 2 and (part := next(iter(given - {"year"}))) in OF_YEAR:
        year, other = (_numbers(frame[name]) for name in sorted(parts, key=lambda name: parts[name] != "year"))
        fits = (year % 1 == 0) & (other % 1 == 0) & (other > 0) & (other < 54)
        digits = np.where(fits, year * (10 if part == "quarter" else 100) + other, 0).astype(np.int64)
        return pd.DatetimeIndex(read_numbers(digits, OF_YEAR[part]))
    if None in given or len(given) < len(parts) or given != set(PARTS[: len(given)]):
        line = f"--time: {', '.join(parts)} are not {', '.join(PARTS[:4])} and so on, nor year and quarter or week"
        flaws.add(line, remedy="name all, each once")
        return None
    by_part = {part: frame[name] for name, part in parts.items()}
    numbers = np.zeros(len(frame), dtype=np.int64)
    for part in PARTS:
        least = int(part in ("month", "day"))  # January, and the 1st, where there is no such column
        cells = _numbers(by_part[part]) if part in by_part else np.full(len(frame), float(least))
        fits = (cells % 1 == 0) & (cells >= 0) & (cells < (10_000 if part == "year" else 100))
        numbers = np.where(fits & (numbers >= 0), numbers * 100 + np.where(fits, cells, 0).astype(np.int64), -1)
    return pd.DatetimeIndex(read_numbers(numbers, DIGITS[14]))


def _numbers(column: pd.Series) -> Floats:
    """A column's numbers, those of months for their names, 1 for Q1 or W1; NaN where a cell is none of these."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64)
    text = column.astype("str").str.strip().str.replace(r"^(?:Q|KW|W)\s*(?=\d)", "", regex=True, flags=re.IGNORECASE)
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
    for form in ("%b", "%B"):
        months = pd.to_datetime(text, format=form, errors="coerce").dt.month.to_numpy(dtype=np.float64)
        numbers = np.where(np.isnan(numbers), months, numbers)
    return np.asarray(numbers)


def _of_date(frame: pd.DataFrame, dates: pd.Index, names: Sequence[str], flaws: Flaws) -> pd.DatetimeIndex | None:
    """Of dates and what else there is of their times."""
    parts = [part_of(name) for name in names[1:]]
    if not isinstance(dates, pd.DatetimeIndex) or (len(parts) > 1 and parts != list(OF_DAY[: len(parts)])):
        flaws.add(f"--time: {', '.join(names)} are not a date and then its time, or hour, minute, second")
        return None
    seconds = np.zeros(len(frame))
    for name, part in zip(names[1:], parts, strict=True):
        if part is None:
            seconds += _seconds(frame[name])
            continue
        cells, most = _numbers(frame[name]), 25 if part == "hour" else 60
        fits = (cells % 1 == 0) & (cells >= 0) & (cells < most)
        seconds += np.where(fits, cells * {"hour": 3600, "minute": 60, "second": 1}.get(part, np.nan), np.nan)
    known = ~np.isnan(seconds)
    shift = pd.to_timedelta(np.round(np.where(known, seconds, 0) * _US).astype(np.int64), unit="us")
    return pd.DatetimeIndex((dates + shift).where(known)).as_unit("us")


def _seconds(column: pd.Series) -> Floats:
    """Of times of day: 17:24, 17:24:00, 5.24.00 PM, or the number 1724; NaN where a cell is none."""
    if pd.api.types.is_numeric_dtype(column) or column.astype("str").str.fullmatch(r"\d{1,4}").all():
        cells = column.astype("float64").to_numpy()
        fits = (cells % 1 == 0) & (cells >= 0) & (cells <= 2400) & (cells % 100 < 60)
        hours_and_minutes = fits.all() and cells.max() > 24  # else they may be hours
        return np.where(hours_and_minutes, cells // 100 * 3600 + cells % 100 * 60, np.nan)
    numbered, distinct = pd.factorize(column.astype("str"))
    seconds = np.full(len(distinct), np.nan)
    for i, text in enumerate(distinct):
        match = re.fullmatch(_CLOCK, text)
        if match is None:
            continue
        hour, minute, second = int(match[1]), int(match[2]), float(match[3] or 0)
        if match[4]:
            hour = hour % 12 + (12 if match[4].lower() == "pm" else 0) if 1 <= hour <= 12 else 99
        if minute < 60 and second < 60 and (hour < 24 or (hour == 24 and minute == second == 0)):
            seconds[i] = (hour * 60 + minute) * 60 + second
    return np.asarray(seconds[numbered])

"""The time column of a table as an index, with what was understood of it; or every problem that it has."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.columns import Fix, Flaws
from optlstm.data.detect import MOST_NOTES
from optlstm.data.frequency import in_microseconds
from optlstm.data.table import SHOWN
from optlstm.data.time_format import (
    DayOrderError,
    digits_in_words,
    has_day_first,
    in_words,
    is_of_digits,
    likely_formats,
    may_be_excel,
    nameable_format,
    parse_times,
    read_numbers,
    read_texts,
    whole_number_format,
)
from optlstm.util.arrays import Floats
from optlstm.util.format import quoted
from optlstm.util.time_formats import EXCEL, INTEGER

_EVEN = 0.5  # of the steps, at least, are as the first
_FEW = 10  # one in so many cells, or less
_DATES = "write them as YYYY-MM-DD HH:MM:SS"


@dataclass(frozen=True)
class TimeReading:
    """How a time column is to be read.

    Args:
        format: of `time_format`; None: by the cells.
        day_first: whether the day stands before the month, where the cells leave it open.
        usual: a model's: where it fits every cell that does not show another one itself.
    """

    format: str | None = None
    day_first: bool | None = None
    usual: str | None = None


@dataclass(frozen=True)
class TimeColumn:
    """The times of all rows.

    Args:
        format: of the cells; of several columns that of their dates.
        note: what was understood, in a line; "": the cells say it themselves.
    """

    index: pd.Index
    format: str | None = None
    note: str = ""


BY_THE_CELLS = TimeReading()


def read_times(column: pd.Series, flaws: Flaws, reading: TimeReading = BY_THE_CELLS) -> TimeColumn | None:
    """The time column; None where it has flaws."""
    name = f"time column '{column.name}' of {flaws.file}"
    missing = column.isna().to_numpy()
    index: pd.Index
    form: str | None = None
    fix: Fix = None
    if pd.api.types.is_datetime64_any_dtype(column):
        index, wrong = in_microseconds(pd.DatetimeIndex(column))
        remedy = "round them to microseconds"
    elif pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        index, form, wrong, remedy = _of_numbers(column, missing, reading)
        likely = likely_formats(np.asarray(index)) if form == INTEGER != (reading.format or reading.usual) else []
        if likely:
            by_key = [{"data.time_format": other} for other in likely]
            shown = ", or ".join(f"--set data.time_format={other} ({digits_in_words(other)})" for other in likely)
            problem = f"{name}: these whole numbers may be dates, for so their steps are more alike"
            remedy = f"say so with {shown}; or, of counts, =integer"
            flaws.add(problem, remedy=remedy, fix=by_key[0], otherwise=by_key[1] if len(likely) > 1 else None)
            return None
    else:
        try:
            index, form = _of_texts(column.astype("str"), reading)
        except DayOrderError as error:
            flaws.add(f"{name}: {error}", fix={"data.dayfirst": "true"}, otherwise={"data.dayfirst": "false"})
            return None
        except ValueError as error:
            flaws.add(f"{name}: {error}")
            return None
        wrong = index.isna() & ~missing
        remedy, fix = _remedy(column.astype("str")[wrong], len(column), form, reading)
    flaws.day_and_month = not pd.api.types.is_numeric_dtype(column) and has_day_first(form) is not None
    empty, bad = np.flatnonzero(missing), np.flatnonzero(wrong)
    flaws.add(f"{name}: {len(empty)} empty time(s)", empty, "fill them in or leave the rows out")
    notes = [quoted(column.iloc[i]) for i in bad[:SHOWN]]
    flaws.add(f"{name}: {len(bad)} cell(s) are not times", bad, remedy, notes, fix)
    if len(empty) or len(bad):
        return None
    note = ""
    if form is not None and form not in (INTEGER, reading.usual):
        note = f"times: {quoted(column.name)} holds {in_words(form, column.iloc[0], index[0])}"
    elif form == INTEGER and reading == BY_THE_CELLS and may_be_excel(np.asarray(index)):
        note = f"times: {quoted(column.name)} holds counts; if they are Excel's dates, --set data.time_format=excel"
    return TimeColumn(index.rename(column.name), form, note)


def without_totals(frame: pd.DataFrame, time: str, flaws: Flaws) -> pd.DataFrame:
    """The table without the rows at its end whose time is empty, or text without a digit: totals and notes."""
    column = frame[time]
    last = [None if pd.isna(cell) else str(cell) for cell in column.iloc[-MOST_NOTES - 1 :]]
    times = [i for i, cell in enumerate(last, 1) if cell and any(map(str.isdigit, cell))]
    count = len(last) - max(times, default=0)
    if not count or not times:
        return frame
    shown = " and ".join("no time" if cell is None else quoted(cell) for cell in last[-count:])
    rows = "the last row" if count == 1 else f"the last {count} rows"
    flaws.notes.append(f"data: {rows} of {flaws.file} left out, with {shown} in the column '{time}'")
    frame = frame.iloc[:-count]
    column = frame[time]
    if column.astype("str").str.fullmatch(r"-?\d{1,18}(\.0)?").all():
        column = (
            column.astype("float64").astype("int64") if pd.api.types.is_float_dtype(column) else column.astype("int64")
        )
    used = {str(name): cells.cat.remove_unused_categories() for name, cells in frame.items() if hasattr(cells, "cat")}
    return frame.assign(**{time: column, **used})


def _remedy(wrong: pd.Series[str], rows: int, form: str | None, reading: TimeReading) -> tuple[str, Fix]:
    """What would help where texts are no times, and what to type. form: that of the others, of so many rows."""
    if reading.format is not None:
        return f"correct them: data.time_format is {reading.format}", None
    if _FEW * len(wrong) < rows:
        return "correct them, or leave these rows out, if they are totals, notes or the header again", None
    correct = _DATES if form is None else f"correct them, or {_DATES}"
    if (named := nameable_format(wrong)) is not None:
        return f"{correct}, or name their form: --set data.time_format='{named}'", {"data.time_format": named}
    if wrong.str.fullmatch(r".*\d\s+-\s+\d.*").all():
        return f"keep one of the two times of each cell, and {_DATES}", None
    codes = "in strptime's codes (month names in English)"
    return f"{correct}, or name their form {codes}: --set data.time_format=FORMAT", None


def _is_of_days(numbers: Floats) -> bool:
    """Whether these can only be Excel's: days with fractions of some digits, as evenly spaced times of seconds."""
    if not may_be_excel(numbers) or (np.round(numbers, 2) == numbers).all():
        return False
    steps = np.diff(read_numbers(numbers, EXCEL).to_numpy())
    return len(steps) > 0 and bool((steps == steps[0]).mean() > _EVEN)


def _of_numbers(
    column: pd.Series, missing: npt.NDArray[np.bool_], reading: TimeReading
) -> tuple[pd.Index, str | None, npt.NDArray[np.bool_], str]:
    """(the times, their format, where cells are none, what would help)."""
    present = column.fillna(0).to_numpy(dtype=np.float64)
    unsaid = reading.format is None and (reading.usual == EXCEL or _is_of_days(present))
    if not missing.any() and (reading.format == EXCEL or unsaid):
        index = read_numbers(present, EXCEL)
        return index, EXCEL, np.asarray(index.isna()), f"correct them: data.time_format is {EXCEL}"
    wrong, remedy = ~(np.abs(present) < 2**63) | (present % 1 != 0), "write dates, or number the rows: --time row"
    nothing = pd.Index([])
    if reading.format is None and may_be_excel(present):
        remedy += "; or, of dates as Excel numbers them, --set data.time_format=excel"
    if wrong.any() or missing.any():
        return nothing, None, wrong, remedy
    numbers = np.asarray(column, dtype=np.int64)
    if reading.format is not None:
        index = read_numbers(numbers, reading.format)
        return index, reading.format, np.asarray(index.isna()), f"correct them: data.time_format is {reading.format}"
    if reading.usual is not None and not is_of_digits(reading.usual):  # a few weeks may look like months
        index = read_numbers(numbers, reading.usual)
        if not index.hasnans:
            return index, reading.usual, wrong, remedy
    form, wrong = whole_number_format(numbers) if reading.usual != INTEGER else (INTEGER, wrong)
    if form is None and reading.usual is not None and is_of_digits(reading.usual):
        index = read_numbers(numbers, reading.usual)
        if not index.hasnans:
            return index, reading.usual, np.zeros(len(index), dtype=bool), remedy
    if wrong.any():
        remedy = "correct them, for the others are dates; or, of counts, --set data.time_format=integer"
        return nothing, None, wrong, remedy
    return read_numbers(numbers, form or INTEGER), form or INTEGER, wrong, remedy


def _of_texts(text: pd.Series[str], reading: TimeReading) -> tuple[pd.DatetimeIndex, str | None]:
    """(the times, their format). Raises ValueError as `parse_times`."""
    if reading.format is not None and reading.format != INTEGER:
        return read_texts(text, reading.format), reading.format
    day_first = reading.day_first
    fits_order = day_first is None or has_day_first(reading.usual) in (None, day_first)
    if reading.usual is not None and reading.usual != INTEGER and fits_order:
        index = read_texts(text, reading.usual)
        if not (index.isna() & text.notna().to_numpy()).any():
            return index, reading.usual
        if day_first is None:
            with suppress(DayOrderError):
                return parse_times(text)
            day_first = has_day_first(reading.usual)
    return parse_times(text, day_first)

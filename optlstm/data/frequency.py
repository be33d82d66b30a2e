"""How times follow one another: their frequency, season, and where rows are missing."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.util.arrays import Integers
from optlstm.util.format import many

_DAY_US = 24 * 3600 * 10**6
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_MONTHS_OF = {"M": 1, "Q": 3, "Y": 12}  # by the first letter of the calendar aliases: MS, ME, QS-JAN, YE-DEC, ...
_PER_CYCLE = {"h": 24, "D": 7, "B": 5, "W": 52, "WOM": 12}
_PER_LONGER = {"min": 7 * 24 * 60, "h": 7 * 24, "D": 365, "B": 260}  # a week, a year of whole weeks or days
_UNITS = {"s": "second", "min": "minute", "h": "hour", "D": "day", "B": "business day", "W": "week"}
_UNITS |= {"M": "month", "Q": "quarter", "Y": "year"}
_CLOCK = {f"{n if n > 1 else ''}s": n for n in (1, 2, 5, 10, 15, 20, 30)}  # alias: seconds
_CLOCK |= {f"{n if n > 1 else ''}min": 60 * n for n in (1, 2, 5, 10, 15, 20, 30)}
_CLOCK |= {f"{n if n > 1 else ''}h": 3600 * n for n in (1, 2, 3, 4, 6, 8, 12)} | {"D": 86_400}
_NEAR = 0.02
_SHORT_STEPS = 5  # from 5min on the season is a day, from 5s on an hour; below, the next larger unit


@dataclass(frozen=True)
class Steps:
    """The regularity of times in order: position i is the step from row i to row i + 1."""

    freq: str | None  # pandas alias of the usual step; None for integers and single rows
    gaps: dict[int, int]  # position: rows missing there
    uneven: list[int]  # positions of steps that are no multiple of the usual one


def in_microseconds(time: pd.DatetimeIndex) -> tuple[pd.DatetimeIndex, npt.NDArray[np.bool_]]:
    """The times in microseconds (in UTC, where they have a zone), and where that rounds one."""
    finer = (time.asi8 % 1000 != 0) & time.notna() if time.unit == "ns" else np.zeros(len(time), dtype=bool)
    return (time if time.tz is None else time.tz_convert("UTC")).as_unit("us"), finer


def date_steps(time: pd.DatetimeIndex) -> Steps:
    """The steps of increasing times, in calendar months or business days where those fit, else in a fixed duration."""
    if len(time) < 2:
        return Steps(None, {}, [])
    inferred = _inferred(time)
    if inferred is not None:
        return Steps(inferred, {}, [])
    months, days = _month_ticks(time), _business_ticks(time)
    if months is not None:
        usual = _usual_step(months)
        return integer_steps(months, usual, _month_alias(time, usual))
    if days is not None:
        return integer_steps(days, _usual_step(days), "B")
    usual = _usual_step(ticks_of(time))
    return integer_steps(ticks_of(time), usual, _fixed_alias(time, usual))


def integer_steps(time: Integers, usual: int, freq: str | None = None) -> Steps:
    """The steps of increasing integers. usual: the step that most of them have; freq: its pandas alias."""
    missing, rest = np.divmod(np.diff(time), usual)
    gaps = np.flatnonzero((rest == 0) & (missing > 1))
    return Steps(freq, {int(i): int(missing[i]) - 1 for i in gaps}, np.flatnonzero(rest).tolist())


def ticks_of(time: pd.Index) -> Integers:
    """The times as int64: microseconds since 1970 (in UTC where they have a zone), or the whole numbers."""
    if not isinstance(time, pd.DatetimeIndex):
        return time.to_numpy(dtype=np.int64)
    return time.asi8 if time.unit == "us" else time.as_unit("us").asi8


def season_of(freq: str | None) -> int:
    """Steps in the natural season of a pandas alias: a day of hours, a week of days, a year of weeks or months.

    Minutes count to the day from 5min on and to the hour below, seconds to the hour from 5s on and to the minute
    below. 1 where there is no season, or the step does not divide it.
    """
    match = re.fullmatch(r"(\d*)([A-Za-z]+)(-[\w-]+)?", freq or "")
    if match is None:
        return 1
    multiple, unit = int(match[1] or 1), match[2]
    if unit in ("min", "s"):
        short = multiple < _SHORT_STEPS
        cycle = 60 if short else {"min": 24 * 60, "s": 3600}[unit]
    elif unit in _PER_CYCLE:
        cycle = _PER_CYCLE[unit]
    else:
        letter = unit.removeprefix("B")[:1]
        cycle = 12 // _MONTHS_OF[letter] if letter in _MONTHS_OF and unit[-1:] in "SE" else 1
    return cycle // multiple if cycle % multiple == 0 else 1


def longer_season_of(freq: str | None) -> int | None:
    """Steps in the season beyond the natural one: a week of minutes (from 5min on) and hours, a year of days.

    None where there is none, or the step does not divide it.
    """
    match = re.fullmatch(r"(\d*)(min|h|D|B)", freq or "")
    if match is None or season_of(freq) == 1:
        return None
    multiple, unit = int(match[1] or 1), match[2]
    if unit == "min" and multiple < _SHORT_STEPS:
        return None
    return _PER_LONGER[unit] // multiple if _PER_LONGER[unit] % multiple == 0 else None


def same_step(one: str | None, other: str | None) -> bool:
    """Whether two aliases step alike: weeks from any weekday, months from either end, in any multiple that is equal."""
    return _step_of(one) == _step_of(other)


def _step_of(freq: str | None) -> str | None:
    match = re.fullmatch(r"(\d*)(B?[MQY])[SE](-\w+)?|(\d*W)(-\w+)?", freq or "")
    if match is None:
        return freq
    return match[4] if match[4] else f"{match[1]}{match[2]}"


def in_words(freq: str | None) -> str:
    """`MS (1 month)`: an alias, and what it means where that is plain."""
    match = re.fullmatch(r"(\d*)([A-Za-z]+?)[SE]?(-\w+)?", freq or "")
    unit = _UNITS.get(match[2]) if match else None
    return f"{freq} ({many(int(match[1] or 1), unit)})" if match and unit else str(freq)


def usual_step(freq: str | None) -> str | None:
    """An alias of seconds or less as the usual length that is near it, as clocks write it: `3601s` is `h`."""
    match = re.fullmatch(r"(\d*)(us|ms|s)", freq or "")
    if match is None:
        return freq
    seconds = int(match[1] or 1) / {"us": 10**6, "ms": 10**3, "s": 1}[match[2]]
    near = [alias for alias, length in _CLOCK.items() if abs(length - seconds) < _NEAR * length]
    return near[0] if near else freq


def following(time: pd.Index, freq: str | None, steps: int) -> pd.Index:
    """The `steps` times after the last of `time`: of the frequency, or of the integers' step where it is None."""
    if not isinstance(time, pd.DatetimeIndex):
        step = int(time[1]) - int(time[0]) if len(time) > 1 else 1
        return pd.Index(int(time[-1]) + step * np.arange(1, steps + 1), dtype="int64", name=time.name)
    if freq is None:
        raise ValueError("times without a frequency have no next one")
    last = time[-1]
    match = re.fullmatch(r"(\d*)([MQY])S(-\w+)?", freq)
    if match is None or last.day == 1:
        return pd.date_range(last, periods=steps + 1, freq=freq, unit="us", name=time.name)[1:]
    # No alias says "the 15th of each month": such series carry the month's own alias, and their day is kept here.
    day, months = int(time[-12:].day.max()), int(match[1] or 1) * _MONTHS_OF[match[2]]
    firsts = [last.replace(day=1) + pd.DateOffset(months=months * i) for i in range(1, steps + 1)]
    return pd.DatetimeIndex([t.replace(day=min(day, t.days_in_month)) for t in firsts], name=time.name).as_unit("us")


def _inferred(time: pd.DatetimeIndex) -> str | None:
    if len(time) < 3:
        return None
    # The option picks the return type of pandas 4; without it pandas 3 warns.
    with pd.option_context("future.infer_freq_returns_offset", True):
        offset = pd.infer_freq(time)
    return None if offset is None else str(getattr(offset, "freqstr", offset))


def _usual_step(time: Integers) -> int:
    """The commonest step of two or more increasing ticks."""
    sizes, counts = np.unique(np.diff(time), return_counts=True)
    return int(sizes[np.argmax(counts)])


def _same_hour(time: pd.DatetimeIndex) -> bool:
    return len(np.unique(ticks_of(time) % _DAY_US)) == 1


def _month_ticks(time: pd.DatetimeIndex) -> Integers | None:
    """Months since year 0, where every time is on the same day of its month (or the last, in shorter months)."""
    day = time.day.to_numpy()
    on_day = day == np.minimum(day.max(), time.days_in_month.to_numpy())
    if not on_day.all() or not _same_hour(time) or np.diff(ticks_of(time)).min() < 28 * _DAY_US:
        return None
    return np.asarray(time.year, dtype=np.int64) * 12 + np.asarray(time.month, dtype=np.int64)


def _business_ticks(time: pd.DatetimeIndex) -> Integers | None:
    """Business days since the first, for daily times over two weekends or more that never fall on one."""
    dates = ticks_of(time) // _DAY_US
    usual = _usual_step(dates) if len(np.unique(dates)) == len(dates) else 0
    if usual != 1 or dates[-1] - dates[0] < 14 or (time.day_of_week.to_numpy() > 4).any() or not _same_hour(time):
        return None
    days = dates.astype("datetime64[D]")
    return np.busday_count(days[0], days).astype(np.int64)


def _month_alias(time: pd.DatetimeIndex, months: int) -> str:
    side = "E" if time.is_month_end.all() else "S"
    letter = next(letter for letter in "YQM" if months % _MONTHS_OF[letter] == 0)
    multiple = months // _MONTHS_OF[letter]
    month = time[0].month - 1
    if letter == "Q":  # as pandas names them: by the first month that starts a quarter, the last that ends one
        month = month % 3 + (9 if side == "E" else 0)
    anchor = "" if letter == "M" else f"-{_MONTHS[month]}"
    return f"{multiple if multiple > 1 else ''}{letter}{side}{anchor}"


def _fixed_alias(time: pd.DatetimeIndex, microseconds: int) -> str:
    days, rest = divmod(microseconds, _DAY_US)
    if rest:
        return str(pd.tseries.frequencies.to_offset(pd.Timedelta(microseconds=microseconds)).freqstr)
    count, unit = (days // 7, f"W-{_WEEKDAYS[time[0].day_of_week]}") if days % 7 == 0 else (days, "D")
    return f"{count if count > 1 else ''}{unit}"

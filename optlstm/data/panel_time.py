"""The times of series: in order, none twice, all with the same step."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from optlstm.data import frequency
from optlstm.data.columns import BY_INTERPOLATION, INTERPOLATE, Fix, Flaws
from optlstm.data.frequency import Steps, ticks_of
from optlstm.data.key_columns import columns_of_series
from optlstm.data.table import SHOWN
from optlstm.errors import InputError
from optlstm.util.arrays import Integers
from optlstm.util.format import listed, quoted, without_midnight
from optlstm.util.time_formats import STEP

Order = Integers | None  # the table's row of each row here; None: they are the same
_MANY_MISSING = 0.9  # rows to be filled for each that there is, from where this is not proposed
_MOST_MISSING = 10  # rows to be filled for each that there is
_CHUNK = 1 << 18  # rows
_MOSTLY_REPEATED = 3  # one in so many times, or more: these are several series, or events
_LEAST_STEPS = 10  # that show whether they are alike
_ALIKE = 0.1  # of the usual step
_ONE_ROW = "make one row of those of a step:"
_BY_DAY = "resample=D, for example (means; sums with --set data.resample_sum=COL)"
_OFTEN_BACK = 20  # one in so many times, or more, where day and month may be mixed
_HOUR_US = 3600 * 10**6
_CLOCK_MONTHS = (3, 4, 9, 10, 11)  # when clocks change, north and south
_TO_UTC = "; if that is the clock change of daylight saving, convert the times to UTC"


@dataclass(frozen=True)
class RowRules:
    """What is done to the rows of a file.

    Args:
        sort: each series' rows are put in order of time.
        repeated: of rows at one time of one series the last is kept, or the mean of each column of numbers.
        resample: step, as `time_formats.STEP`, to which the rows are brought: means of numbers, the last of categories.
        sums: columns whose numbers are summed instead.
        by_flag: whether the command that reads the file can set these; to word what would help.
    """

    sort: bool = False
    repeated: str = "refuse"
    resample: str | None = None
    sums: tuple[str, ...] = ()
    by_flag: bool = True

    def remedy(self, setting: str) -> str:
        """`, or --set data.sort=true`."""
        return f", or {'--set' if self.by_flag else 'tune a study with --set'} data.{setting}"


AS_THEY_ARE = RowRules()


@dataclass(frozen=True)
class Times:
    """The times of a table's series, one series after the other.

    starts: [n + 1], the first row of each; ids: [n], their names, "" where the table is one series.
    """

    index: pd.Index
    starts: Integers
    ids: Sequence[str]
    order: Order
    flaws: Flaws
    rules: RowRules = AS_THEY_ARE

    def freq(self, *, gaps: bool) -> str | None:
        """The pandas alias of most series' frequency; None for whole numbers, and where every series is a single row.

        Flaws are repeated and earlier times, missing rows (unless `gaps`) and uneven steps: of the steps that the rows
        would have if they were in order.
        """
        ticks = ticks_of(self.index)
        even = _even_step(ticks, self.starts)
        if even is not None and even > 0:
            longest = int(np.diff(self.starts).argmax())
            times = self.index[self.starts[longest] : self.starts[longest + 1]]
            return frequency.date_steps(times).freq if isinstance(times, pd.DatetimeIndex) else None
        kept, starts = self._in_order(ticks)
        scattered = self._scattered(ticks[kept], starts)
        if len(kept) < len(ticks) and (scattered or _mostly_repeated(len(ticks) - len(kept), len(ticks))):
            return None
        steps = _steps(self.index[kept], starts)
        freq = _usual_freq(steps, starts)
        others = [i for i, step in steps.items() if self._has_other_step(step, freq, kept[starts[i] : starts[i + 1]])]
        same = {i: steps[i] for i in steps if i not in others}
        missing = {int(starts[i]) + at: count for i, step in same.items() for at, count in step.gaps.items()}
        uneven = [int(starts[i]) + at for i, step in same.items() for at in step.uneven]
        fix: Fix
        near = frequency.usual_step(freq)
        step_words = f" at a step of {frequency.in_words(near)}" if near else ""
        if missing and not gaps and not scattered:
            of = f" of {sum(bool(step.gaps) for step in same.values())} series" if self._many else ""
            kind = f"{sum(missing.values())} missing row(s) in {len(missing)} gap(s){of}{step_words}"
            remedy, fix = f"fill in the missing rows, or {INTERPOLATE}", BY_INTERPOLATION
            if not isinstance(self.index, pd.DatetimeIndex) and _recur(missing):
                remedy, fix = "these whole numbers may be dates: say which with --set data.time_format=FORMAT", None
            elif sum(missing.values()) > _MANY_MISSING * len(self.index):
                remedy, fix = "as many as there are rows: are the times right, and read as they are meant?", None
                if _recur(missing):  # nights, weekends
                    remedy = "where nothing is recorded then, --time row numbers the rows that there are, and "
                    remedy += "--gaps mask keeps the times"
            elif self._mixed_order(ticks):
                remedy, fix = "put the times in order first", None
            self._add_flaw(kind, kept[list(missing)], kept[np.add(list(missing), 1)], remedy, fix=fix)
        if uneven:
            kind = f"{len(uneven)} uneven step(s){step_words}"
            step = near if near and re.fullmatch(STEP, near) else "STEP"
            remedy = "resample the series to equal steps" + self.rules.remedy(f"resample={step}")
            unclear = step == "STEP" or scattered or self._clock_hint(kept[uneven], kept[np.add(uneven, 1)])
            fix = None if unclear else {"data.resample": step}
            if scattered:
                remedy = f"these may be events: {_ONE_ROW}{self.rules.remedy(_BY_DAY)[4:]}"
            self._add_flaw(kind, kept[uneven], kept[np.add(uneven, 1)], remedy, fix=fix)
        if others:
            notes = [f"{quoted(self.ids[i])} at {steps[i].freq}" for i in others[:SHOWN]]
            problem = f"{self.flaws.file}: {len(others)} series have another step than most, which have {freq}"
            rows = in_table(self.starts[others], self.order)
            self.flaws.add(problem, rows, "resample them, or leave them out", notes)
        return freq

    def check_order(self) -> None:
        """The flaws of repeated and earlier times alone."""
        self._in_order(ticks_of(self.index))

    @property
    def _many(self) -> bool:
        return tuple(self.ids) != ("",)

    def _series(self, rows: Integers) -> Integers:
        return np.searchsorted(self.starts, rows, side="right") - 1

    def _in_order(self, ticks: Integers) -> tuple[Integers, Integers]:
        """(rows in order without repeated times, starts of the series in them)."""
        steps = np.diff(ticks)
        steps[self.starts[1:-1] - 1] = 1  # from one series to the next
        if (steps > 0).all():
            return np.arange(len(ticks)), self.starts
        series = np.repeat(np.arange(len(self.ids)), np.diff(self.starts))
        by_time = np.lexsort((ticks, series))
        new = np.ones(len(ticks), dtype=bool)
        new[1:] = (np.diff(ticks[by_time]) > 0) | (np.diff(series[by_time]) > 0)
        kept, repeated, back = by_time[new], np.sort(by_time[~new]), np.flatnonzero(steps < 0) + 1
        starts = np.concatenate([[0], np.cumsum(np.bincount(series[kept]))])
        if len(repeated) and self.rules.repeated == "refuse" and self._refuse_repeated(repeated, ticks, kept, starts):
            return kept, starts  # in other series, or as events, they have another order
        if len(back):
            within = " in their series" if self._many else ""
            kind, remedy = (
                f"{len(back)} time(s) earlier than the one before{within}",
                "sort the rows by '{}'" + self.rules.remedy("sort=true"),
            )
            fix: Fix = {"data.sort": True}
            if self._mixed_order(ticks):
                remedy, fix = "day and month may be mixed: write all times as YYYY-MM-DD, or " + remedy, None
            self._add_flaw(kind, back - 1, back, remedy.format(self.index.name), fix=fix)
        return kept, starts

    def _refuse_repeated(self, repeated: Integers, ticks: Integers, kept: Integers, starts: Integers) -> bool:
        """Add the flaw of rows at one time, but of those of a step that are made one. Whether these are events."""
        rules, mostly = self.rules, _mostly_repeated(len(repeated), len(ticks))
        mostly |= self._scattered(ticks[kept], starts)
        one_row = rules.resample is not None and (bool(rules.sums) or not rules.by_flag)  # that is meant
        names = self._more_series(ticks) if mostly and not one_row else ""
        if rules.resample is not None and not names:
            return False
        fix: Fix = {"data.repeated": "last"}
        remedy = "keep one row per time" + (" of a series" if self._many else " (many series: --series COL)")
        if names:
            remedy, fix = f"these are many series: --series {shlex.quote(names)}", {"data.series": names}
            remedy += f"; or {_ONE_ROW}{rules.remedy(_BY_DAY)[4:]}"
            if not rules.by_flag:
                of = f"series named by {listed(map(quoted, self.flaws.series))}" if self._many else "one series"
                remedy = f"these are many series ({names}), and the model is of {of}"
                remedy += "; forecast one at a time, or tune a study with --series " + shlex.quote(names)
        elif mostly:
            remedy, fix = f"{remedy}; or {_ONE_ROW}{rules.remedy(_BY_DAY)[4:]}", None
        else:
            remedy += rules.remedy("repeated=last")
        self._add_flaw(f"{len(repeated)} repeated time(s)", repeated, repeated, remedy, between=False, fix=fix)
        return mostly

    def _scattered(self, ticks: Integers, starts: Integers) -> bool:
        """Whether most steps are unlike the usual one, as between events. ticks: in order, none twice."""
        steps = np.delete(np.diff(ticks), starts[1:-1] - 1)
        if not isinstance(self.index, pd.DatetimeIndex) or len(steps) < _LEAST_STEPS:
            return False
        usual = np.median(steps)
        return bool(2 * np.count_nonzero(np.abs(steps - usual) <= _ALIKE * usual) < len(steps))

    def _more_series(self, ticks: Integers) -> str:
        """The columns that name the series, where more than those that do are needed: `store,item`."""
        keys = np.empty((2, len(ticks)), dtype=np.int64)
        keys[:, slice(None) if self.order is None else self.order] = ticks, self._series(np.arange(len(ticks)))
        more = columns_of_series(self.flaws.source, self.flaws.unread, keys)
        return ",".join([*self.flaws.series, *more]) if more else ""

    def _mixed_order(self, ticks: Integers) -> bool:
        """Whether the order of day and month may not be the same in all texts."""
        back = np.diff(ticks) < 0
        back[self.starts[1:-1] - 1] = False
        return bool(self.flaws.day_and_month and _OFTEN_BACK * np.count_nonzero(back) >= len(ticks))

    def _has_other_step(self, steps: Steps, freq: str | None, rows: Integers) -> bool:
        if freq is None or frequency.same_step(steps.freq, freq):
            return False
        times = self.index[rows]  # a week of business days looks like any week
        return not times[1:].equals(frequency.following(times[:1], freq, len(times) - 1))

    def _add_flaw(
        self, kind: str, before: Integers, after: Integers, remedy: str, *, between: bool = True, fix: Fix = None
    ) -> None:
        """Add a flaw of the rows `after`, with the times of both. between: it is the step from one to the other."""
        notes = []
        for a, b, i in zip(before[:SHOWN], after[:SHOWN], self._series(after[:SHOWN]), strict=True):
            series = f"{quoted(self.ids[i])} at " if self._many else ""
            times = without_midnight([str(self.index[i]) for i in ((b, a) if between else (b,))])
            notes.append(f"{series}{' after '.join(times)}")
        problem = f"time column '{self.index.name}' of {self.flaws.file}: {kind}"
        hint = self._clock_hint(before, after)
        self.flaws.add(problem, in_table(after, self.order), remedy + hint, notes, fix)

    def _clock_hint(self, before: Integers, after: Integers) -> str:
        """The remedy for daylight saving, where a step is an hour too long or short, as at a clock change."""
        if not isinstance(self.index, pd.DatetimeIndex):
            return ""
        ticks = ticks_of(self.index)
        steps = np.diff(ticks)
        steps[self.starts[1:-1] - 1] = 0
        usual = int(np.median(steps[steps > 0])) if (steps > 0).any() else 0
        jumps = ticks[after] - ticks[before]
        off_by_hour = np.abs(jumps - usual) == _HOUR_US
        if self.index.tz is not None:
            whole_days = usual >= 23 * _HOUR_US and off_by_hour.any()
            return "; if these are days of a zone with daylight saving, write dates without times" if whole_days else ""
        times = self.index[before]
        at_night = np.isin(times.month, _CLOCK_MONTHS) & (times.hour <= 3) & (usual < 24 * _HOUR_US)
        return _TO_UTC if ((off_by_hour | (jumps == 0)) & at_night).any() else ""


def _mostly_repeated(repeated: int, rows: int) -> bool:
    return repeated > 0 and _MOSTLY_REPEATED * repeated >= rows


def _recur(missing: Mapping[int, int]) -> bool:
    """Whether numbers jump alike again and again, as those of years and weeks do. missing: rows, by position."""
    sizes, counts = np.unique(list(missing.values()), return_counts=True)
    apart = np.diff(list(missing))
    alike = len(apart) > 1 and apart.max() <= 1.1 * apart.min() + 1
    return bool(alike and apart.min() > 2 and 3 * counts.max() >= 2 * len(missing) and sizes[counts.argmax()] > 1)


def missing_rows(index: pd.Index, starts: Integers, freq: str | None) -> tuple[Integers, Integers]:
    """Where rows are missing: (positions to insert before, the ticks to insert), one entry for each missing row.

    Raises InputError where they are many times as many as there are rows: a time is wrong then.
    """
    at: list[int] = []
    ticks: list[int] = []
    if _even_step(ticks_of(index), starts) is None:
        step, all_steps = _usual(index, starts), _steps(index, starts)
        missing = sum(sum(steps.gaps.values()) for steps in all_steps.values())
        if missing > max(_MOST_MISSING * len(index), 10_000):
            raise InputError(
                f"data.gaps: {missing:,} rows are missing between {len(index):,}; the largest gap is "
                f"{_largest_gap(index, starts, all_steps)}: is that time right?"
            )
        for i, steps in all_steps.items():
            times = index[starts[i] : starts[i + 1]]
            for position, count in steps.gaps.items():
                before = times[max(0, position - 11) : position + 1]
                numbers = np.arange(1, count + 1)
                after = frequency.following(before, freq, count) if freq else times[position] + step * numbers
                at += [int(starts[i]) + position + 1] * count
                ticks += ticks_of(pd.Index(after)).tolist()
    return np.array(at, dtype=np.int64), np.array(ticks, dtype=np.int64)


def _largest_gap(index: pd.Index, starts: Integers, all_steps: Mapping[int, Steps]) -> str:
    gaps = ((count, int(starts[i]) + at) for i, steps in all_steps.items() for at, count in steps.gaps.items())
    _, before = max(gaps)
    return "from " + " to ".join(without_midnight([str(index[before]), str(index[before + 1])]))


def in_table(positions: Integers, order: Order) -> list[int]:
    """The table's rows of these positions."""
    rows: list[int] = (positions if order is None else order[positions]).tolist()
    return rows


def _steps(index: pd.Index, starts: Integers) -> dict[int, Steps]:
    """The steps of every series of two rows or more."""
    usual = _usual(index, starts)
    steps = {}
    for i in np.flatnonzero(np.diff(starts) > 1).tolist():
        times = index[starts[i] : starts[i + 1]]
        if isinstance(times, pd.DatetimeIndex):
            steps[i] = frequency.date_steps(times)
        else:
            steps[i] = frequency.integer_steps(ticks_of(times), usual)
    return steps


def _usual_freq(steps: dict[int, Steps], starts: Integers) -> str | None:
    """The frequency that most rows have; None for whole-numbered times."""
    rows: Counter[str] = Counter()
    for i, step in steps.items():
        if step.freq is not None:
            rows[step.freq] += int(starts[i + 1] - starts[i])
    return rows.most_common(1)[0][0] if rows else None


def _usual(index: pd.Index, starts: Integers) -> int:
    """The commonest step between two rows of a series, in ticks; 1 where there is none."""
    steps = np.diff(ticks_of(index))
    inside = np.ones(len(steps), dtype=bool)
    inside[starts[1:-1] - 1] = False
    sizes, counts = np.unique(steps[inside], return_counts=True)
    return int(sizes[counts.argmax()]) if len(sizes) else 1


def _even_step(ticks: Integers, starts: Integers) -> int | None:
    """The step between all rows of all series; None where it varies; 1 where every series is a single row."""
    longer = np.flatnonzero(np.diff(starts) > 1)
    if not len(longer):
        return 1
    first = starts[longer[0]]
    step = ticks[first + 1] - ticks[first]
    same = np.empty(len(ticks) - 1, dtype=bool)
    for at in range(0, len(same), _CHUNK):  # the differences of all rows would be another column
        part = slice(at, min(at + _CHUNK, len(same)))
        same[part] = ticks[part.start + 1 : part.stop + 1] - ticks[part] == step
    same[starts[1:-1] - 1] = True
    return int(step) if same.all() else None

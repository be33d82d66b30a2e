"""The times of many series: in order, none twice, and all of one step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data import frequency
from optlstm.data.series import Flaw, ticks_of

Integers = npt.NDArray[np.int64]
Order = Integers | None  # the table's row of each of ours; None: they are the same
_SHOWN = 3
_CHUNK = 1 << 18  # rows


def check_order(
    index: pd.Index, starts: Integers, ids: Sequence[str], order: Order, what: str, time: str
) -> list[Flaw]:
    """Times that occur twice in a series, and rows that are earlier than the one before."""
    ticks = ticks_of(index)
    later = ticks[1:] > ticks[:-1]
    later[starts[1:-1] - 1] = True  # from one series to the next
    if later.all():
        return []
    later |= ticks[1:] == ticks[:-1]
    back = np.flatnonzero(~later) + 1
    series = np.repeat(np.arange(len(ids)), np.diff(starts))
    by_time = np.lexsort((ticks, series))
    again = (np.diff(ticks[by_time]) == 0) & (np.diff(series[by_time]) == 0)
    repeated = np.sort(by_time[1:][again])
    back = np.setdiff1d(back, repeated)

    def notes(positions: Integers) -> list[str]:
        return [f"{_of(ids[series[i]])}{index[i]}" for i in positions[:_SHOWN]]

    flaws = []
    if len(repeated):
        problem = f"{what}: {len(repeated)} row(s) repeat a time of their series"
        remedy = f"; keep one row per '{time}' of a series"
        flaws.append(Flaw(problem, in_table(repeated, order), remedy, notes(repeated)))
    if len(back):
        problem = f"{what}: {len(back)} row(s) are earlier than the row of their series before them"
        flaws.append(Flaw(problem, in_table(back, order), f"; sort the rows by '{time}'", notes(back)))
    return flaws


def common_freq(index: pd.Index, starts: Integers) -> str | None:
    """The step of most series, as a pandas alias; None for whole-numbered times and single rows."""
    if not isinstance(index, pd.DatetimeIndex):
        return None
    lengths = np.diff(starts)
    if _even(ticks_of(index), starts) is not None:
        longest = int(lengths.argmax())
        return frequency.date_steps(index[starts[longest] : starts[longest + 1]]).freq
    found: Counter[str] = Counter()
    for i in np.flatnonzero(lengths > 1):
        freq = frequency.date_steps(index[starts[i] : starts[i + 1]]).freq
        found[str(freq)] += int(lengths[i])
    return found.most_common(1)[0][0] if found else None


def check_steps(
    index: pd.Index,
    starts: Integers,
    ids: Sequence[str],
    order: Order,
    what: str,
    freq: str | None,
    *,
    gaps: bool,
) -> list[Flaw]:
    """Missing rows (unless `gaps` are to be filled), uneven steps, and series of another step than most."""
    if _even(ticks_of(index), starts) is not None:
        return []
    missing: list[tuple[int, int, int]] = []  # position of the row after, rows missing, series
    uneven: list[tuple[int, int]] = []
    others: list[tuple[int, str]] = []
    step = _usual(index, starts)
    for i, steps, own in _each(index, starts, step):
        if freq is not None and not frequency.same_step(steps.freq, freq):
            expected = frequency.following(own[:1], freq, len(own) - 1)
            if not own[1:].equals(expected):  # a week of business days looks like any week
                others.append((i, str(steps.freq)))
            continue
        missing += [(int(starts[i]) + at + 1, count, i) for at, count in steps.gaps.items()]
        uneven += [(int(starts[i]) + at + 1, i) for at in steps.uneven]
    flaws = []
    if missing and not gaps:
        rows, of = sum(count for _, count, _ in missing), len({i for _, _, i in missing})
        at = np.array([position for position, _, _ in missing])
        notes = [f"{_of(ids[i])}{index[p]} after {index[p - 1]}" for p, _, i in missing[:_SHOWN]]
        problem = f"{what}: {rows} missing row(s) in {len(missing)} gap(s) of {of} series"
        flaws.append(Flaw(problem, in_table(at, order), "; fill them in, or set data.gaps = 'interpolate'", notes))
    if uneven:
        at = np.array([position for position, _ in uneven])
        notes = [f"{_of(ids[i])}{index[p]} after {index[p - 1]}" for p, i in uneven[:_SHOWN]]
        remedy = "; resample the series to equal steps"
        flaws.append(Flaw(f"{what}: {len(uneven)} uneven step(s)", in_table(at, order), remedy, notes))
    if others:
        at, notes = starts[[i for i, _ in others]], [f"'{ids[i]}' at {step}" for i, step in others[:_SHOWN]]
        problem = f"{what}: {len(others)} series have another step than most, which have {freq}"
        flaws.append(Flaw(problem, in_table(at, order), "; resample them, or leave them out", notes))
    return flaws


def missing_rows(index: pd.Index, starts: Integers, freq: str | None) -> tuple[Integers, Integers]:
    """Where rows are missing: (positions to insert before, the ticks to insert), one entry for each missing row."""
    at: list[int] = []
    ticks: list[int] = []
    if _even(ticks_of(index), starts) is None:
        step = _usual(index, starts)
        for i, steps, own in _each(index, starts, step):
            for position, count in steps.gaps.items():
                before = own[max(0, position - 11) : position + 1]
                after = frequency.following(before, freq, count) if freq else own[position] + step * _counted(count)
                at += [int(starts[i]) + position + 1] * count
                ticks += ticks_of(pd.Index(after)).tolist()
    return np.array(at, dtype=np.int64), np.array(ticks, dtype=np.int64)


def in_table(positions: Integers, order: Order) -> list[int]:
    """Where rows of ours stand in the table."""
    found: list[int] = (positions if order is None else order[positions]).tolist()
    return found


def _counted(count: int) -> Integers:
    return np.arange(1, count + 1)


def _each(index: pd.Index, starts: Integers, usual: int) -> Iterator[tuple[int, frequency.Steps, pd.Index]]:
    """The steps of every series of two rows or more. usual: between whole-numbered times."""
    for i in np.flatnonzero(np.diff(starts) > 1):
        own = index[starts[i] : starts[i + 1]]
        if isinstance(own, pd.DatetimeIndex):
            yield int(i), frequency.date_steps(own), own
            continue
        missing, rest = np.divmod(np.diff(ticks_of(own)), usual)
        wide = np.flatnonzero((rest == 0) & (missing > 1))
        uneven = np.flatnonzero(rest)
        yield int(i), frequency.Steps(None, {int(p): int(missing[p]) - 1 for p in wide}, uneven.tolist()), own


def _usual(index: pd.Index, starts: Integers) -> int:
    """The commonest step between two rows of a series, in ticks; 1 where there is none."""
    steps = np.diff(ticks_of(index))
    inside = np.ones(len(steps), dtype=bool)
    inside[starts[1:-1] - 1] = False
    sizes, counts = np.unique(steps[inside], return_counts=True)
    return int(sizes[counts.argmax()]) if len(sizes) else 1


def _even(ticks: Integers, starts: Integers) -> int | None:
    """The one step between all rows of all series, where it is one; 1 where every series is a single row."""
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


def _of(name: str) -> str:
    return f"'{name}' at " if name else ""

"""Rows of a panel: inserted where missing, filled, added ahead, and cut into train, validation and test."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.frequency import following, ticks_of
from optlstm.data.panel import Categories, Column, Panel, only
from optlstm.data.panel_time import missing_rows
from optlstm.data.splits import are_counts, split_rows
from optlstm.errors import InputError, Problem
from optlstm.util.arrays import Integers
from optlstm.util.format import many

_log = logging.getLogger(__name__)

UNSEASONAL_HORIZON = 12  # rows, where the times have no season
_ORIGINS = 10  # horizons of validation rows that are enough
_MANY_ROWS = 1500  # before the test: several folds would take long, and one validation part is long enough


def panel_cuts(
    panel: Panel, splits: Sequence[float] | Sequence[int], fraction: float = 1.0, least: int = 0
) -> Integers:
    """Where every series is cut: [n, 4] of rows: train from, validation from, test from, the end.

    Fractions count from a series' first row. Numbers of rows count from its last one, so that all are tested on their
    newest rows; a series with fewer than the first number of rows before them trains on those it has. A plain series
    is cut by `split_rows`: numbers count from its first row. least: as there.

    Raises:
        InputError: the three numbers make no split, or leave a part of a series without rows.
    """
    if panel.plain:
        return newest(np.cumsum([[0, *split_rows(int(panel.known[0]), splits, least)]], axis=1), fraction)
    longest = int(panel.known.max())
    split_rows(max(longest, 10**9) if are_counts(splits) else longest, splits)  # the form alone
    cuts = _series_cuts(panel, splits, least)
    parts = np.diff(cuts, axis=1)[:, : 3 if splits[2] else 2]
    short = np.flatnonzero((parts < 1).any(axis=1))
    if len(short):
        lengths = [many(int(panel.known[i]), "row") for i in short]
        line = f"data: {len(short)} of {len(panel.ids)} series are too short to be split: {panel.named(short, lengths)}"
        raise InputError(_to_omit(f"{line}; leave them out: --short omit, or change data.splits", len(short), panel))
    return newest(cuts, fraction)


def _to_omit(line: str, short: int, panel: Panel) -> Problem:
    return Problem(line, {"data.short": "omit"} if short < len(panel.ids) else None)


def long_enough(panel: Panel, splits: Sequence[float] | Sequence[int], horizon: int) -> Panel:
    """The panel without the series that are too short: with a horizon for each part, two for the training part.

    A note says which. As it is where all of them are, or where it is one series.
    """
    if panel.series is None:
        return panel
    start, validation, test, end = _series_cuts(panel, splits, horizon).T
    fits = (test - start >= 2 * (1 + horizon)) & (test - validation >= horizon) & (validation - start > horizon)
    fits &= (end - test >= horizon) | (splits[2] == 0)
    short = np.flatnonzero(~fits)
    if len(short) in (0, len(fits)):
        return panel
    lengths = [many(int(panel.known[i]), "row") for i in short]
    verb = "is" if len(short) == 1 else "are"
    note = f"data: {len(short)} of {len(fits)} series {verb} left out, too short: {panel.named(short, lengths)}"
    kept = only(panel, np.flatnonzero(fits))
    return replace(kept, notes=(*kept.notes, note))


def _series_cuts(panel: Panel, splits: Sequence[float] | Sequence[int], least: int) -> Integers:
    """As `panel_cuts`, [n, 4], of series that may be too short."""
    cuts = np.empty((len(panel.ids), 4), dtype=np.int64)
    if are_counts(splits):
        train, validation, test = (int(share) for share in splits)
        end = panel.starts[:-1] + panel.known
        cuts[:, 3], cuts[:, 2], cuts[:, 1] = end, end - test, end - test - validation
        cuts[:, 0] = np.maximum(panel.starts[:-1], cuts[:, 1] - train)
    else:
        shares = np.array([0.0, splits[0], splits[0] + splits[1], 1.0])
        cuts[:] = panel.starts[:-1, None] + np.round(panel.known[:, None] * shares).astype(np.int64)
        wanted = np.maximum(np.diff(cuts, axis=1)[:, 1:], [least if share else 0 for share in splits[1:]])
        longer = cuts[:, 3:] - np.cumsum(wanted[:, ::-1], axis=1)[:, ::-1]  # where validation and test begin
        cuts[:, 1:3] = np.where((2 * wanted.sum(axis=1) < panel.known)[:, None], longer, cuts[:, 1:3])
    return cuts


def newest(cuts: Integers, fraction: float) -> Integers:
    """The same cuts with only the newest `fraction` of every series' training rows, one at least."""
    rows = np.maximum(1, np.round((cuts[:, 1] - cuts[:, 0]) * fraction).astype(np.int64))
    return np.column_stack([cuts[:, 1] - rows, cuts[:, 1:]])


def panel_folds(cuts: Integers, folds: int) -> tuple[Integers, ...]:
    """The cuts of a rolling-origin validation, fold by fold.

    The validation parts follow one another up to the test, each as long as that of `cuts`. Each fold trains on all rows
    before its validation part, as in a forecast that is made repeatedly; the test rows are in none of them.

    Raises:
        InputError: so many validation parts leave the first of them nothing to train on.
    """
    start, validation, test, end = cuts.T
    length = test - validation
    most = (test - start - 1) // length
    wrong = np.flatnonzero((most < folds) | (folds < 2))
    if len(wrong):
        i = wrong[0]
        raise InputError(
            f"data.folds: {folds} folds of {length[i]} validation rows do not fit; give 0, or 2 to {most[i]}"
        )
    ends = [test - i * length for i in reversed(range(folds))]
    return tuple(np.column_stack([start, stop - length, stop, end]) for stop in ends)


def default_folds(cuts: Integers, horizon: int) -> tuple[Integers, ...]:
    """The cuts of a rolling-origin validation, where the data is short: one stretch says little, and mostly by chance.

    None where the validation rows hold `_ORIGINS` horizons or less than one, or where the rows are many. Else as many
    folds as hold so many together, 5 at the most; the first trains on half of the rows before the test, or more.
    Forecasts begin at every row of a fold's validation part and may reach into the next fold's.
    """
    start, validation, test, end = cuts.T
    length = test - validation
    origins = float((length / horizon).sum())
    if origins >= _ORIGINS or (test - start).sum() > _MANY_ROWS or (length < horizon).any():
        return ()
    count = min(5, math.ceil(_ORIGINS / origins), int(((test - start) // 2 // length).min()))
    if count < 2:
        return ()
    begins = [test - i * length for i in range(count, 0, -1)]
    ends = [np.minimum(begin + length + horizon - 1, test) for begin in begins]
    return tuple(np.column_stack([start, begin, stop, end]) for begin, stop in zip(begins, ends, strict=True))


def usual_horizon(panel: Panel) -> int:
    """A season of the times, or 12 rows where they have none."""
    return panel.season if panel.season > 1 else UNSEASONAL_HORIZON


def default_horizon(panel: Panel, splits: Sequence[float] | Sequence[int]) -> int:
    """The usual one; less where most series are too short for that."""
    usual = usual_horizon(panel)
    parts = np.diff(_series_cuts(panel, splits, usual), axis=1)
    fits = (parts[:, 0] > usual) & ((parts[:, 1:] >= usual) | (np.array(splits[1:]) == 0)).all(axis=1)
    if 2 * np.count_nonzero(fits) > len(fits):
        return usual
    return min(usual, fitting_horizon(panel, splits, rank=0.5)) or usual


def fitting_horizon(panel: Panel, splits: Sequence[float] | Sequence[int], rank: float = 0.0) -> int:
    """A horizon that a series holds in each part of the split, with as much to train on; 0: there is none.

    Args:
        rank: 0: that of the shortest series; 0.5: of the median one.
    """
    i = np.argsort(panel.known, kind="stable")[int(rank * len(panel.ids))]
    if are_counts(splits) or not all(splits[1:]):
        train, *others = np.diff(_series_cuts(panel, splits, 0)[i]).tolist()
        return int(min([train // 2, *(rows for rows in others if rows > 0)]))
    # The split gives each part a horizon, and another fold, so that there are windows enough for intervals.
    rows = int(panel.known[i])
    return max(rows // 6, int(rows > 4))


def check_lengths(panel: Panel, cuts: Integers, window: int, horizon: int, fitting: int = 0) -> None:
    """See that every series has a window to train on, and a horizon in each other part, but where nothing is tested.

    Inputs may reach back into the part before. Of many series, one needs to hold the window; in the others it is
    padded, and that is logged.

    Args:
        fitting: a horizon that would do, where nobody has asked for this one; 0: none.

    Raises:
        InputError: some are too short: how many, and the first three; every part at once.
    """
    problems, parts = [], np.diff(cuts, axis=1).T
    padded = np.flatnonzero(parts[0] < window + horizon)
    inputs = window if len(padded) == len(cuts) else 1  # that every series needs
    needs = {"train": inputs + horizon, "validation": horizon, "test": horizon}
    for (part, need), rows in zip(needs.items(), parts, strict=True):
        short = np.flatnonzero(rows < need)
        if not len(short) or (part == "test" and not rows.any()):
            continue
        why, lower = "one horizon", f"give --horizon {fitting}" if fitting else "lower the horizon"
        if part == "train":
            why = f"space.window {window} + horizon {horizon}" if inputs == window else f"one row + horizon {horizon}"
            lower = "lower space.window or the horizon" if inputs == window and not fitting else lower
        if panel.series is None:
            has = f"{part} has {many(int(rows[0]), 'row')} and needs at least {need} ({why})"
            line = f"data.splits: {has}; {lower}, or give {part} more rows"
            problems.append(Problem(line, {"data.horizon": str(fitting)} if fitting else None))
        else:
            shown = panel.named(short, [many(int(rows[i]), "row") for i in short])
            line = f"data: {len(short)} of {len(panel.ids)} series are too short: {part} needs {many(need, 'row')}"
            line += f" ({why}): {shown}; leave them out: --short omit, {lower}, or give {part} a larger share"
            problems.append(_to_omit(line, len(short), panel))
    if problems:
        raise InputError(problems)
    if len(padded):
        rows = [many(int(count), "training row") for count in parts[0][padded]]
        _log.warning(
            "data: %d of %d series %s shorter than the longest window (%d) and a horizon: %s; windows are padded with"
            " the series' first row",
            *(len(padded), len(cuts), "is" if len(padded) == 1 else "are", window, panel.named(padded, rows)),
        )


def with_missing_rows(panel: Panel) -> Panel:
    """The panel with a row for every missing time, its numbers NaN."""
    at, ticks = missing_rows(panel.time, panel.starts, panel.freq)
    if not len(at):
        return panel
    series = _series_before(panel, at)
    before = at - panel.starts[series] < panel.known[series]
    known = panel.known + np.bincount(series[before], minlength=len(panel.ids))
    return _inserted(panel, at, ticks, known)


def extended(panel: Panel, horizon: int, step: int | None) -> Panel:
    """The panel with at least `horizon` rows behind each series' last target. step: between whole-numbered times."""
    have = np.diff(panel.starts) - panel.known
    lacking = np.flatnonzero(have < horizon)
    at = np.repeat(panel.starts[lacking + 1], horizon - have[lacking])
    times: dict[tuple[int, int], Integers] = {}
    ticks: list[Integers] = []
    for i in lacking.tolist():
        end, count = int(panel.starts[i + 1]), int(horizon - have[i])
        before = panel.time[max(int(panel.starts[i]), end - 12) : end]
        key = (int(ticks_of(before[-1:])[0]), count)
        if key not in times and isinstance(before, pd.DatetimeIndex):
            times[key] = ticks_of(following(before, panel.freq, count))
        elif key not in times:
            times[key] = key[0] + int(step or 1) * np.arange(1, count + 1)
        ticks.append(times[key])
    return _inserted(panel, at, np.concatenate(ticks), panel.known) if ticks else panel


def filled(panel: Panel, cuts: Integers) -> tuple[Panel, int]:
    """The panel with every missing number interpolated from its own part of its own series, and how many were.

    A part's first and last missing ones take the nearest value there is; a part is known by two neighbours in `cuts`.
    A part without any takes the last value before it. Categories stay missing, and `Panel.values` the truth.

    Raises:
        InputError: the first part of a series has no value at all.
    """
    values, count = panel.values.copy(), 0
    empty: dict[str, dict[int, None]] = {}  # the series without a value to begin with, by column
    numbers = {name: column.copy() for name, column in panel.covariates.items() if not isinstance(column, Categories)}
    for name, column in ({name: values[:, i] for i, name in enumerate(panel.columns)} | numbers).items():
        missing = np.isnan(column)
        if not missing.any():
            continue
        for i in np.flatnonzero(np.logical_or.reduceat(missing, panel.starts[:-1])).tolist():
            for start, stop in pairwise(cuts[i].tolist()):
                part, gaps = column[start:stop], missing[start:stop]
                if not gaps.any():
                    continue
                if not gaps.all():
                    rows = np.arange(stop - start)
                    part[gaps] = np.interp(rows[gaps], rows[~gaps], part[~gaps])
                elif start > cuts[i, 0]:
                    part[:] = column[start - 1]
                else:
                    empty.setdefault(name, {})[i] = None
                    break
                count += int(gaps.sum())
    _raise_empty(panel, empty, "its first part has no value to interpolate from")
    covariates = {**panel.covariates, **numbers}
    known = np.isnan(panel.values[_known_rows(panel)]).any()
    return replace(panel, filled=values if known else None, interpolated=True, covariates=covariates), count


def carried(panel: Panel, train: Integers | None = None) -> tuple[Panel, int]:
    """The panel with the last value before each missing target in its place, and how many numbers are missing.

    Before a series' first value they stay missing, as those of covariates do.

    Args:
        train: the training rows of each series, [n, 2].

    Raises:
        InputError: a column of a series has no value in these rows, or a series none at all.
    """
    rows, missing = np.arange(len(panel.values)), np.isnan(panel.values)
    first = np.repeat(panel.starts[:-1], np.diff(panel.starts))
    values = np.empty_like(panel.values)
    for i in range(len(panel.columns)):
        last = np.maximum.accumulate(np.where(missing[:, i], first, rows))
        values[:, i] = panel.values[last, i]
    if train is not None:
        given = np.array([~missing[start:stop].all(axis=0) for start, stop in train.tolist()])  # [n, columns]
        lacking = {name: np.flatnonzero(~given[:, i]).tolist() for i, name in enumerate(panel.columns)}
        empty = {name: dict.fromkeys(series) for name, series in lacking.items() if series}
        _raise_empty(panel, empty, "the training part has no value")
    numbers = [column for column in panel.covariates.values() if not isinstance(column, Categories)]
    known = _known_rows(panel)
    count = int(missing[known].sum()) + sum(int(np.isnan(column[known]).sum()) for column in numbers)
    return replace(panel, filled=values), count


def check_given(panel: Panel, cuts: Sequence[Integers]) -> None:
    """Raises InputError where a part of one of these cuts has no target at all: nothing can be learnt or scored."""
    given = np.concatenate([[0], np.cumsum(~np.isnan(panel.values).all(axis=1))])
    for split in cuts:
        for part, start, stop in zip(("training", "validation", "test"), split.T, split.T[1:], strict=False):
            if (stop > start).any() and not (given[stop] - given[start]).any():
                raise InputError(f"data.gaps: no target of the {part} rows is given; give them another share")


def _known_rows(panel: Panel) -> npt.NDArray[np.bool_]:
    """[rows]: those before each series' future."""
    rows = np.arange(len(panel.values))
    return np.asarray(rows < np.repeat(panel.starts[:-1] + panel.known, np.diff(panel.starts)))


def _raise_empty(panel: Panel, empty: Mapping[str, Mapping[int, None]], problem: str) -> None:
    """Raises InputError, unless `empty` is. empty: series by column."""
    lines = []
    for name, series in empty.items():
        of = f" of {len(series)} series ({panel.named(list(series))})" if panel.series else ""
        lines.append(f"data.gaps: column '{name}'{of}: {problem}; give it one, or leave it out")
    if lines:
        raise InputError(lines)


def _series_before(panel: Panel, at: Integers) -> Integers:
    """The series of the row before each position."""
    return np.searchsorted(panel.starts, at - 1, side="right") - 1


def _inserted(panel: Panel, at: Integers, ticks: Integers, known: Integers) -> Panel:
    """The panel with rows without values before the positions `at`, at these times, each in the series before it."""
    counts = np.bincount(_series_before(panel, at), minlength=len(panel.ids))
    time = np.insert(ticks_of(panel.time), at, ticks)
    index: pd.Index = pd.Index(time, name=panel.time.name)
    if isinstance(panel.time, pd.DatetimeIndex):
        index = pd.DatetimeIndex(time.view("M8[us]"), name=panel.time.name)
        index = index if panel.time.tz is None else index.tz_localize("UTC")
    covariates: Mapping[str, Column] = {
        name: Categories(np.insert(column.codes, at, np.int32(-1)), column.names)
        if isinstance(column, Categories)
        else np.insert(column, at, np.nan)
        for name, column in panel.covariates.items()
    }
    return replace(
        panel,
        time=index,
        values=np.insert(panel.values, at, np.nan, axis=0),
        filled=None if panel.filled is None else np.insert(panel.filled, at, np.nan, axis=0),
        covariates=covariates,
        starts=np.concatenate([[0], np.cumsum(np.diff(panel.starts) + counts)]).astype(np.int64),
        known=known,
    )

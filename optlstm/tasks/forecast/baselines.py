"""Forecasts that need no tuning. A model that does not beat them is not worth its trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from optlstm.util.arrays import Floats

Mask = NDArray[np.bool_]
Learnt = tuple[Floats, range, Mask | None]
Number = TypeVar("Number", bound=np.generic)
_CHUNK = 4096  # windows at a time
LINEAR_WINDOWS = 200_000  # that NLinear is solved on; of more, every second, third, ...
_CHUNK_BYTES = 64 << 20  # of windows at a time in the normal equations


def baselines(
    values: Callable[[int], Floats],
    train: Sequence[range],
    first: Sequence[range],
    window: int,
    horizon: int,
    season: int,
    missing: Callable[[int], Mask] | None = None,
) -> Iterator[tuple[int, range, dict[str, Floats]]]:
    """The forecasts of every baseline, a chunk of windows at a time. It sees only the rows before those it forecasts.

    All series share NLinear's weights; the other baselines forecast every series by itself.

    Args:
        values: a series' position -> its values [rows, columns], each column on one scale.
        train: of each series, the rows that NLinear learns from.
        first: of each series, the rows at which forecasts begin.
        window: rows that NLinear reads, as the model does.
        missing: a series' position -> where a value was not given, [rows, columns]: it is read, but not learnt.
        season: rows; with 1 (none), or too few rows before a forecast, there is no seasonal naive forecast.

    Yields:
        A series' position, the rows at which the forecasts begin, and [windows, columns, horizon] by name.
    """
    windows = sum(max(0, len(rows) - window - horizon + 1) for rows in train)
    thinned = max(1, -(-windows // LINEAR_WINDOWS))
    learnt = ((values(i), rows, missing(i) if missing else None) for i, rows in enumerate(train))
    weights = nlinear_weights(learnt, window, horizon, thinned)
    season = season if season <= min(rows.start for rows in first) else 1
    for i, begin in enumerate(first):
        known = values(i)
        for at in range(0, len(begin), _CHUNK):
            rows = begin[at : at + _CHUNK]
            forecasts = {"naive": naive(known, rows, horizon)}
            if season > 1:
                forecasts["seasonal_naive"] = _seasonal_naive(known, rows, horizon, season)
            forecasts["drift"] = _drift(known, rows, horizon)
            yield i, rows, {**forecasts, "nlinear": _nlinear(known, rows, weights)}


@dataclass(frozen=True)
class NormalEquations:
    """Those of NLinear: inner [window, window] and outer [window, horizon] products over all windows, in float64.

    The window's last value is subtracted from inputs and targets, so that its column would be all 0; a constant takes
    its place. All columns and all series share the weights.
    """

    inner: Floats
    outer: Floats

    @classmethod
    def of(cls, series: Iterable[Learnt], window: int, horizon: int, every: int = 1) -> NormalEquations:
        """Summed a chunk of windows at a time.

        Args:
            series: of every series, the values [rows, columns], the rows to learn from, and where a value was not given
                [rows, columns]: windows with such a target, or last value, are left out.
            every: rows from window to window.
        """
        inner = np.zeros((window, window))
        outer = np.zeros((window, horizon))
        for values, train, missing in series:
            count = len(train) - window - horizon + 1
            chunk = max(1, _CHUNK_BYTES // (8 * (window + horizon) * values.shape[1])) * every
            for start in range(train.start, train.start + count, chunk):
                stop = min(start + chunk, train.start + count)
                first = range(start + window, stop + window, every)
                inputs = _inputs(values, first, window)
                targets = _rows(values, first, 0, horizon) - _rows(values, first, -1, 1)  # [n, columns, horizon]
                flat, wanted = inputs.reshape(-1, window), targets.reshape(-1, horizon)
                if missing is not None:
                    given = ~_rows(missing, first, -1, horizon + 1).any(axis=2).reshape(-1)
                    flat, wanted = flat[given], wanted[given]
                inner += flat.T @ flat
                outer += flat.T @ wanted
        return cls(inner, outer)

    def solve(self, penalty: float = 0.0) -> Floats:
        """The weights [window, horizon] of least squared error, the last row the constant.

        penalty: of their squares, as a share of the inputs' mean square; the constant has none.
        """
        inner, inputs = self.inner.copy(), len(self.inner) - 1
        inner[range(inputs), range(inputs)] += penalty * np.diag(self.inner)[:inputs].mean() if inputs else 0.0
        if penalty and inner[:inputs, :inputs].any():  # not where all inputs are constant
            return np.asarray(np.linalg.solve(inner, self.outer), dtype=np.float64)
        return np.asarray(np.linalg.lstsq(inner, self.outer, rcond=1e-12)[0], dtype=np.float64)

    def squared_error(self, weights: Floats) -> float:
        """The sum over all windows, less that of repeating the last value. weights: [window, horizon]."""
        return float(((self.inner @ weights - 2 * self.outer) * weights).sum())

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(self.inner + other.inner, self.outer + other.outer)


def nlinear_weights(series: Iterable[Learnt], window: int, horizon: int, every: int = 1) -> Floats:
    """NLinear (Zeng et al. 2022) solved exactly: the weights [window, horizon] of least squared error over all windows.

    Args: As of `NormalEquations.of`.
    """
    return NormalEquations.of(series, window, horizon, every).solve()


def _nlinear(values: Floats, first: range, weights: Floats) -> Floats:
    missing = len(weights) - first.start  # rows before the series' first one, which stands for them
    if missing > 0:
        values = np.concatenate([np.repeat(values[:1], missing, axis=0), values])
        first = range(first.start + missing, first.stop + missing, first.step)
    last = _rows(values, first, -1, 1)  # [n, columns, 1]
    return np.asarray(_inputs(values, first, len(weights)) @ weights + last)


def _inputs(values: Floats, first: range, window: int) -> Floats:
    """[n, columns, window]: the window less its last value, and 1 in the place of that value."""
    rows = _rows(values, first, -window, window)
    inputs = rows - rows[..., -1:]
    inputs[..., -1] = 1.0
    return inputs


def naive(values: Floats, first: range, horizon: int) -> Floats:
    """The last value, repeated: [windows, columns, horizon]. first: the rows at which forecasts begin."""
    return np.repeat(_rows(values, first, -1, 1), horizon, axis=2)


def _seasonal_naive(values: Floats, first: range, horizon: int, season: int) -> Floats:
    """The last season, repeated."""
    last = _rows(values, first, -season, season)  # [n, columns, season]
    return last[..., np.arange(horizon) % season]


def _drift(values: Floats, first: range, horizon: int) -> Floats:
    """The straight line through the series' first and last value (Hyndman and Athanasopoulos, section 5.2)."""
    last = _rows(values, first, -1, 1)  # [n, columns, 1]
    before = np.array(first)[:, None, None] - 1  # steps from the first row to the last
    slope = (last - values[0][None, :, None]) / np.maximum(before, 1)
    return np.asarray(last + slope * np.arange(1, horizon + 1))


def _rows(values: NDArray[Number], first: range, offset: int, length: int) -> NDArray[Number]:
    """[n, columns, length]: for each row of `first`, `length` rows from `offset` rows after it on. A view."""
    part = values[first.start + offset : first[-1] + offset + length]
    return np.lib.stride_tricks.sliding_window_view(part, length, axis=0)[:: first.step]

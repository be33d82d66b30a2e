"""What a forecaster's forecasts follow from: its own past by lags, and each covariate.

The measure is how much worse the forecasts of a file's known rows get where an input is permuted among windows that are
near each other in time (Breiman 2001; within blocks, so that a slow drift of the series is no part of it). The second
opinion is gradient times input, of the same inputs: what the forecast answers to, right or wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optlstm.errors import InputError
from optlstm.models.model import Model
from optlstm.tasks.forecast.predictor import ForecastPredictor
from optlstm.tasks.forecast.windows import Rows
from optlstm.util.arrays import Floats, row_ranges

_WINDOWS, _LEAST_WINDOWS = 384, 16  # of the file, evenly spread
_BLOCK = 16  # windows that an input is permuted among
_REPEATS = 6
_SEASONS = 3  # whose lags are looked at one by one


@dataclass(frozen=True)
class Share:
    """How much one input matters.

    Args:
        increase: of the mean absolute error where it is permuted, as a share of it.
        spread: standard deviation of that over the permutations.
        gradient: its share of all gradients times inputs.
    """

    name: str
    increase: float
    spread: float
    gradient: float


@dataclass(frozen=True)
class Explanation:
    """JSON. `lags` are of the target's own past, from the newest row (lag 1) on; both lists have the largest first."""

    windows: int
    error: float  # mean absolute error of these windows, standardised
    season: int
    inputs: list[Share]
    lags: list[Share]

    def stored(self) -> dict[str, Any]:
        return asdict(self)


def explain(model: Model, data: Path, seed: int = 0) -> Explanation:
    """Explain a model's forecasts of the known rows of a file.

    Raises:
        InputError: The model is not of forecasts, or the file does not fit, or is too short.
    """
    predictor = model.predictor
    if not isinstance(predictor, ForecastPredictor):
        raise InputError("explain: is for forecasts here, and this model is of labels; see explain_labels")
    batch = _Batch.of(predictor, data)
    own, covariates = _lag_blocks(batch.window, predictor.section.season), batch.columns()
    shares = batch.measured({"own past": _Own(0, batch.window), **covariates}, seed)
    lags = batch.measured(
        {name: _Own(batch.window - last, batch.window - first + 1) for name, (first, last) in own}, seed
    )
    return Explanation(
        windows=len(batch.inputs),
        error=batch.error(batch.inputs, batch.more),
        season=predictor.section.season,
        inputs=sorted(shares, key=lambda share: -share.increase),
        lags=sorted(lags, key=lambda share: -share.increase),
    )


@dataclass(frozen=True)
class _Own:
    """Rows of a window: from `first` to before `stop`."""

    first: int
    stop: int


@dataclass(frozen=True)
class _Column:
    """Columns of an input beside the window. at: its place among those; last: whether columns are the last axis."""

    at: int
    columns: tuple[int, ...]
    last: bool


@dataclass(frozen=True)
class _Batch:
    """Windows of a file as networks read them, with the values that came.

    Args:
        inputs: [n, targets, window]; more: the covariates, [n, columns, rows] or [n, targets, columns, rows], and the
            static columns [n, columns]; truth: [n, targets, horizon], standardised.
    """

    predictor: ForecastPredictor
    window: int
    inputs: Tensor
    more: tuple[Tensor, ...]
    truth: Tensor
    at: Tensor  # each window's series

    @classmethod
    def of(cls, predictor: ForecastPredictor, data: Path) -> _Batch:
        panel, section, window = predictor.read(data), predictor.section, predictor.forecaster.window
        ready = section.data(panel)
        counts = np.maximum(0, panel.known - window - section.horizon + 1)
        first, series = row_ranges(panel.starts[:-1], counts)
        if len(first) < _LEAST_WINDOWS:
            needed = window + section.horizon + _LEAST_WINDOWS - 1
            raise InputError(f"data: {data.name} has too few rows to explain forecasts of; {needed} are enough")
        kept = np.unique(np.linspace(0, len(first) - 1, min(_WINDOWS, len(first))).astype(np.int64))
        at = torch.from_numpy(series[kept])
        rows = Rows(ready, torch.device("cpu"))
        inputs, targets, *more = rows.take(torch.from_numpy(first[kept]), at, window, section.horizon)
        return cls(predictor, window, inputs, tuple(more), targets, at)

    def columns(self) -> dict[str, _Column]:
        """Where each covariate stands."""
        section = self.predictor.section.inputs
        width, at, columns = 1 + section.masked, 0, dict[str, _Column]()
        for name in section.calendar:
            columns[f"calendar: {name}"] = _Column(0, (at, at + 1), last=False)
            at += 2
        for feature in (*section.future, *section.past):
            step = width if feature.categories is None else 1
            columns[feature.name] = _Column(0, tuple(range(at, at + step)), last=False)
            at += step
        at = 0
        for feature in section.static:
            step = width if feature.categories is None else 1
            columns[feature.name] = _Column(1, tuple(range(at, at + step)), last=True)
            at += step
        return columns

    def point(self, inputs: Tensor, more: Sequence[Tensor]) -> Tensor:
        """The forecast [n, targets, horizon], standardised."""
        return self.predictor.forecaster.standardised(inputs, more, self.at)

    @torch.no_grad()
    def error(self, inputs: Tensor, more: Sequence[Tensor]) -> float:
        return float((self.point(inputs, more) - self.truth).abs().nanmean())

    def measured(self, parts: Mapping[str, _Own | _Column], seed: int) -> list[Share]:
        usual, gradients = self.error(self.inputs, self.more), self._gradients(parts)
        total = sum(gradients.values()) or 1.0
        shares: list[Share] = []
        for name, part in parts.items():
            draw = np.random.default_rng([seed, len(shares)])
            errors = [self.error(*self._permuted(part, draw)) for _ in range(_REPEATS)]
            increases: Floats = np.array(errors) / usual - 1 if usual else np.zeros(_REPEATS)
            spread = float(increases.std(ddof=1))
            shares.append(Share(name, float(increases.mean()), spread, gradients[name] / total))
        return shares

    def _permuted(self, part: _Own | _Column, draw: np.random.Generator) -> tuple[Tensor, list[Tensor]]:
        order, count = np.arange(len(self.inputs)), len(self.inputs)
        if isinstance(part, _Column) and part.last:
            draw.shuffle(order)  # it differs between series alone
        for begin in range(0, 0 if isinstance(part, _Column) and part.last else count, _BLOCK):
            draw.shuffle(order[begin : begin + _BLOCK])
        other, inputs, more = torch.from_numpy(order), self.inputs, list(self.more)
        if isinstance(part, _Own):
            level = inputs.mean(dim=2, keepdim=True)  # a window keeps its own
            changed, rows = inputs.clone(), slice(part.first, part.stop)
            changed[..., rows] = level + (inputs - level)[other][..., rows]
            return changed, more
        values = more[part.at].clone()
        columns = torch.tensor(part.columns)
        axis = values.dim() - (1 if part.last else 2)
        values.index_copy_(axis, columns, values[other].index_select(axis, columns))
        more[part.at] = values
        return inputs, more

    def _gradients(self, parts: Mapping[str, _Own | _Column]) -> dict[str, float]:
        """The sum of |gradient x (input - mean)| of each part."""
        inputs = self.inputs.clone().requires_grad_()
        more = [tensor.clone().requires_grad_() for tensor in self.more]
        with torch.enable_grad():
            given = torch.autograd.grad(self.point(inputs, more).sum(), [inputs, *more], allow_unused=True)
        products = []
        for tensor, gradient in zip([inputs, *more], given, strict=True):
            centred = (tensor - tensor.mean(dim=0)).detach()
            products.append(torch.zeros_like(centred) if gradient is None else (gradient * centred).abs())
        own, *others = products
        sums = {}
        for name, part in parts.items():
            if isinstance(part, _Own):
                sums[name] = float(own[..., part.first : part.stop].sum())
            else:
                axis = others[part.at].dim() - (1 if part.last else 2)
                sums[name] = float(others[part.at].index_select(axis, torch.tensor(part.columns)).sum())
        return sums


def _lag_blocks(window: int, season: int) -> list[tuple[str, tuple[int, int]]]:
    """(name, (first lag, last lag)): the lags of whole seasons one by one; without a season blocks that double."""
    if 1 < season <= window:
        edges = [1]
        for k in range(1, _SEASONS + 1):
            edges += [k * season, k * season + 1]
    else:
        edges = [1 << i for i in range(window.bit_length())]
    edges = sorted({1, 2, *(edge for edge in edges if edge <= window)})
    pairs = zip(edges, [*(edge - 1 for edge in edges[1:]), window], strict=True)
    return [(f"lag {a}" if a == b else f"lags {a} to {b}", (a, b)) for a, b in pairs if a <= b <= window]

"""An ensemble: networks and linear forecasts, weighted by their errors on the validation windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optlstm.tasks.base import Blend, TunedNetwork
from optlstm.tasks.forecast.baselines import NormalEquations, Number
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.linear import (
    PENALTIES,
    LinearMap,
    combined,
    naive_map,
    normal_equations,
    ridge_map,
    seasonal_map,
    with_residuals,
)
from optlstm.tasks.forecast.losses import mase_factors
from optlstm.tasks.forecast.problem import ForecastProblem, fold_problems, forecast
from optlstm.tasks.forecast.selection import absolute_losses, shrunk_weights, squared_losses
from optlstm.tasks.forecast.windows import Windows
from optlstm.training.folds import Folds
from optlstm.training.heads import POINT, Head, QuantileHead
from optlstm.training.metric import Goal
from optlstm.util.arrays import Floats

_BATCH = 256  # sequences at a time
_MOST_BLOCKS = 20  # of one fold's validation windows
_ABSOLUTE = ("mae", "smape", "mase")  # metrics of which the weights are chosen by absolute errors
_MOST_ERRORS = 1_000_000  # kept of all parts where they are absolute; of more windows, every second, third, ...


@dataclass(frozen=True)
class Linear:
    """A forecast that is solved and not trained: `naive`, `seasonal_naive`, or `ridge` of a window and a penalty."""

    name: str
    window: int
    penalty: float = 0.0

    @property
    def label(self) -> str:
        return f"{self.name} (window {self.window}, penalty {self.penalty:g})" if self.name == "ridge" else self.name


@dataclass(frozen=True)
class Mixture:
    """The weights of a model's parts; they sum to 1.

    Args:
        trials: of each trial's networks together.
        linear: of each linear forecast whose weight is not 0.
        head: what the linear forecasts give: points, or quantiles, which are those of their residuals.
    """

    trials: tuple[float, ...]
    linear: Mapping[Linear, float]
    head: Head = POINT

    def blend(self, data: ForecastData, networks: int) -> Blend:
        """What a model's folder holds of it: the linear forecasts are one, their weighted sum.

        Args:
            data: whose training rows the linear forecasts are solved on.
            networks: of each trial.
        """
        kept = tuple(i for i, weight in enumerate(self.trials) if weight > 0) or (0,)  # a model has a network
        weights = [self.trials[i] / networks for i in kept for _ in range(networks)]
        if not self.linear:
            return Blend(kept, {"weights": weights}, {}, self)
        share = min(1.0, sum(self.linear.values()))  # not 1 and a rounding error
        maps = _maps(list(self.linear), data, self.head)
        linear = combined(maps, [weight / share for weight in self.linear.values()])
        updates = {
            "weights": [*weights, share],
            "linear": {part.label: weight for part, weight in self.linear.items()},
            "linear_window": linear.window,
        }
        extras = {f"linear.{name}": t for name, t in linear.module(self.head).state_dict().items()}
        return Blend(kept, updates, extras, self)


def without_networks(mixture: Mixture) -> Mixture:
    """The same, where the networks repeat the last value: the naive forecast in their place."""
    if not any(mixture.trials):
        return mixture
    naive = Linear("naive", 1)
    linear = {**mixture.linear, naive: mixture.linear.get(naive, 0.0) + sum(mixture.trials)}
    return replace(mixture, trials=(0.0,) * len(mixture.trials), linear=linear)


def choose_mixture(
    data: ForecastData,
    trials: Sequence[TunedNetwork],
    windows: Sequence[int],
    season: int,
    metric: str = "mse",
    loss: str | None = None,
) -> Mixture:
    """The mixture by greedy selection with replacement (Caruana et al. 2004), on the validation windows of all folds.

    The selection is repeated on samples of a Bayesian bootstrap (Rubin 1981) over blocks of the windows, each about a
    horizon long, and the weights are the mean over the samples: where the validation rows say little, the samples
    disagree, and the weights are spread. The fewer windows there are that do not overlap, the nearer they are to
    those of a plain mean.

    Args:
        trials: each with its network, trained on the training rows alone; of folds one network each.
        windows: lengths of the ridge regressions' windows, beside those of the trials.
        season: 1: none.
        metric: that decides. The loss is the mean absolute error of mae, smape and (on each series' scale) mase, else
            the mean squared one; of networks that give quantiles or distributions, the mean pinball loss.
        loss: that the networks were trained with.
    """
    problems = fold_problems(data, torch.device("cpu"), goal=Goal(loss, (metric,)))
    head = problems[0].spec.linear_head()
    first = problems[0].data.cuts  # of the fold with the fewest training rows
    rows = first[:, 1] - first[:, 0]
    lengths = sorted({*windows, *(hp.window for hp, _ in trials)})
    linear = [Linear("naive", 1), *([Linear("seasonal_naive", season)] if 1 < season <= rows.min() else [])]
    lengths = [length for length in lengths if length <= rows.max()]
    linear += [Linear("ridge", length, penalty) for length in lengths for penalty in PENALTIES]
    folds = [
        _Fold.of(problem, [(hp, fold_member(network, i)) for hp, network in trials], linear, head)
        for i, problem in enumerate(problems)
    ]
    levels = head.levels if isinstance(head, QuantileHead) else (0.5,)
    if metric in _ABSOLUTE or isinstance(head, QuantileHead):
        every = -(-len(levels) * sum(fold.size for fold in folds) // _MOST_ERRORS)
        losses = absolute_losses([errors for fold in folds for errors in fold.errors(metric, every)], levels)
    else:
        losses = squared_losses(np.stack([gram for fold in folds for gram in fold.grams()]))
    counts = np.array([windows for fold in folds for windows in fold.counts])
    independent = sum(fold.independent for fold in folds)
    weights = shrunk_weights(losses, counts, len(trials) + len(linear), len(trials), independent)
    of_linear = zip(linear, weights[len(trials) :].tolist(), strict=True)
    return Mixture(
        tuple(weights[: len(trials)].tolist()), {part: weight for part, weight in of_linear if weight > 0}, head
    )


@dataclass(frozen=True)
class _Fold:
    """The networks and the linear forecasts of a fold, each with its validation windows, whose targets are the same."""

    problem: ForecastProblem
    parts: Sequence[tuple[nn.Module, Windows, Head]]
    head: Head

    @classmethod
    def of(
        cls, problem: ForecastProblem, trials: Sequence[TunedNetwork], linear: Sequence[Linear], head: Head
    ) -> _Fold:
        maps = _maps(linear, problem.data, head)
        solved = [(replace(trials[0][0], window=solution.window), solution.module(head), head) for solution in maps]
        networks = [(hp, network.eval(), problem.head) for hp, network in trials]
        parts = [(network, problem.validation_windows(hp), out) for hp, network, out in [*networks, *solved]]
        return cls(problem, parts, head)

    @property
    def _numbers(self) -> int:
        """In a window's targets."""
        return len(self.problem.data.columns) * self.problem.data.horizon

    @property
    def size(self) -> int:
        """Errors of all parts in all windows."""
        return len(self.parts) * len(self.parts[0][1]) * self._numbers

    @property
    def independent(self) -> int:
        """How many validation windows of all series would not overlap."""
        data = self.problem.data
        windows = data.cuts[:, 2] - data.cuts[:, 1] - data.horizon + 1
        return sum(max(1, round(count / data.horizon)) for count in windows.tolist() if count > 0)

    @cached_property
    def blocks(self) -> Sequence[Tensor]:
        """The numbers of each block's windows."""
        count = len(self.parts[0][1])
        return torch.tensor_split(
            torch.arange(count), min(_MOST_BLOCKS, max(1, round(count / self.problem.data.horizon)))
        )

    @cached_property
    def counts(self) -> Sequence[float]:
        """Of each block: its windows; one with missing targets counts less."""
        if self.problem.data.missing is None:
            return [float(len(block)) for block in self.blocks]
        windows = self.parts[0][1]
        targets = ((windows.take(index)[1] for index in torch.split(block, _BATCH)) for block in self.blocks)
        return [sum(int((~part.isnan()).sum()) for part in block) / self._numbers for block in targets]

    def grams(self) -> Iterator[Floats]:
        """Of each block: the mean products of the parts' errors, [parts, parts]."""
        for block, count in zip(self.blocks, self.counts, strict=True):
            gram = np.zeros((len(self.parts), len(self.parts)))
            for errors in self._errors(block):
                flat = self._given(errors)
                gram += flat @ flat.T
            yield gram / max(1.0, count * self._numbers)

    def errors(self, metric: str, every: int) -> Iterator[NDArray[np.float32]]:
        """Of each block: the parts' errors in every so many windows, [parts, errors], on the metric's scale.

        Those of quantiles are level by level the last dimension.
        """
        data, windows = self.problem.data, self.parts[0][1]
        factors = np.ones_like(data.std)
        if metric == "mase" and data.naive is not None:
            factors = mase_factors(data.std, data.naive)
        if metric == "wql":
            factors = data.std / np.hypot(data.mean, data.std).mean(axis=0)  # about the values' size, of each column
        for block in self.blocks:
            index = block[::every].contiguous()
            errors = np.concatenate([part.astype(np.float32) for part in self._errors(index)], axis=1)
            more = (..., *(None,) * (errors.ndim - 3))
            errors *= factors[windows.where(index)[1].numpy()][more].astype(np.float32)
            yield self._given(errors)

    def _given(self, errors: NDArray[Number]) -> NDArray[Number]:
        """[parts, batch, columns, ...] -> [parts, errors], without those of missing targets, which are NaN."""
        flat = errors.reshape(len(errors), -1)
        return flat if self.problem.data.missing is None else flat[:, ~np.isnan(flat[0])]

    @torch.no_grad()
    def _errors(self, index: Tensor) -> Iterator[Floats]:
        """Forecasts less targets of windows, a batch at a time: [parts, batch, columns, horizon(, levels)]."""
        for part in torch.split(index, max(1, _BATCH // len(self.problem.data.columns))):
            errors = []
            scale = self.problem.scale_of(self.parts[0][1].where(part)[1])
            for network, windows, head in self.parts:
                inputs, targets, *more = windows.take(part)
                out = forecast(network, inputs, *more, outputs=head.outputs)
                if isinstance(self.head, QuantileHead):
                    errors.append((head.quantiles(out, self.head.levels, scale) - targets[..., None]).double())
                else:
                    errors.append((out - targets).double())
            yield np.asarray(torch.stack(errors).numpy())


def _maps(linear: Sequence[Linear], data: ForecastData, head: Head) -> list[LinearMap]:
    """Solved on the training rows; with quantiles of their residuals there, where they are to give quantiles."""
    equations = {
        part.window: normal_equations(data, part.window, data.cuts[:, :2]) for part in linear if part.name == "ridge"
    }
    maps = [_map(part, data.horizon, equations) for part in linear]
    if not isinstance(head, QuantileHead):
        return maps
    return [with_residuals(solution, data, head.levels) for solution in maps]


def _map(part: Linear, horizon: int, equations: Mapping[int, NormalEquations]) -> LinearMap:
    if part.name == "ridge":
        return ridge_map(equations[part.window], part.penalty)
    return naive_map(horizon) if part.name == "naive" else seasonal_map(horizon, part.window)


def fold_member(network: nn.Module, fold: int) -> nn.Module:
    """The network of a fold, on the CPU, where the linear forecasts are."""
    return (network[fold] if isinstance(network, Folds) else network).cpu()

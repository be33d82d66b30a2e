"""An ensemble: networks and linear forecasts, weighted by their errors on the validation windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from optlstm.tasks.base import Blend, TunedNetwork
from optlstm.tasks.forecast.baselines import LINEAR_WINDOWS, NormalEquations
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.linear import LinearMap, combined, naive_map, ridge_map, seasonal_map
from optlstm.tasks.forecast.problem import ForecastProblem, Windows, fold_problems, forecast
from optlstm.training.folds import Folds
from optlstm.util.arrays import Floats

PENALTIES = (0.0, 0.01, 0.1, 1.0)  # of the ridge regressions, as shares of the inputs' mean square
_BATCH = 256  # sequences at a time
_ROUNDS = 20  # of a greedy selection: a weight is a multiple of 1/20
_DRAWS = 100  # bootstrap samples
_MOST_BLOCKS = 20  # of one fold's validation windows
_LEAST_WEIGHT = 0.01  # smaller ones are noise


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
    """

    trials: tuple[float, ...]
    linear: Mapping[Linear, float]

    def blend(self, data: ForecastData, networks: int) -> Blend:
        """What a model's folder holds of it: the linear forecasts are one, their weighted sum.

        Args:
            data: whose training rows the linear forecasts are solved on.
            networks: of each trial.
        """
        kept = tuple(i for i, weight in enumerate(self.trials) if weight > 0) or (0,)  # a model has a network
        weights = [self.trials[i] / networks for i in kept for _ in range(networks)]
        if not self.linear:
            return Blend(kept, {"weights": weights}, {})
        share = sum(self.linear.values())
        equations = {part.window: _equations(data, part.window) for part in self.linear if part.name == "ridge"}
        maps = [_map(part, data.horizon, equations) for part in self.linear]
        linear = combined(maps, [weight / share for weight in self.linear.values()])
        updates = {
            "weights": [*weights, share],
            "linear": {part.label: weight for part, weight in self.linear.items()},
            "linear_window": linear.window,
        }
        return Blend(kept, updates, {f"linear.{name}": t for name, t in linear.module().state_dict().items()})


def choose_mixture(data: ForecastData, trials: Sequence[TunedNetwork], windows: Sequence[int], season: int) -> Mixture:
    """The mixture by greedy selection with replacement (Caruana et al. 2004), on the validation windows of all folds.

    The selection is repeated on samples of a Bayesian bootstrap (Rubin 1981) over blocks of the windows, each about a
    horizon long, and the weights are the mean over the samples: where the validation rows say little, the samples
    disagree, and the weights are spread.

    Args:
        trials: each with its network, trained on the training rows alone; of folds one network each.
        windows: lengths of the ridge regressions' windows, beside those of the trials.
        season: 1: none.
    """
    folds = fold_problems(data, torch.device("cpu"))
    rows = min(int((fold.data.cuts[:, 1] - fold.data.cuts[:, 0]).min()) for fold in folds)
    lengths = sorted({*windows, *(hp.window for hp, _ in trials)})
    linear = [Linear("naive", 1), *([Linear("seasonal_naive", season)] if 1 < season <= rows else [])]
    linear += [Linear("ridge", length, penalty) for length in lengths for penalty in PENALTIES if length <= rows]
    blocks = [
        block
        for i, fold in enumerate(folds)
        for block in _blocks(fold, [(hp, _member(network, i)) for hp, network in trials], linear)
    ]
    weights = bagged_weights(np.stack([gram for gram, _ in blocks]), np.array([float(count) for _, count in blocks]))
    of_linear = zip(linear, weights[len(trials) :].tolist(), strict=True)
    return Mixture(tuple(weights[: len(trials)].tolist()), {part: weight for part, weight in of_linear if weight > 0})


@torch.no_grad()
def _blocks(
    fold: ForecastProblem, trials: Sequence[TunedNetwork], linear: Sequence[Linear]
) -> Iterator[tuple[Floats, int]]:
    """Of each block of validation windows: the mean products of the parts' errors, [parts, parts], and its windows."""
    horizon, columns = fold.data.horizon, len(fold.data.columns)
    equations = {part.window: _equations(fold.data, part.window) for part in linear if part.name == "ridge"}
    maps = [_map(part, horizon, equations) for part in linear]
    solved = [(replace(trials[0][0], window=solution.window), solution.module()) for solution in maps]
    parts = [(network.eval(), fold.validation_windows(hp)) for hp, network in [*trials, *solved]]
    count, size = len(parts[0][1]), max(1, _BATCH // columns)
    blocks = min(_MOST_BLOCKS, max(1, round(count / horizon)))
    for block in torch.tensor_split(torch.arange(count), blocks):
        gram = np.zeros((len(parts), len(parts)))
        for index in torch.split(block, size):
            errors = torch.stack([_errors(network, windows, index) for network, windows in parts]).numpy()
            gram += errors @ errors.T
        yield gram / (len(block) * columns * horizon), len(block)


def _errors(network: nn.Module, windows: Windows, index: Tensor) -> Tensor:
    """Forecasts less targets of some windows, float64 [windows * columns * horizon]."""
    inputs, targets, *more = windows.take(index)
    return (forecast(network, inputs, *more) - targets).double().flatten()


def _equations(data: ForecastData, window: int) -> NormalEquations:
    """Those of the training rows; on at most so many windows as the baseline is solved on."""
    cuts = data.cuts[:, :2]
    windows = int(np.maximum(0, cuts[:, 1] - cuts[:, 0] - window - data.horizon + 1).sum())
    values = data.values.astype(np.float64)
    every = max(1, -(-windows // LINEAR_WINDOWS))
    return NormalEquations.of(((values, range(*cut)) for cut in cuts.tolist()), window, data.horizon, every)


def _map(part: Linear, horizon: int, equations: Mapping[int, NormalEquations]) -> LinearMap:
    if part.name == "ridge":
        return ridge_map(equations[part.window], part.penalty)
    return naive_map(horizon) if part.name == "naive" else seasonal_map(horizon, part.window)


def _member(network: nn.Module, fold: int) -> nn.Module:
    """The network of a fold, on the CPU, where the linear forecasts are."""
    return (network[fold] if isinstance(network, Folds) else network).cpu()


def bagged_weights(grams: Floats, windows: Floats) -> Floats:
    """The mean of the greedy selections' weights over bootstrap samples; they sum to 1.

    Args:
        grams: of each block, the mean products of the parts' errors, [blocks, parts, parts].
        windows: of each block, [blocks].
    """
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.ones(len(grams)), _DRAWS) * windows
    weights = np.mean([greedy_weights(np.tensordot(share / share.sum(), grams, 1)) for share in shares], axis=0)
    weights = np.where(weights < min(_LEAST_WEIGHT, weights.max()), 0.0, weights)
    return np.asarray(weights / weights.sum())


def greedy_weights(gram: Floats) -> Floats:
    """The weights of forecasts that are added one by one, each the one that gives their mean the least squared error.

    gram: mean products of the forecasts' errors, [parts, parts].
    """
    counts = np.zeros(len(gram))
    for _ in range(_ROUNDS):
        counts[np.argmin(2 * gram @ counts + np.diag(gram))] += 1
    return counts / _ROUNDS

"""What a task brings to a model that is taken home: its part of the card, its networks, its forecasts, its judgement.

Refit, model folder and commands know these and nothing of any task. A new task adds a `Section` to `TaskSection` in
`models/card.py`, and gives its plan a `finish()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from optlstm.training.hparams import Hyperparameters

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn


Metrics = dict[str, float | None]  # None: not defined on these rows


@dataclass(frozen=True)
class Verdict:
    """What the test rows say.

    Args:
        test: the saved model's metrics.
        steps: each metric by horizon step, where the task has steps.
        members: every single network's metrics, in their order; `test` itself where there is one.
        baselines: by name, on the same test rows; `baseline_steps` as `steps`.
        decides: the metrics in which a baseline may win, and whether less is better.
        intervals: how sure the model is, measured; JSON.
        extras: tensors that are saved with the weights.
        facts: what the task's section of the card learns here.
    """

    test: Metrics
    members: list[Metrics]
    baselines: dict[str, Metrics]
    decides: Mapping[str, bool]
    steps: dict[str, list[float | None]] = field(default_factory=dict)
    baseline_steps: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    intervals: dict[str, Any] = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def beaten_by(self) -> dict[str, list[str]]:
        """Baselines that are better than the model: {metric: [name, ...]}, the best first."""
        found = {}
        for metric, less in self.decides.items():
            own, sign = self.test.get(metric), 1 if less else -1
            scores = {name: metrics.get(metric) for name, metrics in self.baselines.items()}
            signed = {name: sign * score for name, score in scores.items() if score is not None}
            better = {name: score for name, score in signed.items() if own is not None and score < sign * own}
            if better:
                found[metric] = sorted(better, key=better.__getitem__)
        return found


class Runner(Protocol):
    """Networks of a task, ready to be used on new data."""

    def predict(self, data: Path, **options: Any) -> pd.DataFrame:
        """Raises InputError where the data does not fit."""
        ...

    def write(self, data: Path, out: Path, **options: Any) -> int:
        """The predictions as a CSV file, streamed; the number of rows. Raises as `predict`."""
        ...

    def score(self, data: Path) -> Metrics:
        """The task's metrics on data that holds the truth."""
        ...

    def graph(self) -> tuple[nn.Module, Tensor, str, str]:
        """For export: a module from raw input to raw output, an input of two samples, and what both are called."""
        ...


class Finish(Protocol):
    """A task whose search is over: what to train on, what to keep, how to judge."""

    def data(self, joined: bool) -> Any:
        """What the objective's factory takes. joined: training and validation rows are one, to train on."""
        ...

    def section(self) -> Any:
        """The task's part of the card."""
        ...

    def judge(self, runner: Any, joined: bool) -> Verdict:
        """Score the test rows, once. joined: baselines that learn, learn from training and validation rows."""
        ...


def bounded(hp: Hyperparameters, numbers: Sequence[int], most: int) -> str | None:
    """Which size is more than `most`, the numbers a weight file holds; None where all may be true."""
    sizes = {**hp.sizes(), **{f"the task's size {n}": number for n, number in enumerate(numbers, start=1)}}
    return next((f"{name} {value}" for name, value in sizes.items() if value > most), None)

"""What a problem is trained for: its loss, and which of its validation metrics decides. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One of the numbers that `Problem.validate` gives.

    note: what is said behind it, such as its scale. higher: a share of which more is better, as accuracy is; where it
    decides, what is reported and minimised is 1 - it.
    """

    name: str
    note: str = ""
    higher: bool = False

    @property
    def label(self) -> str:
        """What the value of a trial is called."""
        return f"1 - {self.name}" if self.higher else self.name

    def value(self, metrics: Mapping[str, float]) -> float:
        """What a trial reports, to be minimised."""
        return 1 - metrics[self.name] if self.higher else metrics[self.name]


@dataclass(frozen=True)
class Goal:
    """What training minimises, and what trials are compared by.

    Args:
        loss: one of the task's losses; None: its first.
        metrics: names of the validation metrics that decide. Others are computed only where they cost nothing.
        threshold: of two classes: a metric by which a refit chooses the decision threshold, or the threshold itself;
            None: the metric that decides, where a threshold changes it.
    """

    loss: str | None = None
    metrics: tuple[str, ...] = ()
    threshold: str | float | None = None


DEFAULT_GOAL = Goal()

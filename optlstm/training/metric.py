"""What a problem is trained for: its loss, and which of its validation metrics decides. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optlstm.errors import TrialFailed, named
from optlstm.util.arrays import Floats
from optlstm.util.user_code import UserFunction


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
        function: a custom metric, of (truth, prediction), that is minimised; its name is its `module:function`.
    """

    loss: str | None = None
    metrics: tuple[str, ...] = ()
    threshold: str | float | None = None
    function: UserFunction | None = None

    def custom(self, truth: Any, prediction: Floats) -> dict[str, float]:
        """The custom metric by its name; nothing where there is none.

        Raises:
            TrialFailed: it raises, or gives no number.
        """
        if self.function is None:
            return {}
        name = self.function.reference
        try:
            return {name: float(self.function.load()(truth, prediction))}
        except Exception as error:
            raise TrialFailed(f"training.metric: {name} raised {named(error)}") from error


METRIC_SIGNATURE = "function(truth, prediction) -> float"
DEFAULT_GOAL = Goal()

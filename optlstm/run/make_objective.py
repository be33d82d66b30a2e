"""What workers make a task's objective from: it pickles, and the driver that pickles it loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optlstm.study.space import Space
from optlstm.tasks.registry import load
from optlstm.training.factory import Factory
from optlstm.training.metric import Metric
from optlstm.util.files import Location

if TYPE_CHECKING:
    from optlstm.run.objective import Objective


@dataclass(frozen=True)
class MakeObjective:
    """Makes the objective in whatever process trains: sets the process up, and the problem on its device."""

    problem: str  # `module:Class`
    metric: Metric  # that decides
    space: Space
    seed: int
    epochs: int
    patience: int
    threads: int
    device: str
    objectives: tuple[str, ...]
    factory: Factory | None
    checkpoints: Location

    def __call__(self, data: Any) -> Objective:
        from optlstm.run.objective import Objective
        from optlstm.training.runtime import choose_deterministic_kernels, prepare, resolve_device

        prepare(self.threads)
        device = resolve_device(self.device)
        choose_deterministic_kernels(device)
        problem = load(self.problem)(data, device, self.factory)
        return Objective(
            problem,
            self.space,
            self.seed,
            self.epochs,
            self.patience,
            self.checkpoints,
            threads=self.threads,
            metric=self.metric,
            objectives=self.objectives,
        )

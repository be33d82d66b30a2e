"""What workers call to make a task's objective. The driver, which pickles this, loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optlstm.tasks.registry import load
from optlstm.training.factory import Factory
from optlstm.training.metric import Goal

if TYPE_CHECKING:
    from optlstm.run.objective import Objective


def make_objective(
    data: Any, *, problem: str, factory: Factory | None, goal: Goal, device: str, threads: int, **options: Any
) -> Objective:
    """Set the process up, and the problem on its device.

    Args:
        problem: `module:function`.
        options: Of `Objective`.
    """
    from optlstm.run.objective import Objective
    from optlstm.training.runtime import choose_deterministic_kernels, prepare, resolve_device

    prepare(threads)
    torch_device = resolve_device(device)
    choose_deterministic_kernels(torch_device)
    return Objective(load(problem)(data, torch_device, factory, goal), threads=threads, **options)

"""Every window of a table, as one view: nothing is copied until a batch is taken."""

from __future__ import annotations

from torch import Tensor

from optlstm.errors import InputError


def windows(values: Tensor, targets: range, window: int, horizon: int, *, reach_back: bool) -> Tensor:
    """All stretches of `window` input rows and the `horizon` target rows after them, stride 1, oldest first.

    Args:
        values: [rows, columns].
        targets: the rows that target rows may be; all `horizon` of them lie inside.
        reach_back: whether input rows may lie before `targets` (validation and test) or not (training).

    Returns:
        A view [n, columns, window + horizon] of `values`; n is len(targets) - horizon + 1 with `reach_back`, and
        `window` fewer without.

    Raises:
        InputError: the rows are too few for even one, or begin too early for `reach_back`.
    """
    first = targets.start - window if reach_back else targets.start
    have, need = targets.stop - first, window + horizon
    if first < 0:
        raise InputError(f"window {window}: rows from {targets.start} on have only {targets.start} rows before them")
    if have < need:
        raise InputError(f"window {window} + horizon {horizon} need {need} rows, and there are {have}")
    return values[first : targets.stop].unfold(0, need, 1)

"""What may go wrong with a trial or its database, how long that is tolerated, and what to do about it."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optlstm.study.constraints import counts_as_trial
from optlstm.util.format import in_a_line

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STORAGE_TIMEOUT_S = 60.0
FAILURES_IN_A_ROW = 3

# A failed trial's user attribute: its kind, one of these or the name of what was raised.
FAILURE_KEY = "failure"
DIVERGED, MEMORY, DIED, HUNG = "diverged", "out of memory", "worker died", "hung"
ADVICE = {
    DIVERGED: "look at the data, lower space.learning_rate, set space.grad_clip",
    MEMORY: "use fewer --workers, or bound space.batch_size, space.hidden_size, space.window",
    DIED: "look at what the system's log says of it, use fewer --workers",
    HUNG: "look at the trial's traceback, or give it more time with trial_timeout",
}
OTHER_ADVICE = "look at its traceback: show {} --format json"
STREAK = "failed alike, the last: "


def streak(trials: Sequence[FrozenTrial], since: int, limit: int, name: str) -> str | None:
    """Why the study stops for its failures, or None: the last `limit` ended trials failed of one kind.

    A loss that is not finite is what a search meets at its borders: it counts only where no trial had any value.

    Args:
        since: The first trial that counts; the study was resumed after those before it.
        limit: 0: never.
        name: Of the study.
    """
    newest = itertools.takewhile(lambda t: t.number >= since, reversed(trials))
    last = list(itertools.islice((t for t in newest if t.state.is_finished() and counts_as_trial(t)), limit))[::-1]
    kinds = {t.user_attrs.get(FAILURE_KEY) for t in last if t.state.name == "FAIL"}
    alike = len(last) == limit and len(kinds) == 1 and all(t.state.name == "FAIL" for t in last)
    kind = next(iter(kinds), None)
    if not alike or kind is None or (kind == DIVERGED and any(t.values for t in trials)):
        return None
    reason = in_a_line(last[-1].user_attrs.get("reason"), 200)
    advice = ADVICE.get(kind, OTHER_ADVICE.format(shlex.quote(name)))
    worked = any(t.state.name != "FAIL" for t in trials if t.state.is_finished())
    changed = "" if kind in ADVICE or not worked else "; an objective that was changed needs another --name"
    return f"the last {limit} trials {STREAK}{reason}; {advice}; then resume with the same command{changed}"


def without_memory(trials: Sequence[FrozenTrial], params: Mapping[str, Any]) -> str | None:
    """Which trial ran out of memory with these params, or None."""
    earlier = (t.number for t in trials if t.user_attrs.get(FAILURE_KEY) == MEMORY and t.params == params)
    return next((f"trial {number} ran out of memory with these params" for number in earlier), None)

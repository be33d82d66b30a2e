"""Ray Tune's OptunaSearch, asking and telling through the ledger.

As it comes, OptunaSearch tells a stopped trial COMPLETE, loses its last report and leaves a NaN trial RUNNING for ever.
Here the searcher hands out the ledger's assignments, and the scheduler (`schedulers.py`), which Ray shows every result
first, reports it to the ledger and stops the trials that the ledger ends.

Ray pickles searcher and scheduler into its experiment folder. They hold a key, not the run: the study, its storage and
its password never leave the driver's memory.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from optlstm.backends.driver import MAX_RESTARTS, Run
from optlstm.backends.ray.cluster import Cluster, dead_nodes, has_other_nodes
from optlstm.backends.ray.places import Places, place_for
from optlstm.backends.ray.worker import ASSIGNMENT, OUTCOME, VALUE, Answers
from optlstm.backends.trial import Failed, Interrupted, decode, encode
from optlstm.errors import OptlstmError
from optlstm.study.failures import DIED

# Ray finds that a machine is gone by its health checks (five in a row, three seconds apart); until then a trial that
# ran there looks as if it killed one worker after the other.
NODE_DEATH_IS_KNOWN_AFTER = 30.0
FIRST_PLACE_S = 0.9  # that an idle run waits for a place before Ray Tune's loop, which sleeps a second, has its turn
ASK_AGAIN_S = 1.0  # where the study had no trial for a place that was there


@dataclass
class Entry:
    """What searcher and scheduler find under a key.

    Attributes:
        answers: The actor, where trials ask for their params.
        error: Of the ledger's, when Ray called it.
        moved: Ray's ids of trials whose worker was ended because its node will leave.
    """

    run: Run
    cluster: Cluster
    places: Places = field(default_factory=lambda: Places())
    answers: Any = None
    error: OptlstmError | None = None
    moved: set[str] = field(default_factory=set)


_ENTRIES: dict[str, Entry] = {}


@contextlib.contextmanager
def registered(run: Run, cluster: Cluster) -> Iterator[str]:
    """A key under which searcher and scheduler find the run, in this process only.

    Raises:
        OptlstmError: The ledger raised it, called by Ray.
    """
    key = uuid.uuid4().hex
    entry = _ENTRIES[key] = Entry(run, cluster)
    try:
        yield key
    finally:
        del _ENTRIES[key]
        if entry.answers is not None:
            ray.kill(entry.answers)
        if entry.error is not None:
            raise entry.error


def entry_of(key: str) -> Entry:
    return _ENTRIES[key]


@contextlib.contextmanager
def writing(key: str) -> Iterator[Run]:
    """The run, to report to. Its error ends it: Ray would make a traceback of it, or continue without a word."""
    entry = _ENTRIES[key]
    try:
        yield entry.run
    except OptlstmError as error:
        entry.error = entry.error or error
        entry.run.stop("failed")
        raise


def answers(key: str) -> Any:
    """The actor that has the answers of a run, on the driver's own node; None where trials know their params."""
    entry = _ENTRIES[key]
    if not entry.run.ledger.record.space.is_open:
        return None
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(Answers)
    entry.answers = actor.options(num_cpus=0, scheduling_strategy=here).remote()
    return entry.answers


@dataclass(frozen=True)
class _LostTrial:
    """A trial whose workers died too often, while it is not known whether their machine did."""

    number: int
    dead_before: int  # nodes that had died when the trial began
    until: float

    @property
    def timed_out(self) -> bool:
        return not has_other_nodes() or time.monotonic() > self.until


class LedgerSearch(OptunaSearch):
    """OptunaSearch that asks and tells the ledger, and no study of Ray's.

    Ray takes any Searcher; it is an OptunaSearch for code that checks with `isinstance`. A trial is asked for when
    there is a place for it, never earlier: the sampler then knows all that ended before. One that has lost its worker
    goes back to the ledger, which hands it out first.

    Args:
        key: From `registered`.
    """

    def __init__(self, key: str) -> None:
        super().__init__(metric=VALUE, mode="min")
        self._key = key
        self._live: dict[str, int] = {}  # Ray's trial id: our number
        self._deaths: Counter[int] = Counter()  # of a trial's workers, by no fault of a node
        self._dead_before: dict[int, int] = {}
        self._lost: list[_LostTrial] = []
        self._asks_from = 0.0  # when the study is asked for a trial again that had none

    def set_search_properties(self, metric: Any, mode: Any, config: dict[str, Any], **spec: Any) -> bool:
        return True  # nothing to set: the space is the ledger's

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        entry = _ENTRIES[self._key]
        self._resolve_lost()
        entry.cluster.follow(entry.run, len(self._live))
        if not entry.run.stopping and not self._has_place(entry):
            return None
        assignment = entry.run.next()
        if assignment is None:
            self._asks_from = time.monotonic() + ASK_AGAIN_S
            # With trials alive the study may still free one (a lost lease); with none there is nothing to wait for.
            return None if self._live or self._lost else Searcher.FINISHED
        self._live[trial_id] = assignment.number
        self._dead_before.setdefault(assignment.number, entry.cluster.dead)
        return {ASSIGNMENT: encode(assignment)}

    def _has_place(self, entry: Entry) -> bool:
        """Whether another trial may be asked for: there is a place for it, or it would be none to wait for one."""
        live, wanted = len(self._live), self._wanted(entry)
        place = place_for(entry.cluster.resources)
        entry.places.ask(place, wanted)
        if wanted <= live:
            return not live
        until = time.monotonic() + (0.0 if live else FIRST_PLACE_S)
        while entry.places.reserved(place) <= live:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def _wanted(self, entry: Entry) -> int:
        """Trials at a time that there could be now."""
        if time.monotonic() < self._asks_from:
            return len(self._live)
        return min(entry.cluster.limit, entry.run.ledger.left(entry.run.total))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass  # the scheduler has reported it already

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self._live.pop(trial_id, None)
        if number is None:
            return
        self._asks_from = 0.0
        if error:
            self._resolve_death(trial_id, number)
            return
        # Without an outcome it was stopped at a report: it is to be resumed, or the study has ended it.
        outcome = decode(result[OUTCOME]) if result and OUTCOME in result else Interrupted()
        with writing(self._key) as run:
            run.record_outcome(number, outcome)

    def _resolve_death(self, trial_id: str, number: int) -> None:
        """A trial's worker died: it is assigned again, unless it kills every worker that it gets."""
        entry = _ENTRIES[self._key]
        if trial_id not in entry.moved and not self._node_died(number):
            self._deaths[number] += 1
        if self._deaths[number] <= MAX_RESTARTS:
            with writing(self._key) as run:
                run.record_outcome(number, Interrupted())
        else:
            until = time.monotonic() + NODE_DEATH_IS_KNOWN_AFTER
            self._lost.append(_LostTrial(number, self._dead_before[number], until))
            self._resolve_lost()

    def _node_died(self, number: int) -> bool:
        return dead_nodes() > self._dead_before[number]

    def _resolve_lost(self) -> None:
        """Record the trials whose workers died too often: a machine's death is not their fault."""
        unresolved = []
        with writing(self._key) as run:
            for trial in self._lost:
                if self._node_died(trial.number) or run.stopping:
                    del self._deaths[trial.number], self._dead_before[trial.number]
                    run.record_outcome(trial.number, Interrupted())
                elif trial.timed_out:
                    reason = f"its worker died {MAX_RESTARTS + 1} times; see Ray's logs"
                    run.record_outcome(trial.number, Failed(reason, DIED))
                else:
                    unresolved.append(trial)
        self._lost = unresolved

    def save(self, checkpoint_path: str) -> None:
        with open(checkpoint_path, "wb"):
            pass  # the study database holds everything; Ray only wants a file

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is continued by its name, not from Ray's experiment folder")

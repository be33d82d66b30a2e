"""PBT in the study: a member's epochs with the same params are one trial, and the lineage is a tree of trials.

A member that is replaced ends PRUNED. The copy that takes its place is a new trial with its own params and, in its user
attributes, `parent`, `replaces`, `from_epoch`, `generation` and `member`; its first report is that of from_epoch + 1.
Survivors end COMPLETE. Generation, members and donors are read from the trials, so a study killed anywhere is resumed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from optlstm.errors import ArtifactError, CheckpointWriteError
from optlstm.study.database.connection import Database
from optlstm.study.events import Assignment, TrialFinished
from optlstm.study.failures import STORAGE_TIMEOUT_S
from optlstm.study.ledger import Decide, Ledger
from optlstm.study.lineage import reached_epoch
from optlstm.study.pbt import Population, exploits, explored
from optlstm.study.record import REASON_KEY, StudyRecord

logger = logging.getLogger(__name__)

GENERATION_KEY = "optlstm:generation"  # of the study: exploits that were made
# Gives a new trial the weights another had at an epoch: called with (child, parent, epoch) before either trains.
Copy = Callable[[int, int, int], None]


class PopulationLedger(Ledger):
    """A ledger whose trials are the members of a population.

    Args:
        options: The population's rules.

    Attributes:
        copy: Copies checkpoints from trial to trial, and is safe to repeat; None: there are none to copy.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        record: StudyRecord,
        config: Mapping[str, Any] | None = None,
        *,
        options: Population,
        storage_timeout: float = STORAGE_TIMEOUT_S,
    ) -> None:
        super().__init__(database, name, record, config, storage_timeout=storage_timeout)
        self.options = options
        self.copy: Copy | None = None
        self._copied: set[int] = set()
        self._replaced: list[TrialFinished] = []

    def assign(self, total: int) -> Assignment | None:
        assignment = super().assign(total)
        self._copy_weights()
        for event in self._replaced:
            self._emit(event)
        self._replaced = []
        return assignment

    @property
    def ended(self) -> int:
        """Members at the end of their life; a trial that was replaced has ended, its member has not."""
        return sum(t.state == TrialState.COMPLETE for t in self._members().values())

    def left(self, total: int) -> int:
        return self.options.population - self.ended

    def pauses(self, number: int, epoch: int) -> bool:
        """At a boundary members wait for each other; asynchronous, only where another is behind and has no worker."""
        if epoch not in self.options.boundaries:
            return False
        behind = self._ready()
        return self.options.synchronous or (behind is not None and reached_epoch(behind) < epoch)

    # -- inside a transaction -----------------------------------------------------------------------------------------

    def _next(self, total: int) -> Assignment | None:
        self._lock_and_sync()
        self._replaced = []
        while len(self._members()) < self.options.population:
            # All before any trains: what the sampler proposes does not depend on who is faster.
            self._ask_member(len(self._members()))
        ready = self._ready()
        if ready is None and self._boundary_reached():
            self._exploit()
            ready = self._ready()
        return self._take(ready) if ready else None

    def _members(self) -> dict[int, FrozenTrial]:
        """Each member's newest trial."""
        return {t.user_attrs["member"]: t for t in self.trials if "member" in t.user_attrs}

    def _ask_member(self, member: int) -> None:
        trial, _ = self._sampled()
        self._storage.set_trial_user_attr(trial._trial_id, "member", member)
        self._storage.set_trial_user_attr(trial._trial_id, "generation", 0)
        self._leases.write(trial._trial_id, seconds=0.0)

    @property
    def _generation(self) -> int:
        return int(self._study.user_attrs.get(GENERATION_KEY, 0))

    @property
    def _limit(self) -> int:
        """How far members may train now: to the next boundary, or to the end."""
        ahead = self.options.boundaries[self._generation :] if self.options.synchronous else []
        return ahead[0] if ahead else self.options.epochs

    def _ready(self) -> FrozenTrial | None:
        """The member that is furthest behind, of those that may train and have no worker."""
        # A trial at its last epoch is ready too: what is left of it is to be told complete.
        free = [
            t
            for t in self._members().values()
            if t.state == TrialState.RUNNING
            and (reached_epoch(t) < self._limit or reached_epoch(t) == self.options.epochs)
            and self._leases.is_free(t)
        ]
        return min(free, key=lambda t: (reached_epoch(t), t.user_attrs["member"]), default=None)

    def _boundary_reached(self) -> bool:
        """Every member stands at the boundary or has failed, and one at least can be a donor."""
        limit, members = self._limit, self._members().values()
        if limit == self.options.epochs:
            return False
        waiting = [t for t in members if t.state == TrialState.RUNNING and reached_epoch(t) == limit]
        ended = [t for t in members if t.state.is_finished()]
        return bool(waiting) and len(waiting) + len(ended) == len(members)

    def _exploit(self) -> None:
        epoch, generation, members = self._limit, self._generation + 1, self._members()
        scores = {m: t.intermediate_values.get(epoch, math.nan) for m, t in members.items()}
        pairs = exploits(scores, self.record.direction, self.options.quantile, self.record.seed, generation)
        for member, donor in pairs.items():
            self._replace(members[member], members[donor], epoch, generation)
        self._study.set_user_attr(GENERATION_KEY, generation)

    def _replace(self, loser: FrozenTrial, donor: FrozenTrial, epoch: int, generation: int) -> str:
        """End the loser and put a changed copy of the donor, as it was at `epoch`, in its place."""
        member = loser.user_attrs["member"]
        reason = f"pbt: replaced at epoch {loser.last_step} by a copy of trial {donor.number}"
        if loser.state == TrialState.RUNNING:
            self._storage.set_trial_user_attr(loser._trial_id, REASON_KEY, reason)
            self._tell(loser.number, TrialState.PRUNED, None)
            value = loser.intermediate_values.get(loser.last_step or 0)
            self._replaced.append(TrialFinished(loser.number, "PRUNED", value, reason))
        space = self.record.space
        params = explored(donor.params, space, self.options, self.record.seed, generation, member)
        attrs = {
            "member": member,
            "generation": generation,
            "parent": donor.number,
            "replaces": loser.number,
            "from_epoch": epoch,
        }
        child = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=space.distributions(params),
            user_attrs=attrs,
        )
        self._leases.write(self._storage.create_new_trial(self._study._study_id, child), seconds=0.0)
        return reason

    def _report(self, number: int, epoch: int, value: float, decide: Decide | None) -> str | None:
        reason = super()._report(number, epoch, value, lambda: False)
        if reason is None and not self.options.synchronous and epoch in self.options.boundaries:
            return self._exploit_alone(number, epoch)
        return reason

    def _exploit_alone(self, number: int, epoch: int) -> str | None:
        """Asynchronous: a member at a boundary is compared with the newest value of each of the others."""
        members, trial = self._members(), self.trials[number]
        scores = {m: t.intermediate_values[t.last_step] for m, t in members.items() if t.last_step is not None}
        if len(scores) < 2 or members[trial.user_attrs["member"]].number != number:
            return None
        generation = self.options.boundaries.index(epoch) + 1
        seed, member = self.record.seed, trial.user_attrs["member"]
        donor = exploits(scores, self.record.direction, self.options.quantile, seed, generation).get(member)
        if donor is None or (members[donor].last_step or 0) >= self.options.epochs:
            return None
        reason = self._replace(trial, members[donor], members[donor].last_step or 0, generation)
        self._replaced = []  # the report that led to it emits the event
        return reason

    def _copy_weights(self) -> None:
        if self.copy is None:
            return
        for trial in self.trials:
            origin = trial.user_attrs.get("parent")
            started = trial.number in self._copied or trial.last_step is not None
            if origin is None or started or trial.state.is_finished():
                continue
            try:
                self.copy(trial.number, origin, trial.user_attrs["from_epoch"])
            except CheckpointWriteError:  # a full disk, which is no reason to begin without weights
                raise
            except ArtifactError as error:  # the trial will find no weights, and fail with that reason
                logger.warning("the weights of trial %d cannot be copied: %s", origin, error)
            self._copied.add(trial.number)

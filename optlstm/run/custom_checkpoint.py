"""What a custom objective has saved of a trial, and how it lies in the trial's folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optlstm.errors import ArtifactError, TrialFailed
from optlstm.util.files import Location


@dataclass(frozen=True)
class Checkpoint:
    """What `save_checkpoint` was given, or `track` has kept.

    Attributes:
        epoch: After which it was, counted as the objective's reports are.
        arrays: By name. Of `track`: the state of each thing by its name.
        meta: Values that are no arrays.
        value: What was reported after it.
    """

    epoch: int
    arrays: dict[str, Any]
    meta: dict[str, Any]
    value: float | None = None


@dataclass(frozen=True)
class Saved:
    """A trial's checkpoint as it lies in its folder.

    Attributes:
        epoch: As the study counts: from 1.
        first: How the objective counts its first epoch.
        random: The global random states; empty where `save_checkpoint` wrote it.
        values: What was reported after each epoch, up to this one.
    """

    epoch: int
    first: int
    arrays: dict[str, Any]
    meta: dict[str, Any]
    random: dict[str, Any]
    values: dict[int, float]

    @classmethod
    def newest(cls, folder: Location, before: float = math.inf) -> Saved | None:
        """The newest that is whole. Raises TrialFailed where it is of another kind."""
        from optlstm.training.checkpoints import newest_checkpoint

        newest = newest_checkpoint(folder, before)
        return None if newest is None else cls.of(*newest)

    @classmethod
    def of(cls, epoch: int, tensors: Mapping[str, Any], meta: Mapping[str, Any]) -> Saved:
        """From what was written. Raises TrialFailed where `Trial` has not written it."""
        from optlstm.training.nested import decode

        try:
            values = {int(step): float(value) for step, value in meta.get("values", {}).items()}
            if "state" in meta:
                state = decode(meta["state"], tensors)
                random = dict(state.get("random", {}))
                return cls(epoch, int(meta["first"]), dict(state["arrays"]), dict(state["meta"]), random, values)
            as_numpy = set(meta["numpy"])  # before optlstm kept nested values
            arrays = {name: t.numpy() if name in as_numpy else t for name, t in tensors.items()}
            return cls(epoch, 1, arrays, dict(meta["meta"]), {}, values)
        except (ArtifactError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise TrialFailed(f"its checkpoint of epoch {epoch} is none that save_checkpoint wrote") from error

    def shown(self) -> Checkpoint:
        return Checkpoint(self.epoch - 1 + self.first, self.arrays, self.meta, self.values.get(self.epoch))

"""What a study is, as it stands in the database: enough to continue it, and to refuse another search under its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from optlstm.study.space import Space
from optlstm.util.format import as_stored

# Attributes of a study: what it is, the config that continues it, its unique id.
RECORD_KEY, CONFIG_KEY, UID_KEY = "optlstm:study", "optlstm:config", "optlstm:id"
METRIC_NAMES_KEY = "study:metric_names"  # what optuna.Study.set_metric_names writes; dashboards show it
# Of the last run: the folder of its checkpoints, its environment, and what was understood of its data, in a line each.
# Nothing is continued from them.
FOLDER_KEY, ENVIRONMENT_KEY, NOTES_KEY = "optlstm:folder", "optlstm:environment", "optlstm:notes"
BUDGET_KEY = "optlstm:budget"  # of `fit`: the seconds that were spent on the search
PLANNED_KEY = "optlstm:planned"  # of `fit`: the seconds whose lack of time is part of the record
MODEL_KEY = "optlstm:model"  # of `fit`: the seconds that each of its models had, by the SHA-256 of the model's card
STOPPED_KEY = "optlstm:stopped"  # why the study took no more trials when it was last asked
NODES_KEY = "optlstm:nodes"  # a trial's system attribute: the nodes of a cluster that it ran on, in words
REASON_KEY = "reason"  # a trial's user attribute: why it was ended


# What of the record's data may be otherwise where a file has grown; its columns, and what is read of them, may not.
_GROWING = {"rows", "first", "last", "fingerprint", "splits", "series", "sequences", "texts", "windows"}
_GROWING |= {"folds", "overlapping", "gaps", "epoch_windows", "season"}  # their defaults depend on the rows


def has_grown(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether data may be those of another record and more: of the same columns, with a later end or more samples."""
    if any(old.get(key) != new.get(key) for key in (old.keys() | new.keys()) - _GROWING):
        return False
    if "last" in old and "last" in new:
        last, now = str(old["last"]), str(new["last"])
        return int(now) > int(last) if now.isdecimal() and last.isdecimal() else now > last
    return any(new.get(key, 0) > old[key] for key in ("sequences", "texts") if key in old)


@dataclass(frozen=True)
class StudyRecord:
    """Everything that decides what the trials of a study are. Paths, workers, backends and totals are no part of it.

    `task` holds what the training side needs to know (its config and the data's fingerprint) as plain data.
    """

    space: Space
    seed: int
    epochs: int
    sampler: str
    pruner: str
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    pruner_options: Mapping[str, Any] = field(default_factory=dict)
    direction: Literal["minimize", "maximize"] = "minimize"
    task: Mapping[str, Any] = field(default_factory=dict)
    scheduler: str = "study"  # who ends poor trials: the study's pruner, Ray's ASHA, or a population
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    objectives: Mapping[str, str] = field(default_factory=dict)  # several: each one's name and direction
    constraints: Mapping[str, float] = field(default_factory=dict)  # what is known before training: its upper limit
    enqueued: tuple[Mapping[str, Any], ...] = ()  # params to try first, after the space's defaults
    defaults_first: bool = True
    imported: str | None = None  # the study that trials were taken over from
    diverged: Literal["FAIL", "PRUNED"] = "FAIL"  # how a trial ends whose loss is not finite

    @property
    def directions(self) -> tuple[str, ...]:
        """One direction for each objective."""
        return tuple(self.objectives.values()) or (self.direction,)

    @property
    def queue(self) -> list[Mapping[str, Any]]:
        """Params of the first trials, in order. A grid has its own points, and no other."""
        if self.sampler == "grid":
            return []
        defaults = [self.space.defaults()] if self.defaults_first else []
        return [*(params for params in defaults if params), *self.enqueued]

    def stored(self) -> dict[str, Any]:
        """Plain data for the study's attributes; sections and keys are those of the config."""
        return {
            **self.task,
            "seed": self.seed,
            "direction": self.direction,
            "scheduler": {"name": self.scheduler, **self.scheduler_options},
            "sampler": {"name": self.sampler, **self.sampler_options},
            "pruner": {"name": self.pruner, **self.pruner_options},
            "space": self.space.spec(),
            # Absent where nothing was asked: a study made before there was such a thing is still the same search.
            **{key: value for key, value in self._options().items() if value},
        }

    def _options(self) -> dict[str, Any]:
        return {
            "objectives": dict(self.objectives),
            "constraints": dict(self.constraints),
            "enqueue": [dict(params) for params in self.enqueued],
            "without_defaults": not self.defaults_first,
            "import_from": self.imported,
            "diverged": self.diverged if self.diverged != "FAIL" else None,
        }

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """One line per key that differs from a stored record: `training.epochs: the study has 12, this asks for 20`."""
        asked = self.stored()
        old, new = _comparable(stored, asked), _comparable(asked, stored)
        changed = {"objective.fingerprint": f"{new.get('objective.file')} has changed: "}
        lines = [
            f"{key}: {changed.get(key, '')}the study has {as_stored(old.get(key, _MISSING))}, this asks for"
            f" {as_stored(new.get(key, _MISSING))}"
            for key in sorted(old.keys() | new.keys())
            if old.get(key, _MISSING) != new.get(key, _MISSING)
        ]
        if any(line.startswith("space") for line in lines):  # what is tried first follows from it
            lines = [line for line in lines if not line.startswith("enqueue: ")]
        # Samplers draw one param after the other: in another order, other values.
        before = [name for name, entry in stored.get("space", {}).items() if isinstance(entry, Mapping)]
        now = [param.name for param in self.space.params]
        if not lines and before != now:
            lines.append(f"space: the study has its params in the order {before}, this asks for {now}")
        return lines


def _comparable(record: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A record, flat. What differs as a whole (another sampler, a param fixed here, searched there) is one entry."""
    sections = dict(record)
    for section in ("scheduler", "sampler", "pruner"):
        name = record.get(section, {}).get("name")
        if name != other.get(section, {}).get("name"):
            sections[section] = {"name": name}
    other_space = other.get("space", {})
    sections["space"] = {name: _entry(entry, other_space.get(name)) for name, entry in record.get("space", {}).items()}
    return flatten(sections)


def _entry(entry: Any, other: Any) -> Any:
    """A param's declaration: its keys where both studies declare it by the same keys, else one text."""
    if not isinstance(entry, Mapping) or (isinstance(other, Mapping) and entry.keys() == other.keys()):
        return entry
    return _Text("{" + ", ".join(f"{key} = {json.dumps(value, default=str)}" for key, value in entry.items()) + "}")


class _Text(str):
    """Shown without quotes."""

    __repr__ = str.__str__


_MISSING = _Text("(not set)")


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat

"""The flags of `study` and `lr-search` that set config keys, each once; a report writes its command with them."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from optlstm.config.schema import StudyConfig
from optlstm.study.registry import PRUNER_NAMES, SAMPLER_NAMES
from optlstm.tasks.registry import TASKS
from optlstm.tasks.space import PRESETS

STORAGE_VARIABLE = "OPTLSTM_STORAGE"
STUDY, LR_SEARCH, FIT, INIT = "study", "lr-search", "fit", "init"
BOTH = (STUDY, LR_SEARCH)
_OF_FIT = ("Data", "Running", "Ray", "training.loss", "seed", "space.preset", "constraints.max_parameters")


@dataclass(frozen=True)
class Flag:
    """A flag that sets a config key. It has no default: left out, it must not override the study file.

    Args:
        key: Of the config, as `--set` takes it.
        commands: That have the flag.
        more: Follows the key's description in the help; `help` stands in its place.
        repeatable: Its values make a list.
    """

    name: str
    key: str
    metavar: str
    panel: str
    commands: tuple[str, ...] = (STUDY,)
    more: str = ""
    help: str = ""
    repeatable: bool = False

    def is_of(self, command: str) -> bool:
        """Whether a command has the flag.

        `fit` has those of `study` that say what is to be learnt, and where it runs; `init` those of the data.
        """
        if command == INIT:
            return INIT in self.commands or (self.panel == "Data" and self.key not in ("data.path", "task"))
        if command == FIT:
            return STUDY in self.commands and (self.panel in _OF_FIT or self.key in _OF_FIT)
        return command in self.commands

    @property
    def argument(self) -> str:
        return self.key.replace(".", "_")

    @property
    def field(self) -> Any:
        """The key's, or its section's where the key has no description."""
        section, _, rest = self.key.partition(".")
        field: Any = StudyConfig.model_fields[section]
        inner = getattr(field.annotation, "model_fields", {}).get(rest)
        return inner if inner is not None and inner.description else field

    @property
    def kinds(self) -> set[Any]:
        """The types of its values: `int | None` is two."""
        annotation = self.field.annotation
        kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        return {get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in kinds}

    @property
    def is_switch(self) -> bool:
        return bool in self.kinds

    def help_text(self) -> str:
        if self.help:
            return self.help
        default = getattr(self.field.default, "name", self.field.default)
        shown = f"{default:g}" if isinstance(default, float) else default
        more = "" if default is None or self.is_switch else f" (default: {shown})"
        return f"{self.field.description}{self.more}{more}"

    def value(self, text: Any) -> Any:
        """Its number, where it has one; other text as it is, for the config to refuse together with everything else."""
        if isinstance(text, str) and self.kinds & {int, float}:
            for kind in (int, float):
                try:
                    return kind(text)
                except ValueError:
                    continue
        return text


FLAGS = (
    Flag("--data", "data.path", "FILE", "Data", BOTH),
    Flag("--task", "task", "|".join(TASKS), "Data", BOTH),
    Flag("--task", "task", "|".join(TASKS), "Data", (INIT,), help="what to learn (default: told by the columns)"),
    Flag("--time", "data.time", "COL[,COL]", "Data", BOTH),
    Flag("--target", "data.target", "COL[,COL]", "Data", BOTH),
    Flag("--horizon", "data.horizon", "N", "Data", BOTH),
    Flag("--series", "data.series", "COL[,COL]", "Data"),
    Flag("--gaps", "data.gaps", "refuse|interpolate|mask", "Data", BOTH),
    Flag("--short", "data.short", "refuse|omit", "Data"),
    Flag("--label", "data.label", "COL[,COL]", "Data"),
    Flag("--text", "data.text", "COL", "Data"),
    Flag("--past", "data.past", "COL[,COL]", "Data"),
    Flag("--future", "data.future", "COL[,COL]", "Data"),
    Flag("--static", "data.static", "COL[,COL]", "Data"),
    Flag("--calendar", "data.calendar", "", "Data", help="features of the time: hour, weekday, day of the year, ..."),
    Flag("--validation-data", "data.validation_path", "FILE", "Data"),
    Flag("--test-data", "data.test_path", "FILE", "Data"),
    Flag("--trials", "trials", "N", "Search"),
    Flag("--epochs", "training.epochs", "N", "Search"),
    Flag("--loss", "training.loss", "NAME", "Search", BOTH),
    Flag("--sampler", "sampler.name", "NAME", "Search", more=": " + ", ".join(SAMPLER_NAMES)),
    Flag("--pruner", "pruner.name", "NAME", "Search", more=": " + ", ".join(PRUNER_NAMES)),
    Flag("--scheduler", "scheduler", "study|asha|pbt", "Search"),
    Flag("--rounds", "lr_search.rounds", "N", "Search", (LR_SEARCH,)),
    Flag("--draws", "lr_search.draws", "N", "Search", (LR_SEARCH,)),
    Flag("--keep", "lr_search.keep", "SHARE", "Search", (LR_SEARCH,)),
    Flag("--low", "lr_search.low", "X", "Search", (LR_SEARCH,)),
    Flag("--high", "lr_search.high", "X", "Search", (LR_SEARCH,)),
    Flag("--epochs", "lr_search.epochs", "N", "Search", (LR_SEARCH,)),
    Flag("--seed", "seed", "N", "Search", BOTH),
    Flag("--objectives", "objectives", "A,B", "Search"),
    Flag("--directions", "directions", "D,D", "Search"),
    Flag("--max-parameters", "constraints.max_parameters", "N", "Search"),
    Flag("--max-latency-ms", "constraints.max_latency_ms", "MS", "Search"),
    Flag("--preset", "space.preset", "NAME", "Search", help=f"search space: {', '.join(PRESETS)}"),
    Flag("--timeout", "timeout", "TIME", "Stopping"),
    Flag("--stop-value", "stop.value", "X", "Stopping"),
    Flag("--no-improvement", "stop.no_improvement", "N", "Stopping"),
    Flag("--terminator", "stop.terminator", "", "Stopping"),
    Flag("--import", "import_from", "NAME", "Starting"),
    Flag("--narrow-from", "narrow_from", "NAME", "Starting"),
    Flag("--promote", "promote", "NAME", "Starting"),
    Flag("--top", "top", "N", "Starting"),
    Flag("--from-model", "from_model", "DIR", "Starting"),
    Flag("--name", "name", "NAME", "Running", BOTH, more="; lr-search adds -lr"),
    Flag("--storage", "storage", "URL", "Running", BOTH, more=f"; or ${STORAGE_VARIABLE}"),
    Flag("--storage-path", "storage_path", "DIR|URL", "Running"),
    Flag("--workers", "workers", "N|auto", "Running", BOTH),
    Flag("--backend", "backend", "local|ray", "Running", BOTH),
    Flag("--address", "ray.address", "ADDR", "Ray"),
    Flag("--max-workers", "ray.max_workers", "N", "Ray"),
    Flag("--cpus-per-trial", "ray.cpus_per_trial", "X", "Ray"),
    Flag("--gpus-per-trial", "ray.gpus_per_trial", "X", "Ray"),
    Flag(
        "--track", "tracking.trackers", "NAME", "Running",
        help="follow it in tensorboard, mlflow or wandb; repeatable", repeatable=True,
    ),
)  # fmt: skip

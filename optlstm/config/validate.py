"""Checks a whole config: what pydantic finds, in our words, and what does not go together. Every problem at once."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from optlstm.config.schema import CHOICES, LrSearchConfig, StudyConfig, TrainingConfig
from optlstm.errors import InputError, Problem, did_you_mean, nearest
from optlstm.study.registry import MULTI_OBJECTIVE, check, in_words
from optlstm.tasks.forecast.losses import has_quantiles
from optlstm.tasks.options import READING, DataConfig, as_toml
from optlstm.tasks.registry import TASKS, check_keys, goals, task_class
from optlstm.util.extras import install
from optlstm.util.files import absolute, check_writable

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")


def default_choices(raw: Mapping[str, Any]) -> dict[str, str]:
    """The sampler and pruner of a config that names none; the schedulers that decide themselves bring their own."""
    pruner = {"asha": "asha", "pbt": "none"}.get(str(raw.get("scheduler")), CHOICES["pruner"])
    if raw.get("objectives") is not None or (raw.get("promote") is not None and pruner != "asha"):
        pruner = "none"  # what is promoted is to be compared at its end
    return {**CHOICES, "pruner": pruner}


def check_config(raw: Mapping[str, Any]) -> tuple[StudyConfig | None, list[str]]:
    """The config `raw` stands for, and one line per problem; no config where its shape is wrong."""
    # These import optuna, which `--help` does not need.
    from optlstm.study.pruners import PRUNERS, check_pruner
    from optlstm.study.samplers import SAMPLERS
    from optlstm.tracking import check_trackers

    filled = dict(raw)
    for section, name in default_choices(raw).items():
        if isinstance(raw.get(section, {}), Mapping):
            filled[section] = {"name": name, **raw.get(section, {})}
    config, problems, choices = None, [], []
    try:
        config = StudyConfig.model_validate(filled)
    except ValidationError as error:
        problems = _problems(error)
    for section, registry in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        choice = filled.get(section)
        if isinstance(choice, Mapping) and isinstance(choice.get("name"), str):
            options = {key: value for key, value in choice.items() if key != "name"}
            choices += check(section, registry, choice["name"], options)
    if config is not None and not choices:
        problems += check_pruner(config.pruner.name, config.pruner.options, config.training.epochs)
        problems += _scheduler_problems(config)
        problems += _objective_problems(config) + _start_problems(config)
    if config is not None and config.objective is None:
        attempt(problems, lambda: check_keys(config.task, config.data))
        problems += _goal_problems(config)
    if config is not None:
        problems += check_trackers(config.tracking.trackers)
    return config, problems + choices


def _goal_problems(config: StudyConfig) -> list[str]:
    """A loss or a metric that the task does not have."""
    training, choice = config.training, goals(config.task, config.data.kind)
    known = {"loss": list(choice.losses), "metric": [metric.name for metric in choice.metrics]}
    problems = []
    for key, name in (("loss", training.loss), ("metric", training.metric)):
        names = known[key]
        custom = key == "metric" and choice.custom and ":" in str(name)
        if name is not None and name not in names and not custom:
            words = f"{'one of ' if len(names) > 1 else ''}{', '.join(names)}"
            problems.append(f"training.{key}: must be {words}, got {name!r}{did_you_mean(name, names)}")
    if config.data.quantiles and not has_quantiles(training.loss, (training.metric, *config.several)):
        loss = training.loss or known["loss"][0]
        problems.append(f"data.quantiles: the loss {loss} has none; training.loss = 'quantiles', or leave it out")
    return problems


def _scheduler_problems(config: StudyConfig) -> list[str]:
    """What does not go together with the backend and the scheduler."""
    problems, pruner = [], config.pruner.name
    if config.backend == "ray" and importlib.util.find_spec("ray") is None:
        problems.append(f"backend: ray is not installed: {install('ray')}")
    if config.scheduler == "asha":
        if config.backend != "ray":
            problems.append("scheduler: asha is Ray's own and needs --backend ray; on local use --pruner asha")
        if pruner != "asha":
            problems.append(f"pruner.name: with --scheduler asha Ray decides, and {pruner} would not; drop it")
    elif config.pruner.options.get("brackets", 1) != 1:
        problems.append("pruner.brackets: several brackets are for --scheduler asha; here use --pruner hyperband")
    if config.scheduler == "pbt":
        if pruner != "none":
            problems.append(f"pruner.name: a population replaces its poor members itself; drop the pruner {pruner}")
        if config.training.patience != TrainingConfig.model_fields["patience"].default:
            problems.append("training.patience: the members of a population all live to their last epoch; drop it")
        if "trials" in config.model_fields_set:
            problems.append("trials: with --scheduler pbt they follow from pbt.population; drop trials")
        if config.pbt.interval >= config.training.epochs:
            epochs = config.training.epochs
            problems.append(
                f"pbt.interval: {config.pbt.interval} epochs leave no exploit in training.epochs = {epochs}"
            )
        elif all(e < config.pbt.burn_in for e in range(0, config.training.epochs, config.pbt.interval)):
            burn_in, epochs = config.pbt.burn_in, config.training.epochs
            problems.append(f"pbt.burn_in: {burn_in} epochs leave no exploit in training.epochs = {epochs}")
        problems += [f"pbt.factors: must be above 0, got {f}" for f in config.pbt.factors if f <= 0]
    return problems


def _objective_problems(config: StudyConfig) -> list[str]:
    """What does not go together with several objectives, with constraints, with rules to stop."""
    problems = []
    custom_alone = config.objective is not None and not config.objectives and len(config.directions or ()) == 1
    if config.directions and not custom_alone and len(config.directions) != len(config.objectives or ()):
        given, wanted = len(config.directions), len(config.objectives or ())
        problems.append(f"directions: {given} for {wanted} objectives; give one for each of objectives = [...]")
    if len(set(config.objectives or ())) < len(config.objectives or ()):
        problems.append(f"objectives: {', '.join(config.objectives or ())} names one twice")
    if several := config.several:
        names = " and ".join(several)
        if config.pruner.name != "none":
            line = (
                f"pruner.name: {config.pruner.name} compares one value, and this study has {names}; use --pruner none"
            )
            problems.append(Problem(line, {"pruner.name": "none"}))
        if config.sampler.name not in MULTI_OBJECTIVE:
            problems.append(
                f"sampler.name: {config.sampler.name} knows one objective, and this study has {names}"
                f" (use one of: {', '.join(sorted(MULTI_OBJECTIVE))})"
            )
        if config.scheduler != "study":
            problems.append(f"scheduler: {config.scheduler} compares one value, and this study has {names}")
        problems += [f"stop.{key}: is for one objective, and this study has {names}" for key in config.stop.given]
    if config.scheduler == "pbt":
        problems += [f"stop.{key}: a population ends as one; use epochs or --timeout" for key in config.stop.given]
        if config.constraints.limits:
            problems.append("constraints: a population's copies change without asking; bound space.hidden_size instead")
    return problems


def _start_problems(config: StudyConfig) -> list[str]:
    """What does not go together with the trials a study begins with."""
    given = [key for key in ("enqueue", "import_from", "promote", "from_model") if getattr(config, key)]
    problems = []
    if config.sampler.name == "grid":
        problems += [f"{key}: a grid has its own points, and no other; use another sampler" for key in given]
    if config.scheduler == "pbt" and config.import_from:
        problems.append("import_from: a population begins with its own members; use enqueue")
    if config.constraints.limits and config.import_from:
        problems.append("import_from: with constraints use enqueue, so that every trial is measured here")
    if config.promote and config.import_from:
        problems.append("import_from: values of a promoted study come from other data; leave one of the two out")
    if config.promote and config.from_model:
        problems.append("from_model: promote says what is tried first, too; leave one of the two out")
    return problems


def check_lr_search(raw: Mapping[str, Any], problems: list[str]) -> LrSearchConfig:
    """The `lr_search` section; what is wrong with it goes into the list, and the defaults stand in."""
    section = raw.get("lr_search", {})
    try:
        options = LrSearchConfig.model_validate(section if isinstance(section, Mapping) else {})
    except ValidationError:  # the config as a whole says what
        return LrSearchConfig()  # type: ignore[call-arg]
    if options.low >= options.high:
        problems.append(f"lr_search.low: {options.low:g} is not below lr_search.high = {options.high:g}")
        return LrSearchConfig()  # type: ignore[call-arg]
    return options


def check_data_config(raw: Mapping[str, Any]) -> DataConfig | None:
    """The `data` section alone, so that its file is checked even where something else is wrong."""
    section = raw.get("data", {})
    if isinstance(section, Mapping):  # neither of these says which file and columns to read
        section = {key: value for key, value in section.items() if key not in ("horizon", "splits")}
    try:
        return DataConfig.model_validate(section)
    except ValidationError:
        return None


def with_reading(options: Mapping[str, Any]) -> dict[str, Any]:
    """A prediction's options, those of them that are keys of `data` checked, as one: `reading`.

    Raises:
        InputError: One of these keys cannot have this value.
    """
    given = {key: value for key, value in options.items() if key in READING}
    if not given:
        return dict(options)
    try:
        reading = StudyConfig.model_validate({"data": given, **{key: {"name": n} for key, n in CHOICES.items()}}).data
    except ValidationError as error:
        raise InputError(_problems(error)) from None
    return {**{key: value for key, value in options.items() if key not in READING}, "reading": reading}


def check_storage_paths(config: StudyConfig) -> None:
    """See that a study's checkpoints and its SQLite file can be written; nothing is left behind.

    Raises:
        InputError: With a line for each place that cannot be written.
    """
    from optlstm.study.database.url import parse_url

    problems: list[str] = []
    attempt(problems, lambda: check_writable(absolute(config.storage_path), "storage_path"))
    url = parse_url(config.storage)
    if url.get_backend_name() == "sqlite":
        attempt(problems, lambda: check_writable(Path(url.database or "").absolute().parent, "storage"))
    if problems:
        raise InputError(problems)


def attempt(problems: list[str], action: Callable[[], T]) -> T | None:
    """What `action` returns; None where it raises an InputError, whose problems go into the list."""
    try:
        return action()
    except InputError as error:
        problems.extend(error.problems)
        return None


def _problems(error: ValidationError) -> list[str]:
    """Pydantic's findings in our words, one line per key."""
    by_key: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for detail in error.errors():
        path = tuple(part for part in detail["loc"] if isinstance(part, str) and not _is_union_branch(part))
        by_key.setdefault(path, []).append(detail)
    tables = {path[:-1] for path in by_key}  # of which a value is wrong, and not that it is a table
    return [
        _unknown_key(path) if details[0]["type"] == "extra_forbidden" else _problem(path, details)
        for path, details in by_key.items()
        if path not in tables or not isinstance(details[0]["input"], Mapping)
    ]


def _unknown_key(path: Sequence[str]) -> str:
    """With the key that it is likely to stand for: the one of its section, or of any, that is spelt most like it."""
    section, keys = path[:-1], list(_section(path[:-1]).model_fields)
    known = {key.rpartition(".")[2]: key for key in [*_all_keys()][::-1]}  # of one name: the first
    known |= {key: ".".join([*section, key]) for key in keys}
    key, near = ".".join(path), known.get(nearest(path[-1], known) or "")
    if near is None:
        return f"{key}: unknown key (keys: {', '.join(keys)})"
    name = near.rpartition(".")[2]
    shown = name if name in keys else near
    return Problem(f"{key}: unknown key; did you mean '{shown}'? (keys: {', '.join(keys)})", rename=(key, near))


def _all_keys() -> Iterator[str]:
    """Of the config, those of what is trained first; and the params of the tasks' spaces."""
    top = StudyConfig.model_fields
    for section in dict.fromkeys(["data", "training", *top]):
        yield from (f"{section}.{key}" for key in _section([section]).model_fields if key not in top)
    for task in TASKS:
        yield from (f"space.{param}" for param in task_class(task).generic_space())


def _problem(path: tuple[str, ...], details: list[ErrorDetails]) -> str:
    key, value = ".".join(path), details[0]["input"]
    if path[0] in CHOICES and isinstance(value, str):
        return f"{key}: write {path[0]}.name = {value!r}, so that its options can stand beside it"
    words = in_words(details)
    secret = path[0] == "storage"  # it may hold a password
    return f"{key}: {words}" if secret or "got" in words else f"{key}: {words}, got {as_toml(value)!r}"


def _is_union_branch(part: str) -> bool:
    return part == "bool" or part.startswith(("tuple[", "dict[", "constrained-", "literal[", "function-"))


def _section(path: Sequence[str]) -> type[BaseModel]:
    model: type[BaseModel] = StudyConfig
    for part in path:
        field = model.model_fields[part]
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return model

"""What a study can begin with: params to try first, trials of another study, ranges narrowed by an earlier one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from optlstm.errors import InputError, Problem, did_you_mean
from optlstm.study.constraints import IMPORTED_KEY, INFEASIBLE_KEY
from optlstm.study.record import StudyRecord, flatten, has_grown
from optlstm.study.space import Param, Space, Value
from optlstm.util.format import in_a_line

NARROW_FROM_LEAST = 8  # complete trials; a quarter of fewer says nothing
_COMPARED = ("task", "data", "objective", "objectives", "direction")  # values of trials mean the same where these agree


def params_problems(listed: Sequence[Mapping[str, Any]], space: Space, where: str) -> list[str]:
    """What is wrong with params to be tried, one line each."""
    if space.is_open:
        return []  # an objective that asks for none of them ignores them
    searched = {param.name: param for param in space.params}
    problems = []
    for position, params in enumerate(listed, start=1):
        for name, value in params.items():
            line = f"{where} {position}: {name} = {value!r}"
            if name in searched:
                if not allowed(searched[name], value):
                    problems.append(f"{line} is outside the space ({_range(searched[name])})")
            elif name not in space.fixed:
                problems.append(f"{line}: no such param in the space{did_you_mean(name, [*searched, *space.fixed])}")
            elif space.fixed[name] != value:
                problems.append(f"{line}, but the space fixes it at {space.fixed[name]!r}")
    return problems


def searched_part(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Params without those that the space fixes, each of its param's type."""
    if space.is_open:
        return dict(params)
    searched = {param.name: param for param in space.params}
    return {name: _typed(searched[name], value) for name, value in params.items() if name in searched}


def possible_part(
    params: Mapping[str, Any], space: Space, defaults: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of a network's params those that a space searches, as `searched_part`; and those that it cannot have.

    Args:
        params: All that the network has; of those that it has no use for, the defaults.
        defaults: Of params that the space does not name.
    """
    searched = {param.name for param in space.params}
    fitting = {p.name: params[p.name] for p in space.params if p.name in params and allowed(p, params[p.name])}
    active = space.choose(lambda param: fitting.get(param.name, param.default))
    otherwise = {**defaults, **space.fixed}
    lost = {
        name: value
        for name, value in params.items()
        if (name in active and name not in fitting if name in searched else value != otherwise.get(name))
    }
    return searched_part({name: value for name, value in fitting.items() if name in active}, space), lost


def allowed(param: Param, value: Any) -> bool:
    """Whether a value is one that the param can take."""
    if param.kind == "categorical":
        return any(value == choice and type(value) is type(choice) for choice in param.choices)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    if param.kind == "int" and value != int(value):
        return False
    return math.isclose(float(param.clip(value)), value, rel_tol=1e-9, abs_tol=1e-12)


def narrowed(spec: Mapping[str, Any], trials: Sequence[FrozenTrial], name: str) -> dict[str, Any]:
    """The `[space]` that the best quarter of a study's complete trials lies in.

    Args:
        spec: The study's space.
        trials: Its complete trials, the best first.
        name: Of the study, for messages.

    Raises:
        InputError: There are too few trials to narrow from.
    """
    if len(trials) < NARROW_FROM_LEAST:
        raise InputError(
            f"narrow_from: study '{name}' has {len(trials)} complete trials; at least {NARROW_FROM_LEAST} are needed"
        )
    top = trials[: max(2, math.ceil(len(trials) / 4))]
    section: dict[str, Any] = {}
    for param, entry in spec.items():
        seen = [trial.params[param] for trial in top if param in trial.params]
        if not isinstance(entry, Mapping):
            section[param] = entry
        elif seen:
            section[param] = _narrowed(dict(entry), seen)
    return _consistent(section)


def imported(source: Sequence[FrozenTrial], stored: Mapping[str, Any], record: StudyRecord) -> list[FrozenTrial]:
    """The ended trials of another study as trials of this one, where they lie in this one's space; params by name.

    Args:
        source: The other study's trials.
        stored: What the database holds of it.

    Raises:
        InputError: Its values mean something else, or its params are not this space's; one line names what differs.
    """
    if differences := _differences(stored, record):
        line = f"import_from: study '{record.imported}' is another search: {'; '.join(differences)}"
        if not has_grown(stored.get("data") or {}, record.stored().get("data") or {}):
            raise InputError(line)
        line += f"; if its data has grown, --promote {record.imported} runs its best trials again on all of it"
        raise InputError(Problem(line, {"--promote": str(record.imported)}, without="--import"))
    spec = stored["space"]
    fixed = {param: entry for param, entry in spec.items() if not isinstance(entry, Mapping)}
    taken = (_taken(trial, {**fixed, **trial.params}, record) for trial in source)
    return [trial for trial in taken if trial is not None]


def _differences(stored: Mapping[str, Any], record: StudyRecord) -> list[str]:
    """Why trials of the study `stored` mean something else in this one; hashes are not shown."""
    theirs, ours = (_meaning(r) for r in (stored, record.stored()))
    keys = [key for key in sorted(theirs.keys() | ours.keys()) if theirs.get(key) != ours.get(key)]
    if "task" in keys:  # then all that belongs to the task differs
        keys = [key for key in keys if not key.startswith(("data.", "objective."))]
    hashed = [key for key in keys if key.endswith("fingerprint")]
    lines = [
        f"it has {key} = {in_a_line(theirs.get(key), 60)}, this one has {in_a_line(ours.get(key), 60)}"
        for key in keys
        if key not in hashed
    ]
    if hashed and not lines:
        lines.append("the objective's code is another" if "objective.fingerprint" in hashed else "its data is other")
    spec, space = stored["space"], record.space
    known = {*space.fixed, *(p.name for p in space.params)}
    unknown = [param for param, entry in spec.items() if isinstance(entry, Mapping) and param not in known]
    missing = [p.name for p in space.params if p.name not in spec]
    lines += [f"it searches {', '.join(unknown)}, which this one has not"] if unknown else []
    return lines + ([f"this one searches {', '.join(missing)}, which it has not"] if missing else [])


def _meaning(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a study's record that decides what its trials' values mean, flat."""
    meaning = flatten({key: value for key, value in record.items() if key in _COMPARED})
    return meaning | {key: value for key, value in flatten(record).items() if key == "training.metric"}


def _taken(trial: FrozenTrial, values: Mapping[str, Any], record: StudyRecord) -> FrozenTrial | None:
    """A trial as one of this study; None where it has not ended, or lies outside the space."""
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and INFEASIBLE_KEY not in trial.user_attrs
    space = record.space
    if not ended or any(values.get(name, value) != value for name, value in space.fixed.items()):
        return None

    def value_of(param: Param) -> Any:
        value = values.get(param.name)
        return _typed(param, value) if allowed(param, value) else None

    params = dict(trial.params) if space.is_open else space.searched(space.choose(value_of))
    if None in params.values() and not space.is_open:
        return None
    attrs = {key: value for key, value in trial.user_attrs.items() if key not in ("member", "parent", "replaces")}
    return create_trial(
        state=trial.state,
        values=trial.values,
        params=params,
        distributions=dict(trial.distributions) if space.is_open else space.distributions(params),
        intermediate_values=dict(trial.intermediate_values),
        user_attrs={**attrs, IMPORTED_KEY: record.imported, "imported_trial": trial.number},
    )


def _typed(param: Param, value: Any) -> Any:
    return value if param.kind == "categorical" else param.clip(value)


def _range(param: Param) -> str:
    if param.kind == "categorical":
        return f"one of {', '.join(map(str, param.choices))}"
    step = f", in steps of {param.step:g}" if param.step else ""
    return f"{param.low:g} to {param.high:g}{step}"


def _narrowed(entry: dict[str, Any], seen: Sequence[Value]) -> Any:
    """The part of a param's entry that `seen`, the best first, lies in."""
    if "choices" in entry:
        entry["choices"] = [choice for choice in entry["choices"] if choice in seen]
    else:
        # Rounded as a grid's values are: 0.1 + 2 * 0.1 is above 0.3.
        ordered = sorted(round(float(v), 12) if entry.get("step") else float(v) for v in seen)
        kind = int if entry.get("type") == "int" else float
        seen = [kind(round(float(v), 12) if entry.get("step") else v) for v in seen]
        entry["low"], entry["high"] = kind(ordered[0]), kind(ordered[-1])
    entry["default"] = seen[0]
    alone = len(entry["choices"]) == 1 if "choices" in entry else entry["low"] == entry["high"]
    return seen[0] if alone and "when" not in entry else entry


def _consistent(section: dict[str, Any]) -> dict[str, Any]:
    """Conditions name only values that are left; a param whose condition can no longer hold is left out."""
    kept: dict[str, Any] = {}
    for name, entry in section.items():
        if not isinstance(entry, Mapping) or "when" not in entry:
            kept[name] = entry
            continue
        when = {
            other: [v for v in values if _possible(section.get(other), v)] for other, values in entry["when"].items()
        }
        if all(when.values()):
            kept[name] = {**entry, "when": when}
    return kept


def _possible(entry: Any, value: Value) -> bool:
    if not isinstance(entry, Mapping):
        return bool(entry == value)
    if "choices" in entry:
        return value in entry["choices"]
    return bool(entry["low"] <= value <= entry["high"])

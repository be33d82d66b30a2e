"""A study in sentences and numbers, all from its database."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from optlstm.report.figures.curves import OTHERS, STATES
from optlstm.report.view import (
    LEAST_FOR_IMPORTANCE,
    StudyView,
    deciding_metric,
    first_epoch,
    seconds,
    task_metrics,
    trained,
)
from optlstm.study.record import REASON_KEY
from optlstm.util.format import duration, listed, many, moment, nodes_in_words, number, share, short, without_midnight

BEST_TRIALS = 10
NAMED_PARAMS = 12
REASONS = 4


class KeyNumber(NamedTuple):
    label: str
    value: str
    note: str


def subtitle(view: StudyView, dates: Sequence[str] = ()) -> str:
    """What was trained on what. dates: first and last time of training, validation and test rows, where known."""
    data = view.record.get("data", {})
    if not data:
        return f"A study of {many(len(view.trials), 'trial')}"
    targets = ", ".join(short(c) for c in data.get("target", []))
    parts = [f"task {view.record.get('task', '')}"]
    parts += [f"target {targets}"] if targets else []
    parts += [f"{data['horizon']} steps ahead"] if "horizon" in data else []
    return ". ".join([", ".join(parts), *_sizes(data, dates)])


def _sizes(data: Mapping[str, Any], dates: Sequence[str]) -> list[str]:
    """How many examples there are, and how many of them each part has."""
    unit = next((unit for unit in ("rows", "texts", "windows", "sequences") if unit in data), None)
    if unit is None:
        return []
    total = f"{data[unit]:,} {unit}"
    total += f" of {many(len(data['classes']), 'class', 'classes')}" if "classes" in data else ""
    if "first" in data:
        total += f" from {' to '.join(without_midnight([str(data['first']), str(data['last'])]))}"
    if len(data.get("splits", ())) != 3:
        return [total]
    if folds := data.get("folds"):
        _, validation, test = data["splits"]
        return [f"{total}: {folds} folds, each validated on about {validation:,}, and {test:,} for the test"]
    parts = zip(("training", "validation", "test"), data["splits"], dates or ("", "", ""), strict=True)
    used = ", ".join(f"{count:,} for {part}" + (f" ({span})" if span else "") for part, count, span in parts)
    unused = f"; {sum(data['splits']):,} of them are used" if sum(data["splits"]) < data[unit] else ""
    return [f"{total}{unused}: {used}"]


def key_numbers(view: StudyView) -> list[KeyNumber]:
    """The few numbers a reader looks for first."""
    shown = []
    best, default = view.best, view.default
    if best is not None and not view.several:
        metric = deciding_metric(view.record)
        where = f" ({metric.note})" if metric and metric.note else ""
        shown.append(
            KeyNumber(f"best validation {view.objective}", number(_value(best), 4), f"trial {best.number}{where}")
        )
    elif view.several:
        shown.append(KeyNumber("not beaten by any", f"{len(view.front):,}", f"of {many(len(view.by_value), 'trial')}"))
    if default is not None and best is not None and not view.several:
        change = "none better" if default is best else _change(best, default)
        shown.append(KeyNumber("against the defaults", change, f"they reach {number(_value(default))}"))
    shown.append(KeyNumber("trials", f"{len(view.trials):,}", _counts(view)))
    epochs = sum(map(trained, view.trials))
    if epochs:
        done, full = _ended_epochs(view), _full_cost(view)
        saved = f"{share(full - done, full)} saved by early ends" if full and full > done else "in all trials"
        shown.append(KeyNumber("epochs trained", f"{epochs:,}", saved))
    if total := sum(map(seconds, view.trials)):
        shown.append(KeyNumber("trial time", duration(total), "of all trials, pauses included"))
    return shown


def summary(view: StudyView, baselines: str = "") -> list[str]:
    """What was searched, what won and by how much, what was ended early and why, what it cost.

    Args:
        baselines: How the best trial compares with models that need no tuning, in a sentence.
    """
    notes = [f"{note[:1].upper()}{note[1:]}." for note in view.notes]
    before, after = [_searched(view), _outcome(view), *_winner(view)], [_mattered(view), _ended(view), _cost(view)]
    sentences = [*notes, *before, baselines, *after]
    return [sentence for sentence in sentences if sentence]


def _searched(view: StudyView) -> str:
    names = [short(name) for name in view.searched]
    listing = listed(names[:NAMED_PARAMS]) + (
        f" and {len(names) - NAMED_PARAMS} more" if len(names) > NAMED_PARAMS else ""
    )
    text = f"Searched: {many(len(names), 'hyperparameter')} ({listing})" if names else "Searched: nothing yet"
    record = view.record
    if record:
        scheduler = record.get("scheduler", {}).get("name", "study")
        rule = f"pruner {record.get('pruner', {}).get('name')}" if scheduler == "study" else f"scheduler {scheduler}"
        text += f", with the sampler {record.get('sampler', {}).get('name')}, the {rule} and seed {record.get('seed')}"
    aims = [f"{direction} {short(n)}" for n, direction in zip(view.objectives, view.directions, strict=True)]
    return f"{text}. To {listed(aims)}."


def _outcome(view: StudyView) -> str:
    if not view.trials:
        return "No trial has begun yet."
    wanted = view.config.get("trials") or 0
    text = many(len(view.trials), "trial") + (f" of {wanted:,} wanted" if wanted > len(view.trials) else "")
    text += f": {_counts(view)}."
    if left_out := view.counts.get("COMPLETE", 0) - len(view.by_value):
        text += f" Of {many(left_out, 'complete trial')} a value is not finite: left out of all that follows."
    return text + (f" It ended because {view.stopped}." if view.stopped else "")


def _counts(view: StudyView) -> str:
    words = {state: word for state, (word, _) in STATES.items()} | {"WAITING": "waiting"}
    merged: Counter[str] = Counter()
    for state, n in view.counts.items():
        merged[words.get(state, OTHERS[0])] += n
    order = ("complete", "pruned", "failed", OTHERS[0], "waiting")
    return ", ".join(f"{merged[word]:,} {word}" for word in order if merged[word])


def _winner(view: StudyView) -> list[str]:
    best = view.best
    if best is None:
        return ["No trial is complete, so there is no best one."]
    if view.several:
        ends = "; ".join(
            f"{short(n)} {number(t.values[k], 5)} (trial {t.number})"
            for k, (n, t) in enumerate(zip(view.objectives, _bests(view), strict=True))
        )
        return [
            f"For {many(len(view.front), 'trial')} no other trial is at least as good in every objective and better in"
            f" one. Best of each: {ends}."
        ]
    attrs = best.user_attrs
    others = [m.name for m in task_metrics(view.record) if m.name != view.objective]
    details = [f"{name} {number(attrs[name])}" for name in others if isinstance(attrs.get(name), float)]
    if "best_epoch" in attrs:
        details.append(f"after epoch {attrs['best_epoch']} of {best.last_step}")
    if isinstance(attrs.get("parameters"), int):
        details.append(f"{attrs['parameters']:,} weights")
    text = f"Trial {best.number} is best: validation {view.objective} {number(_value(best), 5)}"
    text += f" ({', '.join(details)})." if details else "."
    chosen = ", ".join(f"{short(k)} {number(v)}" for k, v in best.params.items())
    return [text + (f" Its hyperparameters: {chosen}." if chosen else ""), *_margins(view, best)]


def _bests(view: StudyView) -> list[FrozenTrial]:
    return [
        min(view.by_value, key=lambda t: (t.values[k] * (1 if direction == "minimize" else -1), t.number))
        for k, direction in enumerate(view.directions)
    ]


def _margins(view: StudyView, best: FrozenTrial) -> list[str]:
    """How far the best is from the defaults and from the middle of the search."""
    parts, default = [], view.default
    if default is best:
        parts.append("no trial was better than the defaults the search began with")
    elif default is not None:
        parts.append(f"the defaults the search began with (trial 0) reach {number(_value(default), 5)}")
        change = _change(best, default)
        parts[-1] += f", so the search {'raised' if change[0] == '+' else 'lowered'} {view.objective} by {change[1:]}"
    if len(view.by_value) > 2:
        middle = view.by_value[(len(view.by_value) - 1) // 2]
        parts.append(f"the median complete trial reaches {number(_value(middle), 5)}")
    return [f"For comparison: {'; '.join(parts)}."] if parts else []


def _change(best: FrozenTrial, other: FrozenTrial) -> str:
    """With its sign in front."""
    before, now = _value(other), _value(best)
    if before == 0:
        return f"{now - before:+.4g}".replace("-", "\N{MINUS SIGN}", 1)
    return f"{100 * (now - before) / abs(before):+.1f} %".replace("-", "\N{MINUS SIGN}")


def _mattered(view: StudyView) -> str:
    most = list(view.importances.items())[:3]
    first = [f"{short(name)} ({share(weight, 1)})" for name, weight in most if weight > 0.005]
    if 0 < len(view.by_value) < LEAST_FOR_IMPORTANCE and len(view.searched) > 1:
        return f"What mattered is not said of fewer than {LEAST_FOR_IMPORTANCE} complete trials."
    objective = f" for {short(view.objective)}" if view.several else ""
    return f"What mattered most{objective}: {listed(first)}." if first else ""


def _ended(view: StudyView) -> str:
    """Why trials ended early, the most frequent reasons first; numbers in a reason are taken out to count it."""
    parts = []
    for state, word in (("PRUNED", "pruned"), ("FAIL", "failed")):
        trials = [t for t in view.trials if t.state.name == state]
        kinds = Counter(_kind(str(t.user_attrs.get(REASON_KEY, "for a reason not recorded"))) for t in trials)
        if trials:
            reasons = [f"{n:,} {short(kind, 120)}" for kind, n in kinds.most_common(REASONS)]
            rest = len(trials) - sum(n for _, n in kinds.most_common(REASONS))
            median = sorted(trained(t) for t in trials)[(len(trials) - 1) // 2]
            when = f", half of them within {many(median, 'epoch')}" if state == "PRUNED" and len(trials) > 1 else ""
            others = [f"{rest:,} for other reasons"] if rest else []
            parts.append(f"{many(len(trials), 'trial')} {word}{when}: {'; '.join([*reasons, *others])}.")
    return " ".join(parts)


def _kind(reason: str) -> str:
    if match := re.fullmatch(r"(.+) at epoch \d+", reason):
        return f"by {match[1]}"
    if re.fullmatch(r"pbt: replaced at epoch \d+ by a copy of trial \d+", reason):
        return "replaced by a copy of a better member"
    return re.sub(r"\d[\d.e+-]*", "…", reason)


def _cost(view: StudyView) -> str:
    epochs, done, full = sum(map(trained, view.trials)), _ended_epochs(view), _full_cost(view)
    starts = [t.datetime_start for t in view.trials if t.datetime_start]
    ends = [t.datetime_complete for t in view.trials if t.datetime_complete]
    parts = [f"{many(epochs, 'epoch')} of training"] if epochs else []
    if full and 0 < done < full:
        compared = (
            f"; {done:,} of them are of trials that have ended, and those" if done < epochs else ", where all trials"
        )
        parts[0] += f"{compared} to their last epoch would be {full:,} ({share(full - done, full)} saved)"
    if starts and ends:
        total = duration(sum(map(seconds, view.trials)))
        parts.append(f"{total} of trials, between {moment(min(starts))} and {moment(max(ends))}")
    if nodes := view.nodes:
        parts.append(f"on {nodes_in_words(nodes)}")
    return f"Cost: {'; '.join(parts)}." if parts else ""


def _ended_epochs(view: StudyView) -> int:
    """Epochs trained by the trials that have ended."""
    return sum(trained(t) for t in view.trials if t.state.is_finished())


def _full_cost(view: StudyView) -> int | None:
    """Epochs if each ended trial had been trained to its last one; None where that is not known, or of a population."""
    if view.epochs is None or view.is_population:
        return None
    return sum(view.epochs - first_epoch(t) for t in view.trials if t.state.is_finished())


def _value(trial: FrozenTrial) -> float:
    return float(trial.values[0])


def best_trials_table(view: StudyView) -> tuple[str, Sequence[str], list[list[str]]]:
    """Title, heading and rows of the table of the best trials."""
    if view.several:
        chosen, title = view.front[:BEST_TRIALS], f"Trials that no other beats, by {short(view.objective)}"
    else:
        chosen, title = view.by_value[:BEST_TRIALS], "The best trials"
    names = view.by_importance
    time = "seconds with waiting" if view.is_population else "seconds"
    heading = ["trial", *view.objectives, "epochs", time, *map(short, names)]
    rows = [
        [
            str(t.number),
            *(number(float(v), 5) for v in t.values),
            str(t.last_step or ""),
            f"{seconds(t):.1f}" if t.duration is not None else "",
            *(number(t.params[n]) if n in t.params else "" for n in names),
        ]
        for t in chosen
    ]
    return (f"{title} ({len(rows)} of {len(view.front if view.several else view.by_value):,})", heading, rows)

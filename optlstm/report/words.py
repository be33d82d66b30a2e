"""A study in sentences and numbers. Every number comes from the study's database."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from optlstm.report.curves import OTHERS, STATES
from optlstm.report.view import StudyView, deciding_metric, first_epoch, task_metrics, trained
from optlstm.study.ledger import REASON_KEY
from optlstm.study.view import STOPPED_KEY
from optlstm.text import duration, listed, many, moment, number, share, short

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

LEADERS = 10
NAMED_PARAMS = 12
REASONS = 4


class Tile(NamedTuple):
    what: str
    value: str
    note: str


def subtitle(view: StudyView) -> str:
    """What was trained on what."""
    data = view.record.get("data", {})
    if not data:
        return f"A study of {many(len(view.trials), 'trial')}"
    targets = ", ".join(short(c) for c in data.get("target", []))
    parts = [f"task {view.record.get('task', '')}"]
    parts += [f"target {targets}"] if targets else []
    parts += [f"{data['horizon']} steps ahead"] if "horizon" in data else []
    parts += [f"{data['rows']:,} rows, {data['first']} to {data['last']}"] if {"rows", "first"} <= data.keys() else []
    return ", ".join(parts)


def tiles(view: StudyView) -> list[Tile]:
    """The few numbers a reader looks for first."""
    found = []
    best, default = view.best, view.default
    if best is not None and not view.several:
        metric = deciding_metric(view.record)
        where = f" ({metric.note})" if metric and metric.note else ""
        found.append(Tile(f"best validation {view.objective}", number(_value(best), 4), f"trial {best.number}{where}"))
    elif view.several:
        found.append(Tile("not beaten by any", f"{len(view.front):,}", f"of {many(len(view.ranking), 'trial')}"))
    if default is not None and best is not None and not view.several:
        change = "none better" if default is best else _change(view, best, default)
        found.append(Tile("against the defaults", change, f"they reach {number(_value(default))}"))
    found.append(Tile("trials", f"{len(view.trials):,}", _counts(view)))
    epochs = sum(map(trained, view.trials))
    if epochs:
        full = _full_cost(view)
        saved = f"of {full:,} without early ends" if full and full > epochs else "in all trials"
        found.append(Tile("epochs trained", f"{epochs:,}", saved))
    if seconds := _seconds(view):
        found.append(Tile("trial time", duration(seconds), "of all trials, pauses included"))
    return found


def summary(view: StudyView, weights: Mapping[str, float]) -> list[str]:
    """What was searched, what won and by how much, what was ended early and why, what it cost."""
    sentences = [_searched(view), _outcome(view), *_winner(view), _mattered(weights), _ended(view), _cost(view)]
    return [sentence for sentence in sentences if sentence]


def _searched(view: StudyView) -> str:
    names = [short(name) for name in view.searched]
    what = listed(names[:NAMED_PARAMS]) + (
        f" and {len(names) - NAMED_PARAMS} more" if len(names) > NAMED_PARAMS else ""
    )
    text = f"Searched: {many(len(names), 'hyperparameter')} ({what})" if names else "Searched: nothing yet"
    record = view.record
    if record:
        scheduler = record.get("scheduler", {}).get("name", "study")
        rule = f"pruner {record.get('pruner', {}).get('name')}" if scheduler == "study" else f"scheduler {scheduler}"
        text += f", with the sampler {record.get('sampler', {}).get('name')}, the {rule} and seed {record.get('seed')}"
    return f"{text}. To {_aim(view)}."


def _aim(view: StudyView) -> str:
    return listed(f"{d} {short(n)}" for n, d in zip(view.objectives, view.directions, strict=True))


def _outcome(view: StudyView) -> str:
    stopped = view.attrs.get(STOPPED_KEY)
    return f"{many(len(view.trials), 'trial')}: {_counts(view)}." + (f" It ended because {stopped}." if stopped else "")


def _counts(view: StudyView) -> str:
    known = [(STATES.get(state, OTHERS)[0], n) for state, n in view.counts.items() if state != "WAITING"]
    waiting = [("waiting", view.counts["WAITING"])] if view.counts.get("WAITING") else []
    merged: Counter[str] = Counter()
    for word, n in [*known, *waiting]:
        merged[word] += n
    order = [*(word for word, _ in STATES.values()), OTHERS[0], "waiting"]
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
            f"{many(len(view.front), 'trial')} are not beaten by any other in every objective. Best of each: {ends}."
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
        min(view.ranking, key=lambda t: (t.values[k] * (1 if direction == "minimize" else -1), t.number))
        for k, direction in enumerate(view.directions)
    ]


def _margins(view: StudyView, best: FrozenTrial) -> list[str]:
    """How far the best is from the defaults and from the middle of the search."""
    parts, default = [], view.default
    if default is best:
        parts.append("no trial was better than the defaults the search began with")
    elif default is not None:
        parts.append(f"the defaults the search began with (trial 0) reach {number(_value(default), 5)}")
        parts[-1] += f", so the search changed {view.objective} by {_change(view, best, default)}"
    if len(view.ranking) > 2:
        middle = view.ranking[(len(view.ranking) - 1) // 2]
        parts.append(f"the median complete trial reaches {number(_value(middle), 5)}")
    return [f"For comparison: {'; '.join(parts)}."] if parts else []


def _change(view: StudyView, best: FrozenTrial, other: FrozenTrial) -> str:
    before, now = _value(other), _value(best)
    if before == 0:
        return f"{now - before:+.4g}"
    return f"{100 * (now - before) / abs(before):+.1f} %".replace("-", "\N{MINUS SIGN}")


def _mattered(weights: Mapping[str, float]) -> str:
    first = [f"{short(name)} ({share(weight, 1)})" for name, weight in list(weights.items())[:3] if weight > 0.005]
    return f"What mattered most: {listed(first)}." if first else ""


def _ended(view: StudyView) -> str:
    """Why trials ended early, the most frequent reasons first; numbers in a reason are taken out to count it."""
    parts = []
    for state, word in (("PRUNED", "pruned"), ("FAIL", "failed")):
        mine = [t for t in view.trials if t.state.name == state]
        kinds = Counter(_kind(str(t.user_attrs.get(REASON_KEY, "for a reason not recorded"))) for t in mine)
        if mine:
            said = [f"{n:,} {short(kind, 120)}" for kind, n in kinds.most_common(REASONS)]
            rest = len(mine) - sum(n for _, n in kinds.most_common(REASONS))
            at = sorted(trained(t) for t in mine)
            when = f", the median after {many(at[(len(at) - 1) // 2], 'epoch')}" if state == "PRUNED" else ""
            others = [f"{rest:,} for other reasons"] if rest else []
            parts.append(f"{many(len(mine), 'trial')} {word}{when}: {'; '.join([*said, *others])}.")
    return " ".join(parts)


def _kind(reason: str) -> str:
    if found := re.fullmatch(r"(.+) at epoch \d+", reason):
        return f"by {found[1]}"
    if found := re.fullmatch(r"pbt: replaced at epoch \d+ by a copy of trial \d+", reason):
        return "replaced by a copy of a better member"
    return re.sub(r"\d[\d.e+-]*", "…", reason)


def _cost(view: StudyView) -> str:
    epochs, full = sum(map(trained, view.trials)), _full_cost(view)
    starts = [t.datetime_start for t in view.trials if t.datetime_start]
    ends = [t.datetime_complete for t in view.trials if t.datetime_complete]
    parts = [f"{many(epochs, 'epoch')} of training"] if epochs else []
    if full and 0 < epochs < full:
        parts[0] += f", where all trials to their last epoch would be {full:,} ({share(full - epochs, full)} saved)"
    if starts and ends:
        parts.append(f"{duration(_seconds(view))} of trials, between {moment(min(starts))} and {moment(max(ends))}")
    return f"Cost: {'; '.join(parts)}." if parts else ""


def _full_cost(view: StudyView) -> int | None:
    """Epochs, had every trial that has ended gone to its last one."""
    if view.epochs is None:
        return None
    return sum(view.epochs - first_epoch(t) for t in view.trials if t.state.is_finished() and not view.is_population)


def _seconds(view: StudyView) -> float:
    both = [(t.datetime_start, t.datetime_complete) for t in view.trials]
    return sum((end - start).total_seconds() for start, end in both if start and end)


def _value(trial: FrozenTrial) -> float:
    return float(trial.values[0])


def leaders(view: StudyView) -> tuple[str, Sequence[str], list[list[str]]]:
    """Title, heading and rows of the table of the best trials."""
    if view.several:
        chosen, title = view.front[:LEADERS], "Trials that no other beats in every objective"
    else:
        chosen, title = view.ranking[:LEADERS], "The best trials"
    names = list(view.searched)
    seconds = "seconds with waiting" if view.is_population else "seconds"
    heading = ["trial", *view.objectives, "epochs", seconds, *map(short, names)]
    rows = [
        [
            str(t.number),
            *(number(float(v), 5) for v in t.values),
            str(t.last_step or ""),
            f"{_span(t):.1f}" if t.datetime_start and t.datetime_complete else "",
            *(number(t.params[n]) if n in t.params else "" for n in names),
        ]
        for t in chosen
    ]
    return (f"{title} ({len(rows)} of {len(view.front if view.several else view.ranking):,})", heading, rows)


def _span(trial: FrozenTrial) -> float:
    assert trial.datetime_start is not None
    assert trial.datetime_complete is not None
    return (trial.datetime_complete - trial.datetime_start).total_seconds()

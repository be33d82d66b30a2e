"""How a stored study is printed: `show` as table and CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from optlstm.console.progress import PAUSED, STYLES, UNCUT, WORDS, shown
from optlstm.console.tables import MANY, LongTable, plain_table
from optlstm.study.pruners import bracket_of
from optlstm.training.hparams import Hyperparameters
from optlstm.util.format import csv_row, decimals, nodes_in_words, visible

Row = dict[str, Any]
STEPS = "LSTM_steps"
STEPS_IN_WORDS = "window / patch: each reads a patch of rows at once"


def _counts_of(summary: Row) -> str:
    return counts_in_words(summary["counts"], WORDS["RUNNING"] if summary["at_work"] else PAUSED)


def counts_in_words(counts: Mapping[str, int], running: str = WORDS["RUNNING"]) -> str:
    """`20 trials: 9 complete, 11 pruned`; `running`: what to call those that have not ended."""
    total, words = sum(counts.values()), {**WORDS, "RUNNING": running}
    parts = ", ".join(f"{counts[s]} {words.get(s, s.lower())}" for s in (*WORDS, "WAITING") if counts.get(s))
    return f"{total} trial{'s' if total != 1 else ''}" + (f": {parts}" if parts else "")


def study_table(summary: Row, record: Mapping[str, Any], width: int, top: int) -> list[Any]:
    """`show` in `width` columns: a heading, and the best `top` trials with the params in which they differ.

    A row a trial where all of it fits, else a column a trial.
    """
    best = summary["best"]
    lines: list[Any] = [Text.assemble((f"study {visible(summary['name'])}", "bold"), f": {_counts_of(summary)}")]
    if record:
        lines.append(f"sampler {record['sampler']['name']}, pruner {record['pruner']['name']}, seed {record['seed']}")
    if summary.get("stopped"):
        lines.append(Text(f"stopped: {visible(summary['stopped'])}"))
    if "front" in summary:
        lines += front_lines(summary, record)
    elif best:
        lines.append(f"best: trial {best['number']}, value {number(best['value'], 6)} ({summary['direction']})")
    if nodes := summary.get("nodes"):
        lines.append(Text(f"ran on {nodes_in_words(nodes)}"))
    lines += bracket_lines(summary, record)
    if not summary["trials"]:
        return lines
    trials = best_first(summary)[:top]
    steps = {trial["number"]: lstm_steps(trial["params"], record) for trial in trials}
    if any(steps.values()) and {"window", "patch"} & {*param_names(trials)}:
        trials = [_with_steps(trial, steps[trial["number"]]) for trial in trials]
        lines.append(f"{STEPS}: {STEPS_IN_WORDS}")
    names, alike = differing(trials)
    if alike:
        lines.append(Text("alike in all of these: " + "  ".join(f"{visible(k)}={shown(v)}" for k, v in alike.items())))
    if len(trials) < len(summary["trials"]):
        total = len(summary["trials"])
        lines.append(f"the best {len(trials)} of {total} trials; all: --top {total}, or --format csv")
    if len(trials) > MANY:
        table = _long_table(trials, names)
        return [*lines, "", table if table.width <= width else _long_table(trials, None)]
    number_of_best = best and best["number"]
    wide = _trials_table(trials, names, number_of_best)
    fits = Console(width=UNCUT).measure(wide).maximum <= width
    return [*lines, "", *([wide] if fits else columns_of_trials(trials, names, number_of_best, width))]


def best_first(summary: Row) -> list[Row]:
    """The trials: complete ones by value (of several objectives the front before the others), then by state."""
    front, sign = summary.get("front"), 1 if summary["direction"] == "minimize" else -1
    states = ("COMPLETE", "RUNNING", "PRUNED")

    def key(trial: Row) -> tuple[int, float, int]:
        state, value = trial["state"], trial["value"]
        if state != "COMPLETE":
            return (1 + states.index(state) if state in states else len(states) + 1, 0.0, trial["number"])
        if front is not None:
            return (0, float(trial["number"] not in front), trial["number"])
        return (0, sign * value if math.isfinite(value) else math.inf, trial["number"])

    return sorted(summary["trials"], key=key)


def differing(trials: Sequence[Row]) -> tuple[list[str], Row]:
    """The params in which trials differ, and those that are alike in all; of one trial all of them differ."""
    names = param_names(trials)
    if len(trials) == 1:
        return names, {}
    alike = {
        name: trials[0]["params"][name]
        for name in names
        if all(name in t["params"] and t["params"][name] == trials[0]["params"].get(name) for t in trials)
    }
    return [name for name in names if name not in alike], alike


def columns_of_trials(trials: Sequence[Row], names: Sequence[str], best: int | None, width: int) -> list[Any]:
    """A column a trial, as many side by side as fit; why some of them ended below."""
    headings = [Text(visible(name)) for name in ("trial", "value", "epochs", "seconds", "state", *names)]
    columns = [
        [Text(cell) for cell in (*_numbers(t), _state(t), *(shown(t["params"].get(name, "")) for name in names))]
        for t in trials
    ]
    parts: list[Any] = []
    while columns:
        left = width - max(map(len, headings))
        fitting = 0
        for column in columns:
            left -= 2 + max(map(len, column))
            if left < 0:
                break
            fitting += 1
        block, columns = columns[: fitting or 1], columns[fitting or 1 :]
        table = plain_table()
        table.show_header = False
        table.add_column()
        for column in block:
            table.add_column(justify="right", style="bold" if column[0].plain == str(best) else "")
        for row in zip(headings, *block, strict=True):
            table.add_row(*row, style="bold" if row[0] is headings[0] else "")
        parts += [table, ""]
    reasons = [f"trial {t['number']}: {visible(t['reason'])}" for t in trials if t["reason"]]
    return [*parts[:-1], *([""] if reasons else []), *map(Text, reasons)]


def lstm_steps(params: Mapping[str, Any], record: Mapping[str, Any]) -> int | None:
    """How many steps the LSTM makes of the window of a forecast; None for other tasks and custom networks."""
    if record.get("task") != "forecast" or record.get("model"):
        return None
    used = {**record["space"], **params}
    window, patch = used.get("window", Hyperparameters.window), used.get("patch", Hyperparameters.patch)
    if not (isinstance(window, int) and isinstance(patch, int)):
        return None  # searched, and the trial has none
    return -(-window // patch)


def _with_steps(trial: Row, steps: int | None) -> Row:
    """The trial as if the LSTM's steps were a param, behind window and patch where it has those."""
    names = [*trial["params"]]
    at = max((names.index(name) + 1 for name in ("window", "patch") if name in names), default=0)
    params = {name: trial["params"][name] for name in names[:at]} | ({} if steps is None else {STEPS: steps})
    return {**trial, "params": params | {name: trial["params"][name] for name in names[at:]}}


def front_lines(summary: Row, record: Mapping[str, Any]) -> list[Any]:
    """The Pareto front, a row a trial, in the order of the first objective; nothing where no trial is complete."""
    directions = summary["direction"].split(", ")
    names = list(record.get("objectives") or [f"value {i}" for i in range(len(directions))])
    on_front = [trial for trial in summary["trials"] if trial["number"] in set(summary["front"])]
    if not on_front:
        return []
    knee = summary["best"]["number"]
    aims = (f"{visible(name)} ({direction})" for name, direction in zip(names, directions, strict=True))
    table = plain_table("Pareto front", *aims)
    table.add_column("")
    for trial in sorted(on_front, key=lambda t: (t["value"][0], t["number"])):
        last = "knee: nearest to the best of each, scaled to the front" if trial["number"] == knee else ""
        values = (shown(value) for value in trial["value"])
        table.add_row(f"trial {trial['number']}", *values, last, style="bold" if last else "")
    return [table]


def bracket_lines(summary: Row, record: Mapping[str, Any]) -> list[Any]:
    """Hyperband's brackets: where each begins to prune, and what became of its trials."""
    if not record or record["pruner"]["name"] != "hyperband" or not summary["trials"]:
        return []
    options = {key: value for key, value in record["pruner"].items() if key != "name"}
    epochs, seed = record["training"]["epochs"], record["seed"]
    brackets: dict[int, list[Row]] = {}
    for trial in summary["trials"]:
        brackets.setdefault(bracket_of(trial["number"], options, epochs, seed), []).append(trial)
    table = plain_table("bracket", "first rung", "trials", "complete", "pruned", "best")
    for bracket, trials in sorted(brackets.items()):
        first = options["grace_period"] * options["reduction_factor"] ** bracket
        states = [trial["state"] for trial in trials]
        values = [trial["value"] for trial in trials if trial["state"] == "COMPLETE"]
        best = "" if not values else shown(min(values) if summary["direction"] == "minimize" else max(values))
        rung = f"epoch {first}" if first < epochs else "none"
        counts = (str(len(trials)), str(states.count("COMPLETE")), str(states.count("PRUNED")))
        table.add_row(str(bracket), rung, *counts, best)
    return [table]


def param_names(trials: Sequence[Row]) -> list[str]:
    """Every param that some trial has, in the order of their first use."""
    return list(dict.fromkeys(name for trial in trials for name in trial["params"]))


def _long_table(trials: Sequence[Row], params: Sequence[str] | None) -> LongTable:
    """As `_trials_table`; nothing wrapped."""
    heading = (
        "trial",
        "value",
        "epochs",
        "seconds",
        "state",
        *map(visible, params or ()),
        "params" if params is None else "why",
    )

    def row(trial: Row) -> list[str]:
        state = _state(trial)
        values = [shown(trial["params"].get(name, "")) for name in params or ()]
        return [*_numbers(trial), state, *values, _last(trial, params)]

    return LongTable(heading, map(row, trials))


def _state(trial: Row) -> str:
    return PAUSED if "paused" in trial else str(WORDS.get(trial["state"], trial["state"].lower()))


def _numbers(trial: Row) -> list[str]:
    """Number, value, epochs and seconds."""
    return [str(trial["number"]), number(trial["value"], 5), str(trial["epochs"]), number(trial["seconds"], 1)]


def _last(trial: Row, params: Sequence[str] | None) -> str:
    """Why it ended, and its params where they have no columns."""
    reason = visible(trial["reason"] or "")
    if params is not None:
        return reason
    return "  ".join([*([reason] if reason else []), *(f"{visible(k)}={shown(v)}" for k, v in trial["params"].items())])


def _trials_table(trials: Sequence[Row], params: Sequence[str], best: int | None) -> Table:
    """A row per trial with a column for each of `params`."""
    table = plain_table()
    for heading in ("trial", "value", "epochs", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in params:
        table.add_column(escape(visible(name).replace("_", "\n_")), justify="right", vertical="bottom")
    table.add_column("why")
    for trial in trials:
        table.add_row(
            *_numbers(trial),
            Text(_state(trial), STYLES.get(trial["state"], "")),
            *(Text(shown(trial["params"].get(name, ""))) for name in params),
            Text(_last(trial, params)),
            style="bold" if trial["number"] == best else "",
        )
    return table


def number(value: float | list[float] | None, digits: int) -> str:
    if isinstance(value, list):
        return "  ".join(shown(v) for v in value)
    return "" if value is None else decimals(value, digits)


def study_csv(summary: Row) -> str:
    """One line per trial: number, state, value, epochs, seconds, reason, params."""
    params = param_names(summary["trials"])
    fixed = ("number", "state", "value", "epochs", "seconds", "reason")
    rows = (
        [*(trial[key] for key in fixed), *(trial["params"].get(name) for name in params)] for trial in summary["trials"]
    )
    return "".join(map(csv_row, [[*fixed, *params], *rows]))

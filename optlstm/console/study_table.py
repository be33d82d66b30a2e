"""How stored studies are printed: `show` as table and CSV, `studies`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from optlstm.console.progress import PAUSED, STYLES, UNCUT, WORDS, shown
from optlstm.console.tables import MANY, LongTable, plain_table
from optlstm.errors import InputError
from optlstm.run.retention import study_folder
from optlstm.study.database.connection import Database
from optlstm.study.pruners import bracket_of
from optlstm.study.record import UID_KEY
from optlstm.study.results import StudyResults, load_study, study_record
from optlstm.training.hparams import Hyperparameters
from optlstm.util.files import Location, absolute, open_folder
from optlstm.util.format import csv_row, decimals, visible

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


def study_table(summary: Row, record: Mapping[str, Any], width: int) -> list[Any]:
    """`show` in `width` columns: a heading and a row per trial, with a column for each param where they fit."""
    best = summary["best"]
    lines: list[Any] = [Text.assemble((f"study {visible(summary['name'])}", "bold"), f": {_counts_of(summary)}")]
    if record:
        lines.append(f"sampler {record['sampler']['name']}, pruner {record['pruner']['name']}, seed {record['seed']}")
    if summary.get("stopped"):
        lines.append(Text(f"stopped: {visible(summary['stopped'])}"))
    if "front" in summary:
        lines += front_lines(summary, record)
    elif best:
        lines.append(f"best: trial {best['number']}, value {_number(best['value'], 6)} ({summary['direction']})")
    lines += bracket_lines(summary, record)
    if not summary["trials"]:
        return lines
    steps = {trial["number"]: lstm_steps(trial["params"], record) for trial in summary["trials"]}
    if any(steps.values()) and {"window", "patch"} & {*param_names(summary)}:
        summary = {**summary, "trials": [_with_steps(trial, steps[trial["number"]]) for trial in summary["trials"]]}
        lines.append(f"{STEPS}: {STEPS_IN_WORDS}")
    if len(summary["trials"]) > MANY:
        table = _long_table(summary, param_names(summary))
        return [*lines, "", table if table.width <= width else _long_table(summary, None)]
    wide = _trials_table(summary, param_names(summary))
    fits = Console(width=UNCUT).measure(wide).maximum <= width
    return [*lines, "", wide if fits else _trials_table(summary, None)]


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


def param_names(summary: Row) -> list[str]:
    """Every param that some trial has, in the order of their first use."""
    return list(dict.fromkeys(name for trial in summary["trials"] for name in trial["params"]))


def _long_table(summary: Row, params: Sequence[str] | None) -> LongTable:
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

    return LongTable(heading, map(row, summary["trials"]))


def _state(trial: Row) -> str:
    return PAUSED if "paused" in trial else WORDS.get(trial["state"], trial["state"].lower())


def _numbers(trial: Row) -> list[str]:
    """Number, value, epochs and seconds."""
    return [str(trial["number"]), _number(trial["value"], 5), str(trial["epochs"]), _number(trial["seconds"], 1)]


def _last(trial: Row, params: Sequence[str] | None) -> str:
    """Why it ended, and its params where they have no columns."""
    reason = visible(trial["reason"] or "")
    if params is not None:
        return reason
    return "  ".join([*([reason] if reason else []), *(f"{visible(k)}={shown(v)}" for k, v in trial["params"].items())])


def _trials_table(summary: Row, params: Sequence[str] | None) -> Table:
    """A row per trial with a column for each of `params`; None: all params in the last column, wrapped at words."""
    best = summary["best"] and summary["best"]["number"]
    table = plain_table()
    for heading in ("trial", "value", "epochs", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in params or ():
        table.add_column(escape(visible(name).replace("_", "\n_")), justify="right", vertical="bottom")
    table.add_column("params" if params is None else "why")
    for trial in summary["trials"]:
        table.add_row(
            *_numbers(trial),
            Text(_state(trial), STYLES.get(trial["state"], "")),
            *(Text(shown(trial["params"].get(name, ""))) for name in params or ()),
            Text(_last(trial, params)),
            style="bold" if trial["number"] == best else "",
        )
    return table


def _number(value: float | list[float] | None, digits: int) -> str:
    if isinstance(value, list):
        return "  ".join(shown(v) for v in value)
    return "" if value is None else decimals(value, digits)


def study_csv(summary: Row) -> str:
    """One line per trial: number, state, value, epochs, seconds, reason, params."""
    params = param_names(summary)
    fixed = ("number", "state", "value", "epochs", "seconds", "reason")
    rows = (
        [*(trial[key] for key in fixed), *(trial["params"].get(name) for name in params)] for trial in summary["trials"]
    )
    return "".join(map(csv_row, [[*fixed, *params], *rows]))


def list_studies(database: Database, storage_path: Location) -> list[Row]:
    """Every study of a database: {name, direction, best, counts, optlstm, disk_bytes}.

    disk_bytes: what its checkpoints take below `storage_path`; None for a study that is not ours. A study that cannot
    be read has {name, damaged}, the reason.
    """
    rows: list[Row] = []
    for name in sorted(optuna.get_all_study_names(database.rdb)):
        study = load_study(database, name)
        try:
            summary = StudyResults(study).summary()
            uid = study.user_attrs.get(UID_KEY)
            size = open_folder(study_folder(absolute(storage_path), name, str(uid))).size() if uid else None
        except InputError as error:
            rows.append({"name": name, "damaged": str(error).removeprefix("storage: ")})
            continue
        kept = {k: v for k, v in summary.items() if k != "trials"}
        rows.append({**kept, "optlstm": bool(study_record(study)), "disk_bytes": size})
    return rows


def studies_table(rows: Sequence[Row]) -> Table:
    table = plain_table()
    for heading in ("study", "trials", "best", "trial", "on disk"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        if "damaged" in row:
            table.add_row(Text(visible(row["name"])), Text(visible(row["damaged"])))
            continue
        best = row["best"]
        table.add_row(
            Text(visible(row["name"])),
            _counts_of(row),
            _number(best["value"], 6) if best else "",
            str(best["number"]) if best else "",
            disk_space(row["disk_bytes"]),
        )
    return table


def disk_space(size: int | None) -> str:
    """`12.3 MB`, in powers of 1000."""
    if size is None:
        return ""
    amount, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 999.5 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.3g} {units[0]}"

"""What `show` says of several objectives and of Hyperband's brackets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from optlstm.console.progress import shown
from optlstm.study.pruners import bracket_of

Row = dict[str, Any]


def front_lines(summary: Row, record: Mapping[str, Any]) -> list[Any]:
    """The Pareto front, a row a trial, in the order of the first objective; nothing where no trial is complete."""
    directions = summary["direction"].split(", ")
    names = list(record.get("objectives") or [f"value {i}" for i in range(len(directions))])
    on_front = [trial for trial in summary["trials"] if trial["number"] in set(summary["front"])]
    if not on_front:
        return []
    knee = summary["best"]["number"]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("Pareto front", justify="right")
    for name, direction in zip(names, directions, strict=True):
        table.add_column(f"{name} ({direction})", justify="right")
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
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("bracket", "first rung", "trials", "complete", "pruned", "best"):
        table.add_column(heading, justify="right")
    for bracket, trials in sorted(brackets.items()):
        first = options["grace_period"] * options["reduction_factor"] ** bracket
        states = [trial["state"] for trial in trials]
        values = [trial["value"] for trial in trials if trial["state"] == "COMPLETE"]
        best = "" if not values else shown(min(values) if summary["direction"] == "minimize" else max(values))
        rung = f"epoch {first}" if first < epochs else "none"
        counts = (str(len(trials)), str(states.count("COMPLETE")), str(states.count("PRUNED")))
        table.add_row(str(bracket), rung, *counts, best)
    return [table]

"""Chooses the configurations that a study tries first: good on many data sets, each on others than the ones before.

    python scripts/bench/start_configurations.py train TABLE.json [LIST.toml ...] [--points 24] [--only NAME ...]
    python scripts/bench/start_configurations.py choose TABLE.json [--keep 3] [--write optlstm/tasks/starts.json]

`train` trains the same random points of the unit cube, as configurations of each data set's own default space, to their
end, and adds the validation values that the table has not yet. The lists are those of `accuracy.py` (without one: its
made-up series); the test rows of a series are left out, files of test rows are not read.

`choose` adds one point after the other to the defaults: the one that brings the mean regret over all data sets down
most (greedy portfolios: Pfisterer et al. 2018, "Learning multiple defaults for machine learning algorithms",
arXiv 1811.09409). The regret on a data set: the best value so far divided by the best of the table, less 1, at most 1.
The regret on each data set of a list that is chosen without it, beside that of as many random points, says what a list
is worth on others; a list that is no better than random is not written.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from accuracy import without_test_rows, write_made_up

from optlstm.config.sources import layer, read_override
from optlstm.run.plan import make_plan
from optlstm.run.task_space import starts_name
from optlstm.study.space import Space

WORST = 1.0  # of a regret: a configuration that fails on one data set must not decide for all
Point = dict[str, float | str | bool]
Table = dict[str, dict[str, Any]]


def config_of(flags: list[str]) -> dict[str, Any]:
    """The config that a command's flags stand for."""
    raw: dict[str, Any] = {}
    for flag, text in zip(flags[::2], flags[1::2], strict=True):
        key = flag.removeprefix("--")
        if key == "set":
            raw = layer(raw, read_override(text))
        elif key == "task":
            raw = layer(raw, {key: text})
        else:
            raw = layer(raw, {"data": {key: int(text) if key == "horizon" else text}})
    return raw


def points_of(space: Space, count: int) -> list[Point]:
    """The defaults, then random points: the same ones for every space of a task."""
    random = np.random.default_rng(18)
    points: list[Point] = [{}]
    for _ in range(count - 1):
        point: Point = {}
        for param in space.params:
            position = float(random.random())  # one number each, whatever the choices
            names = [choice for choice in param.choices if isinstance(choice, str | bool)]
            point[param.name] = names[int(position * len(names))] if names else round(position, 2)
        points.append(point)
    return points


def train(table: Table, save: Any, lists: list[Path], count: int, only: list[str] | None) -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        sets = (
            [(folder, write_made_up(folder))]
            if not lists
            else [(p.parent, tomllib.loads(p.read_text())) for p in lists]
        )
        for at, entries in sets:
            for name, entry in entries.items():
                if only and name not in only:
                    continue
                flags, file = shlex.split(entry.get("flags", "")), (at / entry["file"]).resolve()
                if "test_file" not in entry:
                    file = without_test_rows(file, flags, folder)
                raw = layer(config_of(flags), {"data": {"path": str(file)}})
                plan = make_plan(raw)
                objective = plan.make_objective(plan.task.data(), checkpoints=None)
                kind = starts_name(raw.get("task", "forecast"), plan.space)
                row = table.setdefault(name, {"task": kind, "higher": plan.metric.higher, "points": [], "values": []})
                began = time.process_time()
                for number, point in enumerate(points_of(plan.space, count)[len(row["values"]) :], len(row["values"])):
                    try:
                        value = objective(optuna.trial.FixedTrial(plan.space.at(point), number))
                    except Exception as error:  # a configuration that fails is the worst one
                        print(f"{name} {number}: {error}", flush=True)
                        value = None
                    row["points"].append(point)
                    row["values"].append(value)
                    save()
                values = [v for v in row["values"] if v is not None]
                best = max(values) if row["higher"] else min(values)
                print(
                    f"{name}: default {values[0]:.4f}, best {best:.4f}, {time.process_time() - began:.0f} s", flush=True
                )


def regrets(table: Table, task: str) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Names and [data sets, points]."""
    names = [name for name, row in table.items() if row["task"] == task]
    count = min(len(table[name]["values"]) for name in names)
    rows = []
    for name in names:
        values = np.array([np.nan if v is None else v for v in table[name]["values"][:count]], dtype=float)
        if table[name]["higher"]:
            values = 1 - values  # the error rate
        best = np.nanmin(values)
        rows.append(np.nan_to_num(np.minimum((values + 1e-9) / (best + 1e-9) - 1, WORST), nan=WORST))
    return names, np.array(rows)


def portfolio(table: np.ndarray[Any, Any], keep: int) -> list[int]:
    chosen = [0]
    for _ in range(keep):
        mean = np.minimum(table[:, chosen].min(1)[:, None], table).mean(0)
        chosen.append(int(np.argmin(mean)))
    return chosen


def regret_of_random(row: np.ndarray[Any, Any], most: int) -> np.ndarray[Any, Any]:
    """The mean regret after the defaults and so many random points, 0 to `most`."""
    random = np.random.default_rng(0)
    orders = [[0, *random.permutation(np.arange(1, len(row)))[:most]] for _ in range(500)]
    return np.array([np.minimum.accumulate(row[order]) for order in orders]).mean(axis=0)


def choose(table: Table, keep: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for task in sorted({row["task"] for row in table.values()}):
        names, matrix = regrets(table, task)
        points = next(iter(row for row in table.values() if row["task"] == task))["points"]
        order = portfolio(matrix, keep)
        print(f"| {task}: regret | the defaults | and a list of {keep}, chosen without it | and {keep} random points |")
        print("|---|---|---|---|")
        of_list, of_random = [], []
        for left_out, name in enumerate(names):
            row = matrix[left_out]
            of_list.append(row[portfolio(np.delete(matrix, left_out, axis=0), keep)].min())
            of_random.append(regret_of_random(row, len(row) - 1))
            print(f"| {name} | {row[0]:.3f} | {of_list[-1]:.3f} | {of_random[-1][keep]:.3f} |")
        means = matrix[:, 0].mean(), np.mean(of_list), np.mean(of_random, axis=0)
        print(f"| mean | {means[0]:.3f} | {means[1]:.3f} | {means[2][keep]:.3f} |")
        as_good = int(np.argmax(means[2] <= means[1]))
        print(f"\nas low a mean regret takes {as_good} random points; the list that is chosen on all of them:")
        print("\n".join(f"  {points[i]}" for i in order[1:]))
        if means[1] < means[2][keep]:
            chosen[task] = [points[i] for i in order[1:]]
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "choose"))
    parser.add_argument("table", type=Path)
    parser.add_argument("lists", nargs="*", type=Path)
    parser.add_argument("--points", type=int, default=24)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--keep", type=int, default=3)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    table: Table = json.loads(asked.table.read_text()) if asked.table.exists() else {}
    if asked.command == "train":
        train(table, lambda: asked.table.write_text(json.dumps(table)), asked.lists, asked.points, asked.only)
        return 0
    chosen = choose(table, asked.keep)
    if asked.write:
        asked.write.write_text(json.dumps(chosen, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

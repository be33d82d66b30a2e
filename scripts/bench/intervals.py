"""How often intervals hold what they promise on later rows: linear forecasts of many series, calibrated as a model's.

    python scripts/bench/intervals.py LIST.toml ... [--shares 1 .8 .65] [--most 4000] [--wider 0 .5 .75 1]

A list has a table a data set: file, and flags of `study` (as of `accuracy.py`, whose made-up series are added); panels,
labels and files of more rows than `--most` are left out. Each series whole and cut after shares of its rows. No network
is trained: a model has the forecast of the mean, and the linear ones, weighted as in `refit`.

A table of the newest fifth, the test rows: the mean coverage by what widens the radii (`calibrate.WIDER`), and the
geometric means of WQL and MSIS divided by those of the first line; then the same where another kind than the usual one
is chosen for any lower score.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accuracy import write_made_up
from start_configurations import config_of
from torch import Tensor, nn

from optlstm.config.sources import layer
from optlstm.errors import InputError
from optlstm.run.plan import make_plan
from optlstm.tasks.forecast import calibrate
from optlstm.tasks.forecast.evaluate import ForecastEvaluator
from optlstm.training.hparams import Hyperparameters

LEVELS = (50, 80, 90, 95)
Row = dict[str, float]


class Mean(nn.Module):
    """Forecasts the training rows' mean."""

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.horizon = horizon

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), self.horizon)


def series(lists: list[Path], folder: Path, shares: list[float], most: int) -> Iterator[dict[str, Any]]:
    """The config of each stretch."""
    entries = [(path.parent, entry) for path in lists for entry in tomllib.loads(path.read_text()).values()]
    for at, entry in [*entries, *((folder, entry) for entry in write_made_up(folder).values())]:
        flags, file = shlex.split(entry.get("flags", "")), at / entry["file"]
        if "--series" in flags or "--task" in flags or len(frame := pd.read_csv(file)) > most:
            continue
        for share in shares:
            frame[: int(share * len(frame))].to_csv(folder / "stretch.csv", index=False)
            yield layer(config_of(flags), {"data": {"path": str(folder / "stretch.csv")}})


def measured(config: dict[str, Any], rules: list[tuple[float, float]]) -> list[Row]:
    """The metrics of the test rows under each rule: `WIDER` and `CHANCE`."""
    plan = make_plan(config)
    evaluator = plan.task.evaluator(plan.goal)
    assert isinstance(evaluator, ForecastEvaluator)
    windows = sorted({int(value) for param in plan.space.params if param.name == "window" for value in param.choices})
    hp, network = Hyperparameters(window=windows[0]), Mean(evaluator.task.horizon)
    blend = evaluator.blend(lambda: [(hp, network)], windows, 1, True, "mse")
    held_out = evaluator.held_out(lambda: [(hp, network)], blend)
    section = evaluator.card_section().model_copy(update=blend.card_updates)
    predictor, rows = section.predictor([network], [hp], blend.extras), []
    for wider, chance in rules:
        calibrate.WIDER, calibrate.CHANCE = wider, chance
        evaluation = evaluator.evaluate(predictor, joined=True, held_out=held_out)
        coverage = {str(level): evaluation.intervals["measured"][str(level)]["coverage"] for level in LEVELS}
        scores = {name: evaluation.test[name] for name in ("wql", "msis")}
        rows.append({**coverage, **scores, "local": float(evaluation.intervals["kind"] == "local")})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", nargs="*", type=Path)
    parser.add_argument("--shares", nargs="+", type=float, default=[1.0])
    parser.add_argument("--most", type=int, default=4000)
    parser.add_argument("--wider", nargs="+", type=float, default=[0.0, 0.5, calibrate.WIDER, 1.0])
    given = parser.parse_args()
    rules = [*((wider, calibrate.CHANCE) for wider in given.wider), (calibrate.WIDER, 0.0)]
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for config in series(given.lists, Path(folder), given.shares, given.most):
            try:
                table.append(measured(config, rules))
            except InputError:  # too few rows
                continue
    values = {name: np.array([[row[name] for row in rows] for rows in table], dtype=float) for name in table[0][0]}
    print(f"{len(table)} stretches\n\n| wider | chance | {' | '.join(values)} |\n|{'---|' * (len(values) + 2)}")
    for i, (wider, chance) in enumerate(rules):
        cells = [f"{100 * np.nanmean(values[str(level)][:, i]):.1f} %" for level in LEVELS]
        ratios = (np.log(values[name][:, i] / values[name][:, 0]) for name in ("wql", "msis"))
        cells += [f"{np.exp(np.nanmean(ratio)):.4f}" for ratio in ratios]
        print(f"| {wider:g} | {chance:g} | {' | '.join(cells)} | {int(values['local'][:, i].sum())} |")


if __name__ == "__main__":
    main()

"""Seconds until a validation value, by what is taught: the last step of every window, or every step of stretches.

    python scripts/bench/quality_time.py LIST.toml [--only NAME ...] [--seeds 3] [--patches season 1] [--png FILE]

LIST.toml has one table a data set: `file`, relative to the list, and `flags` of `study`. With the defaults of each data
set's two spaces (patch `1` reads single rows of windows of 96 at most) both are trained for ten epochs. Counted is the
process's own time, training and validation, until the value is reached that `last_step` has as its best of ten epochs,
plus 1 %; a seed that does not reach it counts as never. The MSE is that of each training's best epoch, on the
validation rows and then on the test rows, which decide nothing. The picture has the best validation MSE so far by
seconds, a line a seed.
"""

from __future__ import annotations

import argparse
import itertools
import math
import shlex
import statistics
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from start_configurations import config_of
from torch import nn

from optlstm.config.sources import layer
from optlstm.run.plan import Plan, make_plan
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.problem import fold_problems, make_problem
from optlstm.training.folds import Folds
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit

EPOCHS, NEAR, SHORT = 10, 1.01, 96
CPU = torch.device("cpu")
KINDS = ("last_step", "every_step")


Line = tuple[Sequence[float], Sequence[float]]  # seconds, and the values reached by then


@dataclass(frozen=True)
class Curve:
    """Of one training: every epoch's seconds since its start and value, and the test MSE of the best epoch."""

    seconds: list[float]
    values: list[float]
    test: float

    @property
    def line(self) -> Line:
        return self.seconds, [*itertools.accumulate(self.values, min)]


def until(line: Line, value: float) -> float:
    """Seconds until a value is reached; infinite where it is not."""
    return next((s for s, v in zip(*line, strict=True) if v <= value), math.inf)


def with_test(data: ForecastData) -> ForecastData:
    """The same with the test rows in the validation's place."""
    return replace(data, folds=(), cuts=data.cuts[:, [0, 2, 3, 3]])


def test_mse(data: ForecastData, network: nn.Module, hp: Hyperparameters) -> float:
    """On the test rows; of folds that of the newest one's network."""
    newest = network[-1] if isinstance(network, Folds) else network
    with torch.no_grad():
        return fold_problems(with_test(data), CPU)[0].validate(newest.eval(), hp)["mse"]


def params_of(plan: Plan, patch: str) -> Hyperparameters:
    params: dict[str, Any] = {**plan.space.fixed, **plan.space.defaults()}
    if patch == "1":
        params |= {"patch": 1, "window": min(params["window"], SHORT)}
    return Hyperparameters.from_params(params)


def train(plan: Plan, hp: Hyperparameters, seed: int) -> Curve:
    data = plan.task.data()
    problem, seconds, values = make_problem(data, CPU), list[float](), list[float]()
    began = time.process_time()
    for epoch in fit(problem, hp, epochs=EPOCHS, patience=0, seed=seed):
        seconds.append(time.process_time() - began)
        values.append(epoch.value)
    network = problem.network(hp)
    network.load_state_dict(epoch.state.part("best"))
    return Curve(seconds, values, test_mse(data, network, hp))


def draw(panels: Mapping[str, Mapping[str, Sequence[Line]]], ylabel: str, path: Path, log: bool = False) -> None:
    """A panel a data set, in it the lines of each kind, best values so far by seconds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(panels), 2.6), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    for axes, (name, kinds) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for i, (kind, lines) in enumerate(kinds.items()):
            for k, (seconds, values) in enumerate(lines):
                axes.step(seconds, values, f"C{i}", where="post", lw=1.2, marker=".", ms=3, label=None if k else kind)
        ends = [values[-1] for lines in kinds.values() for _, values in lines if values]
        axes.set(title=name, xlabel="s", ylabel=ylabel, xlim=0, ylim=(0.97 * min(ends), 1.2 * max(ends)))
        axes.set_yscale("log" if log else "linear")
    figure.axes[0].legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--patches", nargs="*", default=["season", "1"], choices=["season", "1"])
    parser.add_argument("--png", type=Path, help="a picture of the curves")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| data | patch | last_step: s | every_step: s | times as fast | validation MSE | of it | test MSE | of it |")
    print("|---|---|---|---|---|---|---|---|---|")
    ratios: dict[str, list[float]] = {patch: [] for patch in args.patches}
    panels: dict[str, dict[str, list[Line]]] = {}
    for name, entry in tomllib.loads(args.list.read_text(encoding="utf-8")).items():
        if args.only and name not in args.only:
            continue
        path = str((args.list.resolve().parent / entry["file"]).resolve())
        raw = layer(config_of(shlex.split(entry.get("flags", ""))), {"data": {"path": path}})
        plans = [make_plan(layer(raw, {"space": {"supervision": kind}})) for kind in KINDS]
        for patch in args.patches:
            kinds = [params_of(plan, patch) for plan in plans]
            runs = [[train(plans[0], hp, seed) for hp in kinds] for seed in range(args.seeds)]
            lines = {kind: [run[i].line for run in runs] for i, kind in enumerate(KINDS)}
            panels[f"{name}, patch {kinds[0].patch}"] = lines
            goals = [NEAR * min(last.values) for last, _ in runs]
            last_s, every_s = ([*map(until, of_kind, goals)] for of_kind in lines.values())
            ratio = statistics.median(a / b for a, b in zip(last_s, every_s, strict=True))
            ratios[patch].append(ratio)
            columns = [f"{statistics.median(s):.2f}" for s in (last_s, every_s)] + [f"{ratio:.1f}"]
            columns = [column.replace("inf", "never") for column in columns]
            for scores in ([min(c.values) for c in r] for r in runs), ([c.test for c in r] for r in runs):
                last, every = (statistics.mean(pair) for pair in zip(*scores, strict=True))
                columns += [f"{last:.4f}", f"{every / last:.3f}"]
            print(f"| {name} | {kinds[0].patch} | {' | '.join(columns)} |", flush=True)
    if args.png:
        draw(panels, "validation MSE", args.png)
    for patch, of_patch in ratios.items():
        print(f"\npatch {patch}: median of {len(of_patch)} {statistics.median(of_patch):.1f} times as fast")


if __name__ == "__main__":
    main()

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

from optlstm.config.sources import layer
from optlstm.run.plan import Plan, make_plan
from optlstm.tasks.forecast.problem import fold_problems, make_problem
from optlstm.training.folds import Folds
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit

EPOCHS, NEAR, SHORT = 10, 1.01, 96
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Curve:
    """Of one training: every epoch's seconds since its start and value, and the test MSE of the best epoch."""

    seconds: list[float]
    values: list[float]
    test: float

    def until(self, value: float) -> float:
        """Seconds until a value is reached; infinite where it is not."""
        return next((s for s, v in zip(self.seconds, self.values, strict=True) if v <= value), math.inf)


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
    newest = network[-1] if isinstance(network, Folds) else network
    part = fold_problems(replace(data, folds=(), cuts=data.cuts[:, [0, 2, 3, 3]]), CPU)[0]
    with torch.no_grad():
        return Curve(seconds, values, part.validate(newest.eval(), hp)["mse"])


def draw(runs: Mapping[str, Sequence[Sequence[Curve]]], path: Path) -> None:
    """A panel a data set, from its seeds' curves of either kind."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(runs), 2.6), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    for axes, (name, curves) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs.items(), strict=True):
        for kind, colour, of_kind in zip(
            ("last_step", "every_step"), ("C0", "C1"), zip(*curves, strict=True), strict=True
        ):
            for k, curve in enumerate(of_kind):
                best = [*itertools.accumulate(curve.values, min)]
                axes.step(curve.seconds, best, colour, where="post", lw=1.2, label=None if k else kind)
        ends = [min(curve.values) for pair in curves for curve in pair]
        axes.set(title=name, xlabel="s", ylabel="validation MSE", xlim=0, ylim=(0.97 * min(ends), 1.2 * max(ends)))
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
    shown: dict[str, list[list[Curve]]] = {}
    for name, entry in tomllib.loads(args.list.read_text(encoding="utf-8")).items():
        if args.only and name not in args.only:
            continue
        path = str((args.list.resolve().parent / entry["file"]).resolve())
        raw = layer(config_of(shlex.split(entry.get("flags", ""))), {"data": {"path": path}})
        plans = [make_plan(layer(raw, {"space": {"supervision": kind}})) for kind in ("last_step", "every_step")]
        for patch in args.patches:
            kinds = [params_of(plan, patch) for plan in plans]
            runs = [[train(plans[0], hp, seed) for hp in kinds] for seed in range(args.seeds)]
            shown[f"{name}, patch {kinds[0].patch}"] = runs
            goals = [NEAR * min(last.values) for last, _ in runs]
            last_s, every_s = ([run[i].until(goal) for run, goal in zip(runs, goals, strict=True)] for i in (0, 1))
            ratio = statistics.median(a / b for a, b in zip(last_s, every_s, strict=True))
            ratios[patch].append(ratio)
            columns = [f"{statistics.median(s):.2f}" for s in (last_s, every_s)] + [f"{ratio:.1f}"]
            columns = [column.replace("inf", "never") for column in columns]
            for scores in ([min(c.values) for c in r] for r in runs), ([c.test for c in r] for r in runs):
                last, every = (statistics.mean(pair) for pair in zip(*scores, strict=True))
                columns += [f"{last:.4f}", f"{every / last:.3f}"]
            print(f"| {name} | {kinds[0].patch} | {' | '.join(columns)} |", flush=True)
    if args.png:
        draw(shown, args.png)
    for patch, of_patch in ratios.items():
        print(f"\npatch {patch}: median of {len(of_patch)} {statistics.median(of_patch):.1f} times as fast")


if __name__ == "__main__":
    main()

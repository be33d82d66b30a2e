"""Quality of search: samplers and pruners on a surrogate of real trainings, the program's own code, 30 seeds each.

The surrogate is a table of configurations of the default space, each really trained (`search_table.py`). A sampler
draws from the whole space, as it does in a study; what it draws is answered by the learning curve of the nearest
configuration of the table (every param scaled to its range, the learning rate by its logarithm, a categorical
that differs counts 1). So nothing is trained, and every sampler meets the same, piecewise constant landscape, whose
best is the best of the table. Trial 0 is drawn too: the space's defaults, which are good, would hide the samplers.

The budget is counted in epochs: after N means after the epochs that N trials train without a pruner. Printed is the
median over the seeds of the best value of a complete trial by then, as the share of the way from the table's median to
its best that is still missing (0: the best was found), and for every pair how often it ends better than the program's
default, with the sign test's p.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from scipy.stats import binomtest

from optlstm.config import CHOICES
from optlstm.study.declaration import parse_space
from optlstm.study.pruners import make_pruner
from optlstm.study.samplers import make_sampler
from optlstm.study.space import Space
from optlstm.tasks.space import default_space
from optlstm.training.hparams import Hyperparameters, validate_value

TABLE = Path(__file__).parent / "etth1.csv.gz"
SAMPLERS = ("random", "tpe", "gp", "cmaes", "qmc")
PRUNERS = ("none", "median", "asha", "hyperband")
AFTER = (10, 25, 50, 100)  # trials


class Surrogate:
    """Configurations with their learning curves."""

    def __init__(self, path: Path, space: Space) -> None:
        frame = pd.read_csv(path)
        self.params = space.params
        self.curves = frame.filter(like="epoch_").to_numpy()
        self.epochs = self.curves.shape[1]
        self.best = self.curves.min(axis=1)
        self.numeric = [p for p in self.params if p.kind != "categorical"]
        self.points = np.array([[self.scaled(p, row[p.name]) for p in self.numeric] for _, row in frame.iterrows()])
        self.labels = frame[[p.name for p in self.params if p.kind == "categorical"]].astype(str).to_numpy()

    @staticmethod
    def scaled(param: Any, value: float) -> float:
        low, high = (math.log(v) if param.log else v for v in (param.low, param.high))
        return ((math.log(value) if param.log else value) - low) / (high - low)

    def curve(self, params: Mapping[str, Any]) -> np.ndarray:
        point = np.array([self.scaled(p, params[p.name]) for p in self.numeric])
        labels = np.array([str(params[p.name]) for p in self.params if p.kind == "categorical"])
        distance = ((self.points - point) ** 2).sum(axis=1) + (self.labels != labels).sum(axis=1)
        return self.curves[int(distance.argmin())]


def search(surrogate: Surrogate, space: Space, sampler: str, pruner: str, seed: int, budget: int) -> list[float]:
    """The best value of a complete trial after every epoch of the budget; infinite before there is one."""
    study = optuna.create_study(
        study_name=f"seed-{seed}",
        sampler=make_sampler(sampler, {}, space, seed),
        pruner=make_pruner(pruner, {}, surrogate.epochs),
    )
    best, found = math.inf, list[float]()
    while len(found) < budget:
        trial = study.ask()
        curve = surrogate.curve(space.suggest(trial))
        for epoch, value in enumerate(curve, start=1):
            found.append(best)
            trial.report(float(value), epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            value = float(curve.min())
            study.tell(trial, value)
            best = min(best, value)
            found[-1] = best
    return found[:budget]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=SAMPLERS)
    parser.add_argument("--pruners", nargs="+", choices=PRUNERS, default=PRUNERS)
    parser.add_argument("--after", nargs="+", type=int, default=AFTER, help="trials")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known = {name: value for name, value in vars(Hyperparameters()).items() if name != "grown_layers"}
    space = parse_space(default_space(24, 24, 8640), known, validate_value)
    surrogate = Surrogate(asked.table, space)
    best, middle = float(surrogate.best.min()), float(np.median(surrogate.best))
    print(f"{len(surrogate.best)} configurations, best {best:.4f}, median {middle:.4f}; {asked.seeds} seeds\n")
    marks = [after * surrogate.epochs for after in asked.after]
    ends: dict[tuple[str, str], list[float]] = {}
    print(f"| sampler | pruner | {' | '.join(f'after {n}' for n in asked.after)} |")
    print("|---|---|" + "---|" * len(marks))
    for sampler in asked.samplers:
        for pruner in asked.pruners:
            runs = [search(surrogate, space, sampler, pruner, seed, marks[-1]) for seed in range(asked.seeds)]
            middles = [np.median([min(run[mark - 1], 1e9) for run in runs]) for mark in marks]
            shares = " | ".join(f"{(value - best) / (middle - best):.3f}" for value in middles)
            print(f"| {sampler} | {pruner} | {shares} |", flush=True)
            ends[sampler, pruner] = [run[-1] for run in runs]
    usual = (CHOICES["sampler"], CHOICES["pruner"])
    if usual in ends:
        print(f"\nafter {asked.after[-1]}, against the program's default {', '.join(usual)}:")
        for pair, values in ends.items():
            better = sum(a < b for a, b in zip(values, ends[usual], strict=True))
            worse = sum(a > b for a, b in zip(values, ends[usual], strict=True))
            p = binomtest(better, better + worse).pvalue if better + worse else 1.0
            print(f"  {', '.join(pair):<18} better with {better:>2} seeds, worse with {worse:>2}, p = {p:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

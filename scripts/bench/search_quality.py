"""Quality of search: samplers and pruners on a surrogate of real trainings, the program's own code, 30 seeds each.

The surrogate is a forest of extremely randomised trees (Geurts et al. 2006) fitted to a table of configurations of the
default space, each really trained (`search_table.py`): it answers any configuration with a learning curve, as the
surrogate benchmarks of Eggensperger et al. (2015) do. How well it ranks configurations that it was not fitted to (ten
folds) is printed. So nothing is trained, and every sampler meets the same landscape. Trial 0 is drawn too: the space's
defaults, which are good, would hide the samplers.

The budget is counted in epochs: after N means after the epochs that N trials train without a pruner. Printed is the
median over the seeds of the best value of a complete trial by then, as the share of the way from the landscape's median
to the best that anyone found which is still missing, and for every pair how often it ends better than the program's
default, with the sign test's p.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from scipy.stats import binomtest, spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import cross_val_predict

from optlstm.config.schema import CHOICES
from optlstm.study.declaration import parse_space
from optlstm.study.pruners import make_pruner
from optlstm.study.samplers import SeededSampler
from optlstm.study.space import Space
from optlstm.tasks.space import default_space
from optlstm.training.hparams import NO_PARAMS, Hyperparameters, validate_value

TABLE = Path(__file__).parent / "etth1.csv.gz"
SAMPLERS = ("random", "tpe", "gp", "cmaes", "qmc")
PRUNERS = ("none", "median", "asha", "hyperband")
AFTER = (10, 25, 50, 100)  # trials


class Surrogate:
    """A forest over configurations of the space, and what it says of the learning curve of any."""

    def __init__(self, path: Path, space: Space) -> None:
        frame = pd.read_csv(path)
        self.params = space.params
        curves = np.log(frame.filter(like="epoch_").to_numpy())
        self.epochs, self.configurations = curves.shape[1], len(frame)
        points = np.array([self.point(row) for row in frame.to_dict("records")])
        forest = ExtraTreesRegressor(100, random_state=0)
        unseen = cross_val_predict(forest, points, curves, cv=10)
        self.rank_correlation = float(spearmanr(unseen.min(axis=1), curves.min(axis=1)).statistic)
        self.trees = [tree.tree_ for tree in forest.fit(points, curves).estimators_]
        # All trees as one table of nodes: one configuration is answered in a few steps for all of them.
        starts = np.cumsum([0, *(tree.node_count for tree in self.trees)])[:-1]
        self.roots = starts
        self.feature = np.concatenate([tree.feature for tree in self.trees])
        self.threshold = np.concatenate([tree.threshold for tree in self.trees])
        moved = zip(self.trees, starts, strict=True)
        sides = [(tree.children_left + start, tree.children_right + start) for tree, start in moved]
        self.left, self.right = (np.concatenate([side[k] for side in sides]) for k in (0, 1))
        self.value = np.concatenate([tree.value[:, :, 0] for tree in self.trees])

    def point(self, params: Mapping[str, Any]) -> list[float]:
        """Numbers scaled to their range, the learning rate by its logarithm; 0 or 1 for each choice."""
        found: list[float] = []
        for param in self.params:
            value = params[param.name]
            if param.kind == "categorical":
                found += [float(str(choice) == str(value)) for choice in param.choices]
            else:
                low, high, at = (math.log(v) if param.log else v for v in (param.low, param.high, value))
                found.append((at - low) / (high - low))
        return found

    def curve(self, params: Mapping[str, Any]) -> np.ndarray:
        point, node = np.array(self.point(params), dtype=np.float32), self.roots
        while (inner := self.feature[node] >= 0).any():
            goes_left = point[self.feature[node]] <= self.threshold[node]
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
        return np.exp(self.value[node].mean(axis=0))


def search(surrogate: Surrogate, space: Space, sampler: str, pruner: str, seed: int, budget: int) -> list[float]:
    """The best value of a complete trial after every epoch of the budget; infinite before there is one."""
    study = optuna.create_study(
        study_name=f"seed-{seed}",
        sampler=SeededSampler(sampler, {}, space, seed),
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


def replayed(
    surrogate: Surrogate, space: Space, sampler: str, pruner: str, asked: argparse.Namespace
) -> list[list[float]]:
    """For every seed the best value after each of `--after`; a line of the file `--keep` for each that was run."""
    marks = [after * surrogate.epochs for after in asked.after]
    lines = asked.keep.read_text().splitlines() if asked.keep and asked.keep.exists() else []
    known = {tuple(key): values for key, values in map(json.loads, lines)}
    found = []
    for seed in range(asked.seeds):
        key = (surrogate.configurations, sampler, pruner, seed, *asked.after)
        if key not in known:
            run = search(surrogate, space, sampler, pruner, seed, marks[-1])
            known[key] = [run[mark - 1] for mark in marks]
            if asked.keep:
                with asked.keep.open("a") as file:
                    file.write(json.dumps([key, known[key]]) + "\n")
        found.append(known[key])
    return found


def random_params(space: Space, seed: int) -> dict[str, Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return dict(space.suggest(study.ask()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=SAMPLERS)
    parser.add_argument("--pruners", nargs="+", choices=PRUNERS, default=PRUNERS)
    parser.add_argument("--after", nargs="+", type=int, default=AFTER, help="trials")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="remembers what was run, to go on later")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known = {name: value for name, value in vars(Hyperparameters()).items() if name not in NO_PARAMS}
    space = parse_space(default_space(24, 24, 8640), known, validate_value)
    surrogate = Surrogate(asked.table, space)
    drawn = np.random.default_rng(0).integers(2**31, size=2000)
    middle = float(np.median([surrogate.curve(random_params(space, int(seed))).min() for seed in drawn]))
    runs = {
        (sampler, pruner): replayed(surrogate, space, sampler, pruner, asked)
        for sampler in asked.samplers
        for pruner in asked.pruners
    }
    best = min(run[-1] for found in runs.values() for run in found)
    ranked = f"rank correlation {surrogate.rank_correlation:.2f} on unseen ones"
    print(f"{surrogate.configurations} configurations, {ranked}")
    print(f"best found {best:.4f}, median of the space {middle:.4f}; {asked.seeds} seeds\n")
    print(f"| sampler | pruner | {' | '.join(f'after {n}' for n in asked.after)} |")
    print("|---|---|" + "---|" * len(asked.after))
    for (sampler, pruner), found in runs.items():
        middles = [np.median([min(value, 1e9) for value in column]) for column in zip(*found, strict=True)]
        shares = " | ".join(f"{(value - best) / (middle - best):.3f}" for value in middles)
        print(f"| {sampler} | {pruner} | {shares} |")
    ends = {pair: [run[-1] for run in found] for pair, found in runs.items()}
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

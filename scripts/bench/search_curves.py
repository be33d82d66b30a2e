"""Whole searches side by side: the test MSE that each has reached, by the processor's seconds.

    python scripts/bench/search_curves.py LIST.toml RESULTS.jsonl --before CHECKOUT --autolstm PYTHON
        [--only NAME ...] [--peers PEER ...] [--seeds 1 2 3] [--seconds 60] [--core 1] [--png FILE]

now           `study` with its defaults, as long as `--seconds` of the processor let it
before        the same command of another version of this repository, whose root is CHECKOUT
AutoLSTM      neuralforecast's, its default space and TPE (`fit_rivals.py`); PYTHON is of an environment that has it
with ASHA     the same on its Ray backend, with Ray's `ASHAScheduler`; `ray[tune]` is needed there
plain script  Optuna and an `nn.LSTM`, as a tutorial writes them (`fit_rivals.py`)

LIST.toml has one table a data set of one series: `file`, relative to the list, and `flags` of `study`. Every search has
one core and one thread; its seconds are the processor's since its first import, so that nothing else at work counts.
When a trial has ended that is the best so far on the validation rows, its weights are tested: at most 400 windows,
evenly spaced, the same ones for all, in the seconds of nobody. The test decides nothing. Searches whose line is in
RESULTS.jsonl are not run again; the table and the picture are of all lines.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from fit import command_of, job_of
from optuna.trial import TrialState
from quality_time import NEAR, Line, draw, test_mse, until, with_test
from rounds import spread, table
from start_configurations import config_of

from optlstm.config.sources import layer
from optlstm.models.selection import choose, study_plan
from optlstm.run.objective import Objective
from optlstm.run.plan import make_plan
from optlstm.run.retention import study_folder
from optlstm.study.database.connection import open_database
from optlstm.study.record import UID_KEY
from optlstm.study.results import load_study
from optlstm.tasks.forecast.task import Forecast

HERE, MOST = Path(__file__).resolve().parents[2], 400
PEERS = ("now", "before", "AutoLSTM", "with ASHA", "plain script")
OTHERS = PEERS[2:]  # of which the best one's end is what all are to reach
Points = list[tuple[float, float, float]]  # of ended trials: seconds, validation value, test MSE


def watched(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    seconds: float,
    *,
    untimed: Callable[[], float] = lambda: 0.0,
    end: signal.Signals = signal.SIGKILL,
) -> tuple[Sequence[float], Sequence[float]]:
    """Run a command until it has had so many seconds of the processor: clock times, and its seconds until then.

    Its seconds are those of all processes that it has started. untimed: of them, what is not its own.
    """
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    tree, spent, used = psutil.Process(process.pid), dict[psutil.Process, float](), [(time.time(), 0.0)]
    while process.poll() is None and used[-1][1] < seconds:
        time.sleep(0.2)
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            for one in [tree, *tree.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    spent[one] = sum(one.cpu_times()[:2])
        used.append((time.time(), sum(spent.values()) - untimed()))
    if process.returncode:
        raise SystemExit(f"exit {process.returncode}: {shlex.join(command)}")
    process.send_signal(end)
    with suppress(subprocess.TimeoutExpired):
        process.wait(60)
    for one in spent:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    clock, had = zip(*used, strict=True)
    return clock, had


def ours(checkout: Path, entry: dict[str, Any], file: Path, seed: int, seconds: float, folder: Path) -> Points:
    flags = [*shlex.split(entry.get("flags", "")), "--seed", str(seed), "--timeout", f"{10 * seconds:g}s"]
    command = [sys.executable, "-m", "optlstm", "study", "--data", str(file), *flags, "--name", "curve"]
    command += ["--workers", "1", "--quiet", "--set", "keep=1000"]
    clock, used = watched(command, os.environ | {"PYTHONPATH": str(checkout)}, folder, seconds)
    study = load_study(open_database(f"sqlite:///{folder}/runs/optlstm.db"), "curve")
    plan = study_plan(study, None)[0]
    data = replace(plan.task.data(), epoch_windows=MOST)
    checkpoints = study_folder(str(folder / "runs"), "curve", str(study.user_attrs[UID_KEY]))
    objective = plan.job(checkpoints).make_objective(plan.task.data())
    assert isinstance(objective, Objective)
    points: Points = []
    ended = [(t.datetime_complete, t) for t in study.get_trials(states=[TrialState.COMPLETE]) if t.datetime_complete]
    for moment, trial in sorted(ended, key=lambda pair: pair[0]):
        assert trial.value is not None
        test = math.nan
        if trial.value < min((value for _, value, _ in points), default=math.inf):
            (choice,) = choose(study, trial.number)
            kept = objective.kept_network(choice.until(choice.best_epoch))
            assert kept is not None  # `keep`
            hp, network = kept
            test = test_mse(data, network, hp)
        points.append((float(np.interp(moment.timestamp(), clock, used)), trial.value, test))
    return points


def rival(kind: str, python: str, entry: dict[str, Any], file: Path, seed: int, seconds: float, folder: Path) -> Points:
    plan = make_plan(layer(config_of(shlex.split(entry.get("flags", ""))), {"data": {"path": str(file)}}))
    assert isinstance(plan.task, Forecast)
    test = with_test(replace(plan.task.data(), epoch_windows=MOST))
    rows = int(test.cuts[0, 2] - test.cuts[0, 1])
    count = (rows - test.horizon) // test.validation_step + 1
    job = job_of(plan.task, test, folder, test.validation_step, count, seconds)
    curve = folder / "curve"
    curve.touch()

    def lines() -> list[dict[str, float]]:
        return [json.loads(line) for line in curve.read_text().splitlines()]

    def untimed() -> float:
        return sum(line["untimed"] for line in lines())

    command, environment = command_of(kind, python, job | {"cores": 1, "seed": seed, "curve": str(curve)}, folder)
    clock, used = watched(command, environment, folder, seconds, untimed=untimed, end=signal.SIGUSR1)
    return [(float(np.interp(line["clock"], clock, used)), line["value"], line["test"]) for line in lines()]


def line_of(points: Points) -> Line:
    """After each trial, the test MSE of the one that is the best so far on the validation rows."""
    best, tests = (math.inf, math.inf), list[float]()
    for _, value, test in points:
        best = (value, test) if value < best[0] else best
        tests.append(best[1])
    return [seconds for seconds, *_ in points], tests


def show(results: list[dict[str, Any]], png: Path | None) -> None:
    """The table, and the picture."""
    names = dict.fromkeys(result["data"] for result in results)
    panels = {
        name: {
            peer: [line_of(r["points"]) for r in results if (r["data"], r["peer"]) == (name, peer)] for peer in PEERS
        }
        for name in names
    }
    rows = []
    for name, lines in panels.items():
        ends = {peer: [v[-1] if v else math.inf for _, v in lines[peer]] for peer in PEERS}
        goal = NEAR * min(statistics.median(ends[peer] or [math.inf]) for peer in OTHERS)
        reached = [[until(line, goal) for line in lines[peer]] for peer in PEERS]
        columns = [spread(values) if values else "" for values in (*ends.values(), [goal], *reached)]
        rows.append([name, *(column.replace("inf", "never") for column in columns)])
    table(["data", *(f"MSE, {peer}" for peer in PEERS), "goal", *(f"s, {peer}" for peer in PEERS)], rows)
    if png:
        draw(panels, "test MSE", png, log=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--before", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--autolstm", required=True, metavar="PYTHON")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    os.sched_setaffinity(0, {args.core})  # of all below, too
    torch.set_num_threads(1)
    peers: dict[str, Callable[..., Points]] = {
        "now": partial(ours, HERE), "before": partial(ours, args.before.resolve()),
        "AutoLSTM": partial(rival, "autolstm", args.autolstm),
        "with ASHA": partial(rival, "autolstm_asha", args.autolstm),
        "plain script": partial(rival, "plain", sys.executable),
    }  # fmt: skip
    results = [json.loads(line) for line in args.results.read_text().splitlines()] if args.results.exists() else []
    for name, entry in tomllib.loads(args.list.read_text(encoding="utf-8")).items():
        file = (args.list.resolve().parent / entry["file"]).resolve()
        for seed, peer in ((s, p) for s in args.seeds for p in args.peers):
            key = {"data": name, "peer": peer, "seed": seed}
            if (args.only and name not in args.only) or any(key.items() <= result.items() for result in results):
                continue
            with tempfile.TemporaryDirectory() as folder:
                points = peers[peer](entry, file, seed, args.seconds, Path(folder))
            results.append(key | {"points": points})
            with args.results.open("a") as out:
                print(json.dumps(results[-1]), file=out)
            print(f"{name}, {peer}, seed {seed}: {len(points)} trials", file=sys.stderr, flush=True)
    show(results, args.png)


if __name__ == "__main__":
    main()

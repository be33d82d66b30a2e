"""A whole search on ETTh1's OT, 24 hours ahead: this program, neuralforecast's AutoLSTM, and a tutorial's script.

    python scripts/bench/search.py ETTh1.csv --neuralforecast FOLDER

Each peer is whole commands in processes of their own, in turn. Wall time from the command on; peak memory of all its
processes together (proportional set size: what they share counts once); MSE over every window of the test rows. The
splits are the ETT papers'. 500 steps of 64 windows are 3.75 epochs.

same windows    8 trials of 4 epochs, none pruned, as many windows as AutoLSTM's have seen; tuned weights
search          the documented search (`studies/etth1.toml`), pruned, and `refit --averaging 1` of one network
same trainings  the tutorial's network, 8 trials of `--epochs`, by its script and by `study`; `trials alone` is from the
                start of the first to the end of the last

Of the search stands, too, when the study first had a trial that is better on the test rows than AutoLSTM's result and
than an MSE of .030: each trial that was the best so far on the validation rows is tested afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.trial import TrialState
from rounds import BENCH, heading, neuralforecast_python, optlstm, plain, positive, spread, table

ROWS = ["--time", "date", "--target", "OT", "--horizon", "24", "--set", "data.splits=[8640,2880,2880]"]
TRIALS, EPOCHS, STEPS = 8, 4, 500
GOAL = 0.030
TUTORIAL = {  # its network and its training, in this program's words; two params are drawn
    "window": 96, "num_layers": 1, "dropout": 0.0, "recurrent_dropout": 0.0, "pooling": "last",
    "linear_skip": False, "window_norm": "none", "batch_size": 64, "optimizer": "adamw", "weight_decay": 0.0,
    "lr_schedule": "constant", "grad_clip": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """seconds, peak_mb: of the peer's commands; trained: seconds from the first trial's start to the last one's end.

    reached: seconds until a trial was so good, by its name.
    """

    seconds: float
    trained: float | None
    peak_mb: float
    test_mse: float
    reached: dict[str, float | None]


class Watch:
    """The most memory that a process and all below it have at a time, looked at twice a second."""

    def __init__(self, pid: int) -> None:
        self.peak_mb = 0.0
        self._process, self._over = psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self.peak_mb

    def _look(self) -> None:
        while not self._over.wait(0.5):
            total = 0
            try:
                for each in [self._process, *self._process.children(recursive=True)]:
                    total += _shared_out(each)
            except psutil.NoSuchProcess:
                continue
            self.peak_mb = max(self.peak_mb, total / 1e6)


def _shared_out(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return 0


def watched(command: Sequence[str], folder: Path) -> tuple[float, float, str]:
    """Seconds, peak memory in MB, and what it printed."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    watch = Watch(process.pid)
    try:
        printed, _ = process.communicate()
    finally:
        peak = watch.stop()
    if process.returncode:
        raise SystemExit(f"exit {process.returncode}: {' '.join(command)}")
    return time.perf_counter() - began, peak, printed


def ours(folder: Path, name: str, data: Path, study: Sequence[str], refit: Sequence[str], peer: float | None) -> Run:
    """`study`, then `refit`."""
    storage = ["--storage", f"sqlite:///{name}.db", "--storage-path", str(folder / name)]
    began = datetime.now()
    flags = ["--data", str(data), *ROWS, "--seed", "1", "--workers", "2", "--quiet", "--set", "keep=1000"]
    taken, peak, _ = watched(optlstm("study", "--name", name, *flags, *study, *storage), folder)
    command = optlstm("refit", name, "-o", f"{name}-model", "--json", *refit, *storage)
    more, refit_peak, printed = watched(command, folder)
    goals = {"AutoLSTM's": peer, f"{GOAL:.3f}": GOAL} if peer else {}
    reached = first_below(folder, name, storage, began, goals)
    trained = trained_seconds(f"sqlite:///{folder}/{name}.db", name)
    return Run(taken + more, trained, max(peak, refit_peak), mse_of(printed), reached)


def trained_seconds(url: str, name: str | None) -> float:
    trials = optuna.load_study(study_name=name, storage=url).get_trials(deepcopy=False)
    return (max(t.datetime_complete for t in trials) - min(t.datetime_start for t in trials)).total_seconds()


def mse_of(printed: str) -> float:
    return float(json.loads(printed)["test"]["mse"])


def first_below(
    folder: Path, name: str, storage: Sequence[str], began: datetime, goals: dict[str, float]
) -> dict[str, float | None]:
    """Seconds from `began` until a trial that was the best so far had ended, and its weights were below each goal."""
    trials = optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/{name}.db").get_trials(deepcopy=False)
    ended = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: t.datetime_complete)
    reached: dict[str, float | None] = dict.fromkeys(goals)
    best = float("inf")
    for trial in ended:
        if trial.value >= best or all(reached.values()):
            continue
        best = trial.value
        command = optlstm(
            "refit", name, "-o", f"{name}-{trial.number}", "--json", "--no-refit", "--no-ensemble", *storage
        )
        mse = mse_of(watched([*command, "--trial", str(trial.number)], folder)[2])
        for goal, most in goals.items():
            if mse <= most and reached[goal] is None:
                reached[goal] = (trial.datetime_complete - began).total_seconds()
    return reached


def theirs(folder: Path, python: Path, data: Path, backend: str) -> Run:
    command = [str(python), str(BENCH / "autolstm.py"), str(data), backend, str(TRIALS), str(STEPS)]
    seconds, peak, printed = watched(command, folder)
    answer = json.loads(printed.splitlines()[-1])
    print(f"AutoLSTM, {backend}: search and refit alone {answer['search_s']:.1f} s of {seconds:.1f}", file=sys.stderr)
    return Run(answer["search_s"], None, peak, answer["test_mse"], {})


def tutorial(folder: Path, data: Path, trials: Path, epochs: int, patch: int, threads: Sequence[str] = ()) -> Run:
    (folder / "tutorial.db").unlink(missing_ok=True)
    command = [sys.executable, str(BENCH / "tutorial.py"), str(data), str(trials), str(epochs), str(patch), *threads]
    seconds, peak, printed = watched(command, folder)
    trained = trained_seconds(f"sqlite:///{folder}/tutorial.db", None)
    return Run(seconds, trained, peak, json.loads(printed)["test_mse"], {})


def drawn(folder: Path) -> Path:
    """The tutorial's trials, drawn once, as a grid has them."""
    from random import Random

    chance = Random(0)
    trials = [
        {"hidden_size": chance.choice([32, 48, 64, 80]), "learning_rate": round(3e-4 * 10 ** chance.random(), 6)}
        for _ in range(TRIALS)
    ]
    (path := folder / "trials.json").write_text(json.dumps(trials))
    return path


def as_flags(trials: Path, patch: int) -> list[str]:
    """The tutorial's trainings as a study: the first trial is the space's defaults, the others are enqueued."""
    first, *others = json.loads(trials.read_text())
    size = {"low": 32, "high": 80, "step": 16, "default": first["hidden_size"]}
    rate = {"low": 3e-4, "high": 3e-3, "log": True, "default": first["learning_rate"]}
    space: dict[str, Any] = {**TUTORIAL, "patch": patch, "hidden_size": size, "learning_rate": rate}
    flags = [f"space.{name}={toml(value)}" for name, value in space.items()]
    return [part for flag in [*flags, f"enqueue={toml(others)}"] for part in ("--set", flag)]


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + "}"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


def peers(args: argparse.Namespace, folder: Path) -> dict[str, Callable[[int, float | None], Run]]:
    """By name: from the round and AutoLSTM's test MSE in it, so far as it is known, to a run."""
    data, trials = args.data.absolute(), drawn(folder)
    whole = ["--trials", str(TRIALS), "--pruner", "none", "--set", "training.patience=0", "--epochs"]
    same = [*whole, str(EPOCHS)]
    tuned, documented = ["--no-refit", "--no-ensemble"], ["--trials", "30"]

    def own(key: str, study: Sequence[str], refit: Sequence[str]) -> Callable[[int, float | None], Run]:
        return lambda round_, peer: ours(folder, f"{key}-{round_}", data, study, refit, peer)

    found: dict[str, Callable[[int, float | None], Run]] = {}
    if args.neuralforecast:
        python = neuralforecast_python(args.neuralforecast)
        for backend in args.backends:
            found[f"AutoLSTM, {THEIRS[backend]} backend"] = lambda *_, b=THEIRS[backend]: theirs(
                folder, python, data, b
            )
    for backend in args.backends:
        found[f"optlstm, same windows, {backend}"] = own(f"same-{backend}", [*same, "--backend", backend], tuned)
        if args.neuralforecast:
            flags = [*documented, "--backend", backend]
            found[f"optlstm, search, {backend}"] = own(
                f"search-{backend}", flags, ["--no-ensemble", "--averaging", "1"]
            )
    for patch in args.patch:
        script = partial(tutorial, folder, data, trials, args.epochs, patch)
        found[f"tutorial's script, patch {patch}"] = lambda *_, script=script: script()
        found[f"tutorial's script, patch {patch}, 1 thread"] = lambda *_, script=script: script(["1"])
        flags = [*whole, str(args.epochs), *as_flags(trials, patch)]
        found[f"optlstm, same trainings, patch {patch}"] = own(f"as-{patch}", flags, tuned)
    return found


THEIRS = {"local": "optuna", "ray": "ray"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="ETTh1.csv, of github.com/zhouhaoyi/ETDataset")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--neuralforecast", type=Path, metavar="FOLDER", help="an environment is made there")
    parser.add_argument("--backends", nargs="*", choices=THEIRS, default=list(THEIRS))
    parser.add_argument("--patch", type=int, nargs="*", default=[1, 24], help="of the tutorial's network")
    parser.add_argument("--epochs", type=positive, default=10, help="of its trials")
    args = parser.parse_args()
    if not args.data.is_file():
        parser.error(f"no file {args.data}")
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # every Ray on loopback: the outer address may lead nowhere
    runs: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory() as made:
        for round_ in range(args.rounds):
            peer = None
            for name, run in peers(args, Path(made)).items():
                found = run(round_, peer)
                runs.setdefault(name, []).append(found)
                peer = found.test_mse if peer is None and name.startswith("AutoLSTM") else peer
                print(f"round {round_ + 1}: {name}: {found}", file=sys.stderr, flush=True)
    heading(f"ETTh1, OT, 24 hours ahead, {args.rounds} rounds", "optlstm", "torch", "optuna", "ray")
    rows = []
    for name, all_ in runs.items():
        reached = [
            ", ".join("never" if run.reached[goal] is None else plain(run.reached[goal]) for run in all_)
            for goal in all_[0].reached
        ]
        peak, mse = spread([run.peak_mb for run in all_]), spread([run.test_mse for run in all_], ".4f")
        trained = [run.trained for run in all_ if run.trained is not None]
        seconds = [spread([run.seconds for run in all_]), spread(trained) if trained else ""]
        rows.append([name, *seconds, peak, mse, *(reached or ["", ""])])
    table(["", "s", "s, trials alone", "peak MB", "test MSE", "s until AutoLSTM's MSE", f"s until {GOAL:.3f}"], rows)


if __name__ == "__main__":
    main()

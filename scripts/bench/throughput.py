"""Training throughput: windows per second of the trainer against a bare loop of the same network, one thread each.

Each peer is a process of its own, asked in turn for a second or two of training. Counted is its own time (user and
system), for the machine may have other work; with one thread it is the time on a free core. The bare loop shuffles,
takes a batch out of one tensor and steps AdamW: no validation, no checks, no bookkeeping. The trainer's own validation
is taken out of its time; its snapshots of the weights are not. With `--neuralforecast FOLDER` its LSTM is measured too,
in an environment made in that folder (several minutes, 2 GB).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

WINDOW, HORIZON, BATCH, ROWS = 96, 24, 64, 3_200
OURS, BF16, BARE, TUNED, THEIRS = (
    "optlstm",
    "optlstm, bf16",
    "bare loop",
    "bare loop, allocator set",
    "neuralforecast LSTM",
)


def series() -> Any:
    import numpy as np

    steps = np.arange(ROWS)
    noise = np.random.default_rng(0).normal(0, 0.3, ROWS)
    return np.sin(steps * 2 * np.pi / 24) + 0.5 * np.sin(steps * 2 * np.pi / 168) + noise


def optlstm(hidden: int, patch: int, seconds: float, precision: str = "fp32") -> float:
    """Windows per second of `fit`, its validation apart."""
    from optlstm.training.loop import fit

    problem, hp = problem_and_hp(hidden, patch)
    spent = 0.0
    inner = problem.validate

    def validate(*args: Any) -> Any:
        nonlocal spent
        began = time.process_time()
        found = inner(*args)
        spent += time.process_time() - began
        return found

    problem.validate = validate
    epochs = fit(problem, hp, epochs=100_000, patience=0, seed=0, precision=precision)
    next(epochs)
    done, spent, began = 0, 0.0, time.process_time()
    while (taken := time.process_time() - began - spent) < seconds:
        next(epochs)
        done += 1
    return done * windows() / taken


def problem_and_hp(hidden: int, patch: int, device: Any = "cpu") -> Any:
    import tempfile

    import pandas as pd
    import torch

    from optlstm.tasks.forecast.problem import ForecastProblem
    from optlstm.tasks.forecast.task import Forecast
    from optlstm.tasks.options import DataConfig
    from optlstm.training.hparams import Hyperparameters

    params = {"window": WINDOW, "patch": patch, "batch_size": BATCH, "hidden_size": hidden, "num_layers": 1}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.csv"
        times = pd.date_range("2020-01-01", periods=ROWS, freq="h")
        pd.DataFrame({"ds": times, "y": series()}).to_csv(path, index=False)
        task = Forecast.read(DataConfig(path=str(path), horizon=HORIZON, splits=(0.7, 0.15, 0.15)))
    return ForecastProblem(task.data(), torch.device(device)), Hyperparameters.from_params(params)


def windows() -> int:
    return int(ROWS * 0.7) - WINDOW - HORIZON + 1


def bare(hidden: int, patch: int, seconds: float) -> float:
    """Windows per second of a loop as one writes it, of the same network."""
    import torch
    from torch.nn import functional as F

    problem, hp = problem_and_hp(hidden, patch)
    network = problem.network(hp)
    optimizer = torch.optim.AdamW(network.parameters(), lr=hp.learning_rate)
    values = torch.tensor(series()[: int(ROWS * 0.7)], dtype=torch.float32)
    view = values.unfold(0, WINDOW + HORIZON, 1)

    def epoch() -> None:
        order = torch.randperm(len(view))
        for at in range(0, len(order), BATCH):
            rows = view[order[at : at + BATCH]]
            optimizer.zero_grad()
            loss = F.mse_loss(network(rows[:, :WINDOW]), rows[:, WINDOW:])
            loss.backward()
            optimizer.step()

    epoch()
    done, began = 0, time.process_time()
    while (taken := time.process_time() - began) < seconds:
        epoch()
        done += 1
    return done * len(view) / taken


def neuralforecast(hidden: int, patch: int, seconds: float) -> float:
    """Windows per second of its LSTM: what more steps cost more, so that its start-up does not count."""
    import logging
    import warnings

    import pandas as pd
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MSE
    from neuralforecast.models import LSTM

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    times = pd.date_range("2020-01-01", periods=ROWS, freq="h")
    table = pd.DataFrame({"unique_id": "a", "ds": times, "y": series()})

    def fit(steps: int) -> float:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
        model = LSTM(
            h=HORIZON,
            input_size=WINDOW,
            encoder_hidden_size=hidden,
            encoder_n_layers=1,
            loss=MSE(),
            max_steps=steps,
            batch_size=1,
            windows_batch_size=BATCH,
            enable_model_summary=False,
            **quiet,
        )
        began = time.process_time()
        NeuralForecast([model], freq="h").fit(table)
        return time.process_time() - began

    few = 10
    fit(few)
    start = fit(few)
    more = fit(2 * few) - start
    many = max(4 * few, int(few * seconds / max(more, 0.01)))
    return (many - few) * BATCH / max(fit(many) - start, 1e-9)


PEERS = {OURS: optlstm, BF16: partial(optlstm, precision="bf16"), BARE: bare, TUNED: bare, THEIRS: neuralforecast}


def child(name: str) -> None:
    """Answer `hidden patch seconds` with windows per second, line by line."""
    import torch

    torch.set_num_threads(1)
    if name in (OURS, BF16):
        from optlstm.training import runtime

        runtime.prepare(1)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print must not be taken for an answer
    for line in sys.stdin:
        hidden, patch, seconds = line.split()
        print(PEERS[name](int(hidden), int(patch), float(seconds)), file=out, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of training, each time")
    parser.add_argument("--patch", type=int, nargs="+", default=[1, 24])
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--bf16", action="store_true", help="the trainer with training.precision = bf16 too")
    parser.add_argument("--neuralforecast", type=Path, metavar="FOLDER")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        child(args.peer)
        return
    if args.rounds < 1:
        parser.error("--rounds: must be at least 1")
    from rounds import (
        Rounds,
        alternate,
        answering,
        heading,
        neuralforecast_python,
        ratio,
        read_line,
        spread,
        table,
        write_line,
    )

    pythons: dict[str, Any] = dict.fromkeys((OURS, *((BF16,) if args.bf16 else ()), BARE, TUNED), sys.executable)
    if args.neuralforecast:
        pythons[THEIRS] = neuralforecast_python(args.neuralforecast)
    children = {
        name: answering([str(python), __file__, "--peer", name], allocator=name in (OURS, BF16, TUNED))
        for name, python in pythons.items()
    }
    rows = []
    for patch in args.patch:
        for hidden in args.hidden:

            def asked(name: str, hidden: int = hidden, patch: int = patch) -> float:
                write_line(children[name], f"{hidden} {patch} {args.seconds}")
                return float(json.loads(read_line(children[name])))

            names = [name for name in children if patch == 1 or name != THEIRS]
            found: Rounds = alternate({name: lambda name=name: asked(name) for name in names}, args.rounds)
            against = (f"{ratio(found, OURS, n):.2f}" if n in found else "" for n in (BARE, TUNED, THEIRS))
            in_bf16 = (f"{ratio(found, BF16, BARE):.2f}",) if args.bf16 else ()
            rows.append([patch, hidden, spread(found[OURS]), *against, *in_bf16])
    for process in children.values():
        process.stdin.close()
        process.wait()
    heading(f"window {WINDOW}, horizon {HORIZON}, batch {BATCH}, {args.rounds} rounds", "optlstm", "torch")
    heads = [f"against {name}" for name in (BARE, TUNED, THEIRS)]
    heads += ["bf16 against bare loop"] if args.bf16 else []
    table(["patch", "hidden", "optlstm: windows a second", *heads], rows)


if __name__ == "__main__":
    main()

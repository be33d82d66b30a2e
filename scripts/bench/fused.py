"""Fused trials: K trials of the same shapes as one batched model, against the same K in sequence and side by side.

One thread a process. `in sequence`: one process trains them one by one; `processes`: as many processes as cores share
them out; `fused`: one process trains them as one model; `fused processes`: as many processes as cores, each with its
share as one model. All of them train the same epochs, validation and snapshots included; start-up is not counted.
The trials have learning rates, dropouts and seeds of their own. Seconds are the clock's: the machine must be quiet.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from typing import Any

from rounds import Rounds, alternate, answering, heading, plain, positive, ratio, read_line, spread, table, write_line
from throughput import BATCH, HORIZON, WINDOW, problem_and_hp, windows

from optlstm.backends.local.runner import cores

SEQUENCE, PROCESSES, FUSED, FUSED_PROCESSES = "in sequence", "processes", "fused", "fused processes"


def train(*, hidden: int, patch: int, trials: list[int], epochs: int, fused: bool) -> None:
    """The trials of these numbers, to their end."""
    from optlstm.training.fused import FusedFit
    from optlstm.training.loop import fit

    problem, base = problem_and_hp(hidden, patch)
    hps = [replace(base, learning_rate=1e-3 * 1.3**n, dropout=0.05 * n) for n in trials]
    if fused:
        for _ in FusedFit(problem, hps, epochs=epochs, patience=0, seeds=trials):
            pass
        return
    for number, hp in zip(trials, hps, strict=True):
        for _ in fit(problem, hp, epochs=epochs, patience=0, seed=number):
            pass


def child() -> None:
    """Train what each line asks for, and answer when it is done."""
    from optlstm.training import runtime

    runtime.prepare(1)
    for fused in (False, True):
        train(hidden=4, patch=24, trials=[0], epochs=1, fused=fused)
    for line in sys.stdin:
        train(**json.loads(line))
        print("done", flush=True)


def seconds(children: list[subprocess.Popen[str]], trials: int, **what: Any) -> float:
    """Until all of these processes have trained their share."""
    shares = [list(range(trials))[first :: len(children)] for first in range(len(children))]
    began = time.perf_counter()
    for process, share in zip(children, shares, strict=True):
        write_line(process, json.dumps({**what, "trials": share}))
    for process in children:
        read_line(process)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--epochs", type=positive, default=1)
    parser.add_argument("--patch", type=int, nargs="+", default=[1, 24])
    parser.add_argument("--hidden", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--trials", type=positive, nargs="+", default=[4, 8])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child()
        return
    children = [answering([sys.executable, __file__, "--child"]) for _ in range(min(cores(), *args.trials))]
    used = {SEQUENCE: children[:1], PROCESSES: children, FUSED: children[:1], FUSED_PROCESSES: children}
    seconds(children, len(children), hidden=4, patch=24, epochs=1, fused=True)  # all have started
    rows = []
    for patch in args.patch:
        for hidden in args.hidden:
            for trials in args.trials:
                what = {"trials": trials, "hidden": hidden, "patch": patch, "epochs": args.epochs}

                def measured(name: str, what: dict[str, Any] = what) -> float:
                    return seconds(used[name], fused=name in (FUSED, FUSED_PROCESSES), **what)

                found: Rounds = alternate({name: partial(measured, name) for name in used}, args.rounds)
                gains = [(SEQUENCE, FUSED), (PROCESSES, FUSED), (PROCESSES, FUSED_PROCESSES)]
                against = [plain(ratio(found, *pair)) for pair in gains]
                rows.append([patch, hidden, trials, *(spread(found[name], ".2f") for name in used), *against])
    for process in children:
        process.communicate()
    what = f"window {WINDOW}, horizon {HORIZON}, batch {BATCH}, {windows()} windows an epoch, epochs: {args.epochs}"
    heading(f"{what}, rounds: {args.rounds}", "optlstm", "torch")
    head = ["patch", "hidden", "trials", *(f"{name}, s" for name in used)]
    gains_head = ["fused: against sequence", "fused: against processes", "fused processes: against processes"]
    table([*head, *gains_head], rows)


if __name__ == "__main__":
    main()

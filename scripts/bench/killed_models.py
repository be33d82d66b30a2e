"""Kill `update`, `refit` and `fit` at random moments: the model's folder must hold the old model or the new one, whole.

    python scripts/bench/killed_models.py [--kills 20] [--seed 0] [--only fit]

`fit` makes another model every time, as the clock ends its search: that loading one checks all its sums must do.

Half of the kills come at any moment of the command, half within 50 ms after its first file stands in the folder.
"""

import argparse
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from optlstm.models.folder import NEXT_FILE
from optlstm.models.model import Model

PROGRAM = [sys.executable, "-m", "optlstm"]
SPACE = ("window=8", "patch=4", "hidden_size=4", "num_layers=1")


def write(path: Path, rows: int) -> None:
    lines = (f"{i},{math.sin(i * math.pi / 6) + 0.01 * i:.6f}" for i in range(rows))
    path.write_text("ds,y\n" + "\n".join(lines) + "\n")


def run(folder: Path, *command: str) -> None:
    subprocess.run([*PROGRAM, *command], cwd=folder, check=True, capture_output=True)


def killed(folder: Path, command: tuple[str, ...], after: float, at_file: bool) -> None:
    """Start a command and kill it: after so many seconds, of its start or of its first file in the folder."""
    process = subprocess.Popen([*PROGRAM, *command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while at_file and process.poll() is None and not (folder / "model" / NEXT_FILE).exists():
        time.sleep(0.0005)
    time.sleep(after)
    process.kill()
    process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=["update", "refit", "fit"])
    given = parser.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "old.csv", 120)
        write(folder / "new.csv", 180)
        space = [text for value in SPACE for text in ("--set", f"space.{value}")]
        run(
            folder,
            "study",
            "--data",
            "old.csv",
            "--name",
            "s",
            "--horizon",
            "4",
            "--trials",
            "1",
            "--epochs",
            "1",
            *space,
        )
        run(folder, "refit", "s", "-o", "old", "--no-ensemble")
        commands = {
            "update": ("update", "model", "--data", "new.csv", "-o", "model", "--mode", "continue"),
            "refit": ("refit", "s", "-o", "model", "--no-ensemble", "--seeds", "2"),
            "fit": ("fit", "--data", "new.csv", "--horizon", "4", "--minutes", "0.1", "-o", "model", *space),
        }
        for kind, command in ((kind, command) for kind, command in commands.items() if kind in given.only):
            shutil.copytree(folder / "old", folder / "model")
            began = time.perf_counter()
            run(folder, *command)
            seconds = time.perf_counter() - began
            old, new = ((folder / which / "model.json").read_bytes() for which in ("old", "model"))
            found = {"old": 0, "model": 0}
            for i in range(given.kills):
                shutil.rmtree(folder / "model")
                shutil.copytree(folder / "old", folder / "model")
                at_file = bool(i % 2)
                again = (*command, "--name", f"f{i}") if kind == "fit" else command
                killed(folder, again, draw.uniform(0, 0.05 if at_file else seconds), at_file)
                card = Model.load(folder / "model").card.to_bytes()
                assert kind == "fit" or card in (old, new), f"{kind}: neither the old model nor the new one"
                found["old" if card == old else "model"] += 1
            print(
                f"{kind}: {given.kills} kills, {found['old']} left the old model, {found['model']} the new one",
                flush=True,
            )
            shutil.rmtree(folder / "model")


if __name__ == "__main__":
    main()

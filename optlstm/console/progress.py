"""The progress of a run: a live display in a terminal and in a notebook, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from optlstm.config.schema import NO_LIMIT
from optlstm.console.consoles import NotebookConsole, PlainConsole
from optlstm.study.events import EpochReported, Event, TrialFinished, TrialStarted
from optlstm.util.format import decimals, duration, in_a_line, many, visible

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from optlstm.backends.driver import Run

REFRESH_PER_S = 4
LONG_EPOCH_S = 3.0
UNCUT = 10_000  # columns
INFEASIBLE_SHOWN = 3
LONGEST_REASON = 200  # characters
STYLES = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red", "RUNNING": "cyan"}
WORDS = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
PAUSED = "paused"  # unfinished, and waiting for the study's next run


def shown(value: Any) -> str:
    """A number in few digits, an integer in full, anything else as it is."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.4g}"
    return visible(value)


@dataclass
class RunningTrial:
    """A trial that trains: its last epoch and value; the times are those of this process, in seconds.

    Nothing comes from a trial between two epochs: how far it is in one is estimated by the epoch before.
    """

    epoch: int = 0
    value: float | None = None
    started: float = field(default_factory=time.monotonic)
    reported: float | None = None  # when its last epoch ended
    length: float | None = None  # of its last epoch

    def report(self, epoch: int, value: float) -> None:
        now = time.monotonic()
        self.length, self.reported = now - (self.reported or self.started), now
        self.epoch, self.value = epoch, value

    @property
    def in_epoch(self) -> float:
        """How long its epoch has lasted."""
        return time.monotonic() - (self.reported or self.started)

    @property
    def done(self) -> float:
        """Epochs, a share of the one that is being trained included."""
        return self.epoch + (min(0.99, self.in_epoch / self.length) if self.length else 0.0)

    @property
    def waiting(self) -> str:
        """How long an epoch has lasted that takes more than a moment."""
        if max(self.in_epoch, self.length or 0.0) < LONG_EPOCH_S:
            return ""
        expected = "" if self.length is None else f" of about {duration(self.length)}"
        return f"epoch {self.epoch + 1}: {duration(self.in_epoch)}{expected}"


class Display:
    """Listens to a ledger; a context manager around the run.

    Args:
        epochs: Most epochs of a trial, to show how far each is.
        metric: What a value is, for the heading.
        run: How many trials there are to be, the time left, why it is stopping; asked at every refresh.
        baseline: What is shown beside the best value: its name and its value.
        resumes: Whether a trial of this number that was interrupted has a checkpoint.
    """

    def __init__(
        self,
        console: Console,
        run: Run,
        epochs: int,
        metric: str,
        baseline: tuple[str, float] | None = None,
        resumes: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self.console, self.run, self.ledger, self.epochs = console, run, run.ledger, epochs
        self.resumes = resumes
        self.metric, self.baseline = metric, baseline
        total = run.total if run.total < NO_LIMIT else None
        self.seen: set[int] = set()
        self.running: dict[int, RunningTrial] = {}
        self.ended = 0
        self.infeasible = 0
        self.began = time.monotonic()
        self.bar = Progress(
            TextColumn("trials"),
            BarColumn(bar_width=32),
            TextColumn("{task.completed}" if total is None else "{task.completed}/{task.total}"),
            TimeElapsedColumn(),
        )
        self.task = self.bar.add_task("", total=total, completed=self.ledger.ended)
        self.live = Live(get_renderable=self._render, console=console, refresh_per_second=REFRESH_PER_S, transient=True)
        self.ledger.listen(self.on_event)
        run.announce = self.print_line

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()
        if isinstance(self.console, NotebookConsole):
            self.console.show_live(None)

    @property
    def stopping(self) -> str:
        """What a run does that is told to stop."""
        return "stopping after this epoch" if self.running else "stopping"

    def on_event(self, event: Event) -> None:
        match event:
            case TrialStarted(number=number, last_epoch=last_epoch):
                self.running[number] = RunningTrial(last_epoch)
                if last_epoch and number not in self.seen:
                    parent = self.ledger.trials[number].user_attrs.get("parent")
                    how = "is continued" if parent is None else f"continues as a copy of trial {parent}"
                    line = f"trial {number} {how} after epoch {last_epoch}"
                    if not self.resumes(number):
                        line = (
                            f"trial {number} begins again, as it saved no checkpoint; the study has {last_epoch} epochs"
                        )
                    self.print_line(line, "cyan")
                self.seen.add(number)
            case EpochReported(number=number, epoch=epoch, value=value):
                self.running.setdefault(number, RunningTrial()).report(epoch, value)
                if isinstance(self.console, NotebookConsole):
                    self.console.show_live(self._render())
            case TrialFinished(number=number, reason=reason) if number not in self.running:  # broke a constraint
                self.infeasible += 1
                more = "; further ones are not shown" if self.infeasible == INFEASIBLE_SHOWN else ""
                if self.infeasible <= INFEASIBLE_SHOWN:
                    self.print_line(f"trial {number:>3}  {in_a_line(reason, LONGEST_REASON)}{more}", "dim")
            case TrialFinished(number=number, state=state, value=value, reason=reason):
                running = self.running.pop(number, RunningTrial())
                self.ended += 1
                self.bar.update(self.task, completed=self.ledger.ended)
                self._print_finished(number, state, value, reason, running.epoch, time.monotonic() - running.started)

    def print_line(self, message: str, style: str = "") -> None:
        self.console.print(Text(message, style=style))

    def _print_finished(
        self, number: int, state: str, value: float | None, reason: str | None, epoch: int, seconds: float
    ) -> None:
        line = Text()
        line.append(f"trial {number:>3}  ")
        line.append(f"{WORDS[state]:<8}", style=STYLES[state])
        if state == "FAIL":
            line.append(f"  {in_a_line(reason, LONGEST_REASON)}", style="red")
        else:
            trial = self.ledger.trials[number]
            if state == "COMPLETE" and len(trial.values) > 1:
                named = zip(self.ledger.record.objectives, trial.values, strict=True)
                line.append("  " + "  ".join(f"{name} {shown(part)}" for name, part in named))
            elif value is None:  # it diverged, which this search is about
                line.append(f"  {in_a_line(reason, LONGEST_REASON)}")
            else:
                line.append(f"  {self.metric} {decimals(value, 5)}")
            line.append(f"  epoch {epoch:>2}  {duration(seconds):>6}")
            best = self.ledger.best
            if best is not None and best.number == number:
                line.append("  the knee" if len(trial.values) > 1 else self._best_so_far(trial), style="bold green")
            if self.baseline is not None and (left := self._time_left()):
                line.append(f"  {left} left")
        self.console.print(line)

    def _best_so_far(self, trial: FrozenTrial) -> str:
        if self.baseline is None or not self.baseline[1]:
            return "  best so far"
        name, change = self.baseline[0], round(100 * (1 - trial.values[0] / self.baseline[1]))
        compared = f"{abs(change)} % {'better' if change > 0 else 'worse'} than" if change else "level with"
        return f"  best so far, {compared} {name}"

    def _render(self) -> RenderableType:
        counts, best = self.ledger.counts, self.ledger.best
        summary = Text("  ".join(f"{counts[s]} {WORDS[s]}" for s in ("COMPLETE", "PRUNED", "FAIL")))
        if best is not None:
            several = self.ledger.record.objectives
            reached = (
                f"{len(self.ledger.ranking)} on the front"
                if several
                else f"best {self.metric} {decimals(best.values[0], 5)}"
            )
            summary.append(f"   {reached} (trial {best.number})", style="bold")
        if self.baseline is not None:
            summary.append(f"   {self.baseline[0]} {decimals(self.baseline[1], 5)}")
        if left := self._time_left():
            summary.append(f"   {left} left")
        if self.run.cluster:
            summary.append(f"   {self.run.cluster}")
        if reason := self.run.stop_reason:
            summary.append(f"   {self.stopping} ({reason}); Ctrl-C again: at once", style="bold yellow")
        table = Table.grid(padding=(0, 2))
        for number, running in sorted(self.running.items()):
            done = round(12 * min(1.0, running.done / self.epochs))
            shown = "" if running.value is None else f"{self.metric} {decimals(running.value, 5)}"
            bar = Text("█" * done + "░" * (12 - done), "cyan")
            table.add_row(f"  trial {number}", f"epoch {running.epoch}/{self.epochs}", bar, shown, running.waiting)
        return Group(self.bar, summary, table)

    def _time_left(self) -> str | None:
        left, deadline = self.run.total - self.ledger.ended, self.run.deadline
        limit = None if deadline is None else deadline.seconds_left
        estimate = math.inf
        if self.ended > 0 and left > 0:
            estimate = (time.monotonic() - self.began) / self.ended * left
        if limit is not None and limit <= estimate:
            return duration(limit)
        return None if estimate == math.inf else f"about {duration(estimate)}"


class Epochs:
    """The epochs of a refit as a bar in a terminal; elsewhere a line for each network. A context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[done]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self.tasks: dict[int, TaskID] = {}  # by network

    def __enter__(self) -> Epochs:
        if self.console.is_terminal:
            self.bar.add_task("training", total=None, done="the first epoch")  # moves until the first epoch is done
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def on_epoch(self, member: int, members: int, epoch: int, epochs: int) -> None:
        """`epoch` of `epochs` epochs of network `member` (from 1) of `members` are done; 0: nobody knows how many."""
        label = (
            "training" if members == 1 else f"training {member}/{members}" if members else f"training network {member}"
        )
        if member not in self.tasks:
            waiting = [] if self.tasks else self.bar.task_ids
            self.tasks[member] = waiting[0] if waiting else self.bar.add_task(label, done="")
        self.bar.update(
            self.tasks[member], description=label, completed=epoch, total=epochs, done=f"epoch {epoch}/{epochs}"
        )
        if epoch == epochs:
            self.console.print(Text(f"{label.replace('training', 'trained')}: {many(epochs, 'epoch')}"), soft_wrap=True)


def make_console(quiet: bool = False, *, results: bool = False, plain: bool = False) -> Console:
    """Progress and notices go to standard error; standard output is for results, uncut where it is no terminal.

    plain: Lines alone, as where it is no terminal: a debugger has the terminal.
    """
    if not results and not plain and Console().is_jupyter:
        return NotebookConsole(quiet)
    stream = sys.stdout if results else sys.stderr
    width = None if stream.isatty() else UNCUT
    return PlainConsole(file=stream, quiet=quiet, highlight=False, width=width, force_terminal=False if plain else None)

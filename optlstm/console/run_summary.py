"""What is printed about a run: before it what is about to run, after it the result and the next commands."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from sqlalchemy.engine import make_url

from optlstm.config.schema import NO_LIMIT, StudyConfig
from optlstm.console.progress import LONGEST_REASON, PAUSED, Display, shown
from optlstm.console.study_table import STEPS_IN_WORDS, counts_in_words, lstm_steps
from optlstm.run.budget import Budget
from optlstm.run.retention import has_checkpoint
from optlstm.run.session import Session
from optlstm.study.constraints import IMPORTED_KEY, counts_as_trial
from optlstm.study.ledger import EXHAUSTED
from optlstm.study.record import REASON_KEY
from optlstm.study.results import best_epoch
from optlstm.util.format import as_timeout, decimals, duration, in_a_line, many, model_folder, visible
from optlstm.util.program import program

REASONS_SHOWN = 3


def announce(console: Console, session: Session, in_words: Callable[[str], str] = str) -> None:
    """What is about to run: data, search, and the trials that exist already.

    in_words: makes a line about the data one for who reads it: in Python, there are no flags.
    """
    config, task, name = session.plan.config, session.plan.task, session.ledger.name
    most = many(session.run.total, "trial")
    if session.run.total == NO_LIMIT:
        most = f"as many trials as fit into {duration(config.timeout or 0)},"
    size, rule = f"{most} of up to {many(config.training.epochs, 'epoch')}", f"pruner {config.pruner.name}"
    if config.scheduler != "study":
        rule = f"scheduler {config.scheduler}"
    if config.scheduler == "pbt":
        size = f"a population of {session.run.total}, {config.training.epochs} epochs, interval {config.pbt.interval}"
    search = f"{size}, sampler {config.sampler.name}, {rule}, seed {config.seed}, workers {session.workers or 'auto'}"
    if config.training.loss:
        search += f", loss {config.training.loss}, metric {session.plan.metric.label}"
    if config.backend != "local":
        search += f", backend {config.backend}"
    if config.sampler.name == "grid":
        search += f"; the grid has {session.plan.space.combinations():,} combinations"
    lines = [Text.assemble((f"study {name}", "bold"), f": {in_words(task.describe())}"), Text(search)]
    lines += [Text(in_words(warning), "yellow") for warning in session.warnings]
    if taken := sum(IMPORTED_KEY in t.user_attrs for t in session.ledger.trials):
        source = session.ledger.record.imported
        lines.append(
            Text(f"begins with {many(taken, 'trial')} of study {source}, each param by its name; they do not count")
        )
    if session.finished >= session.run.total:
        so_far = counts_in_words(session.ledger.counts)
        lines.append(Text(f"nothing to do: the study has {so_far}{_more_trials_hint(session)}"))
    elif any(t.state.name != "WAITING" and counts_as_trial(t) for t in session.ledger.trials):
        total = "" if session.run.total == NO_LIMIT else f" of {session.run.total}"
        lines.append(Text(f"continuing: {session.finished}{total} trials have ended"))
    for line in lines:
        console.print(line)


def say_budget(console: Console, session: Session, budget: Budget) -> tuple[str, float] | None:
    """How the time is divided, and the best baseline on the validation rows, which is given back too."""
    for note in budget.notes:
        console.print(Text(note))
    baseline = next(iter(budget.baselines.items()), None)
    if baseline is not None:
        name, value = baseline
        line = f"best baseline on the validation rows: {name}, {session.plan.metric.label} {decimals(value, 5)}"
        console.print(Text(line))
    return baseline


def make_display(console: Console, session: Session, baseline: tuple[str, float] | None) -> Display:
    """Of the session's run. baseline: as of `say_budget`."""
    plan, resumes = session.plan, partial(has_checkpoint, session.checkpoints)
    return Display(console, session.run, plan.record.epochs, plan.metric.label, baseline, resumes)


def _more_trials_hint(session: Session) -> str:
    """What to type for more trials than a finished study has; nothing where there are no more."""
    if _all_tried(session):
        return ""
    if session.plan.population is not None:
        return "; for another population give a new --name"
    return f"; to continue the search, give a higher {'--rounds' if session.plan.config.is_lr_search else '--trials'}"


def _all_tried(session: Session) -> bool:
    return session.ledger.stopped == EXHAUSTED


def result(session: Session) -> dict[str, Any]:
    """A study's outcome for programs: as `show --format json`, without the trials."""
    return {key: value for key, value in session.ledger.summary().items() if key != "trials"}


def best_table(session: Session) -> Table | None:
    """The best trial, its metrics and its configuration."""
    best = session.ledger.best
    if best is None:
        return None
    front = session.ledger.ranking if session.ledger.record.objectives else []
    title = f"knee of the Pareto front: trial {best.number}" if front else f"best trial: {best.number}"
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 0, 0, 2))
    attrs, several, deciding = best.user_attrs, session.ledger.record.objectives, session.plan.metric
    for objective, value in zip(several, best.values, strict=True) if several else ():
        table.add_row(objective, f"[bold]{shown(value)}[/bold]")
    if front:
        table.add_row("front", many(len(front), "trial"))
    else:
        note = f" ({deciding.note})" if deciding.note else ""
        table.add_row(f"validation {deciding.label}", f"[bold]{decimals(best.values[0], 6)}[/bold]{note}")
    for metric in session.plan.task.goals[session.plan.task.kind].metrics:
        value = attrs.get(metric.name)
        if isinstance(value, int | float) and metric.name not in (deciding.label, *several):
            table.add_row(f"validation {metric.name}", decimals(value, 6))
    if best.last_step is not None:  # a custom objective need not report
        epoch = attrs.get("best_epoch", best_epoch(best, session.ledger.directions[0]))
        table.add_row("epoch", f"{epoch} of {best.last_step}")
    if isinstance(count := attrs.get("parameters"), int) and "parameters" not in several:
        table.add_row("parameters", f"{count:,}")
    steps = lstm_steps(best.params, session.ledger.record.stored())
    for key, value in best.params.items():
        table.add_row(key, escape(shown(value)))
        if key == "patch" and steps is not None:
            table.add_row("LSTM steps", f"{steps} ({STEPS_IN_WORDS})")
    return table


def storage_flag(url: str) -> str:
    """` --storage URL` as it may be shown: a URL that can hold a password is named, not shown."""
    parsed = make_url(url)
    return f" --storage {'URL' if parsed.password or parsed.query else shlex.quote(url)}"


def next_commands(session: Session, storage: str) -> list[tuple[str, str]]:
    """The commands one would type now, and what each is for; `storage` ends each of them."""
    name = session.ledger.name
    folder = shlex.quote(model_folder(name))
    commands = [
        (_study_command("show", name, storage), "the best trials"),
        (_study_command("dashboard", name, storage), "watch it in a browser"),
    ]
    if session.plan.config.objective is None:  # a custom objective makes no model of ours
        refit = _study_command("refit", name, f" -o {folder}{storage}")
        commands.insert(0, (refit, "train the best on all but the test rows, test it"))
    elif _has_weights(session):
        weights = _study_command("weights", name, f" -o {folder}.safetensors{storage}")
        commands.insert(0, (weights, "the weights of the best trial's best epoch"))
    if session.plan.population is not None:
        commands.append((_study_command("show", name, f" --lineage{storage}"), "who was copied from whom"))
    elif not _all_tried(session) and session.run.stop_reason is None:  # else the command to resume was printed
        commands.append((_command_to_continue(session, storage, 2), "continue the search"))
    return commands


def _has_weights(session: Session) -> bool:
    """Whether the best trial has saved anything."""
    best = session.ledger.best
    return best is not None and has_checkpoint(session.checkpoints, best.number)


def _study_command(command: str, name: str, options: str) -> str:
    """A command about a study; a name that looks like an option comes last, behind `--`."""
    ending = f"{options} -- {shlex.quote(name)}" if name.startswith("-") else f" {shlex.quote(name)}{options}"
    return f"{program()} {command}{ending}"


def resume_command(session: Session, storage: str) -> str:
    """The command that continues the study."""
    if isinstance(session.run.deadline, Budget):
        return f"{program()} {session.run.deadline.command}{storage}{running_flags(session.plan.config)}"
    return _command_to_continue(session, storage, 1)


def _command_to_continue(session: Session, storage: str, times: int) -> str:
    """The command that continues the study: to so many times this run's trials, or for this run's time again."""
    run, limit = session.run, session.plan.config.timeout
    total = "" if session.plan.population else f" --trials {times * run.total}"  # a population's follows from its rules
    if run.total == NO_LIMIT and limit is not None:
        total = f" --timeout {as_timeout(limit)}"
    flags = f"{total}{storage}{running_flags(session.plan.config)}"
    return f"{program()} study --name {shlex.quote(session.ledger.name)}{flags}"


def running_flags(config: StudyConfig) -> str:
    """The flags that say where trials run and keep their checkpoints, which a study does not know.

    A URL that can hold a password is named, not shown.
    """
    fields = StudyConfig.model_fields
    given = [
        ("--storage-path", config.storage_path, fields["storage_path"].default),
        ("--backend", config.backend, fields["backend"].default),
        ("--address", config.ray.address, None),
    ]
    unusual = [(flag, value) for flag, value, usual in given if value is not None and value != usual]
    shown = [(flag, "URL" if "@" in value else shlex.quote(value)) for flag, value in unusual]
    return "".join(f" {flag} {value}" for flag, value in shown)


def notices(console: Console, session: Session, storage: str) -> None:
    """Printed even with --quiet: why the run ended early, why there is no result."""
    ledger, run = session.ledger, session.run
    if reason := run.stop_reason:
        lost = [t.number for t in ledger.paused if t.last_step and not has_checkpoint(session.checkpoints, t.number)]
        saved = "everything is saved" if not lost else f"what was reported is saved. {_begin_again(lost)}"
        console.print(Text(f"stopped ({reason}); {saved}. To resume:", "bold"))
        console.print(Text(f"  {resume_command(session, storage)}"), soft_wrap=True)
    elif unfinished := ledger.counts["RUNNING"]:
        trials = "1 trial is" if unfinished == 1 else f"{unfinished} trials are"
        console.print(
            Text(
                f"{trials} unfinished: another process is at work on this study, or died less than a minute ago", "bold"
            )
        )
    if ledger.stopped and not run.stop_reason:
        console.print(Text(f"stopped: {visible(ledger.stopped)}"))
    if ledger.best is None:
        counts, paused = counts_in_words(ledger.counts, running=PAUSED), ledger.paused
        console.print(Text(f"no trial is complete ({counts})", "yellow" if paused else "red"))
        if paused:
            console.print(Text(_in_words(paused[0], session)))
        for trial in [t for t in ledger.trials if REASON_KEY in t.user_attrs][:REASONS_SHOWN]:
            console.print(
                Text(f"  trial {trial.number}: {in_a_line(trial.user_attrs[REASON_KEY], LONGEST_REASON)}"),
                soft_wrap=True,
            )


def _begin_again(lost: list[int]) -> str:
    """Of trials without a checkpoint."""
    numbers = ", ".join(map(str, lost))
    these = (
        f"Trial {numbers} has no checkpoint and begins" if len(lost) == 1 else f"Trials {numbers} have none and begin"
    )
    return f"{these} again: see track(...)"


def _in_words(trial: FrozenTrial, session: Session) -> str:
    """How far a paused trial has come."""
    values = trial.intermediate_values
    best = min(values, key=lambda epoch: values[epoch] * (1 if session.ledger.directions[0] == "minimize" else -1))
    return (
        f"trial {trial.number} is paused after epoch {trial.last_step} of {session.plan.record.epochs},"
        f" validation {session.plan.metric.label} {decimals(values[best], 6)} at epoch {best}"
    )


def conclude(console: Console, session: Session, storage: str) -> None:
    """What came out, and what to do next."""
    table = best_table(session)
    if table is not None:
        console.print(f"\n{counts_in_words(session.ledger.counts, running=PAUSED)}")
        console.print(table)
    elif not session.ledger.paused:
        return
    if session.run.stop_reason in (None, "timeout"):
        console.print("\n[bold]next[/bold]")
        commands = next_commands(session, storage)
        width = max(len(command) for command, _ in commands)
        beside = all(2 + width + 3 + len(purpose) <= console.width for _, purpose in commands)
        gap = "   " if beside else "\n      "
        for command, purpose in commands:
            shown = escape(command).ljust(width) if beside else escape(command)
            console.print(f"  {shown}{gap}[dim]{purpose}[/dim]", soft_wrap=True)

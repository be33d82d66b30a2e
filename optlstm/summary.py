"""What is printed about a study before, after and between runs."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from optlstm.progress import STYLES, WORDS

if TYPE_CHECKING:
    from optlstm.running import Session
    from optlstm.study.storage import Database

Row = dict[str, Any]


def shown(value: Any) -> str:
    """A number in few digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def counts_in_words(counts: Mapping[str, int]) -> str:
    """`20 trials: 9 complete, 11 pruned`."""
    total = sum(counts.values())
    parts = ", ".join(f"{counts[s]} {WORDS.get(s, s.lower())}" for s in (*WORDS, "WAITING") if counts.get(s))
    return f"{total} trial{'s' if total != 1 else ''}" + (f": {parts}" if parts else "")


def announce(console: Console, session: Session) -> None:
    """What is about to run: data, search, where it is kept."""
    plan, config = session.plan, session.plan.config
    task = plan.task
    sizes = "/".join(str(len(part)) for part in (task.splits.train, task.splits.validation, task.splits.test))
    console.print(
        f"[bold]{escape(session.ledger.name)}[/bold]: {task.series.name}, {len(task.series.values)} rows"
        f" ({sizes} train/validation/test), target {', '.join(task.series.columns)}, horizon {task.horizon}",
        soft_wrap=True,
    )
    workers = "1 worker" if session.workers == 1 else f"{session.workers} workers"
    console.print(
        f"{config.trials} trials of up to {config.training.epochs} epochs, sampler {config.sampler.name},"
        f" pruner {config.pruner.name}, seed {config.seed}, {workers}",
        soft_wrap=True,
    )
    for warning in task.series.warnings:
        console.print(f"[yellow]{escape(warning)}[/yellow]", soft_wrap=True)


def result(session: Session) -> Row:
    """A study's outcome for programs: as `show --format json`, without the trials."""
    from optlstm.results import summarise

    ledger = session.ledger
    summary = summarise(ledger.name, ledger.record.direction, ledger.trials, ledger.best)
    return {key: value for key, value in summary.items() if key != "trials"}


def best_table(session: Session) -> Table | None:
    """The best trial, its metrics and its configuration."""
    best = session.ledger.best
    if best is None:
        return None
    table = Table(title=f"best trial: {best.number}", title_justify="left", show_header=False, box=None, padding=(0, 2))
    table.add_row("validation mse", f"[bold]{best.value:.6f}[/bold] (standardised scale)")
    attrs = best.user_attrs
    if "mae" in attrs:
        table.add_row("validation mae", f"{attrs['mae']:.6f}")
    table.add_row("epoch", f"{attrs.get('best_epoch', best.last_step)} of {best.last_step}")
    table.add_row("parameters", f"{attrs['parameters']:,}" if "parameters" in attrs else "")
    for key, value in best.params.items():
        table.add_row(key, escape(shown(value)))
    return table


def next_commands(session: Session, storage_given: bool) -> list[tuple[str, str]]:
    """The three commands one would type now, and what each is for."""
    name = shlex.quote(session.ledger.name)
    storage = " --storage URL" if storage_given else ""
    more = 2 * session.plan.config.trials
    return [
        (f"python -m optlstm show {name}{storage}", "every trial"),
        (f"python -m optlstm dashboard {name}{storage}", "watch it in a browser"),
        (f"python -m optlstm study --name {name} --trials {more}{storage}", "search on"),
    ]


def resume_command(session: Session, storage_given: bool) -> str:
    storage = " --storage URL" if storage_given else ""
    return f"python -m optlstm study --name {shlex.quote(session.ledger.name)}{storage}"


def conclude(console: Console, session: Session, storage_given: bool) -> None:
    """What came out, and what to do next."""
    ledger, run = session.ledger, session.run
    if reason := run.stop_reason:
        console.print(
            f"\n[bold]stopped ({reason})[/bold], everything is saved. To go on:\n"
            f"  {escape(resume_command(session, storage_given))}",
            soft_wrap=True,
        )
    if ledger.stopped:
        console.print(f"\n{ledger.stopped}")
    table = best_table(session)
    if table is None:
        console.print(f"\n[red]no trial is complete[/red] ({counts_in_words(ledger.counts)})")
        for trial in [t for t in ledger.trials if t.state.name == "FAIL"][:3]:
            console.print(f"  trial {trial.number}: {escape(str(trial.user_attrs.get('reason')))}", soft_wrap=True)
        return
    console.print()
    console.print(counts_in_words(ledger.counts))
    console.print(table)
    if run.stop_reason is None:
        console.print("\n[bold]next[/bold]")
        commands = next_commands(session, storage_given)
        width = max(len(command) for command, _ in commands)
        for command, purpose in commands:
            console.print(f"  {escape(command):<{width}}   [dim]{purpose}[/dim]", soft_wrap=True)


def study_table(summary: Row, record: Mapping[str, Any]) -> list[Any]:
    """`show` in a terminal: a heading, one row per trial, the params that vary as columns."""
    lines: list[Any] = [f"[bold]{escape(summary['name'])}[/bold]: {counts_in_words(summary['counts'])}"]
    if record:
        lines.append(f"sampler {record['sampler']['name']}, pruner {record['pruner']['name']}, seed {record['seed']}")
    if summary["best"]:
        lines.append(
            f"best: trial {summary['best']['number']}, {summary['best']['value']:.6f} ({summary['direction']})"
        )
    best = summary["best"]["number"] if summary["best"] else None
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for heading in ("trial", "value", "epochs", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("params", overflow="fold")
    for trial in summary["trials"]:
        style = STYLES.get(trial["state"], "")
        state = WORDS.get(trial["state"], trial["state"].lower()) + (f": {trial['reason']}" if trial["reason"] else "")
        table.add_row(
            str(trial["number"]),
            "" if trial["value"] is None else f"{trial['value']:.5f}",
            str(trial["epochs"]),
            "" if trial["seconds"] is None else f"{trial['seconds']:.1f}",
            Text(state, style=style),
            escape(" ".join(f"{name}={shown(value)}" for name, value in trial["params"].items())),
            style="bold" if trial["number"] == best else "",
        )
    return [*lines, table]


def study_csv(summary: Row) -> str:
    """One line per trial: number, state, value, epochs, seconds, reason, params."""
    params = list(dict.fromkeys(name for trial in summary["trials"] for name in trial["params"]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fixed = ("number", "state", "value", "epochs", "seconds", "reason")
    writer.writerow([*fixed, *params])
    for trial in summary["trials"]:
        writer.writerow([*(trial[key] for key in fixed), *(trial["params"].get(name) for name in params)])
    return out.getvalue()


def list_studies(database: Database) -> list[Row]:
    """Every study of a database: {name, direction, best, counts, optlstm}."""
    import optuna

    from optlstm.results import load_study, study_record, summarise_study

    rows = []
    for name in sorted(optuna.get_all_study_names(database.rdb)):
        study = load_study(database, name)
        summary = summarise_study(study)
        rows.append({**{k: v for k, v in summary.items() if k != "trials"}, "optlstm": bool(study_record(study))})
    return rows


def studies_table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2))
    for heading in ("study", "trials", "best", "trial"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        best = row["best"]
        table.add_row(
            escape(row["name"]),
            counts_in_words(row["counts"]),
            f"{best['value']:.6f}" if best else "",
            str(best["number"]) if best else "",
        )
    return table

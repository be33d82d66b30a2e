"""What is printed about a study before, after and between runs."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from optlstm.console.long_table import MANY, LongTable
from optlstm.console.pareto import bracket_lines, front_lines
from optlstm.console.progress import LONGEST_REASON, STYLES, UNCUT, WORDS, shown
from optlstm.study.constraints import IMPORTED_KEY, counts_as_trial
from optlstm.util.format import decimals, in_a_line, visible

if TYPE_CHECKING:
    from optlstm.run.session import Session
    from optlstm.study.database.connection import Database
    from optlstm.util.files import Location

Row = dict[str, Any]
REASONS_SHOWN = 3


def _counts_of(summary: Row) -> str:
    return counts_in_words(summary["counts"], WORDS["RUNNING"] if summary["at_work"] else "unfinished")


def counts_in_words(counts: Mapping[str, int], running: str = WORDS["RUNNING"]) -> str:
    """`20 trials: 9 complete, 11 pruned`; `running`: what to call those that have not ended."""
    total, words = sum(counts.values()), {**WORDS, "RUNNING": running}
    parts = ", ".join(f"{counts[s]} {words.get(s, s.lower())}" for s in (*WORDS, "WAITING") if counts.get(s))
    return f"{total} trial{'s' if total != 1 else ''}" + (f": {parts}" if parts else "")


def announce(console: Console, session: Session) -> None:
    """What is about to run: data, search, what there is of it already."""
    config, task, name = session.plan.config, session.plan.task, session.ledger.name
    what, rule = f"{session.run.total} trials of up to {config.training.epochs} epochs", f"pruner {config.pruner.name}"
    if config.scheduler != "study":
        rule = f"scheduler {config.scheduler}"
    if config.scheduler == "pbt":
        what = f"a population of {session.run.total}, {config.training.epochs} epochs, interval {config.pbt.interval}"
    search = f"{what}, sampler {config.sampler.name}, {rule}, seed {config.seed}, workers {session.workers or 'auto'}"
    if config.backend != "local":
        search += f", backend {config.backend}"
    if config.sampler.name == "grid":
        search += f"; the grid has {session.plan.space.combinations():,} combinations"
    lines = [Text.assemble((f"study {name}", "bold"), f": {task.describe()}"), Text(search)]
    lines += [Text(warning, "yellow") for warning in task.warnings]
    if taken := sum(IMPORTED_KEY in t.user_attrs for t in session.ledger.trials):
        source = session.ledger.record.imported
        lines.append(Text(f"begins with {taken} trials of study {source}, each param by its name; they do not count"))
    if session.finished >= session.run.total:
        so_far = counts_in_words(session.ledger.counts)
        lines.append(Text(f"nothing to do: the study has {so_far}{_how_to_have_more(session)}"))
    elif any(t.state.name != "WAITING" and counts_as_trial(t) for t in session.ledger.trials):
        lines.append(Text(f"continuing: {session.finished} of {session.run.total} trials have ended"))
    for line in lines:
        console.print(line, soft_wrap=True)


def _how_to_have_more(session: Session) -> str:
    """What to type for more trials than a finished study has; nothing where there are no more."""
    if _all_tried(session):
        return ""
    if session.plan.population is not None:
        return "; for another population give a new --name"
    return f"; to search on, give a higher {'--rounds' if session.plan.config.is_lr_search else '--trials'}"


def _all_tried(session: Session) -> bool:
    from optlstm.study.ledger import EXHAUSTED

    return session.ledger.stopped == EXHAUSTED


def result(session: Session) -> Row:
    """A study's outcome for programs: as `show --format json`, without the trials."""
    from optlstm.study.results import summarise

    ledger = session.ledger
    summary = summarise(ledger.name, ledger.record.directions, ledger.trials, ledger.ranking, ledger.stopped)
    return {key: value for key, value in summary.items() if key != "trials"}


def best_table(session: Session) -> Table | None:
    """The best trial, its metrics and its configuration."""
    best = session.ledger.best
    if best is None:
        return None
    front = session.ledger.ranking if session.ledger.record.objectives else []
    title = f"best trial: {best.number}"
    if front:
        title = f"knee of the Pareto front: trial {best.number}"
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 0, 0, 2))
    attrs, several, deciding = best.user_attrs, session.ledger.record.objectives, session.plan.metric
    for objective, value in zip(several, best.values, strict=True) if several else ():
        table.add_row(objective, f"[bold]{shown(value)}[/bold]")
    if front:
        table.add_row("front", f"{len(front)} trials")
    else:
        note = f" ({deciding.note})" if deciding.note else ""
        table.add_row(f"validation {deciding.label}", f"[bold]{decimals(best.values[0], 6)}[/bold]{note}")
    for metric in session.plan.task.metrics:
        if metric.name in attrs and metric.name not in (deciding.label, *several):
            table.add_row(f"validation {metric.name}", decimals(attrs[metric.name], 6))
    if best.last_step is not None:  # an objective of one's own need not report
        table.add_row("epoch", f"{attrs.get('best_epoch', best.last_step)} of {best.last_step}")
    if "parameters" in attrs and "parameters" not in several:
        table.add_row("parameters", f"{attrs['parameters']:,}")
    for key, value in best.params.items():
        table.add_row(key, escape(shown(value)))
    return table


def storage_flag(url: str) -> str:
    """` --storage URL` as it may be shown: a URL that can hold a password is named, not shown."""
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    return f" --storage {'URL' if parsed.password or parsed.query else shlex.quote(url)}"


def next_commands(session: Session, storage: str) -> list[tuple[str, str]]:
    """The commands one would type now, and what each is for; `storage` ends each of them."""
    name, more = session.ledger.name, 2 * session.run.total
    folder = shlex.quote(f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).lstrip('-')}-model")
    commands = [
        (_about("show", name, storage), "every trial"),
        (_about("dashboard", name, storage), "watch it in a browser"),
    ]
    if session.plan.config.objective is None:  # one of one's own makes no model of ours
        refit = _about("refit", name, f" -o {folder}{storage}")
        commands.insert(0, (refit, "train the best on all but the test rows, test it"))
    if session.plan.population is not None:
        commands.append((_about("show", name, f" --lineage{storage}"), "who was copied from whom"))
    elif not _all_tried(session):
        commands.append((f"python -m optlstm study --name {shlex.quote(name)} --trials {more}{storage}", "search on"))
    return commands


def _about(command: str, name: str, options: str) -> str:
    """A command about a study; a name that looks like an option comes last, behind `--`."""
    ending = f"{options} -- {shlex.quote(name)}" if name.startswith("-") else f" {shlex.quote(name)}{options}"
    return f"python -m optlstm {command}{ending}"


def how_to_go_on(session: Session, storage: str) -> str:
    """The command that continues the study."""
    return f"python -m optlstm study --name {shlex.quote(session.ledger.name)}{_how_many(session)}{storage}"


def _how_many(session: Session) -> str:
    """The flag that says when the study is done; a population says so itself."""
    return "" if session.plan.population else f" --trials {session.run.total}"


def notices(console: Console, session: Session, storage: str) -> None:
    """What must be said even to those who want the result only: why it ended early, why there is no result."""
    from optlstm.study.ledger import REASON_KEY

    ledger, run = session.ledger, session.run
    if reason := run.stop_reason:
        console.print(Text(f"stopped ({reason}); everything is saved. To go on:", "bold"))
        console.print(Text(f"  {how_to_go_on(session, storage)}"), soft_wrap=True)
    elif unfinished := ledger.counts["RUNNING"]:
        trials = "1 trial is" if unfinished == 1 else f"{unfinished} trials are"
        console.print(
            Text(
                f"{trials} unfinished: another process is at work on this study, or died less than a minute ago", "bold"
            )
        )
    if ledger.stopped and not run.stop_reason:
        console.print(Text(f"stopped: {visible(ledger.stopped)}"), soft_wrap=True)
    if ledger.best is None:
        console.print(Text(f"no trial is complete ({counts_in_words(ledger.counts, running='unfinished')})", "red"))
        for trial in [t for t in ledger.trials if REASON_KEY in t.user_attrs][:REASONS_SHOWN]:
            console.print(
                Text(f"  trial {trial.number}: {in_a_line(trial.user_attrs[REASON_KEY], LONGEST_REASON)}"),
                soft_wrap=True,
            )


def conclude(console: Console, session: Session, storage: str) -> None:
    """What came out, and what to do next."""
    table = best_table(session)
    if table is None:
        return
    console.print(f"\n{counts_in_words(session.ledger.counts, running='unfinished')}")
    console.print(table)
    if session.run.stop_reason is None:
        console.print("\n[bold]next[/bold]")
        commands = next_commands(session, storage)
        width = max(len(command) for command, _ in commands)
        for command, purpose in commands:
            console.print(f"  {escape(command):<{width}}   [dim]{purpose}[/dim]", soft_wrap=True)


def study_table(summary: Row, record: Mapping[str, Any], width: int) -> list[Any]:
    """`show` in `width` columns: a heading and a row per trial, its params in columns of their own where they fit."""
    best = summary["best"]
    lines: list[Any] = [Text.assemble((f"study {summary['name']}", "bold"), f": {_counts_of(summary)}")]
    if record:
        lines.append(f"sampler {record['sampler']['name']}, pruner {record['pruner']['name']}, seed {record['seed']}")
    if summary.get("stopped"):
        lines.append(Text(f"stopped: {visible(summary['stopped'])}"))
    if "front" in summary:
        lines += front_lines(summary, record)
    elif best:
        lines.append(f"best: trial {best['number']}, value {_number(best['value'], 6)} ({summary['direction']})")
    lines += bracket_lines(summary, record)
    if not summary["trials"]:
        return lines
    if len(summary["trials"]) > MANY:
        table = _long_table(summary, param_names(summary))
        return [*lines, "", table if table.width <= width else _long_table(summary, None)]
    wide = _trials_table(summary, param_names(summary))
    fits = Console(width=UNCUT).measure(wide).maximum <= width
    return [*lines, "", wide if fits else _trials_table(summary, None)]


def param_names(summary: Row) -> list[str]:
    """Every param that some trial has, in the order of their first use."""
    return list(dict.fromkeys(name for trial in summary["trials"] for name in trial["params"]))


def _long_table(summary: Row, params: Sequence[str] | None) -> LongTable:
    """As `_trials_table`; nothing wrapped."""
    heading = ("trial", "value", "epochs", "seconds", "state", *(params or ()), "params" if params is None else "why")

    def row(trial: Row) -> list[str]:
        state = WORDS.get(trial["state"], trial["state"].lower())
        values = [shown(trial["params"].get(name, "")) for name in params or ()]
        return [*_figures(trial), state, *values, _last(trial, params)]

    return LongTable(heading, map(row, summary["trials"]))


def _figures(trial: Row) -> list[str]:
    """Number, value, epochs and seconds."""
    return [str(trial["number"]), _number(trial["value"], 5), str(trial["epochs"]), _number(trial["seconds"], 1)]


def _last(trial: Row, params: Sequence[str] | None) -> str:
    """Why it ended, and its params where they have no columns of their own."""
    reason = visible(trial["reason"] or "")
    if params is not None:
        return reason
    return "  ".join([*([reason] if reason else []), *(f"{k}={shown(v)}" for k, v in trial["params"].items())])


def _trials_table(summary: Row, params: Sequence[str] | None) -> Table:
    """A row per trial with a column for each of `params`; without them the last column says all, wrapped at words."""
    best = summary["best"] and summary["best"]["number"]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("trial", "value", "epochs", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in params or ():
        table.add_column(escape(name.replace("_", "\n_")), justify="right", vertical="bottom")
    table.add_column("params" if params is None else "why")
    for trial in summary["trials"]:
        table.add_row(
            *_figures(trial),
            Text(WORDS.get(trial["state"], trial["state"].lower()), STYLES.get(trial["state"], "")),
            *(Text(shown(trial["params"].get(name, ""))) for name in params or ()),
            Text(_last(trial, params)),
            style="bold" if trial["number"] == best else "",
        )
    return table


def _number(value: float | list[float] | None, digits: int) -> str:
    if isinstance(value, list):
        return "  ".join(shown(v) for v in value)
    return "" if value is None else decimals(value, digits)


def study_csv(summary: Row) -> str:
    """One line per trial: number, state, value, epochs, seconds, reason, params."""
    params = param_names(summary)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fixed = ("number", "state", "value", "epochs", "seconds", "reason")
    writer.writerow([*fixed, *params])
    for trial in summary["trials"]:
        writer.writerow([*(trial[key] for key in fixed), *(trial["params"].get(name) for name in params)])
    return out.getvalue()


def list_studies(database: Database, storage_path: Location) -> list[Row]:
    """Every study of a database: {name, direction, best, counts, optlstm, disk_bytes}.

    disk_bytes: what its checkpoints take below `storage_path`; None for a study that is not ours.
    """
    import optuna

    from optlstm.run.retention import study_folder
    from optlstm.study.record import UID_KEY
    from optlstm.study.results import load_study, study_record, summarise_study
    from optlstm.util.files import absolute, open_folder

    rows = []
    for name in sorted(optuna.get_all_study_names(database.rdb)):
        study = load_study(database, name)
        summary = summarise_study(study)
        uid = study.user_attrs.get(UID_KEY)
        size = open_folder(study_folder(absolute(storage_path), name, str(uid))).size() if uid else None
        kept = {k: v for k, v in summary.items() if k != "trials"}
        rows.append({**kept, "optlstm": bool(study_record(study)), "disk_bytes": size})
    return rows


def studies_table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("study", "trials", "best", "trial", "on disk"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        best = row["best"]
        table.add_row(
            escape(row["name"]),
            _counts_of(row),
            _number(best["value"], 6) if best else "",
            str(best["number"]) if best else "",
            disk_space(row["disk_bytes"]),
        )
    return table


def disk_space(size: int | None) -> str:
    """`12.3 MB`, in powers of 1000."""
    if size is None:
        return ""
    amount, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 999.5 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.3g} {units[0]}"

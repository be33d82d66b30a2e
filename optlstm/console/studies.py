"""The studies of a database, as `studies` lists them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import optuna
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from optlstm.console.study_table import Row, number
from optlstm.console.tables import plain_table
from optlstm.errors import InputError
from optlstm.run.retention import study_folder
from optlstm.run.stored import stored_config
from optlstm.study.database.connection import Database
from optlstm.study.record import UID_KEY
from optlstm.study.results import StudyResults, load_study, study_record
from optlstm.util.files import Location, absolute, open_folder
from optlstm.util.format import visible

BUNDLED = "(bundled)"


def list_studies(database: Database, storage_path: Location) -> list[Row]:
    """Every study of a database: {name, last, data, metric, direction, best, counts, optlstm, disk_bytes}.

    last: When one of its trials last began or ended, ISO 8601; None where it has none. data: The file's path.
    disk_bytes: What its checkpoints take below `storage_path`; None for a study that is not ours. A study that cannot
    be read has {name, damaged}, the reason.
    """
    rows: list[Row] = []
    for name in sorted(optuna.get_all_study_names(database.rdb)):
        study = load_study(database, name)
        try:
            results = StudyResults(study)
            summary = results.summary()
            uid = study.user_attrs.get(UID_KEY)
            size = open_folder(study_folder(absolute(storage_path), name, str(uid))).size() if uid else None
            kept = {k: v for k, v in summary.items() if k != "trials"}
            more = {"last": _last_time(results), "data": _data(study), "metric": ", ".join(study.metric_names or [])}
        except InputError as error:
            rows.append({"name": name, "damaged": str(error).removeprefix("storage: ")})
            continue
        rows.append({**kept, **more, "optlstm": bool(study_record(study)), "disk_bytes": size})
    return rows


def _last_time(results: StudyResults) -> str | None:
    times = [time for t in results.trials for time in (t.datetime_start, t.datetime_complete) if time is not None]
    return max(times).isoformat(" ", "minutes") if times else None


def _data(study: optuna.Study) -> str | None:
    """The study's file, or that of its custom objective; None where another program made it."""
    if not study_record(study):
        return None
    config = stored_config(study)
    data = config.get("data")
    path = config.get("objective") or (data.get("path") if isinstance(data, dict) else None)
    return str(path) if path else BUNDLED


def studies_table(rows: Sequence[Row]) -> Table:
    table = plain_table()
    for heading in ("study", "last", "data", "complete", "best", "metric", "on disk"):
        right = heading in ("complete", "best", "on disk")
        table.add_column(heading, overflow="fold", justify="right" if right else "left", no_wrap=heading == "best")
    for row in rows:
        if "damaged" in row:
            table.add_row(Text(visible(row["name"])), Text(visible(row["damaged"])))
            continue
        best, total, complete = row["best"], sum(row["counts"].values()), row["counts"].get("COMPLETE", 0)
        table.add_row(
            Text(visible(row["name"])),
            (row["last"] or "").partition(" ")[0],
            Text(visible(PurePath(row["data"] or "").name)),
            f"{complete} of {total}",
            number(best["value"], 6) if best else "",
            escape(f"{visible(row['metric'])} ({row['direction'].replace('imize', '')})".lstrip()),
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

"""What a `study` command would run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optlstm.config.schema import NO_LIMIT
from optlstm.config.validate import attempt, check_storage_paths
from optlstm.run.concurrency import crowding, ray_config, workers_at_once
from optlstm.run.plan import make_plan
from optlstm.run.session import check_continuable
from optlstm.run.study_config import imported_trials, unknown_name, with_name
from optlstm.study.database.connection import Database
from optlstm.study.space import Space
from optlstm.util.files import absolute, shown_location
from optlstm.util.format import duration
from optlstm.util.toml_text import toml, toml_key
from optlstm.util.user_code import Stored


def dry_run(
    raw: Mapping[str, Any],
    name: str,
    database: Database | None,
    problems: Sequence[str] = (),
    stored: Mapping[str, Stored] = {},
) -> list[tuple[str, str]]:
    """What would run, as (heading, value) rows; connects to the cluster, creates nothing, runs no `stored` code.

    Raises:
        InputError: As the run itself would.
    """
    never = {key: replace(code, never=True) for key, code in stored.items()}
    problems = [*problems]
    unread = database is None and bool(problems)  # it may be there
    notes = () if unread else attempt(problems, lambda: unknown_name(database, name, raw)) or ()
    plan = make_plan(with_name(raw, name), problems, never)
    config = plan.config
    check_storage_paths(config)
    check_continuable(plan, name, database, imported_trials(database, plan, name))
    rule = f"pruner {config.pruner.name}" if config.scheduler == "study" else config.scheduler
    pbt = plan.population
    grid = plan.space.combinations() if config.sampler.name == "grid" else None
    total = min(config.total, grid or config.total)
    size = f"{total} in all" if total != NO_LIMIT else f"as many as fit into {duration(config.timeout or 0)}"
    size = f"a population of {pbt.population}" if pbt else size
    rows = [
        ("study", name),
        ("data", plan.task.describe()),
        *(("note", warning) for warning in (*notes, *plan.notes, *plan.task.warnings)),
        ("trials", f"{size}, up to {config.training.epochs} epochs each"),
        ("sampler", config.sampler.name if grid is None else f"grid, {grid:,} combinations"),
        ("scheduler", rule),
        *(("space", line) for line in _in_toml(plan.space)),
        ("storage path", shown_location(config.storage_path)),
        ("backend", config.backend),
    ]
    workers = workers_at_once(config, config.total)
    rows += [("note", warning) for warning in crowding(config, workers)]
    if config.backend == "ray":
        from optlstm.backends.ray.runner import describe

        return [*rows, *describe(ray_config(config), workers, absolute(config.storage_path))]
    return [*rows, ("at once", str(workers))]


def _in_toml(space: Space) -> list[str]:
    """The space as lines of a study file's `[space]`: what is searched, then what is fixed."""
    shown = {
        **{param.name: {k: v for k, v in param.spec().items() if k != "type"} for param in space.params},
        **space.fixed,
    }
    return [f"{toml_key(name)} = {toml(value)}" for name, value in shown.items()]

"""One `study` command from the merged config to the last trial, for the command line and for Python alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optlstm.config import layer
from optlstm.errors import InputError
from optlstm.study.events import Event, TrialFinished

if TYPE_CHECKING:
    from optlstm.backends.driver import Job, Run
    from optlstm.backends.ray import RayOptions
    from optlstm.config import StudyConfig
    from optlstm.files import Location
    from optlstm.plan import Plan
    from optlstm.study.ledger import Ledger
    from optlstm.study.storage import Database


@dataclass(frozen=True)
class Session:
    """An opened study, ready to run."""

    plan: Plan
    ledger: Ledger
    run: Run
    checkpoints: Location
    workers: int | None  # trials at a time; None: what Ray's cluster holds
    finished: int  # trials that had ended before this command

    def work(self) -> None:
        """Run trials until there are none left or the run is told to stop."""
        from optlstm.retention import sweep

        def keep_the_best(event: Event) -> None:
            if isinstance(event, TrialFinished):
                sweep(self.checkpoints, self.ledger)

        sweep(self.checkpoints, self.ledger)
        self.ledger.listen(keep_the_best)
        self._start(self.plan.job(self.checkpoints))

    def _start(self, job: Job) -> None:
        config = self.plan.config
        if config.backend == "ray":
            from optlstm.backends.ray import run_ray

            run_ray(self.run, job, ray_options(config, self.workers), self.checkpoints)
        else:
            from optlstm.backends.local import run_local

            run_local(self.run, job, self.workers or 1)


def ray_options(config: StudyConfig, workers: int | None) -> RayOptions:
    from optlstm.backends.ray import RayOptions

    ray = config.ray
    return RayOptions(workers, ray.address, ray.cpus_per_trial, ray.gpus_per_trial, config.scheduler)


def study_name(raw: Mapping[str, Any], study_file: Path | None) -> str:
    """The name given, or else that of the study file, of the data file, of the bundled series."""
    path = raw.get("data", {}).get("path") if isinstance(raw.get("data"), Mapping) else None
    name = (
        raw.get("name")
        or (study_file.stem if study_file else None)
        or (Path(str(path)).name.split(".")[0] if path else "co2")
    )
    return str(name)


def with_stored_config(database: Database | None, name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """`raw` on top of what the study of this name was made with, if there is one: its name is enough to continue it."""
    from optlstm.results import load_study
    from optlstm.study.record import CONFIG_KEY

    if database is None:
        return dict(raw)
    try:
        stored = load_study(database, name).user_attrs.get(CONFIG_KEY, {})
    except InputError:
        return dict(raw)
    return layer({key: value for key, value in stored.items() if value is not None}, raw)


def open_session(
    raw: Mapping[str, Any], name: str, open_database: Callable[[], Database], found: Sequence[str] = ()
) -> Session:
    """Check everything, then open or create the study.

    Args:
        found: Problems met before, to be reported with the others.

    Raises:
        InputError: With every problem; nothing was created.
    """
    from optlstm.backends.driver import Run
    from optlstm.plan import make_plan
    from optlstm.retention import study_folder
    from optlstm.study.ledger import Ledger

    plan = make_plan({**raw, "name": raw.get("name") or name}, found)
    config = plan.config
    ledger = Ledger(open_database(), name, plan.record, config.stored())
    checkpoints = study_folder(config.storage_path, name, ledger.uid)
    finished = sum(ledger.counts[state] for state in ("COMPLETE", "PRUNED", "FAIL"))
    run = Run(ledger, config.trials, config.timeout)
    return Session(plan, ledger, run, checkpoints, _workers(config, config.trials - finished), finished)


def _workers(config: StudyConfig, left: int) -> int | None:
    """Trials at a time: never more than there are left."""
    from optlstm.backends.local import cores

    if config.workers == "auto":
        return None if config.backend == "ray" else max(1, min(cores(), left))
    return max(1, min(config.workers, left))

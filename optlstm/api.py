"""optlstm from Python: `tune`, `fit`, `load`. The same studies, in the same database, as on the command line."""

from __future__ import annotations

import inspect
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optlstm.config.in_python import errors_in_python, in_python
from optlstm.config.schema import StudyConfig, TrainingConfig
from optlstm.config.sources import layer
from optlstm.errors import InputError, StudyConflict
from optlstm.notebook import Model, Result
from optlstm.tasks.options import DataConfig
from optlstm.tasks.registry import DEFAULT_TASK
from optlstm.training.runtime import unchanged_process
from optlstm.util.files import absolute

if TYPE_CHECKING:
    from optlstm.data.frames import Data
    from optlstm.run.budget import Budget
    from optlstm.run.session import Session
    from optlstm.study.database.connection import Database


_COLUMNS = {"time", "target", "series", "label", "text", "group", "channels"}
_COLUMNS |= {"past", "future", "static", "categorical"}


_LEFT_OUT: Any = inspect.Parameter.empty  # the bundled series, or those of the study; None is a mistake


class StudyInterrupted(KeyboardInterrupt):
    """The study was told to stop: its trials have stopped after their epoch."""

    def __init__(self) -> None:
        super().__init__("stopped after the epoch; what was reported is saved, and the same call continues")

    def _render_traceback_(self) -> list[str]:
        """What IPython shows."""
        return [f"KeyboardInterrupt: {self}"]


def tune(data: Data = _LEFT_OUT, *, n_trials: int | None = None, progress: bool = True, **config: Any) -> Result:
    """Run a study, or continue the one of this name.

    Ctrl-C, or the notebook's stop button, ends running trials after their epoch; the same call continues later.

    Args:
        data: a DataFrame of pandas or polars (kept as a file below `storage_path`, so that the study can be continued
            without it), a series or array `y`, or the path of a file; left out: the bundled series.
        n_trials: the study's trials in all, those it has included.
        progress: show what runs, as the command line does.
        config: any key of a study file, `section.key` too. Those of `data` and `training` may stand without their
            section; `sampler` and `pruner` may be a name: tune(df, target="OT", horizon=24, sampler="random",
            space={"num_layers": 1}).

    Raises:
        InputError: with every problem; nothing was created.
        KeyboardInterrupt: it was stopped; what was reported is saved.
    """
    _import_optuna()  # before the process is looked at: its log level is a part of that
    from optlstm.data.frames import time_of_index

    with unchanged_process(), errors_in_python(), ExitStack() as undo:
        raw = _raw(config, n_trials)
        raw = layer(raw, {"data": {"path": _path(data, raw, undo)}} if data is not _LEFT_OUT else {})
        return _result(*_run(raw, progress, undo, None if data is _LEFT_OUT else time_of_index(data)))


def _result(session: Session, opened: Database) -> Result:
    from optlstm.study.results import load_study

    notes = tuple(map(_in_words, session.warnings))
    return Result(load_study(opened, session.ledger.name), session.plan.config, opened, notes)


def _in_words(line: str) -> str:
    """A line about the data, as who works in Python would say it."""
    from optlstm.data.frames import naming_frame

    (named,) = naming_frame([line])
    return in_python(named)


def fit(data: Data = _LEFT_OUT, *, minutes: float = 10.0, progress: bool = True, **config: Any) -> Model:
    """A tested model in a limited time: search, refit, ensemble, intervals and test. It is not saved yet.

    The search is a study in the database, `NAME-fit`; interrupted, the same call continues it.

    Args:
        data: as of `tune`.
        minutes: for all of it; the study's total, where it is continued.
        progress: show what runs.
        config: as of `tune`.

    Raises:
        InputError: with every problem; nothing was created.
        KeyboardInterrupt: it was stopped; what was reported is saved.
    """
    began = time.monotonic()
    _import_optuna()
    from optlstm.data.frames import time_of_index
    from optlstm.models.fit import finished
    from optlstm.run.budget import SUFFIX, Budget, config_problems

    with unchanged_process(), errors_in_python(), ExitStack() as undo:
        raw = {"artifacts": 0, **_raw(config, None)}
        if problems := config_problems(raw, minutes):
            raise InputError(problems)
        raw["timeout"] = 60 * minutes
        raw = layer(raw, {"data": {"path": _path(data, raw, undo)}} if data is not _LEFT_OUT else {})
        budget = Budget(60 * minutes, began)
        index = None if data is _LEFT_OUT else time_of_index(data)
        session, opened = _run(raw, progress, undo, index, budget, SUFFIX)
        return Model.of(finished(session, opened, budget))


def _run(
    raw: dict[str, Any],
    progress: bool,
    undo: ExitStack,
    index: str | None,
    budget: Budget | None = None,
    suffix: str = "",
) -> tuple[Session, Database]:
    """Run a study to its end.

    Args:
        undo: What to do where the config is refused.
        index: The time column, of forecasts, where neither `raw` nor a stored config names it.
        budget: The time for a whole model, of which the trials get a part.
        suffix: Of a name that is not given.
    """
    import optuna

    from optlstm.console.progress import make_console
    from optlstm.console.run_summary import announce, make_display, say_budget
    from optlstm.report.dashboard_artifacts import DashboardPublisher
    from optlstm.run.worker_server import worker_server
    from optlstm.study.database.connection import open_database, open_existing

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    console, baseline = make_console(not progress), None
    console.print("reading the data")
    with worker_server(raw) as server:
        url = str(raw.get("storage") or StudyConfig.model_fields["storage"].default)
        database = open_existing(url)
        session = replace(_open(raw, url, database, index, budget, suffix), server=server)
        undo.pop_all()
        announce(console, session, _in_words)
        if budget is not None:
            budget.begin(session)
            baseline = say_budget(console, session, budget)
        display = make_display(console, session, baseline)
        with _stopping_gently(session) as stopped, display if progress else nullcontext():
            session.work(DashboardPublisher(session))
    if stopped:
        raise StudyInterrupted
    return session, database or open_database(url)


def _open(
    raw: dict[str, Any], url: str, database: Database | None, index: str | None, budget: Budget | None, suffix: str
) -> Session:
    """The study, made where there is none. Args: as of `_run`."""
    from optlstm.models.warm_start import with_start
    from optlstm.run.session import open_session
    from optlstm.run.study_config import names_of, study_name
    from optlstm.study.database.connection import open_database

    adapt = budget.adapt if budget else None
    for name in names_of(raw, study_name(raw, None) + ("" if raw.get("name") else suffix)):
        if budget is not None and not raw.get("name") and budget.outgrows(database, name):
            continue
        config, stored = with_start(database, name, {"storage": url, **raw})
        if index is not None and config.get("task", DEFAULT_TASK) == DEFAULT_TASK and config.get("objective") is None:
            config = layer({"data": {"time": index}}, config)
        with nullcontext() if raw.get("name") else suppress(StudyConflict):
            return open_session(config, name, database, lambda: open_database(url), (), stored, adapt)
    raise AssertionError  # names have no end


def load(folder: str | Path, factory: str | None = None, *, verify: str | Path | None = None) -> Model:
    """The model in a folder: see `Model.load`."""
    return Model.load(folder, factory, verify=verify)


def _raw(config: Mapping[str, Any], n_trials: int | None) -> dict[str, Any]:
    """Keyword arguments as the tables of a study file."""
    raw: dict[str, Any] = {"trials": n_trials} if n_trials is not None else {}
    for key, given in config.items():
        value = str(given) if isinstance(given, Path) else given
        section, dot, name = key.partition(".")
        if dot:
            raw = layer(raw, {section: {name: value}})
        elif key in _COLUMNS:
            raw = layer(raw, {"data": {key: _as_names(value)}})
        elif key in DataConfig.model_fields:
            raw = layer(raw, {"data": {key: value}})
        elif key in TrainingConfig.model_fields:
            raw = layer(raw, {"training": {key: value}})
        elif key in ("sampler", "pruner") and isinstance(value, str):
            raw = layer(raw, {key: {"name": value}})
        else:
            raw = layer(raw, {key: value})
    return raw


def _as_names(columns: Any) -> Any:
    """Names of columns, those that are numbers as the text that a file has."""
    if isinstance(columns, int) and not isinstance(columns, bool):
        return str(columns)
    return [_as_names(column) for column in columns] if isinstance(columns, list | tuple) else columns


def _path(data: Data, raw: Mapping[str, Any], undo: ExitStack) -> str:
    """Where the data is to be read, now and when the study is continued; a DataFrame is written there.

    Args:
        undo: Gets what removes the file again.
    """
    if data is None:
        raise InputError("data: is None; give a DataFrame or the path of a file (left out: the bundled series)")
    if isinstance(data, str | Path):
        return str(Path(data).expanduser().absolute())
    from optlstm.data.frames import errors_name_frame, frame_bytes, frame_file
    from optlstm.util.files import LocalFolder, check_writable, is_url

    root = str(raw.get("storage_path") or StudyConfig.model_fields["storage_path"].default)
    if is_url(root):
        raise InputError("data: a DataFrame is kept below storage_path, which is a URL here; give a file's path")
    content = frame_bytes(data)
    check_writable(root, "storage_path")
    name = frame_file(content)
    folder = Path(absolute(root))
    files = LocalFolder(folder)
    kept = b""
    with suppress(OSError):  # a name can be foretold
        kept = files.read(name, len(content))
    if kept != content:
        for made in [place for place in (folder, *folder.parents) if not place.exists()][::-1]:
            undo.callback(_remove_empty, made)
        undo.callback(files.remove, name)
        files.write(name, content)
    undo.enter_context(errors_name_frame())
    return str(folder / name)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # another process has put something there
        folder.rmdir()


def _import_optuna() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")  # in a notebook, of a bar that is not used
        import optuna  # noqa: F401


@contextmanager
def _stopping_gently(session: Session) -> Iterator[list[int]]:
    """The first SIGINT stops after the epoch, the second at once, as Python does. Only the main thread gets signals."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def handle(number: int, _frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        session.run.stop("interrupted")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, before)


def _with_keys(function: Any) -> None:
    """A signature that names the keys of a study file that may stand without their section, for help and editors."""
    signature = inspect.signature(function)
    *named, _config = signature.parameters.values()
    known = {parameter.name for parameter in named}
    fields = {**DataConfig.model_fields, **TrainingConfig.model_fields, **StudyConfig.model_fields}
    keys = [key for key in fields if key not in known | {"path", "data", "training", "trials"}]
    more = [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None) for key in keys]
    function.__signature__ = signature.replace(parameters=[*named, *more])


for _function in (tune, fit):
    _with_keys(_function)

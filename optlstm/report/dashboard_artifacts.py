"""What optuna-dashboard shows of a study beside its own figures: pictures and params of the best trials, and a note.

An artifact's bytes are written before the database says that it is there (Optuna's `upload_artifact` does it the other
way round), under a name made of its content: to publish again writes nothing new. None is ever HTML: the dashboard
would serve it as a page, and a browser run it.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial

from optlstm.errors import InputError
from optlstm.report import summary_text
from optlstm.report.figures.best_network import AnyTask, forecasts, read_plot_data, spans, times
from optlstm.report.figures.figure import Figure
from optlstm.report.figures.labels import label_figures
from optlstm.report.png import png
from optlstm.report.view import StudyView
from optlstm.run.retention import study_folder
from optlstm.run.session import Session
from optlstm.run.trial_log import last_lines
from optlstm.study.record import UID_KEY
from optlstm.tasks.plot_data import Forecasts, PlotData
from optlstm.util.files import Folder, Location, absolute, join, open_folder
from optlstm.util.format import visible_lines

logger = logging.getLogger(__name__)

ARTIFACTS = "artifacts"  # a folder in the study's
UID_LENGTH = 8  # of a study's id, before its artifacts' names
_UID = re.compile(r"[0-9a-f]{32}")
_ARTIFACT_ID = re.compile(r"([0-9a-f]{8})-[0-9a-f]{32}")
_MOST_BYTES = 64 << 20
_PNG = b"\x89PNG\r\n\x1a\n"
DPI = 110
FAILED_LOGS, LOG_LINES = 3, 2000  # failed trials whose prints are shown, and lines of each
# The dashboard's own keys. Those of a trial that has ended can only stand with the study.
TRIAL_KEY, NOTE_VERSION, NOTE_TEXT = (
    "dashboard:artifacts:{trial}:{artifact}",
    "dashboard:note_ver",
    "dashboard:note_str:",
)
NOTE_PART = 2045
MARK = "Written by optlstm, and anew after each run; without this line it is left as it is."


@dataclass(frozen=True)
class Artifact:
    filename: str
    mimetype: str
    content: bytes


class DashboardPublisher:
    """The `Publisher` of a session's study."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # With the numbers of their trials, and as files where workers have drawn them; None: not collected.
        self._figures: list[tuple[int, Figure, bytes | None]] | None = None

    def collect(self, objective: Callable[[], Any]) -> None:
        """Ask the workers for the best trials' plot data, and to draw it, where there are to be pictures."""
        config, best = self._session.plan.config, self._session.ledger.best
        if config.artifacts == 0:
            return
        if config.objective is not None:  # it makes no forecasts
            self._figures = []
            return
        if best is None:
            return
        with _no_failure():
            source = objective()
            numbers = [trial.number for trial in self._best(self._view())]
            if prepare := getattr(source, "prepare", None):
                prepare(numbers)
            plot_data = {number: read_plot_data(source, number) for number in numbers}
            task = self._session.plan.task
            shown = [(number, data) for number, data in plot_data.items() if data is not None]
            figures = [(number, figure) for number, data in shown for figure in _figures(data, task, number)]
            drawn = _drawn(source, [figure for _, figure in figures])
            self._figures = [(*figure, file) for figure, file in zip(figures, drawn, strict=True)]

    def publish(self) -> None:
        """Give the best trials their pictures and params, and the study its note; nothing if nothing was collected.

        The trials of a custom objective get what they have printed.
        """
        if self._figures is None:
            return
        with _no_failure():
            ledger, task, view = self._session.ledger, self._session.plan.task, self._view()
            if self._session.plan.config.objective is not None:
                ledger.set_attrs(system=self._logs(view))
                return
            attrs: dict[str, Any] = {}
            for trial in self._best(view):
                artifacts = [_params(trial, view)]
                for number, figure, file in self._figures:
                    if number == trial.number:
                        artifacts.append(Artifact(f"{figure.key}.png", "image/png", file or png(figure, DPI)))
                for artifact in artifacts:
                    attrs |= store_artifact(trial, artifact, view, self._session.checkpoints)
            ledger.set_attrs(system={**attrs, **note_attrs(ledger.system_attrs, view, spans(task))})

    def _logs(self, view: StudyView) -> dict[str, Any]:
        """What the best trials and some that failed have printed: as JSON, of which no browser makes a page."""
        folder, attrs = self._session.checkpoints, dict[str, Any]()
        failed = [trial for trial in view.trials if trial.state.name == "FAIL"][-FAILED_LOGS:]
        for trial in [*self._best(view), *failed]:
            if printed := last_lines(folder, trial.number, LOG_LINES):
                content = json.dumps({"log": printed}, indent=0).encode()
                attrs |= store_artifact(trial, Artifact("log.json", "application/json", content), view, folder)
        return attrs

    def _view(self) -> StudyView:
        return StudyView(self._session.ledger.study, self._session.ledger.name)

    def _best(self, view: StudyView) -> list[FrozenTrial]:
        return list(view.front if view.several else view.by_value)[: self._session.plan.config.artifacts]


@contextmanager
def _no_failure() -> Iterator[None]:
    """The study is complete without pictures."""
    try:
        yield
    except Exception as error:
        logger.warning("no pictures for the dashboard: %s: %s", type(error).__name__, error)


def store_artifact(trial: FrozenTrial, artifact: Artifact, view: StudyView, folder: Location) -> dict[str, Any]:
    """Write an artifact's bytes; the attribute that tells the dashboard of it is returned, to be written after them."""
    digest = hashlib.sha256(f"{trial.number} {artifact.filename} ".encode() + artifact.content).hexdigest()[:32]
    key = f"{str(view.attrs[UID_KEY])[:UID_LENGTH]}-{digest}"
    files = open_folder(join(folder, ARTIFACTS))
    if key not in files.names():
        files.write(key, artifact.content)
    meta = {
        "artifact_id": key, "filename": artifact.filename, "mimetype": artifact.mimetype, "encoding": None,
    }  # fmt: skip
    return {TRIAL_KEY.format(trial=trial._trial_id, artifact=key): json.dumps(meta)}


def _params(trial: FrozenTrial, view: StudyView) -> Artifact:
    fixed = {name: value for name, value in view.record.get("space", {}).items() if not isinstance(value, Mapping)}
    content = {
        "study": view.name, "trial": trial.number, "values": dict(zip(view.objectives, trial.values, strict=True)),
        "params": {**fixed, **trial.params},
    }  # fmt: skip
    return Artifact("params.json", "application/json", json.dumps(content, indent=2).encode())


def _figures(data: PlotData, task: AnyTask, number: int) -> list[Figure]:
    return [forecasts(data, times(task), number)] if isinstance(data, Forecasts) else label_figures(data, number)


def _drawn(source: Any, figures: Sequence[Figure]) -> Iterable[bytes | None]:
    """The figures as files, where the source of their data has workers that draw; this process imports meanwhile."""
    call = getattr(source, "call", None)
    if call is None:
        return [None] * len(figures)
    files: Iterable[bytes] = call(png, [(figure, DPI) for figure in figures])
    with suppress(ImportError):
        import optuna.importance  # noqa: F401  (scikit-learn, for the note: half a second)
    return files


def note_attrs(known: Mapping[str, Any], view: StudyView, dates: Sequence[str]) -> dict[str, Any]:
    """The attributes of the study's note; none where the note there was written by someone else.

    Args:
        dates: See `summary_text.subtitle`.
    """
    parts = sorted(
        (int(key.removeprefix(NOTE_TEXT)), str(text)) for key, text in known.items() if key.startswith(NOTE_TEXT)
    )
    before = "".join(text for _, text in parts)
    body = markdown(view, dates)
    if body == before or (before and MARK not in before):
        return {}
    pieces = [body[k : k + NOTE_PART] for k in range(0, len(body), NOTE_PART)]
    pieces += [""] * max(0, len(parts) - len(pieces))
    version = int(known.get(NOTE_VERSION, 0)) + 1
    return {NOTE_VERSION: version, **{f"{NOTE_TEXT}{k}": piece for k, piece in enumerate(pieces)}}


def markdown(view: StudyView, dates: Sequence[str] = ()) -> str:
    """The summary in words, as a list."""
    lines = "\n".join(f"- {escaped(sentence)}" for sentence in summary_text.summary(view))
    return f"{escaped(summary_text.subtitle(view, dates))}\n\n{lines}\n\n{MARK}\n"


def escaped(text: str) -> str:
    """Text that markdown shows as it is: no link, no HTML, no emphasis."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>&~:$-])", r"\\\1", visible_lines(text).replace("\n", " "))


class StudyArtifacts:
    """What the dashboard asks for artifacts: an Optuna artifact store that reads, over several studies' folders."""

    def __init__(self, folders: Mapping[str, Location]) -> None:
        """folders: The first `UID_LENGTH` characters of a study's id to its folder."""
        self._folders = folders

    def content(self, artifact_id: str) -> tuple[bytes, str]:
        """An artifact and its type, by what it holds; nothing where there is none that we could have written."""
        folder = self._folder(artifact_id)
        if folder is None:
            return b"", ""
        try:
            content = folder.read(artifact_id, _MOST_BYTES)
            if content.startswith(_PNG):
                return content, "image/png"
            json.loads(content)
        except (OSError, ValueError, RecursionError):
            return b"", ""
        return content, "application/json"

    def open_reader(self, artifact_id: str) -> Any:
        """Raises optuna's ArtifactNotFound, as its stores do."""
        content, _ = self.content(artifact_id)
        if not content:
            raise ArtifactNotFound("not found")
        return io.BytesIO(content)

    def write(self, artifact_id: str, content_body: Any) -> None:
        raise NotImplementedError("optlstm writes its artifacts itself")

    def remove(self, artifact_id: str) -> None:
        if folder := self._folder(artifact_id):
            folder.remove(artifact_id)

    def _folder(self, artifact_id: str) -> Folder | None:
        match = _ARTIFACT_ID.fullmatch(artifact_id)
        study = self._folders.get(match[1]) if match else None
        if study is None:
            return None
        location = join(study, ARTIFACTS)
        return None if isinstance(location, Path) and location.is_symlink() else open_folder(location)


def artifact_folders(root: Location, studies: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Location]:
    """Each study's short id and folder below `root`, from the names and user attributes of a database's studies."""
    ids = [(name, str(attrs.get(UID_KEY, ""))) for name, attrs in studies]
    folders: dict[str, Location] = {}
    for name, uid in ids:
        with suppress(InputError):  # a link
            folders |= {uid[:UID_LENGTH]: study_folder(absolute(root), name, uid)} if _UID.fullmatch(uid) else {}
    return folders

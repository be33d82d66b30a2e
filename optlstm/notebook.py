"""What a notebook's user holds: a study that has run, and a model, with their tables and pictures."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from optlstm.config.in_python import errors_in_python
from optlstm.config.schema import StudyConfig
from optlstm.errors import InputError, did_you_mean
from optlstm.models import model
from optlstm.study.record import UID_KEY
from optlstm.training.runtime import unchanged_process
from optlstm.util.files import Location, absolute
from optlstm.util.format import many

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

    from optlstm.data.frames import Data
    from optlstm.run.custom_checkpoint import Checkpoint
    from optlstm.study.database.connection import Database

POINT = "optlstm"  # column of `forecast`
_PLOTTED = 80  # percent, of the interval that is drawn unasked
SHOWN_DPI = 100  # of a figure in a notebook, whose picture has twice as many


class Model(model.Model):
    """A tuned, tested model. A notebook shows its test beside the baselines, and who is better."""

    @classmethod
    def of(cls, made: model.Model) -> Self:
        """The same model."""
        same = cls.__new__(cls)
        same.__dict__.update(made.__dict__)
        return same

    def forecast(self, data: Data, level: int | Sequence[int] = (), **options: Any) -> pd.DataFrame:
        """As `predict`, with the columns of nixtla's libraries: unique_id, ds, optlstm, optlstm-lo-90, ...

        Of several targets each is a series by its name.

        Args:
            level: of prediction intervals, in percent; a number, or several.
        """
        frame, section = self.predict(data, levels=level, **options), self.card.task
        columns = getattr(section, "columns", None)
        if columns is None:
            raise InputError("forecast: is for forecasts, and this model classifies; use predict")
        keys = [name for name in (getattr(section, "series", None) or "").split(",") if name]
        time = next(name for name in frame.columns if name not in keys)
        parts = []
        for column in columns:
            own = [name for name in frame.columns if name == column or str(name).startswith(f"{column}-")]
            part = frame[own].set_axis([POINT + str(name)[len(column) :] for name in own], axis=1)
            names = frame[keys].astype(str).agg("/".join, axis=1) if len(keys) > 1 else frame[keys[0]] if keys else None
            ids = pd.Series(column, frame.index) if names is None else names
            if keys and len(columns) > 1:
                ids = ids.astype(str) + "/" + column
            parts.append(pd.concat([ids.rename("unique_id"), frame[time].rename("ds"), part], axis=1))
        joined: pd.DataFrame = pd.concat(parts, ignore_index=True)
        return joined

    def plot(self, data: Data, levels: int | Sequence[int] | None = None, series: str | Sequence[str] = ()) -> Any:
        """The last known rows, the forecast, and its intervals: matplotlib's axes, a list where there are several.

        Args:
            levels: of the intervals, in percent; None: 80, where the model has it.
            series: the names of those to draw; none: the first ones.

        Raises:
            InputError: the model has no such level, the data no such series.
        """
        from optlstm.data.frames import as_file
        from optlstm.report.figures.forecast import forecast_figure
        from optlstm.report.png import draw

        make = getattr(self.predictor, "table", None)
        if make is None:
            raise InputError("plot: draws forecasts, and this model classifies; use predict")
        if levels is None:
            levels = [_PLOTTED] if (self.card.intervals.get("highest_level") or 0) >= _PLOTTED else []
        with errors_in_python(), as_file(data) as path:
            table = make(path, levels=levels)
            return _shown(draw(forecast_figure(table, [series] if isinstance(series, str) else series)))

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *self._verdict()])

    def _verdict(self) -> list[str]:
        from optlstm.console.scores import in_words

        return in_words(self.card.test) or ["better than every baseline on the test rows"]

    def _repr_html_(self) -> str:
        """For a notebook: the test beside the baselines, and the verdict."""
        from optlstm.console.scores import blank_lines

        test = self.card.test
        rows = {"this model": test.metrics, **{name.replace("_", " "): row for name, row in test.baselines.items()}}
        frame = pd.DataFrame.from_dict(rows, orient="index")[list(test.metrics)]
        table = frame.to_html(float_format="{:.4g}".format, na_rep="") if test.metrics else ""
        lines = [super().__repr__().strip("<>"), *self._verdict(), *blank_lines(test)]
        return "".join(
            [f"<p>{html.escape(lines[0])}</p>", table, *(f"<p>{html.escape(line)}</p>" for line in lines[1:])]
        )


@dataclass(frozen=True)
class Result:
    """A study that has run.

    Attributes:
        study: the Optuna study, with all its trials.
        config: what it was run with.
        notes: what was understood of the data, and what is unusual about it or the machine; a line each.
    """

    study: optuna.Study
    config: StudyConfig
    database: Database
    notes: tuple[str, ...] = ()

    @property
    def best_params(self) -> dict[str, Any]:
        """What was searched, at its best value. Raises ValueError before any trial is complete, as `best_value`."""
        return dict(self.study.best_params)

    @property
    def best_value(self) -> float:
        """The lowest validation value."""
        return float(self.study.best_value)

    @property
    def trials(self) -> pd.DataFrame:
        """A row a trial: number, state, value, epochs, seconds, reason, and a column for each param."""
        from optlstm.study.results import StudyResults

        rows = StudyResults(self.study).summary()["trials"]
        kept = ("number", "state", "value", "epochs", "seconds", "reason")
        return pd.DataFrame([{**{key: row[key] for key in kept}, **row["params"]} for row in rows])

    def refit(self, *, data: Data | None = None, **options: Any) -> Model:
        """Train the best params on training and validation rows, score the test rows once; not saved yet.

        Args:
            data: newer data of the same columns, to train on instead.
            options: `trial`, `top`, `seeds`, `ensemble`, `averaging`, `retrain`, `workers`: see
                `optlstm.models.refit.refit`.
        """
        from optlstm.data.frames import as_file
        from optlstm.models.refit import refit
        from optlstm.run.concurrency import local_workers

        with unchanged_process(), errors_in_python(), as_file(data) if data is not None else nullcontext() as path:
            options["data"] = None if path is None else str(path)
            options = {"storage_path": self.config.storage_path, "workers": local_workers(self.config), **options}
            return Model.of(refit(self.database, self.study.study_name, **options))

    def plot(self, figure: str = "history") -> Any:
        """A figure of the report by its key, `history` or `importance`, say: matplotlib's axes, or a list of them."""
        from optlstm.report.figures.search_space import without_importance
        from optlstm.report.html import make_report
        from optlstm.report.png import draw

        figures = {drawn.key: drawn for drawn in make_report(self.study, self._folder).figures}
        if figure not in figures:
            reason = without_importance(self.study) if figure == "importance" else ""
            reason = reason or f"there is no figure {figure!r}{did_you_mean(figure, figures)}"
            raise InputError(f"plot: {reason} (figures: {', '.join(figures)})")
        return _shown(draw(figures[figure]))

    def report(self, path: str | Path) -> Path:
        """The study as one HTML file that needs no network. Raises InputError where it cannot be written."""
        from optlstm.report.html import make_report, render
        from optlstm.util.output_file import OutputFile

        file = OutputFile(Path(path), ".html", option="report")
        file.check()
        file.write(render(make_report(self.study, self._folder)).encode())
        return Path(path)

    def best_checkpoint(self, trial: int | None = None) -> Checkpoint:
        """What a custom objective has kept of a trial's best epoch (`.arrays["model"]`, say); None: of the best trial.

        Raises:
            InputError: nothing of it is kept.
        """
        from optlstm.run.replay import best_checkpoint

        return best_checkpoint(self.study, self._folder, trial)

    @property
    def _folder(self) -> Location:
        from optlstm.run.retention import study_folder

        uid = str(self.study.user_attrs[UID_KEY])
        return study_folder(absolute(self.config.storage_path), self.study.study_name, uid)

    def __repr__(self) -> str:
        return f"<optlstm Result of study {self.study.study_name!r}: {many(len(self.study.trials), 'trial')}>"

    def _repr_html_(self) -> str:
        """For a notebook: the best ten trials."""
        trials = self.trials.sort_values("value", na_position="last").head(10)
        table = trials.to_html(index=False, float_format="{:.4g}".format, na_rep="")
        return f"<p>{html.escape(repr(self).strip('<>'))}; the best of them:</p>{table}"


def _shown(canvas: Canvas) -> Axes | list[Axes]:
    """The axes of a figure, which a notebook shows by itself only where pyplot has made it: here as a picture."""
    try:
        shell = get_ipython()  # type: ignore[name-defined]
    except NameError:
        shell = None
    if shell is not None:
        display, picture = import_module("IPython.display"), io.BytesIO()
        canvas.savefig(picture, format="png")
        display.display(display.Image(picture.getvalue(), width=round(canvas.get_figwidth() * SHOWN_DPI)))
    axes = list(canvas.axes)
    return axes[0] if len(axes) == 1 else axes

"""The task of forecasting: series that were read, checked and split. A single series is a panel of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from optlstm.errors import InputError
from optlstm.tasks.base import Bounds, Goals
from optlstm.tasks.forecast.errors import mean_of_given
from optlstm.tasks.forecast.losses import LOSSES
from optlstm.tasks.forecast.prepared import PreparedSeries, gaps_line
from optlstm.tasks.options import FORM, DataConfig
from optlstm.tasks.space import default_space
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import DEFAULT_GOAL, Goal, Metric
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import many
from optlstm.util.time_formats import INTEGER

if TYPE_CHECKING:
    from optlstm.data.panel import Panel
    from optlstm.data.panel_reader import PanelColumns
    from optlstm.tasks.base import Evaluator

_YEAR = {"D": 365, "B": 260}  # rows, by step
_NO_CALENDAR = (
    "data: a year or more of days, and features of the calendar (weekday, day of the year) are off: --calendar"
)
_SERIES_LOOKED_AT = 8  # for a season: of the longer half, evenly spread
_TRAINING_WINDOWS = 0.4  # of the training rows less a horizon, with which a window begins that is no padded one
_ENOUGH_WINDOWS = 1000  # of many series that hold a window: as long as the shortest of them allows


@dataclass(frozen=True)
class Forecast(PreparedSeries):
    """Series to forecast by one network (`base.Task`).

    Args:
        longer_season: that the training rows show beside the frequency's.
    """

    longer_season: int | None = None

    name: ClassVar[str] = "forecast"
    keys: ClassVar[tuple[str, ...]] = (
        *("path", "time", "time_format", "dayfirst", "target", "horizon", "splits", "folds", "fraction"),
        *("series", "past", "future", "static", "categorical", "calendar", "gaps", "short", "scaling"),
        *("sort", "repeated", "resample", "resample_sum"),
        *("epoch_windows", "epoch_steps", "season", "quantiles", "positive"),
        *FORM,
    )
    metrics: ClassVar[tuple[Metric, ...]] = (
        *(Metric("mse", "standardised scale"), Metric("mae"), Metric("rmse", "standardised scale")),
        *(Metric("smape", "percent, from 0 to 200"), Metric("mase")),
        *(Metric("wql"), Metric("crps", "standardised scale"), Metric("msis", "95 %")),
    )
    losses: ClassVar[Mapping[str, str]] = {name: loss.metric for name, loss in LOSSES.items()}
    kind: ClassVar[str] = "series"
    goals: ClassVar[Mapping[str, Goals]] = {"series": Goals(losses, metrics)}
    problem: ClassVar[str] = "optlstm.tasks.forecast.problem:make_problem"

    @classmethod
    def read(cls, data: DataConfig) -> Forecast:
        """Raises InputError with every problem of the file and its split."""
        from optlstm.data import panel_rows as rows
        from optlstm.data.calendar import chosen
        from optlstm.data.panel_reader import bundled, read_panel

        panel = read_panel(Path(data.path).expanduser() if data.path else bundled("co2"), _columns(data))
        calendar, problems = chosen(data.calendar, panel.freq)
        if data.calendar and panel.freq is None:
            problems.append("data.calendar: the times are whole numbers, not dates; leave it out")
        if problems:
            raise InputError(problems)
        below = np.fmin.reduce(panel.values, axis=0) < 0
        if data.positive and below.any():
            column = panel.columns[int(below.argmax())]
            least = np.nanmin(panel.values[:, int(below.argmax())])
            raise InputError(f"data.positive: column '{column}' of {panel.file} has {least:g}; leave it out")
        if data.gaps != "refuse":
            panel = rows.with_missing_rows(panel)
        horizon = data.horizon or rows.default_horizon(panel, data.splits)
        if data.short == "omit":
            panel = rows.long_enough(panel, data.splits, horizon)
        cuts, gaps = rows.panel_cuts(panel, data.splits, least=horizon), 0
        folds = rows.panel_folds(cuts, data.folds) if data.folds else ()
        if data.folds is None:
            folds = rows.default_folds(cuts, horizon)
        shortest = folds[0] if folds else cuts
        if data.gaps != "refuse":
            rows.check_given(panel, folds or (cuts,))
        if data.gaps == "interpolate":
            panel, gaps = rows.filled(panel, _edges(panel, cuts, folds))
        elif data.gaps == "mask":
            panel, gaps = rows.carried(panel, shortest[:, :2])
        season, longer = _seasons(panel, shortest, data.season)
        return cls(
            panel=panel,
            config=data,
            cuts=rows.newest(cuts, data.fraction),
            horizon=horizon,
            calendar=calendar,
            gaps=gaps,
            train_rows=shortest[:, 1] - shortest[:, 0],
            folds=tuple(rows.newest(fold, data.fraction) for fold in folds),
            season=season,
            longer_season=longer,
        )

    @classmethod
    def generic_space(cls) -> dict[str, object]:
        """That of hourly data."""
        return default_space(season=24, horizon=24, longest=2_500)

    @property
    def warnings(self) -> Sequence[str]:
        """What was understood of the file, other seasons than the frequency's, constant series, and missing values."""
        from optlstm.data.panel_rows import usual_horizon
        from optlstm.data.time_format import has_day_first

        panel, warnings, usual = self.panel, [*self.panel.notes], usual_horizon(self.panel)
        if self.config.horizon is None and self.horizon < usual:
            short = f"the usual {many(usual, 'row')} do not fit into each part of the split"
            warnings.append(f"data: the horizon is {self.horizon}, for {short}; for another one --horizon N")
        if self.config.season is None and self.season != panel.season:
            season = f"data: a season of {many(self.season, 'row')} shows in the training rows"
            warnings.append(f"{season}; for another one --set data.season=N, for none 0")
        if self.gaps:
            inside = ", each inside its part of the split" if self.config.gaps == "interpolate" else ""
            warnings.append(f"data: {gaps_line(self.gaps, self.config.gaps, inside)}")
            if self.gaps > panel.values.size / 2:
                times = "if nothing is recorded at some times, --time row leaves them out"
                if has_day_first(panel.time_format) is not None:
                    times += "; if they were read wrongly, --set data.dayfirst=true (or false)"
                warnings.append(f"data: more values are missing than given; {times}")
        if not self.calendar and panel.known.max() >= _YEAR.get(panel.freq or "", np.inf):
            warnings.append(_NO_CALENDAR)
        known = [panel.values[panel.rows(i)] for i in range(len(panel.ids))]
        flat = np.array([np.fmin.reduce(part, axis=0) == np.fmax.reduce(part, axis=0) for part in known])
        constant = np.flatnonzero(flat.any(axis=1))
        warnings += self._proposals(known)
        if len(constant) and panel.series:
            warnings.append(f"data: {len(constant)} of {len(panel.ids)} series are constant: {panel.named(constant)}")
        elif len(constant):
            values = np.fmax.reduce(panel.values, axis=0)
            warnings += [
                f"data: column '{panel.columns[i]}' of {panel.file} is constant ({values[i]:g} in every row)"
                for i in np.flatnonzero(flat[0])
            ]
        return warnings

    def _proposals(self, known: Sequence[Floats]) -> list[str]:
        """`data.positive`, where no value is below zero, and a normal distribution of some series would reach there."""
        if self.config.positive or (np.fmin.reduce(self.panel.values, axis=0) < 0).any():
            return []
        means = [mean_of_given(part) for part in known]
        spreads = [np.sqrt(mean_of_given(np.square(part - mean))) for part, mean in zip(known, means, strict=True)]
        if not any((mean < 2 * spread).any() for mean, spread in zip(means, spreads, strict=True)):
            return []
        return ["data: no value is below zero; --set data.positive=true keeps forecasts and intervals from going there"]

    @property
    def undefined(self) -> Mapping[str, str]:
        """mase and msis, where they are defined for no series; likelihoods of counts, of what was not counted."""
        no_counts = self._no_counts()
        undefined = {name: no_counts for name, loss in LOSSES.items() if loss.counts and no_counts}
        if (self.naive() > 0).all(axis=1).any():  # NaN is not
            return undefined
        rows = f"{'no series has' if self.panel.series else 'some column has no'} training rows that differ"
        why = f"{rows} from those a season ({many(self.season, 'row')}) before"
        return undefined | dict.fromkeys(("mase", "msis"), why)

    def _no_counts(self) -> str | None:
        """The first target that is no count, or None."""
        for column, values in zip(self.panel.columns, self.panel.values.T, strict=True):
            wrong = values[~np.isnan(values) & ((values < 0) | (values != np.round(values)))]
            if len(wrong):
                return f"column '{column}' has {wrong[0]:g}, which is no count"
        return None

    def default_space(self) -> dict[str, object]:
        """See `tasks.space`; the windows fit the series that most rows are in.

        It does not depend on `data.fraction`, so that trials of a fraction can be promoted to all rows.
        """
        rows = np.maximum(1, self.train_rows - self.horizon)
        longest = _longest_window(rows, _TRAINING_WINDOWS * rows.sum())
        if len(rows) > 1:
            longest = max(longest, min(int(rows.min()), _longest_window(rows, _ENOUGH_WINDOWS)))
        columns = len(self.panel.columns)
        windows = int(rows.sum()) * columns
        return default_space(self.season, self.horizon, longest, windows, columns, self.longer_season)

    def check_space(self, space: Bounds) -> None:
        """Raises InputError where the longest window does not fit into some series, or one cannot be standardised.

        And where a network that is taught after every step would read its steps backwards, too.
        """
        from optlstm.data.panel_rows import check_lengths, fitting_horizon

        if space.allows(supervision="every_step", bidirectional=True):
            raise InputError(
                "space.bidirectional: with supervision = 'every_step' no network reads the rows after a step; set"
                " space.supervision = 'last_step', or space.bidirectional = false"
            )
        window = int(space.largest("window") or Hyperparameters().window)
        fitting = 0 if self.config.horizon else fitting_horizon(self.panel, self.config.splits)
        check_lengths(self.panel, self.first_cuts, window, self.horizon, fitting)
        self.scales()
        self.inputs()

    def describe(self) -> str:
        """`sales, 400 series of 120 to 900 rows (180,000 train, ...), target y, horizon 24, covariates promo`."""
        panel, counts = self.panel, np.diff(self.cuts, axis=1).sum(axis=0)
        low, high = int(panel.known.min()), int(panel.known.max())
        size = f"{low} rows" if low == high else f"{low} to {high} rows"
        parts = f"{counts[0]} train, {counts[1]} validation, {counts[2]} test"
        if self.folds:
            parts = f"{len(self.folds)} folds of {counts[1]} validation rows, {counts[2]} test"
        rows = f"{len(panel.ids)} series of {size}" if panel.series else size
        covariates = [*self.calendar, *panel.covariates, *panel.static]
        suffix = f", seasons of {self.season} and {self.longer_season} rows" if self.longer_season else ""
        suffix += f", covariates {', '.join(covariates)}" if covariates else ""
        return f"{panel.name}, {rows} ({parts}), target {', '.join(panel.columns)}, horizon {self.horizon}{suffix}"

    def record(self) -> dict[str, Any]:
        """The fingerprint, the horizon, the split, and what the network reads."""
        panel, config = self.panel, self.config
        record: dict[str, Any] = {
            "target": list(panel.columns),
            "rows": int(panel.known.sum()),
            "first": str(panel.time.min()),
            "last": str(panel.time.max()),
            "fingerprint": panel.fingerprint,
            "horizon": self.horizon,
            "splits": np.diff(self.cuts, axis=1).sum(axis=0).tolist(),
        }
        if panel.plain:  # as in the first versions, so that their studies can be resumed
            record |= {"epoch_windows": self.epoch_windows} if self.epoch_windows else {}
        else:
            # One series had the default limit in older studies; those where that made no difference can be resumed.
            limited = self.epoch_windows or record["rows"] <= config.epoch_windows
            limit = config.epoch_windows if limited else None
            record |= {"series": len(panel.ids), "scaling": config.scaling, "epoch_windows": limit}
        given = {"past": config.past, "future": config.future, "static": config.static, "calendar": self.calendar}
        given["categorical"] = config.categorical
        record |= {key: list(names) for key, names in given.items() if names}
        record |= {"gaps": config.gaps} if self.gaps or config.gaps == "mask" else {}
        record |= {"short": config.short} if config.short != "refuse" else {}
        record |= {"season": self.season} if self.season != panel.season else {}
        record |= {"epoch_steps": config.epoch_steps} if config.epoch_steps > 1 else {}
        record |= {"folds": len(self.folds)} if self.folds else {}
        record |= {"quantiles": list(config.quantiles)} if config.quantiles else {}
        record |= {"positive": True} if config.positive else {}
        record |= {"time_format": panel.time_format} if _is_of_later_versions(panel.time_format) else {}
        return record | ({"overlapping": True} if self.folds and config.folds is None else {})

    def evaluator(self, goal: Goal = DEFAULT_GOAL) -> Evaluator:
        """See `Task.evaluator`."""
        from optlstm.tasks.forecast.evaluate import ForecastEvaluator

        if goal.threshold is not None:
            raise InputError("--threshold: is for two classes, and the study has forecasts; leave it out")
        return ForecastEvaluator(self, goal)


def _seasons(panel: Panel, cuts: Integers, given: int | None) -> tuple[int, int | None]:
    """The season, and a longer one that the training rows show beside the frequency's.

    Args:
        cuts: as `PreparedSeries.cuts`; rows behind the second are not looked at.
        given: 0: the frequency's; None: that, or where there is none what the training rows show.
    """
    from optlstm.data.frequency import longer_season_of
    from optlstm.data.seasons import find_season, shows

    if given is not None:
        return given or panel.season, None
    longest_first = np.argsort(cuts[:, 0] - cuts[:, 1], kind="stable")
    series = longest_first[: -(-len(longest_first) // 2)]
    series = series[np.linspace(0, len(series) - 1, min(len(series), _SERIES_LOOKED_AT)).astype(int)]
    values = [
        panel.inputs[start:stop, column]
        for start, stop in cuts[series, :2].tolist()
        for column in range(len(panel.columns))
    ][: max(_SERIES_LOOKED_AT, len(panel.columns))]
    if panel.season == 1:
        return find_season(values), None
    longer = longer_season_of(panel.freq)
    return panel.season, longer if longer and shows(values, longer, panel.season) else None


def _longest_window(rows: Integers, least: float) -> int:
    """The longest with which `least` windows of all series begin, [n] rows each; 0 where none does."""
    from bisect import bisect_left

    too_long = range(1, int(rows.max()) + 1)
    return bisect_left(too_long, True, key=lambda window: bool(np.maximum(0, rows - window).sum() < least))


def _is_of_later_versions(form: str | None) -> bool:
    """Whether a format of times was unknown to the first versions, whose records say nothing of it."""
    from optlstm.data.time_format import is_of_numbers

    return form not in (None, INTEGER, "%Y%m%d") and (is_of_numbers(form) or "%d" not in str(form))


def _columns(data: DataConfig) -> PanelColumns:
    """The columns that a config asks for."""
    from optlstm.data.panel_reader import PanelColumns
    from optlstm.data.panel_time import RowRules
    from optlstm.data.time_column import TimeReading

    return PanelColumns(
        time=data.time,
        target=data.target,
        series=data.series,
        past=data.past or (),
        future=data.future or (),
        static=data.static or (),
        categorical=data.categorical or (),
        gaps=data.gaps != "refuse",
        times=TimeReading(data.time_format, data.dayfirst),
        rules=RowRules(data.sort, data.repeated, data.resample, data.resample_sum),
        options=data.form,
        plain=not (data.past or data.future or data.static or data.calendar or data.gaps != "refuse"),
    )


def _edges(panel: Panel, cuts: Integers, folds: tuple[Integers, ...]) -> Integers:
    """The bounds of the parts in which gaps are filled, [n, parts + 1]; the last part is the rows without targets."""
    inner = [fold[:, 1] for fold in folds] or [cuts[:, 1]]
    return np.column_stack([panel.starts[:-1], *inner, cuts[:, 2], cuts[:, 3]])

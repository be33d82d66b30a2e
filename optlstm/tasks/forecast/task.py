"""Forecasting many series, or one with covariates, as the rest of the program sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from optlstm.data.calendar import chosen
from optlstm.data.panel import Panel
from optlstm.data.panel_reader import PanelColumns, read_panel
from optlstm.data.panel_rows import check_lengths, filled, panel_cuts, panel_folds, with_missing_rows
from optlstm.data.series import bundled
from optlstm.errors import InputError
from optlstm.tasks.base import Bounds
from optlstm.tasks.forecast.data import Inputs, Integers, PanelData, scaled, scales
from optlstm.tasks.forecast.series_task import UNSEASONAL_HORIZON
from optlstm.tasks.options import DataConfig
from optlstm.tasks.space import default_space
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import Metric

if TYPE_CHECKING:
    from optlstm.tasks.base import Evaluator


@dataclass(frozen=True)
class PanelForecast:
    """Series to forecast by one network, read, checked and split."""

    name: ClassVar[str] = "forecast"
    keys: ClassVar[tuple[str, ...]] = ()  # those of Forecast, which makes it
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("mse", "standardised scale"), Metric("mae"))
    problem: ClassVar[str] = "optlstm.tasks.forecast.problem:make_problem"

    panel: Panel
    config: DataConfig
    cuts: Integers
    horizon: int
    calendar: tuple[str, ...]
    gaps: int = 0  # missing rows and values that were filled
    folds: tuple[Integers, ...] = ()

    @classmethod
    def read(cls, data: DataConfig) -> PanelForecast:
        """Raises InputError with every problem of the file and its split."""
        panel = read_panel(Path(data.path).expanduser() if data.path else bundled("co2"), columns_of(data))
        calendar, problems = chosen(data.calendar, panel.freq)
        if data.calendar and panel.freq is None:
            problems.append("data.calendar: the times are whole numbers, not dates; leave it out")
        if problems:
            raise InputError(problems)
        if data.gaps == "interpolate":
            panel = with_missing_rows(panel)
        whole = panel_cuts(panel, data.splits)
        folds = panel_folds(whole, data.folds) if data.folds else ()
        gaps = 0
        if data.gaps == "interpolate":
            panel, gaps = filled(panel, _edges(panel, whole, folds))
        cuts = panel_cuts(panel, data.splits, data.fraction)
        if data.fraction < 1:
            folds = tuple(_newest(fold, data.fraction) for fold in folds)
        horizon = data.horizon or (panel.season if panel.season > 1 else UNSEASONAL_HORIZON)
        return cls(panel, data, cuts, horizon, calendar, gaps, folds)

    @classmethod
    def generic_space(cls) -> dict[str, object]:
        """That of hourly data."""
        return default_space(season=24, horizon=24, train_rows=10_000)

    @property
    def series(self) -> Panel:
        """All of them; `time` is that of every row."""
        return self.panel

    @property
    def warnings(self) -> Sequence[str]:
        """What is constant, and what was filled."""
        panel, found = self.panel, []
        if self.gaps:
            found.append(f"data: {self.gaps} missing values were interpolated, each inside its own part of the split")
        constant = [i for i in range(len(panel.ids)) if (np.ptp(panel.values[panel.rows(i)], axis=0) == 0).any()]
        if constant:
            who = f"{len(constant)} of {len(panel.ids)} series are" if panel.series else "the series is"
            found.append(f"data: {who} constant" + (f": {panel.named(constant)}" if panel.series else ""))
        return found

    def default_space(self) -> dict[str, object]:
        """See `tasks.space`; the windows fit the shortest series."""
        shortest = int((self.cuts[:, 1] - self.cuts[:, 0]).min() / self.config.fraction)
        return default_space(self.panel.season, self.horizon, shortest)

    def check_space(self, space: Bounds) -> None:
        """Raises InputError where the longest window does not fit into some series."""
        window = int(space.largest("window") or Hyperparameters().window)
        check_lengths(self.panel, self.folds[0] if self.folds else self.cuts, window, self.horizon)

    def describe(self) -> str:
        """`sales, 400 series of 120 to 900 rows (180,000 train, ...), target y, horizon 24, 3 covariates`."""
        panel, counts = self.panel, np.diff(self.cuts, axis=1).sum(axis=0)
        low, high = int(panel.known.min()), int(panel.known.max())
        size = f"{low} rows" if low == high else f"{low} to {high} rows"
        parts = f"{counts[0]} train, {counts[1]} validation, {counts[2]} test"
        if self.folds:
            parts = f"{len(self.folds)} folds of {counts[1]} validation rows, {counts[2]} test"
        who = f"{len(panel.ids)} series of {size}" if panel.series else size
        named = [*self.calendar, *panel.covariates, *panel.static]
        with_ = f", covariates {', '.join(named)}" if named else ""
        return f"{panel.name}, {who} ({parts}), target {', '.join(panel.columns)}, horizon {self.horizon}{with_}"

    def record(self) -> dict[str, Any]:
        """The fingerprint, the horizon, the split, and what the network reads."""
        panel, config = self.panel, self.config
        found: dict[str, Any] = {
            "target": list(panel.columns),
            "series": len(panel.ids),
            "rows": int(panel.known.sum()),
            "first": str(panel.time.min()),
            "last": str(panel.time.max()),
            "fingerprint": panel.fingerprint,
            "horizon": self.horizon,
            "splits": np.diff(self.cuts, axis=1).sum(axis=0).tolist(),
            "scaling": config.scaling,
            "epoch_windows": config.epoch_windows,
        }
        given = {"past": config.past, "future": config.future, "static": config.static, "calendar": self.calendar}
        given["categorical"] = config.categorical
        found |= {key: list(names) for key, names in given.items() if names}
        found |= {"gaps": config.gaps} if self.gaps else {}
        return found | ({"folds": len(self.folds)} if self.folds else {})

    def data(self) -> PanelData:
        """Standardised values, covariates and the split."""
        return prepare(self)

    def evaluator(self) -> Evaluator:
        """The test rows, and what a refit trains on."""
        from optlstm.tasks.forecast.evaluate import PanelEvaluator

        return PanelEvaluator(self)


def prepare(task: PanelForecast) -> PanelData:
    """Scaled by the training rows alone; with folds by the first's, which every fold trains on."""
    panel, known = task.panel, task.folds[0] if task.folds else task.cuts
    mean, std = scales(panel, known, task.config.scaling)
    inputs = inputs_of(task)
    return PanelData(
        values=scaled(panel, mean, std),
        covariates=inputs.by_row(panel),
        static=inputs.by_series(panel),
        sizes=inputs.sizes,
        ids=panel.ids,
        columns=panel.columns,
        mean=mean,
        std=std,
        cuts=task.cuts,
        horizon=task.horizon,
        epoch_windows=task.config.epoch_windows,
        folds=task.folds,
    )


def inputs_of(task: PanelForecast) -> Inputs:
    """The covariates as the training rows have them."""
    config, known = task.config, task.folds[0] if task.folds else task.cuts
    return Inputs.fit(task.panel, known, task.calendar, config.future or (), config.past or ())


def columns_of(data: DataConfig) -> PanelColumns:
    """Which columns a config asks for."""
    return PanelColumns(
        time=data.time,
        target=data.target,
        series=data.series,
        past=data.past or (),
        future=data.future or (),
        static=data.static or (),
        categorical=data.categorical or (),
        gaps=data.gaps == "interpolate",
    )


def is_panel(data: DataConfig) -> bool:
    """Whether a config needs more than the one series of a table."""
    return bool(data.series or data.past or data.future or data.static or data.calendar or data.gaps != "refuse")


def _newest(cuts: Integers, fraction: float) -> Integers:
    rows = np.maximum(1, np.round((cuts[:, 1] - cuts[:, 0]) * fraction).astype(np.int64))
    return np.column_stack([cuts[:, 1] - rows, cuts[:, 1:]])


def _edges(panel: Panel, cuts: Integers, folds: tuple[Integers, ...]) -> Integers:
    """Where the parts that no value may cross end: [n, parts + 1]; the rows after the last target are the last part."""
    inner = [fold[:, 1] for fold in folds] or [cuts[:, 1]]
    return np.column_stack([panel.starts[:-1], *inner, cuts[:, 2], cuts[:, 3]])

"""A model's series with newer rows: read as its study's were, on its scale, and split anew."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from optlstm.data.columns import INTERPOLATE
from optlstm.data.panel import Panel
from optlstm.errors import InputError
from optlstm.tasks.forecast.data import ForecastData, Inputs
from optlstm.tasks.forecast.evaluate import ForecastEvaluator
from optlstm.tasks.forecast.known_rows import Likeness
from optlstm.tasks.forecast.losses import HeadSpec
from optlstm.tasks.forecast.mixture import Linear, Mixture
from optlstm.tasks.forecast.predictor import ForecastPredictor
from optlstm.tasks.forecast.prepared import PreparedSeries
from optlstm.tasks.options import DataConfig
from optlstm.training.metric import Goal
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import without_midnight
from optlstm.util.program import program

_log = logging.getLogger(__name__)
_RIDGE = re.compile(r"ridge \(window (\d+), penalty ([0-9.e+-]+)\)")

_TUNED_SO = "tune a model with --gaps interpolate: it reads such files"


@dataclass(frozen=True)
class NewerSeries(PreparedSeries):
    """Series on the scale of a model that was trained on an earlier part of them.

    Args:
        ready: The values on that scale, with the covariates.
        covariates: The model's.
        new: Of every series, its rows behind the last that the model's study had.
        first: The first time of the study's rows, where the file begins later; None: it has them.
    """

    ready: ForecastData | None = None
    covariates: Inputs | None = None
    errors: Floats | None = None
    new: Integers | None = None
    first: str | None = None

    def data(self) -> ForecastData:
        assert self.ready is not None
        return self.ready

    def scales(self) -> tuple[Floats, Floats]:
        assert self.ready is not None
        return self.ready.mean, self.ready.std

    def naive(self) -> Floats:
        assert self.errors is not None
        return self.errors

    def inputs(self) -> Inputs:
        assert self.covariates is not None
        return self.covariates


def newer_series(predictor: ForecastPredictor, known: Mapping[str, Any], data: Path) -> NewerSeries:
    """The series of a file, its newest rows kept for a test, in the share that the model's were.

    Args:
        known: What the model's card says of the data that it is of.

    Raises:
        InputError: The file does not fit the model, is of another series, or has no newer rows.
    """
    section = predictor.section
    try:
        panel = predictor.read(data)
    except InputError as error:  # the commands have no --gaps: newer rows are read as the study's were
        raise InputError([line.replace(INTERPOLATE, _TUNED_SO) for line in error.problems]) from error
    ready = section.data(panel)
    _check_same(Likeness.of(panel, section.known, ready.std))
    new = _new_rows(panel, str(known["last"]))
    if not new.any():
        (last,) = without_midnight([str(known["last"])])
        raise InputError(f"data: {data.name} has no rows after {last}, which the model knows already")
    first = str(known["first"])
    splits = [float(part) for part in known["splits"]]
    begin, end = panel.starts[:-1], panel.starts[:-1] + panel.known
    least = np.minimum(section.horizon, panel.known)
    test = end - np.maximum(least, np.rint(panel.known * splits[2] / sum(splits)).astype(np.int64))
    cuts = np.stack([begin, test, test, end], axis=1)
    config = DataConfig(  # type: ignore[call-arg]
        gaps=section.gaps,
        scaling=section.scaling,
        future=tuple(feature.name for feature in section.inputs.future) or None,
        past=tuple(feature.name for feature in section.inputs.past) or None,
    )
    naive = section.naive_of(panel.ids)
    return NewerSeries(
        panel=panel,
        config=config,
        cuts=cuts,
        horizon=section.horizon,
        calendar=tuple(section.inputs.calendar),
        gaps=0,
        train_rows=test - begin,
        season=section.season,
        ready=replace(ready, cuts=cuts, naive=naive, **_of_head(section.head)),
        covariates=section.inputs,
        errors=naive,
        new=new,
        first=first if _is_later(panel, first).all() else None,
    )


def _check_same(likeness: Likeness) -> None:
    """Raises InputError where it is another series; says so where values were corrected."""
    if likeness.is_other:
        fit = f"{program()} fit --data {shlex.quote(likeness.file)}"
        raise InputError(
            f"{likeness.as_other}; give the newer rows of the model's own, or make a model of this one ({fit})"
        )
    if likeness.changed:
        _log.warning(
            "data: %s: %d of %d values known from before have changed since the model was made; going on with the new"
            " ones",
            *(likeness.file, likeness.changed, len(likeness.distances)),
        )


def _of_head(head: HeadSpec) -> dict[str, Any]:
    return {"positive": head.positive, **({"levels": head.levels} if head.levels else {})}


def evaluator_of(predictor: ForecastPredictor, series: PreparedSeries) -> ForecastEvaluator:
    """What scores the model on the series' test rows."""
    evaluator = ForecastEvaluator(series, Goal(predictor.section.head.loss))
    evaluator.head = predictor.section.head
    return evaluator


def mixture_of(predictor: ForecastPredictor, trials: int) -> Mixture | None:
    """The mixture of a model, so that its linear forecasts can be solved again; None where it has none.

    Args:
        trials: How many the model's networks are of.
    """
    section, linear = predictor.section, dict[Linear, float]()
    for label, weight in section.linear.items():
        match = _RIDGE.fullmatch(label)
        ridge = Linear("ridge", int(match[1]), float(match[2])) if match else None
        linear[ridge or Linear(label, 1 if label == "naive" else section.season)] = weight
    return Mixture((1.0,) * trials, linear) if linear else None


def _new_rows(panel: Panel, last: str) -> Integers:
    """Of every series, how many of its known rows are later than a time."""
    later, parts = _is_later(panel, last), zip(panel.starts[:-1].tolist(), panel.known.tolist(), strict=True)
    return np.array([int(later[start : start + known].sum()) for start, known in parts])


def _is_later(panel: Panel, time: str) -> NDArray[np.bool_]:
    """Whether each row is later than a time."""
    if not isinstance(panel.time, pd.DatetimeIndex):
        return np.asarray(panel.time, dtype=np.int64) > int(time)
    when = pd.Timestamp(time)
    if panel.time.tz is not None and when.tz is None:
        when = when.tz_localize(panel.time.tz)
    return np.asarray(panel.time > when)

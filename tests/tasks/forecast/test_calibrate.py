"""Calibrated forecasts of made-up series whose spread is known: widths, coverage, paths and anomalies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, spearmanr
from torch import Tensor, nn, tensor, zeros

from optlstm.errors import InputError
from optlstm.tasks.base import Evaluation
from optlstm.tasks.forecast.calibrate import Bounds, Calibration, Rows, least_coverage
from optlstm.tasks.forecast.conformal import BASE, Uncalibrated, quantiles, radii
from optlstm.tasks.forecast.evaluate import ForecastEvaluator
from optlstm.tasks.forecast.paths import drawn_paths, ranks
from optlstm.tasks.forecast.predictor import ForecastPredictor
from optlstm.tasks.forecast.probability import DECILES
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import Goal

RNG = np.random.default_rng(0)
HORIZON, HP = 4, Hyperparameters(window=8)


class Mean(nn.Module):
    """Forecasts the training rows' mean."""

    def forward(self, x: Tensor) -> Tensor:
        return zeros(len(x), HORIZON)


MEAN = Mean()


class Restless(nn.Module):
    """Forecasts a normal distribution, which is wider after values that are far from 0."""

    def forward(self, x: Tensor) -> Tensor:
        spread = 1 + 0.5 * (x[:, -4:].abs().mean(dim=1, keepdim=True) - 0.7).tanh()
        return spread * tensor(norm.ppf(DECILES), dtype=x.dtype).repeat(HORIZON)


def calibrated(
    folder: Path, frame: pd.DataFrame, goal: Goal, network: nn.Module = MEAN, **data: object
) -> tuple[Evaluation, ForecastPredictor, Path]:
    """The evaluation of such a forecaster, and the model that is saved, on the file that it was made of."""
    path = folder / "x.csv"
    frame.to_csv(path, index=False)
    config = DataConfig.model_validate({"path": str(path), "horizon": HORIZON, **data})
    evaluator = ForecastEvaluator(Forecast.read(config), goal)
    section = evaluator.card_section()
    held_out = evaluator.held_out(lambda: [(HP, network)], None)
    evaluation = evaluator.evaluate(section.predictor([network], [HP], {}), joined=True, held_out=held_out)
    card = type(section).model_validate_json(
        section.model_copy(update=evaluation.card_updates).model_dump_json(), strict=True
    )
    assert {name: tuple(t.shape) for name, t in evaluation.extras.items()} == card.extras()
    return evaluation, card.predictor([network], [HP], evaluation.extras), path


def hourly(values: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=len(values), freq="h"), "y": values, **columns})


def test_widths_follow_a_spread_that_depends_on_the_hour(tmp_path: Path) -> None:
    spread = np.exp(1.2 * np.sin(2 * np.pi * np.arange(24) / 24) + 0.3 * np.cos(6 * np.pi * np.arange(24) / 24))
    noise = np.tile(spread, 100) * RNG.normal(size=2400)

    evaluation, model, path = calibrated(tmp_path, hourly(noise), Goal("mse", ("mse",)))

    assert evaluation.intervals["kind"] == "local"
    scores = evaluation.intervals["interval_scores"]
    assert scores["local"] < 0.95 * scores["constant"]
    for percent in (80, 90):
        assert evaluation.test[f"coverage_{percent}"] == pytest.approx(percent / 100, abs=0.04)
    table = model.predict(path, backtest=240, levels=[80])
    width = (table["y-hi-80"] - table["y-lo-80"]).groupby(table["ds"].dt.hour).mean()
    assert spearmanr(width, spread).statistic > 0.9
    inside = (table["y-lo-80"] <= table["y-actual"]) & (table["y-actual"] <= table["y-hi-80"])
    assert inside.mean() == pytest.approx(0.8, abs=0.04)


def test_quantiles_that_are_right_are_not_left_for_another_kind_by_chance(tmp_path: Path) -> None:
    generator, intervals = np.random.default_rng(2), []
    for _ in range(8):
        values = generator.normal(size=150)
        for row in range(4, 150):
            values[row] *= 1 + 0.5 * np.tanh(np.abs(values[row - 4 : row]).mean() - 0.7)
        goal = Goal("quantiles", ("wql",))
        intervals.append(calibrated(tmp_path, hourly(values), goal, Restless(), quantiles=DECILES)[0].intervals)

    scores = [part["interval_scores"] for part in intervals]
    assert sum(min(score, key=lambda kind: score[kind]) != "quantiles" for score in scores) >= 3
    assert sum(part["kind"] == "quantiles" for part in intervals) >= 7


@pytest.mark.parametrize(("loss", "options"), [("mse", {"positive": True}), ("poisson", {})])
def test_bounds_of_counts_are_never_below_zero_and_hold(tmp_path: Path, loss: str, options: dict[str, object]) -> None:
    evaluation, model, path = calibrated(
        tmp_path, hourly(RNG.poisson(1.3, size=2000).astype(float)), Goal(loss, ("mse",)), **options
    )

    for percent in (80, 90):  # of counts an interval holds more than it promises
        assert percent / 100 - 0.03 < (evaluation.test[f"coverage_{percent}"] or 0) < 0.97
    table = model.predict(path, backtest=30, levels=[80, 95], quantiles=[0.01, 0.5])
    assert (table.filter(regex="y-(lo|hi|q)") >= 0).all(axis=None)
    samples = model.predict(path, samples=5)
    assert (samples["y"] >= 0).all()
    if loss == "poisson":
        assert (table.filter(regex="y-(lo|hi|q)") % 1 == 0).all(axis=None)
        assert (samples["y"] % 1 == 0).all()


def test_paths_depend_on_their_steps_as_the_errors_do_and_each_step_is_distributed_as_its_quantiles() -> None:
    walks = RNG.normal(size=(900, 2, 6)).cumsum(axis=2)  # of two columns that do not depend on each other
    past = Uncalibrated(np.zeros_like(walks), np.ones_like(walks))
    table, copula = radii(past, walks), ranks(past, walks)
    one = Uncalibrated(np.full((1, 2, 6), 100.0), np.full((1, 2, 6), 10.0))

    paths = drawn_paths(table, one, copula, samples=900, seed=1)

    assert copula.shape == (900, 2, 6)
    np.testing.assert_allclose(
        np.quantile(paths, [0.1, 0.5, 0.9], axis=0),
        np.moveaxis(quantiles(table, one, [0.1, 0.5, 0.9])[0], -1, 0),
        atol=0.7,
    )
    by_step = np.corrcoef(paths[:, 0].T)
    np.testing.assert_allclose(by_step, np.corrcoef(walks[:, 0].T), atol=0.06)
    assert abs(np.corrcoef(paths[:, 0, 5], paths[:, 1, 5])[0, 1]) < 0.15
    np.testing.assert_array_equal(paths, drawn_paths(table, one, copula, samples=900, seed=1))
    few = drawn_paths(radii(past[:20], walks[:20]), one, copula, samples=2000, seed=1)  # more than there are windows
    assert np.isfinite(few).all()
    missing = np.where(np.arange(900)[:, None, None] % 2 == 0, walks, np.nan)
    assert ranks(past, missing).shape == (450, 2, 6)
    head = Uncalibrated(past.point, past.scale, np.broadcast_to(np.array(BASE) - 0.5, (*walks.shape, len(BASE))))
    np.testing.assert_array_equal(ranks(head, walks), copula)  # errors in the same order


def test_radii_of_few_windows_are_wider(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    hourly(RNG.normal(size=60)).to_csv(path, index=False)
    evaluator = ForecastEvaluator(Forecast.read(DataConfig(path=str(path), horizon=HORIZON)))
    windows = evaluator.held_out(lambda: [(HP, MEAN)], None)
    assert windows is not None
    first, count = windows.first, len(windows.first)
    assert windows.independent == (count + HORIZON - 1) / HORIZON  # consecutive
    assert replace(windows, first=first[0] + HORIZON * np.arange(count)).independent == count

    ready = Rows(evaluator.training_data(joined=False), np.arange(60), 1)
    table = Calibration.of("constant", ready, windows, Bounds()).radii

    scale = np.broadcast_to(ready.data.std[windows.series][:, :, None], windows.point.shape)
    exact = radii(Uncalibrated(windows.point, scale), windows.actual)
    np.testing.assert_allclose(table, exact * (1 + 0.75 * HORIZON / (count + HORIZON - 1)))


def test_anomalies_are_the_rows_outside_their_interval(tmp_path: Path) -> None:
    noise, other = RNG.normal(size=(2, 700))
    frame = hourly(100 + noise, z=other)
    at = [100, 300, 650]
    frame.loc[at, "y"] = [130.0, 60.0, 115.0]
    one = frame.drop(columns="z")
    _, model, path = calibrated(tmp_path, one, Goal("mse", ("mse",)))

    table = model.predict(path, anomalies=True)

    assert list(table.columns) == ["ds", "value", "forecast", "lo", "hi", "anomaly", "score"]
    np.testing.assert_array_equal(table["value"], one["y"][HP.window :])
    assert set(table["ds"][table["anomaly"]]) >= set(one["ds"][at])
    assert table["anomaly"].mean() < 0.03
    assert (table["anomaly"] == (table["score"] > 1)).all()
    assert (table["anomaly"] == ~table["value"].between(table["lo"], table["hi"])).all()
    step = model.predict(path, start=str(one["ds"][650]), levels=[99])
    later = model.predict(path, start=str(one["ds"][650]), anomalies=True)
    assert later[["forecast", "lo", "hi"]].iloc[0].tolist() == step[["y", "y-lo-99", "y-hi-99"]].iloc[0].tolist()
    assert model.write_csv(path, tmp_path / "out.csv", anomalies=True, levels=[90]) == 692
    assert pd.read_csv(tmp_path / "out.csv")["anomaly"].dtype == bool

    _, model, path = calibrated(tmp_path, frame, Goal("mse", ("mse",)), target="y,z")
    both = model.predict(path, anomalies=True)
    assert both["column"].tolist() == ["y", "z"] * 692
    short = tmp_path / "short.csv"
    frame[:8].to_csv(short, index=False)
    with pytest.raises(InputError, match=r"no row of short.csv is left to look at"):
        model.predict(short, anomalies=True)


def test_chance_explains_what_honest_intervals_hold_and_no_less() -> None:
    generator = np.random.default_rng(0)

    def alarms(share: float) -> float:
        rows = np.repeat(generator.random((300, 73)) < share, 2, axis=1)  # misses come in pairs
        windows = np.lib.stride_tricks.sliding_window_view(rows, 14, axis=1).mean(axis=2)
        return float(np.mean([inside.mean() < least_coverage(inside, 90, 10) for inside in windows]))

    assert alarms(0.9) < 0.05
    assert alarms(0.75) > 0.8
    assert least_coverage(np.full(5, 0.7), 90, 1) < 0.5  # of one block nothing is known

"""The evaluation of a forecaster on the test rows: what is said of the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import Tensor, nn

from optlstm.data.time_format import written
from optlstm.errors import InputError
from optlstm.tasks.base import Evaluation, Metrics
from optlstm.tasks.forecast.evaluate import ForecastEvaluator
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig
from optlstm.training.folds import Folds
from optlstm.training.hparams import Hyperparameters


class LastValue(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1:].expand(-1, 2)


def test_a_baseline_that_wins_in_one_metric_alone_is_named(tmp_path: Path) -> None:
    random, days = np.random.default_rng(0), np.arange(200)
    # Of a walk the last value is the best forecast; of the small, seasonal series that of a week ago.
    walk, week = 1000 + 10 * random.normal(size=200).cumsum(), 1000 + days % 7 + 0.1 * random.normal(size=200)
    times = pd.date_range("2024-01-01", periods=200)
    parts = [pd.DataFrame({"unique_id": name, "ds": times, "y": y}) for name, y in (("walk", walk), ("week", week))]
    pd.concat(parts).to_csv(tmp_path / "p.csv", index=False)
    task = Forecast.read(DataConfig(path=str(tmp_path / "p.csv"), horizon=2, scaling="global"))
    evaluator = ForecastEvaluator(task)
    predictor = evaluator.card_section().predictor([LastValue()], [Hyperparameters(window=8)], {})

    evaluation = evaluator.evaluate(predictor, joined=False)

    better = evaluation.beaten_by()
    assert "seasonal_naive" in better["mase"]
    assert all("seasonal_naive" not in better.get(metric, []) for metric in ("mse", "mae", "smape"))


def test_a_baseline_whose_score_is_shown_alike_is_not_better() -> None:
    baselines: dict[str, Metrics] = {"even": {"mse": 0.0330101, "auc": 0.9}, "ahead": {"mse": 0.032, "auc": 0.90001}}
    metrics: Metrics = {"mse": 0.0330144, "auc": 0.9}

    assert Evaluation(metrics, [], baselines, {"mse": True, "auc": False}).beaten_by() == {"mse": ["ahead"]}


def test_forecasts_have_times_in_the_form_of_the_file(tmp_path: Path) -> None:
    def write(times: Sequence[object], name: str = "x.csv") -> Path:
        pd.DataFrame({"ds": times, "y": np.sin(np.arange(len(times)))}).to_csv(tmp_path / name, index=False)
        return tmp_path / name

    months = pd.date_range("2000-01-01", periods=60, freq="MS")
    forms = {"%Y%m": [200501, 200502], "unix_s": [1104537600, 1107216000], "%Y %b": ["2005 Jan", "2005 Feb"]}
    for form, after in forms.items():
        task = Forecast.read(DataConfig(path=str(write(written(months, form))), horizon=2))
        section = ForecastEvaluator(task).card_section()
        assert section.time_format == form
        predictor = section.predictor([LastValue()], [Hyperparameters(window=8)], {})
        for other in ("%Y%m", form):  # the new file's form, not the model's
            path = write(written(months, other), "new.csv")
            assert predictor.write_csv(path, tmp_path / "out.csv") == 2
            assert pd.read_csv(tmp_path / "out.csv")["ds"].tolist() == forms[other]
            backtest = predictor.predict(path, start=str(forms[other][0]))["ds"]
            assert backtest.tolist() == (after if other == form and form != "%Y %b" else list(backtest))
        of_times = predictor.predict(write(months, "new.csv"))
        assert of_times["ds"].tolist() == list(pd.date_range("2005-01-01", periods=2, freq="MS"))


def test_a_model_does_to_the_rows_of_a_file_what_its_study_did(tmp_path: Path) -> None:
    times = pd.date_range("2020-01-01", periods=80).repeat(2)
    frame = pd.DataFrame({"ds": times, "y": np.sin(np.arange(160))}).sample(frac=1, random_state=0)
    frame.to_csv(tmp_path / "x.csv", index=False)
    rules = DataConfig(path=str(tmp_path / "x.csv"), horizon=2, sort=True, repeated="mean", resample="2D")
    section = ForecastEvaluator(Forecast.read(rules)).card_section()
    reread = type(section).model_validate_json(section.model_dump_json())

    predictor = reread.predictor([LastValue()], [Hyperparameters(window=8)], {})

    last = frame.groupby("ds")["y"].mean().iloc[-2:].mean()
    forecast = predictor.predict(tmp_path / "x.csv")
    assert forecast["ds"].tolist() == [pd.Timestamp("2020-03-21"), pd.Timestamp("2020-03-23")]
    np.testing.assert_allclose(forecast["y"], last, rtol=1e-6)
    unsorted = section.model_copy(update={"sort": False}).predictor([LastValue()], [Hyperparameters(window=8)], {})
    with pytest.raises(InputError, match=r"sort the rows by 'ds', or tune a study with --set data.sort=true"):
        unsorted.score(tmp_path / "x.csv")


def test_forecasts_of_several_key_columns(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=60)
    parts = [
        pd.DataFrame({"store": s, "item": i, "date": days.strftime("%d/%m/%Y"), "hour": 6})
        for s in (1, 2)
        for i in "ab"
    ]
    frame = pd.concat(parts).assign(y=lambda f: np.sin(np.arange(len(f))))
    frame.to_csv(tmp_path / "x.csv", index=False)
    config = DataConfig.model_validate(
        {"path": str(tmp_path / "x.csv"), "horizon": 2, "time": ["date", "hour"], "series": "store,item"}
    )
    section = ForecastEvaluator(Forecast.read(config)).card_section()
    predictor = section.predictor([LastValue()], [Hyperparameters(window=8)], {})
    frame[frame["date"].str.endswith("02/2020") & (frame["date"] < "13")].to_csv(tmp_path / "new.csv", index=False)

    assert predictor.write_csv(tmp_path / "new.csv", tmp_path / "out.csv") == 8

    written = pd.read_csv(tmp_path / "out.csv")
    assert list(written.columns) == ["store", "item", "ds", "y"]
    assert written.iloc[[2, 7], :3].to_numpy().tolist() == [
        [1, "b", "2020-02-13 06:00:00"],
        [2, "b", "2020-02-14 06:00:00"],
    ]
    assert predictor.predict(tmp_path / "new.csv")["item"].tolist() == list("aabbaabb")
    later = predictor.predict(tmp_path / "new.csv", start="10/02/2020 06:00")
    assert str(later["ds"][0]) == "2020-02-10 06:00:00"


def test_a_time_to_begin_at_is_written_as_in_the_file_or_in_iso_8601(tmp_path: Path) -> None:
    months = pd.date_range("2000-01-01", periods=60, freq="MS")
    pd.DataFrame({"ds": written(months, "%Y%m"), "y": np.sin(np.arange(60))}).to_csv(tmp_path / "x.csv", index=False)
    section = ForecastEvaluator(Forecast.read(DataConfig(path=str(tmp_path / "x.csv"), horizon=2))).card_section()
    predictor = section.predictor([LastValue()], [Hyperparameters(window=8)], {})
    for start in ("200406", "2004-06-01", "2004-06"):
        assert predictor.predict(tmp_path / "x.csv", start=start)["ds"].tolist() == [200406, 200407]
    for start in ("200413", "soon", "01/02/2004"):
        with pytest.raises(InputError, match=r"write it as in the data \(x.csv has 200001 to 200412\)"):
            predictor.predict(tmp_path / "x.csv", start=start)


def test_intervals_are_calibrated_by_validation_rows_and_measured_on_test_rows(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=600)
    noise[480:] *= 5  # the test rows
    pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=600), "y": noise}).to_csv(tmp_path / "x.csv", index=False)
    evaluator = ForecastEvaluator(Forecast.read(DataConfig(path=str(tmp_path / "x.csv"), horizon=2, folds=2)))
    network, hp = LastValue(), Hyperparameters(window=8)
    section = evaluator.card_section()
    predictor = section.predictor([network], [hp], {})

    held_out = evaluator.held_out(lambda: [(hp, Folds([network, network]))], None)
    evaluation = evaluator.evaluate(predictor, joined=True, held_out=held_out)

    assert held_out is not None
    assert held_out.first.max() == 478  # the last row at which a forecast of rows before the test begins
    coverage = {level: measured["coverage"] for level, measured in evaluation.intervals["measured"].items()}
    assert all(share is not None and share < int(level) / 100 - 0.1 for level, share in coverage.items())
    assert evaluation.test["coverage_90"] == coverage["90"]
    assert evaluation.baselines["naive"]["coverage_90"] == pytest.approx(coverage["90"])  # it is the same forecast
    again = ForecastEvaluator(evaluator.validated).evaluate(predictor, joined=True, held_out=held_out[::-1])
    assert again.test == evaluation.test
    # The model that is saved has seen the test rows.
    card = section.model_copy(update=evaluation.card_updates)
    table = card.predictor([network], [hp], evaluation.extras).predict(tmp_path / "x.csv", backtest=119, levels=[90])
    inside = (table["y-lo-90"] <= table["y-actual"]) & (table["y-actual"] <= table["y-hi-90"])
    assert inside.mean() > evaluation.test["coverage_90"] + 0.1
    windows = evaluation.intervals
    assert windows["windows"] == windows["validation_windows"] + windows["test_windows"] == len(held_out.first) + 119

"""Missing rows and values: nothing is invented, neither in a study nor in the forecasts and scores of a file."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from optlstm.errors import InputError
from optlstm.tasks.forecast.evaluate import ForecastEvaluator
from optlstm.tasks.forecast.losses import LOSSES
from optlstm.tasks.forecast.mixture import choose_mixture
from optlstm.tasks.forecast.predictor import ForecastPredictor
from optlstm.tasks.forecast.problem import make_problem
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig
from optlstm.training.folds import Folds
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import Goal

CPU, HORIZON, WINDOW = torch.device("cpu"), 4, 8
HP = Hyperparameters(window=WINDOW, hidden_size=4, batch_size=16)
COVARIATES = {"future": ("promo", "event"), "static": ("kind",)}
Predictor = Callable[..., ForecastPredictor]


def series(name: str, rows: int, level: float) -> pd.DataFrame:
    """Days with a promotion; the level tells the series apart."""
    random = np.random.default_rng(rows)
    times = pd.date_range("2020-01-01", periods=rows, freq="D")
    promo = random.integers(0, 2, rows)
    frame = pd.DataFrame({"unique_id": name, "ds": times, "promo": promo, "event": np.where(promo, "sale", "")})
    return frame.assign(kind=name, y=level + promo + random.normal(size=rows).round(3))


def panel(**lengths: int) -> pd.DataFrame:
    lengths = lengths or {"a": 60, "b": 50, "c": 40}
    return pd.concat(
        [series(name, rows, 10.0 * i) for i, (name, rows) in enumerate(lengths.items())], ignore_index=True
    )


def alone(rows: int = 60) -> pd.DataFrame:
    return series("a", rows, 10.0)[["ds", "y"]]


def emptied(frame: pd.DataFrame, rows: list[int], name: str = "a") -> pd.DataFrame:
    """The series' targets in these rows empty; negative ones count from its end."""
    own = frame.index[frame["unique_id"] == name] if "unique_id" in frame else frame.index
    return frame.assign(y=frame["y"].where(~frame.index.isin(own[rows])))


def task_of(path: Path, frame: pd.DataFrame, gaps: str = "refuse", **data: Any) -> Forecast:
    frame.to_csv(path / "study.csv", index=False)
    config = DataConfig(path=str(path / "study.csv"), horizon=HORIZON, epoch_steps=1, gaps=gaps, **data)  # type: ignore[arg-type]
    return Forecast.read(config)


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    """Of an untrained network: what is read and written does not depend on the weights."""

    def make(frame: pd.DataFrame, gaps: str = "refuse", **data: Any) -> ForecastPredictor:
        task = task_of(tmp_path, frame, gaps, folds=0, **data)
        torch.manual_seed(0)
        network = make_problem(task.data(), CPU).network(HP)
        return ForecastEvaluator(task).card_section().predictor([network], [HP], {})

    return make


def saved(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path / "new.csv", index=False)
    return path / "new.csv"


@pytest.mark.parametrize("gaps", ["interpolate", "mask"])
@pytest.mark.parametrize("many", [False, True])
def test_empty_targets_at_the_end_are_to_be_forecast_and_no_truth(
    predictor: Predictor, tmp_path: Path, gaps: str, many: bool, caplog: pytest.LogCaptureFixture
) -> None:
    whole = panel() if many else alone()
    model = predictor(whole, gaps)
    trailing = emptied(whole, [-3, -2, -1])  # of series a alone
    cut = trailing.dropna(subset="y")

    for options in ({}, {"backtest": 5}):
        found = model.predict(saved(trailing, tmp_path), **options)
        pd.testing.assert_frame_equal(found, model.predict(saved(cut, tmp_path), **options))
    assert found["y-actual"].notna().all()
    of = "1 of 3 series of new.csv ('a')" if many else "new.csv"
    assert f"data: 3 rows at the end of {of} without a target: to be forecast" in caplog.messages
    assert model.score(saved(trailing, tmp_path)) == model.score(saved(cut, tmp_path))
    study, shorter = (task_of(tmp_path, frame, gaps) for frame in (trailing, cut))
    assert study.cuts.tolist() == shorter.cuts.tolist() or many  # later series' rows are counted from the first on
    assert study.panel.known.tolist() == shorter.panel.known.tolist()


def test_with_a_future_covariate_they_are_to_be_forecast_as_well(predictor: Predictor, tmp_path: Path) -> None:
    for gaps in ("refuse", "interpolate", "mask"):
        model = predictor(panel(), gaps, **COVARIATES)
        frame = emptied(panel(), list(range(-HORIZON, 0)))
        out = model.predict(saved(frame.query("unique_id == 'a'"), tmp_path))
        assert out["ds"].tolist() == frame.query("unique_id == 'a'")["ds"].tolist()[-HORIZON:]


@pytest.mark.parametrize("gaps", ["interpolate", "mask"])
def test_what_is_filled_is_no_truth_and_is_counted(
    predictor: Predictor, tmp_path: Path, gaps: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, frame = predictor(alone(), gaps), alone()
    file = saved(emptied(frame, [30, 31]).drop(index=[40]), tmp_path)  # two empty cells and a row that is not there

    table = model.predict(file, backtest=60 - WINDOW - HORIZON + 1)

    done = {"interpolate": "were interpolated", "mask": "are masked"}[gaps]
    assert caplog.messages == [f"data: 3 missing values {done}; no loss and no score counts them as targets"]
    missing = frame["ds"][[30, 31, 40]]
    gone = table["ds"].isin(missing)
    if gaps == "interpolate":  # which looks ahead: what stands before the forecast is made from what it forecasts
        gone |= table["cutoff"].isin(missing)
    assert table["y-actual"].isna().tolist() == gone.tolist()
    errors = (table["y-actual"] - table["y"]).abs()
    by_step = errors.groupby(table["step"]).mean()  # of what is given
    assert model.score(file)["mae_raw"] == pytest.approx(by_step.mean())
    model.write_csv(file, tmp_path / "out.csv", backtest=30)
    assert "nan" not in (tmp_path / "out.csv").read_text()


def test_series_end_at_different_times_and_one_without_a_target_is_left_out(
    predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = predictor(panel(), "interpolate")

    out = model.predict(saved(emptied(emptied(panel(), list(range(1, 60))), list(range(50)), "b"), tmp_path))

    begins = out.groupby("unique_id")["ds"].min().dt.strftime("%m-%d").to_dict()
    assert begins == {"a": "01-02", "c": "02-10"}
    assert "data: 1 of 3 series of new.csv is left out, too short to be forecast: 'b' (0 rows)" in caplog.text


def test_a_model_tuned_without_gaps_fills_those_of_a_new_file_where_it_is_told_to(
    predictor: Predictor, tmp_path: Path
) -> None:
    model, frame = predictor(alone()), alone()
    gappy = saved(frame.drop(index=[20]), tmp_path)

    with pytest.raises(
        InputError, match=r"1 missing row\(s\).*; fill in the missing rows, or have them .* --gaps inter"
    ):
        model.predict(gappy)
    found = model.predict(gappy, gaps="interpolate"), model.score(gappy, gaps="interpolate")
    filled = frame.assign(y=frame["y"].where(frame.index != 20).interpolate())
    pd.testing.assert_frame_equal(found[0], model.predict(saved(filled, tmp_path)))
    assert found[1]["mse"] != model.score(tmp_path / "new.csv")["mse"]  # the filled one is an input, and no truth


@pytest.mark.parametrize("gaps", ["interpolate", "mask"])
def test_whole_numbers_with_a_gap_at_the_second_row(predictor: Predictor, tmp_path: Path, gaps: str) -> None:
    frame = alone().assign(ds=np.arange(60) * 10)

    out = predictor(frame, gaps).predict(saved(frame.drop(index=[1]), tmp_path))

    assert out["ds"].tolist() == [600, 610, 620, 630]


@pytest.mark.parametrize(
    ("tuned", "asked", "problem"),
    [
        (
            "refuse",
            "mask",
            "--gaps: this model does not read which values are missing, for that is tuned with data.gaps",
        ),
        (
            "mask",
            "interpolate",
            "--gaps: this model reads which values are missing; must be refuse or mask, got 'inter",
        ),
        ("interpolate", "fill", "--gaps: must be refuse or interpolate, got 'fill'"),
    ],
)
def test_what_a_model_cannot_do_about_gaps_is_refused(
    predictor: Predictor, tmp_path: Path, tuned: str, asked: str, problem: str
) -> None:
    model, file = predictor(alone(), tuned), saved(alone(), tmp_path)

    for use in (model.predict, model.score):
        with pytest.raises(InputError) as caught:
            use(file, gaps=asked)
        assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("options", "aim"),
    [
        ({"backtest": 5}, "for 5 forecasts of 4 steps"),
        ({"start": "2020-01-30"}, "to be forecast from 2020-01-30"),
        ({}, "to be scored"),
    ],
)
def test_series_that_are_too_short_are_left_out_and_named(
    predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture, options: dict[str, Any], aim: str
) -> None:
    model, long = predictor(panel()), panel()
    use: Callable[..., Any] = model.predict if options else model.score
    expected = use(saved(long, tmp_path), **options)
    short = pd.concat([series("new", HORIZON, 500.0), long])
    caplog.clear()

    found = use(saved(short, tmp_path), **options)

    left_out = f"data: 1 of 4 series of new.csv is left out, too short {aim}: 'new' (4 rows); --short refuse makes that"
    assert [line.startswith(left_out) for line in caplog.messages] == [True]
    if options:
        pd.testing.assert_frame_equal(found, expected)
    else:
        assert found == expected
    for frame, short_too in ((short, {"short": "refuse"}), (short[: HORIZON - 1], {})):
        with pytest.raises(InputError, match=r"(1 of 4|1 of 1) series"):
            use(saved(frame, tmp_path), **options, **short_too)
    with pytest.raises(InputError, match=r"--short: must be omit or refuse, got 'drop'"):
        use(tmp_path / "new.csv", **options, short="drop")


def test_a_future_covariate_is_never_invented(predictor: Predictor, tmp_path: Path) -> None:
    more = panel(a=64, b=54, c=44)
    ahead = emptied(emptied(emptied(more, [-4, -3, -2, -1]), [-4, -3, -2, -1], "b"), [-4, -3, -2, -1], "c")
    without_c = ahead.drop(index=ahead.index[-4:])
    no_promo = ahead.assign(promo=ahead["promo"].where(ahead["y"].notna()))
    lacks = "new.csv lacks 'promo' for the 4 steps to forecast of 1 series ('c'); add rows behind the last one"
    models = {gaps: predictor(panel(), gaps, **COVARIATES) for gaps in ("refuse", "interpolate", "mask")}

    for model in (models["refuse"], models["interpolate"]):
        assert len(model.predict(saved(ahead, tmp_path))) == 12
        with pytest.raises(InputError, match=lacks.replace("(", r"\(").replace(")", r"\)")):
            model.predict(saved(without_c, tmp_path))
    with pytest.raises(
        InputError, match=r"^data: column 'promo' of new.csv: 12 empty .* behind the targets .*; fill them"
    ):
        models["refuse"].predict(saved(no_promo, tmp_path))
    with pytest.raises(
        InputError, match=r"^data: new.csv has empty cells of 'promo' .* 3 series \('a', 'b', 'c'\); fill"
    ):
        models["interpolate"].predict(saved(no_promo, tmp_path))
    assert models["mask"].predict(saved(no_promo, tmp_path))["y"].notna().all()  # it reads that it is not known
    hole = saved(ahead.drop(index=ahead.index[-2]), tmp_path)
    with pytest.raises(InputError, match=r"^data: rows are missing behind the last target of 1 of 3 series of new.csv"):
        models["interpolate"].predict(hole)
    assert len(models["mask"].predict(hole)) == 12


class Recorder(nn.Module):
    """Keeps what it is shown; forecasts the last value."""

    def forward(self, x: Tensor, covariates: Tensor, static: Tensor) -> Tensor:
        self.seen = x, covariates
        return x[:, -1:].expand(-1, HORIZON)


def test_a_mask_shows_the_last_value_and_that_one_is_missing(tmp_path: Path) -> None:
    frame = alone().assign(z=lambda frame: 2 * frame["y"])
    frame.loc[[0, 9, 10], "y"] = np.nan  # before row 0 there is no value: the mean
    frame.loc[11, "z"] = np.nan
    data = task_of(tmp_path, frame, "mask", folds=0, target=("y", "z")).data()
    problem, network = make_problem(pickle.loads(pickle.dumps(data)), CPU), Recorder()  # as a worker gets it
    windows = problem.training_windows(HP)

    batch = windows.take(torch.tensor([0, 4]))  # of the rows 0 to 11 and 4 to 15
    problem.loss(network, batch)

    x, covariates = (part.reshape(2, 2, *part.shape[1:]) for part in network.seen)  # [windows, columns, ...]
    assert covariates.shape[2] == 1  # of each column its own
    given = np.stack([frame["y"], frame["z"]], axis=1)
    scaled = (given - data.mean[0]) / data.std[0]
    scaled[0, 0], scaled[9:11, 0], scaled[11, 1] = 0.0, scaled[8, 0], scaled[10, 1]
    for i, first in enumerate((0, 4)):
        rows = slice(first, first + WINDOW)
        np.testing.assert_allclose(x[i], scaled[rows].T, rtol=1e-4, atol=1e-6)
        assert covariates[i, :, 0, :WINDOW].tolist() == np.isnan(given[rows]).T.astype(float).tolist()
        ahead = given[first + WINDOW : first + WINDOW + HORIZON].T
        assert batch[1][i].isnan().tolist() == np.isnan(ahead).tolist()
    # rows that are not there are what rows without values are
    later = frame[1:].assign(z=frame["z"].where(frame["y"].notna()))
    empty, absent = (task_of(tmp_path, part, "mask", target=("y", "z")) for part in (later, later.dropna(subset="y")))
    assert empty.data().values.tolist() == absent.data().values.tolist()


@pytest.mark.parametrize("loss", [name for name, loss in LOSSES.items() if loss.function])
@pytest.mark.parametrize("gaps", ["interpolate", "mask"])
def test_missing_targets_count_in_no_loss_and_no_metric(tmp_path: Path, loss: str, gaps: str) -> None:
    """Whatever stands in their place, the same numbers and the same gradients."""
    frame = emptied(emptied(panel(), [20, 21, 41, 43]), [30], "b")
    task = task_of(tmp_path, frame, gaps, folds=0, **COVARIATES)
    results = []
    for value in (0.0, 1000.0):
        data = task.data()
        assert data.missing is not None
        values = np.where(data.missing, np.float32(value), data.values)
        problem = make_problem(replace(data, values=values), CPU, goal=Goal(loss, ("rmse", "smape", "mase")))
        windows = problem.training_windows(HP)
        batch = list(windows.take(torch.arange(len(windows))))
        batch[0] = problem.training_windows(HP).rows.values.new_zeros(batch[0].shape)  # the inputs alone may differ
        if LOSSES[loss].scaled:
            batch.append(torch.ones(len(windows), 1, 1))
        torch.manual_seed(1)
        network = problem.network(HP)
        problem.loss(network, tuple(batch)).backward()
        gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        metrics = problem.validate(_Constant(), HP)
        results.append((gradient.tolist(), metrics, problem.plot_data(_Constant(), HP).by_step["mse"].tolist()))

    assert results[0] == results[1]
    assert np.isfinite(results[0][0]).all()
    assert np.isfinite(list(results[0][1].values())).all()


class _Constant(nn.Module):
    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        return torch.zeros(len(x), HORIZON)


@pytest.mark.parametrize("gaps", ["interpolate", "mask"])
@pytest.mark.parametrize("metric", ["mse", "mase"])
def test_baselines_ensembles_and_intervals_leave_missing_targets_out(tmp_path: Path, gaps: str, metric: str) -> None:
    frame = emptied(alone(90), [*range(20, 23), 52, 60, 61, 75, 85])
    whole = task_of(tmp_path, frame, gaps, folds=3)
    evaluator = ForecastEvaluator(whole)
    networks = Folds([_Constant() for _ in range(3)])

    mixture = choose_mixture(whole.data(), [(HP, networks)], [WINDOW], 7, metric)
    blend = mixture.blend(evaluator.training_data(joined=True), 1)
    section = evaluator.card_section().model_copy(update=blend.card_updates)
    held_out = evaluator.held_out(lambda: [(HP, networks)], blend)
    predictor = section.predictor([_Constant()], [HP], blend.extras)
    evaluation = evaluator.evaluate(predictor, joined=True, held_out=held_out)

    assert sum(mixture.trials) + sum(mixture.linear.values()) == pytest.approx(1)
    every = (evaluation.test, *evaluation.baselines.values())
    assert np.isfinite([value for scores in every for value in scores.values() if value is not None]).all()
    assert evaluation.test["wql"] is not None
    test = whole.panel.values[72:, 0]
    assert np.isnan(test).sum() == 2
    windows = len(test) - HORIZON + 1
    inside = 2 if gaps == "interpolate" else 0  # they begin behind one that was interpolated
    assert (
        evaluation.intervals["test_windows"] == windows - 2 - inside
    )  # of a step whose missing targets are in two windows
    assert evaluation.intervals["measured"]["50"]["coverage"] is not None


def test_a_part_without_any_target_is_refused(tmp_path: Path) -> None:
    for gaps in ("interpolate", "mask"):
        with pytest.raises(InputError, match=r"data.gaps: no target of the validation rows is given"):
            task_of(tmp_path, emptied(alone(), list(range(40, 50))), gaps, folds=0)
    with pytest.raises(InputError, match=r"data.gaps: column 'y' of 1 series .'b'.: the training part has no value"):
        task_of(tmp_path, emptied(panel(), list(range(45)), "b"), "mask", folds=0)


def test_a_mask_without_a_gap_is_the_loss_without_a_mask(tmp_path: Path) -> None:
    plain, masked = (task_of(tmp_path, panel(), gaps, folds=0).data() for gaps in ("refuse", "mask"))
    losses = []
    for data in (plain, masked):
        problem = make_problem(data, CPU)
        windows = problem.training_windows(HP)
        losses.append(float(problem.loss(_Constant(), windows.take(torch.arange(20)))))

    assert losses[0] == losses[1]
    assert plain.values.tolist() == masked.values.tolist()

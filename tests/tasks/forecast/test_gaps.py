"""Missing rows and values: nothing is invented, neither in a study nor in the forecasts and scores of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from optlstm.errors import InputError
from optlstm.tasks.forecast.evaluate import ForecastEvaluator
from optlstm.tasks.forecast.predictor import ForecastPredictor
from optlstm.tasks.forecast.problem import make_problem
from tests.tasks.forecast.gaps import COVARIATES, CPU, HORIZON, HP, WINDOW, alone, emptied, panel, series, task_of

Predictor = Callable[..., ForecastPredictor]


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


@pytest.mark.parametrize(("every", "doubted"), [(2, False), (3, True)])
def test_more_missing_than_given_values_make_the_times_doubtful(tmp_path: Path, every: int, doubted: bool) -> None:
    kept = emptied(alone(240), [row for row in range(240) if row % every])

    warnings = task_of(tmp_path, kept, "interpolate").warnings

    assert any("more values are missing than given" in warning for warning in warnings) == doubted


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


def test_a_part_without_any_target_is_refused(tmp_path: Path) -> None:
    for gaps in ("interpolate", "mask"):
        with pytest.raises(InputError, match=r"data.gaps: no target of the validation rows is given"):
            task_of(tmp_path, emptied(alone(), list(range(40, 50))), gaps, folds=0)
    with pytest.raises(InputError, match=r"data.gaps: column 'y' of 1 series .'b'.: the training part has no value"):
        task_of(tmp_path, emptied(panel(), list(range(45)), "b"), "mask", folds=0)

"""The estimators of scikit-learn: in its tools, with its checks, and leaving nothing behind."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator

import optlstm
from optlstm import Forecaster, SequenceClassifier, SequenceRegressor
from optlstm.errors import InputError

TINY: dict[str, Any] = {
    "n_trials": 1,
    "epochs": 1,
    "seeds": 1,
    "space": {"hidden_size": 4, "num_layers": 1, "learning_rate": 0.05},
    "config": {"data": {"folds": 0}},
}
CHECKS = [
    "check_no_attributes_set_in_init",
    "check_n_features_in_after_fitting",
    "check_estimators_nan_inf",
    "check_fit2d_1sample",
    "check_classifiers_one_label",
]


def sequences(n: int = 24, channels: int = 2) -> tuple[list[np.ndarray], np.ndarray]:
    """Of 5 to 8 steps; of the class `up` their values are larger."""
    random, labels = np.random.default_rng(0), np.array(["down", "up"])[np.arange(n) % 2]
    return [random.normal(2.0 * (label == "up"), 1, (5 + i % 4, channels)) for i, label in enumerate(labels)], labels


def test_a_classifier_of_sequences_of_different_lengths(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    X, y = sequences()
    estimator = SequenceClassifier(**TINY | {"epochs": 6})
    with pytest.raises(NotFittedError):
        estimator.predict(X)

    assert estimator.fit(X, y) is estimator

    assert estimator.score(X, y) > 0.9
    assert estimator.classes_.tolist() == ["down", "up"]
    assert estimator.n_features_in_ == 2
    assert len(estimator.trials_) == 1
    assert estimator.model_.card.data["splits"] == [19, 5, 0]
    probabilities = estimator.predict_proba(X)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert (estimator.classes_[probabilities.argmax(axis=1)] == estimator.predict(X)).all()
    for same in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator), clone(estimator).fit(X, y)):
        np.testing.assert_array_equal(same.predict_proba(X), probabilities)
    frame = pd.concat({f"s{i}": pd.DataFrame(steps) for i, steps in enumerate(X)})
    np.testing.assert_array_equal(estimator.predict_proba(frame), probabilities)
    with pytest.raises(ValueError, match="X has 1 features, but SequenceClassifier is expecting 2"):
        estimator.predict([steps[:, :1] for steps in X])
    assert sorted(path.name for path in Path().iterdir()) == ["tiny.csv", "tiny.toml"]
    assert capfd.readouterr() == ("", "")


def test_in_the_tools_of_scikit_learn() -> None:
    X, y = np.stack([steps[:5] for steps in sequences()[0]]), np.arange(24.0)
    regressor = SequenceRegressor(**TINY)

    scores = cross_val_score(make_pipeline(FunctionTransformer(np.tanh), regressor), X, y, cv=2)
    search = GridSearchCV(regressor, {"random_state": [1]}, cv=2, refit=False).fit(X, y)

    assert np.isfinite(scores).all()
    assert search.best_params_ == {"random_state": 1}


def test_a_folder_keeps_the_study_and_the_same_fit_continues_it(folder: Path) -> None:
    X, y = sequences()
    SequenceClassifier(**TINY, folder="kept? 50%20").fit(X, y)
    again = SequenceClassifier(**TINY | {"n_trials": 2}, folder="kept? 50%20").fit(X, y)

    assert again.trials_["number"].tolist() == [0, 1]
    with pytest.raises(InputError, match="trials: must be at least 1"):
        SequenceClassifier(**TINY | {"n_trials": 0}).fit(X, y)
    with pytest.raises(ValueError, match=r"y: holds only one number \(2\)"):
        SequenceRegressor(**TINY).fit(X, np.full(len(X), 2.0))
    with pytest.raises(ValueError, match="y: holds no class"):
        SequenceClassifier(**TINY).fit([], [])
    assert sorted(path.name for path in Path().iterdir()) == ["kept? 50%20", "tiny.csv", "tiny.toml"]


def _checks() -> list[Any]:
    estimators = (SequenceClassifier(**TINY), SequenceRegressor(**TINY))
    pairs = [pair for estimator in estimators for pair in estimator_checks_generator(estimator)]
    names = [(estimator, check, check.func.__name__) for estimator, check in pairs]
    return [pytest.param(e, check, id=f"{type(e).__name__}-{name}") for e, check, name in names if name in CHECKS]


@pytest.mark.parametrize(("estimator", "check"), _checks())
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    """All of them: scripts/bench/estimators.py."""
    check(estimator)


def test_a_forecaster_forecasts_what_follows_in_the_form_of_the_series(folder: Path) -> None:
    time = pd.date_range("2024-01-01", periods=90)
    series = pd.Series(np.sin(np.arange(90) * 2 * np.pi / 7), time, name="sales")
    known = pd.DataFrame({"promo": np.arange(90) % 3}, time)
    tiny = {**TINY, "seeds": None, "space": {**TINY["space"], "window": 8, "patch": 2}}

    forecaster = Forecaster(5, **tiny).fit(series[:-5])

    forecast = forecaster.predict()
    assert forecast.name == "sales"
    assert forecast.index.equals(time[-5:].rename("ds"))
    assert forecaster.model_.card.data["splits"][2] == 0
    assert forecaster.score(series[-5:]) == pytest.approx(-np.abs(forecast - series[-5:]).mean())
    with pytest.raises(ValueError, match="y: must hold the steps that follow"):
        forecaster.score(series[:5])
    assert list(forecaster.predict(2, levels=[50]).columns) == ["sales", "sales-lo-50", "sales-hi-50"]
    assert len(forecaster.predict(2)) == 2
    with pytest.raises(ValueError, match="must be between 1 and 5"):
        forecaster.predict(6)
    with_known = Forecaster(5, **tiny).fit(series[:-5], known[:-5])
    assert with_known.predict(X=known[-5:]).index.equals(forecast.index)
    with pytest.raises(ValueError, match="lacks 'promo'"):
        with_known.predict()
    both = pd.concat({"a": series.to_frame(), "b": series.to_frame() + 9})
    many = Forecaster(5, **tiny).fit(both[both.index.get_level_values(1) < time[-5]])
    assert many.predict(1).index.tolist() == [("a", time[-5]), ("b", time[-5])]
    came = both[both.index.get_level_values(1) >= time[-5]]
    assert many.score(came.sort_index(level=1)) == pytest.approx(many.score(came))
    assert many.score(came) > -2
    columns = came.rename_axis(["unique_id", "ds"]).reset_index()[["ds", "sales", "unique_id"]]
    assert many.score(columns) == many.score(came)
    with pytest.raises(ValueError, match="y: must hold the steps that follow"):
        many.score(both.groupby(level=0).head(5))
    scores = cross_val_score(Forecaster(5, **tiny), series.to_numpy(), cv=TimeSeriesSplit(2, test_size=5))
    assert (scores < 0).all()


def test_they_are_loaded_where_they_are_used() -> None:
    assert {"Forecaster", "SequenceClassifier", "SequenceRegressor"} <= set(dir(optlstm))

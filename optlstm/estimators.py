"""scikit-learn estimators: a study, and its model trained on all that `fit` was given.

They are `tune` and `Result.refit` with scikit-learn's names. Nothing is held out for a test: that is what `score` and
`cross_val_score` are for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from optlstm.api import tune
from optlstm.data.frames import Data
from optlstm.errors import InputError
from optlstm.study.database.url import sqlite_url
from optlstm.util.arrays import Floats

_SPLITS = [0.8, 0.2, 0.0]  # train, validation, test
_SERIES, _TIME, _LABEL = "unique_id", "ds", "label"
_MAX_SEED = 2**31 - 1


class InvalidInput(InputError, ValueError):
    """The error of `tune`, as scikit-learn expects it."""


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """A study and its model. Arguments and attributes are those of `SequenceClassifier`."""

    def __init__(
        self,
        n_trials: int = 20,
        *,
        epochs: int = 10,
        space: Mapping[str, Any] | None = None,
        seeds: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
        workers: int = 1,
        folder: str | Path | None = None,
        config: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_trials, self.epochs, self.space, self.seeds = n_trials, epochs, space, seeds
        self.random_state, self.workers, self.folder = random_state, workers, folder
        self.config, self.verbose = config, verbose

    def _fit_model(self, data: Data, **config: Any) -> Self:
        """Tune and refit on all of `data`."""
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(_MAX_SEED)
        kept = nullcontext(self.folder) if self.folder else tempfile.TemporaryDirectory(prefix="optlstm-")
        with _errors_of_values(), kept as folder:
            root = Path(folder).expanduser().absolute()
            keys = {"epochs": self.epochs, "workers": self.workers, "seed": int(seed), "space": dict(self.space or {})}
            keys |= {"storage": sqlite_url(root / "optlstm.db"), "storage_path": str(root), "artifacts": 0}
            given = dict(self.config or {})
            keys |= {"splits": _SPLITS, **config, **given.pop("data", {}), **given}
            result = tune(data, n_trials=self.n_trials, progress=self.verbose, **keys)
            try:
                self.model_ = result.refit(seeds=self.seeds)
                self.best_params_, self.best_value_ = result.best_params, result.best_value
                self.trials_ = result.trials
            finally:
                result.database.close()
        return self


class _SequenceEstimator(_Estimator):
    """Of sequences, each with a label."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _fit_sequences(self, X: Any, y: npt.NDArray[Any], kind: str) -> Self:
        sequences = self._sequences(X, reset=True)
        check_consistent_length(sequences, y)
        if len(np.unique(y)) < 2:
            raise InvalidInput(f"y: holds only one number ({y[0]:g}); there is nothing to learn")
        frame = _table(sequences).assign(**{_LABEL: np.repeat(y, [len(sequence) for sequence in sequences])})
        return self._fit_model(frame, task="sequence", series=_SERIES, time=_TIME, label=_LABEL, kind=kind)

    def _predicted(self, X: Any) -> pd.DataFrame:
        check_is_fitted(self, "model_")
        with _errors_of_values():
            return self.model_.predict(_table(self._sequences(X, reset=False)))

    def _sequences(self, X: Any, *, reset: bool) -> Sequence[Floats]:
        """[steps, channels] of every sequence. reset: whether their channels (or steps) are those to be expected."""
        if isinstance(X, pd.DataFrame) and X.index.nlevels == 2:
            X = [part.to_numpy() for _, part in X.groupby(level=0, sort=False)]
        if isinstance(X, list | tuple) and len(X) and np.ndim(X[0]) == 2:
            sequences = [check_array(sequence, dtype=np.float64, input_name="X") for sequence in X]
        else:
            least = 2 if reset else 1
            array = check_array(X, allow_nd=True, dtype=np.float64, input_name="X", ensure_min_samples=least)
            if array.ndim == 2:
                return list(validate_data(self, X, reset=reset, dtype=np.float64)[:, :, None])
            sequences = list(array)
        channels = {sequence.shape[1:] for sequence in sequences}
        if len(channels) > 1 or any(len(shape) != 1 for shape in channels):
            raise ValueError(f"X: sequences must be [steps, channels], all with the same channels, got {channels}")
        (count,) = channels.pop()
        if reset:
            self.n_features_in_ = count
        elif count != self.n_features_in_:
            name = type(self).__name__
            raise ValueError(f"X has {count} features, but {name} is expecting {self.n_features_in_} features as input")
        return sequences


class SequenceClassifier(ClassifierMixin, _SequenceEstimator):  # type: ignore[misc]
    """Classes of sequences, by a tuned LSTM.

    `X` is [n, steps, channels]; a list of arrays [steps, channels] of different lengths; [n, steps], of one channel; or
    a DataFrame with a row a step, whose index has two levels, sequence and step. `y` has a label for each sequence.

    Args:
        n_trials: of the search.
        epochs: most epochs of a trial.
        space: changes to the search space, as in a study file.
        seeds: how many networks, whose mean is the model; None: as of `Result.refit`.
        random_state: seed of the search; None: another one each time.
        workers: trials at a time; one trains in this process.
        folder: where the study is kept, and continued by a `fit` of the same data; None: it is removed.
        config: other keys of a study file: {"metric": "accuracy", "data": {"class_weights": "balanced"}}.
        verbose: show what runs.

    Attributes:
        model_: the trained `Model`.
        best_params_, best_value_: of the search: what was searched, and the validation value.
        trials_: a row a trial.
        classes_: sorted, as the columns of `predict_proba`.
        n_features_in_: channels; of [n, steps] the steps.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Raises ValueError where there is nothing to learn, or too little of it."""
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            only = f"only one class ({self.classes_[0]})" if len(labels) else "no class"
            raise InvalidInput(f"y: holds {only}; there is nothing to tell apart")
        return self._fit_sequences(X, codes, "classes")

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The class of every sequence [n]."""
        codes = self._predicted(X)["prediction"].astype(int)
        return np.asarray(self.classes_[codes])

    def predict_proba(self, X: Any) -> Floats:
        """[n, classes]."""
        table = self._predicted(X)
        return table[[f"p_{code}" for code in range(len(self.classes_))]].to_numpy()


class SequenceRegressor(RegressorMixin, _SequenceEstimator):  # type: ignore[misc]
    """Numbers of sequences, by a tuned LSTM; `score` is scikit-learn's R². The rest is as of `SequenceClassifier`."""

    def fit(self, X: Any, y: Any) -> Self:
        """Raises ValueError where there is nothing to learn, or too little of it."""
        numbers = column_or_1d(y, warn=True)
        numbers = check_array(numbers, ensure_2d=False, dtype=np.float64, input_name="y")
        return self._fit_sequences(X, numbers, "number")

    def predict(self, X: Any) -> Floats:
        """The number of every sequence [n]."""
        return self._predicted(X)["prediction"].to_numpy()


class Forecaster(_Estimator):
    """Forecasts of one series or many, by tuned LSTMs and linear forecasts.

    Args:
        horizon: steps to forecast; None: one season. The others are those of `SequenceClassifier`.

    Attributes:
        horizon_: steps that are forecast. The others are those of `SequenceClassifier`.
    """

    def __init__(
        self,
        horizon: int | None = None,
        n_trials: int = 20,
        *,
        epochs: int = 10,
        space: Mapping[str, Any] | None = None,
        seeds: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
        workers: int = 1,
        folder: str | Path | None = None,
        config: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        self.horizon = horizon
        super().__init__(
            n_trials, epochs=epochs, space=space, seeds=seeds, random_state=random_state, workers=workers,
            folder=folder, config=config, verbose=verbose,
        )  # fmt: skip

    def fit(self, y: Any, X: pd.DataFrame | None = None) -> Self:
        """Tune on a series.

        Args:
            y: an array, a Series, or a DataFrame of one column a target, in order of time. An index of two levels has
                many series: the series, and the time; so have the columns `unique_id` and `ds`.
            X: what is known of the future too, with the index of `y`.

        Raises:
            ValueError: the series cannot be forecast, or is too short.
        """
        table = _targets(y)
        self._keys, self._targets, self._kind = list(table.index.names), list(table.columns), type(y)
        known = [] if X is None else [str(name) for name in X.columns]
        if X is not None:
            table = table.join(_like(X, table))
        self._data = table.reset_index()
        series = _SERIES if len(self._keys) > 1 else None
        data = {"time": _TIME, "series": series, "target": self._targets, "future": known or None}
        self._fit_model(self._data, **data, horizon=self.horizon)
        self.horizon_ = int(self.model_.card.task.horizon)  # type: ignore[union-attr]
        return self

    def predict(self, horizon: int | None = None, X: pd.DataFrame | None = None, levels: Sequence[int] = ()) -> Any:
        """What follows the series of `fit`, in its form.

        Args:
            horizon: the first so many steps; None: all.
            X: what is known of these steps, where `fit` was given some; its index goes on as that of `y`.
            levels: of prediction intervals, in percent: a DataFrame with the columns y, y-lo-80, y-hi-80.
        """
        check_is_fitted(self, "model_")
        if horizon is not None and not 1 <= horizon <= self.horizon_:
            raise ValueError(f"horizon: must be between 1 and {self.horizon_}, which was tuned, got {horizon}")
        data = self._data
        if X is not None:
            data = pd.concat([data, _like(X, data.set_index(self._keys)).reset_index()], ignore_index=True)
        with _errors_of_values():
            table = self.model_.predict(data, levels=list(levels)).set_index(self._keys)
        steps = table.groupby(level=0, sort=False) if len(self._keys) > 1 else table
        table = steps.head(horizon or self.horizon_)
        if levels or issubclass(self._kind, pd.DataFrame):
            return table
        return table[self._targets[0]] if issubclass(self._kind, pd.Series) else table.to_numpy()[:, 0]

    def score(self, y: Any, X: pd.DataFrame | None = None) -> float:
        """Minus the mean absolute error of the steps that follow the series of `fit`, as many as `y` has of each."""
        table = _targets(y)
        many = table.index.nlevels > 1
        steps = int(table.groupby(level=0).size().max()) if many else len(table)
        forecast = pd.DataFrame(self.predict(steps, X))
        dated = all(isinstance(i, pd.DatetimeIndex) and i.tz is None for i in (table.index, forecast.index))
        if many or dated:  # in any order; else by position
            forecast = forecast.reindex(table.index)
            if forecast.isna().any(axis=None):
                raise ValueError("y: must hold the steps that follow the series of fit, and no other")
        return -float(np.abs(forecast.to_numpy() - table.to_numpy()).mean())


@contextmanager
def _errors_of_values() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InvalidInput(error.problems) from error


def _table(sequences: Sequence[Floats]) -> pd.DataFrame:
    """A row a step, of one sequence after the other."""
    lengths = [len(sequence) for sequence in sequences]
    values = np.concatenate(sequences)
    channels = {f"x{i + 1}": values[:, i] for i in range(values.shape[1])}
    steps = np.concatenate([np.arange(length) for length in lengths])
    return pd.DataFrame({_SERIES: np.repeat(np.arange(len(lengths)), lengths), _TIME: steps, **channels})


def _targets(y: Any) -> pd.DataFrame:
    """A column a target, with an index of (series and) times. They may be columns, too, under their usual names."""
    table = pd.DataFrame(y).rename(columns=str)
    if _TIME in table.columns:
        table = table.set_index([name for name in (_SERIES, _TIME) if name in table.columns])
    if isinstance(y, pd.Series):
        table.columns = pd.Index(["y" if y.name is None else str(y.name)])
    elif not isinstance(y, pd.DataFrame):
        table.columns = pd.Index(["y"] if table.shape[1] == 1 else [f"y{i + 1}" for i in range(table.shape[1])])
    return table.set_axis(_named(table.index), axis=0)


def _like(X: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """With names of columns that are texts, and an index of the names of the table's."""
    return X.rename(columns=str).set_axis(X.index.set_names(table.index.names), axis=0)


def _named(index: pd.Index) -> pd.Index:
    return index.set_names([_SERIES, _TIME] if index.nlevels > 1 else [_TIME])

"""A trained model: its networks, and the card that describes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pandas as pd
from torch import Tensor, nn

from optlstm.config.in_python import errors_in_python
from optlstm.config.validate import with_reading
from optlstm.data.frames import Data, as_file, with_whole_numbers
from optlstm.models import folder as folders
from optlstm.models.card import Card
from optlstm.tasks.base import Metrics, Predictor
from optlstm.training.runtime import unchanged_process


class Model:
    """A tuned, tested model. `load` it, or get it from a refit.

    Attributes:
        card: the content of `model.json`: params, study, data, test metrics of model and baselines, intervals.
        predictor: the task's methods.
    """

    def __init__(self, card: Card, weights: bytes, networks: Sequence[nn.Module], extras: dict[str, Tensor]) -> None:
        self.card, self._weights = card, weights
        self.predictor: Predictor = card.task.predictor(networks, card.hyperparameters(), extras)

    @classmethod
    def load(cls, folder: str | Path, factory: str | None = None, *, verify: str | Path | None = None) -> Self:
        """The model in a folder.

        Args:
            factory: `module:function`, where custom networks were tuned. The folder names it too, but no code is
                imported because a file names it.
            verify: the PEM file of an Ed25519 public key: only what was signed with its private key is read.

        Raises:
            ModelFileError: a file is missing, altered or invalid, or not signed with this key.
            InputError: another factory makes the folder's networks; the key cannot be used.
        """
        with unchanged_process():  # new networks draw random weights
            return cls(*folders.read(Path(folder), factory, None if verify is None else Path(verify)))

    def save(self, folder: str | Path, *, sign: str | Path | None = None) -> Path:
        """Write `model.json` and `model.safetensors`; the folder is new, empty, or another model's.

        Args:
            sign: the PEM file of an Ed25519 private key: `model.sig` is written too, for `load(..., verify=)`.

        Raises:
            InputError: the folder holds something else; the key cannot be used.
            OptlstmError: it cannot be written.
        """
        folders.write(Path(folder), self.card, self._weights, None if sign is None else Path(sign))
        return Path(folder)

    @property
    def test(self) -> Metrics:
        """The metrics of the untouched test rows."""
        return dict(self.card.test.metrics)

    def predict(self, data: Data, **options: Any) -> pd.DataFrame:
        """Forecasts for a DataFrame or a file, as a DataFrame.

        Args:
            options: of the task; for forecasting `start`, `backtest`, `levels`, `quantiles`, `samples`, `anomalies`,
                `gaps`, `short`: see ForecastPredictor. And how this data is read, where it is not as the study's:
                `missing`, `decimal`, ... (`READING`).

        Raises:
            InputError: the data does not fit the model; the message says where.
        """
        with errors_in_python(), as_file(data) as path:
            frame = self.predictor.predict(path, **with_reading(options))
            if isinstance(data, str | Path):
                return frame
            return with_whole_numbers(frame, path, (getattr(self.card.task, "series", None) or "").split(","))

    def score(self, data: Data, **options: Any) -> Metrics:
        """The task's metrics on data that holds the true values. Raises as `predict`.

        Args:
            options: of the task; for forecasting `gaps` and `short` (see ForecastPredictor); `READING` as of `predict`.
        """
        with errors_in_python(), as_file(data) as path:
            return self.predictor.score(path, **with_reading(options))

    def __repr__(self) -> str:
        short = sorted(self.test.items(), key=lambda item: (len(item[0]), item[0]))[:2]  # mae and mse, not mae_raw
        shown = ", ".join(f"{name} {value:.4g}" for name, value in short if value is not None)
        tested = f"test {shown}" if shown else "not tested"
        trials = ", ".join(str(trained.trial) for trained in self.card.trials)
        of = f"{'trial' if len(self.card.trials) == 1 else 'trials'} {trials}"
        of = "linear forecasts only" if self.card.only_linear else of
        return f"<optlstm Model of study {self.card.study.name!r}, {of}; {tested}>"

"""A trained classifier on new data: its part of the card, and its predictions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from optlstm.data.labels import Fold
from optlstm.data.sequences import SequenceColumns, read_sequences
from optlstm.data.texts import read_texts
from optlstm.data.vocabulary import Tokenizer, Vocabulary
from optlstm.errors import InputError
from optlstm.tasks.base import CardPart, ExportModule, FormCard, Metrics, Positive, Text
from optlstm.tasks.label.calibrate import Temperature, Threshold, tempered
from optlstm.tasks.label.data import LabelledData, class_codes
from optlstm.tasks.label.problem import ClassifyProblem, classifier
from optlstm.tasks.label.scores import all_scores, decided
from optlstm.tasks.options import FORM, READING, DataConfig
from optlstm.training.factory import Shape
from optlstm.training.hparams import Hyperparameters
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import csv_cell, short
from optlstm.util.output_file import OutputFile

_log = logging.getLogger(__name__)
_MOST_DIM = 1_000_000  # numbers of an embedding


class Rows(NamedTuple):
    """The samples of a file, one after the other, as the networks take them."""

    values: npt.NDArray[Any]  # as `LabelledData.values`
    starts: Integers  # [n + 1]
    ids: tuple[str, ...]  # [n]
    labels: tuple[str, ...]  # [n]; empty where they were not read
    id_column: str = "row"  # heading of the ids


class LabelSection(CardPart):
    """A classifier's part of a card."""

    weights: ClassVar[Sequence[float]] = ()  # as of a forecaster's part: the model is its networks' mean
    linear: ClassVar[Mapping[str, float]] = {}
    classes: Annotated[list[Text], Field(min_length=2)]
    label: Text
    form: FormCard = FormCard()  # of the files
    temperature: Temperature | None = None
    threshold: Threshold | None = None

    @model_validator(mode="after")
    def _a_threshold_is_of_two_classes(self) -> Self:
        if self.threshold is not None and len(self.classes) != 2:
            raise ValueError("a threshold is of two classes")
        return self

    @property
    def _threshold(self) -> float | None:
        return None if self.threshold is None else self.threshold.value

    def calibrated(self, probabilities: Floats) -> Floats:
        """What a mean of the networks' probabilities [..., classes] becomes."""
        return probabilities if self.temperature is None else tempered(probabilities, self.temperature.value)

    def predicted(self, probabilities: Floats) -> Integers:
        """The class of each row [n] of calibrated probabilities [n, classes]."""
        return decided(probabilities, self._threshold)

    def scores(self, probabilities: Floats, codes: Integers) -> Metrics:
        """Of a mean of the networks' probabilities [n, classes]."""
        return all_scores(self.calibrated(probabilities), codes, self._threshold)

    def lines(self) -> list[str]:
        """What the validation rows added, for who reads it."""
        lines = [self.temperature.line()] if self.temperature else []
        return lines + ([self.threshold.line(self.classes[1])] if self.threshold else [])

    @property
    def inputs(self) -> dict[str, int]:
        """The networks' `Shape.inputs`."""
        raise NotImplementedError

    def read(self, path: Path, *, labelled: bool, reading: DataConfig | None = None) -> Rows:
        """The samples of a file. Raises InputError where its columns do not fit."""
        raise NotImplementedError

    def predictor(
        self, networks: Sequence[nn.Module], hps: Sequence[Hyperparameters], extras: Mapping[str, Tensor]
    ) -> LabelPredictor:
        """The networks' predictor."""
        return LabelPredictor(self, networks)

    def problem(self, hp: Hyperparameters) -> str | None:
        """A hyperparameter that no classifier can have, or None."""
        return f"embedding_dim {hp.embedding_dim}" if hp.embedding_dim > _MOST_DIM else None

    def extras(self) -> dict[str, tuple[int, ...]]:
        """No tensors beside the weights."""
        return {}

    def sizes(self) -> list[int]:
        """Numbers that the weight file must be large enough for."""
        return [len(self.classes), *self.inputs.values()]

    def shape(self, hp: Hyperparameters) -> Shape:
        """The networks' shape."""
        return Shape(self.inputs, len(self.classes))

    def network(self, hp: Hyperparameters) -> nn.Module:
        """A new classifier."""
        return classifier(hp, self.shape(hp))

    def data(self, values: npt.NDArray[Any], starts: Integers) -> LabelledData:
        """Sequences or texts whose classes are not known, for `ClassifyProblem`."""
        codes, vocabulary = np.zeros(len(starts) - 1, dtype=np.int64), self.inputs.get("vocabulary", 0)
        return LabelledData(values, starts, codes, tuple(self.classes), (), np.arange(0), False, vocabulary)


class SequenceSection(LabelSection):
    """A sequence classifier's part. `columns`: the steps (where a row is a sequence), or the channels."""

    kind: Literal["sequence"] = "sequence"
    series: Text | None
    time: Text | None
    columns: Annotated[list[Text], Field(min_length=1)]
    mean: Annotated[list[float], Field(min_length=1)]  # by channel
    std: list[Positive]

    @model_validator(mode="after")
    def _every_channel_has_its_scale(self) -> SequenceSection:
        channels = len(self.columns) if self.series else 1
        if not len(self.mean) == len(self.std) == channels:
            raise ValueError("columns, mean and std are not of one length")
        return self

    @property
    def inputs(self) -> dict[str, int]:
        """The networks' `Shape.inputs`."""
        return {"channels": len(self.mean)}

    def read(self, path: Path, *, labelled: bool, reading: DataConfig | None = None) -> Rows:
        """The sequences of a file. Raises InputError where its columns are not the training file's."""
        wide = self.series is None
        columns = SequenceColumns(
            self.label,
            self.series,
            self.time,
            None,
            self.columns,
            labelled,
            wide,
            like="the model",
            options=self.form.options_with(reading),
        )
        sequences = read_sequences(path, columns)
        for note in sequences.notes:
            _log.warning("%s", note)
        values = ((sequences.values - np.array(self.mean)) / np.array(self.std)).astype(np.float32)
        return Rows(values, sequences.starts, sequences.ids, sequences.labels, self.series or "row")


class TextSection(LabelSection):
    """A text classifier's part."""

    kind: Literal["text"] = "text"
    text: Text
    level: Literal["word", "character"]
    lowercase: bool
    max_tokens: Annotated[int, Field(ge=1, le=2**31)]
    vocabulary: list[Text]  # the token of number 2, of 3, ...

    @property
    def inputs(self) -> dict[str, int]:
        """The networks' `Shape.inputs`."""
        return {"vocabulary": len(self.vocabulary) + 2}

    def read(self, path: Path, *, labelled: bool, reading: DataConfig | None = None) -> Rows:
        """The token numbers of a file's texts. Raises InputError where it lacks a column."""
        options = self.form.options_with(reading)
        texts = read_texts(path, self.text, self.label, None, labelled=labelled, options=options)
        for note in texts.notes:
            _log.warning("%s", note)
        tokenizer = Tokenizer(self.level, self.lowercase, self.max_tokens)
        tokens, starts = Vocabulary(tuple(self.vocabulary)).encode(tokenizer(text) for text in texts.texts)
        return Rows(tokens, starts, tuple(str(i + 1) for i in range(len(texts.texts))), texts.labels)


class LabelPredictor:
    """The `Predictor` of labels. Several networks: the mean of their probabilities.

    A prediction is a row: the sample, the likeliest class, and the probability of every class, `p_CLASS`.
    """

    def __init__(self, section: LabelSection, networks: Sequence[nn.Module]) -> None:
        self.section = section
        self.networks = [network.eval() for network in networks]

    def predict(self, data: Path, **options: Any) -> pd.DataFrame:
        """Raises InputError where the file's columns do not fit the model; the label column need not be there."""
        _refuse_options(options)
        rows = self.section.read(data, labelled=False, reading=options.get("reading"))
        classes = self.section.classes
        mean = self.section.calibrated(self.probabilities(self.section.data(rows.values, rows.starts)).mean(axis=0))
        predicted = [classes[i] for i in self.section.predicted(mean)]
        probabilities = {f"p_{name}": mean[:, i] for i, name in enumerate(classes)}
        return pd.DataFrame({rows.id_column: list(rows.ids), "prediction": predicted, **probabilities})

    def write_csv(self, data: Path, out: Path, **options: Any) -> int:
        """As `predict`, into a CSV file that is whole or not there."""
        predictions = self.predict(data, **options)
        texts = predictions.iloc[:, :2].map(csv_cell)  # the sample and its class; all others are numbers
        safe = predictions.assign(**texts).rename(columns=csv_cell)
        OutputFile(out).write(safe.to_csv(index=False, lineterminator="\n", float_format="%.6g").encode())
        return len(predictions)

    def score(self, data: Path, **options: Any) -> Metrics:
        """The metrics on a file with labels. Raises InputError as `predict`, and for classes unknown to the model."""
        _refuse_options(options)
        rows = self.section.read(data, labelled=True, reading=options.get("reading"))
        classes = self.section.classes
        unknown = sorted(set(rows.labels) - set(classes))
        if unknown:
            raise InputError(
                f"data: {data.name} has classes that the model does not know: {', '.join(map(short, unknown[:3]))}"
            )
        mean = self.probabilities(self.section.data(rows.values, rows.starts)).mean(axis=0)
        return self.section.scores(mean, class_codes(rows.labels, classes))

    @torch.no_grad()
    def probabilities(self, data: LabelledData, sequences: Integers | None = None) -> Floats:
        """[networks, sequences, classes] of some sequences, or of all, before they are calibrated."""
        nothing = Fold(np.arange(0), np.arange(0))
        problem = ClassifyProblem(replace(data, folds=(nothing,), class_weights=False), nothing, torch.device("cpu"))
        wanted = np.arange(len(data.starts) - 1) if sequences is None else sequences
        return np.stack([problem.probabilities(network, wanted) for network in self.networks])

    def export_module(self) -> ExportModule:
        """float64 [batch, steps, channels] in the data's units, or int64 token numbers [batch, tokens] -> probabilities
        [batch, classes]. The samples of a batch are of one length.
        """
        section, notes = self.section, tuple(self.section.lines())
        temperature = 1.0 if section.temperature is None else section.temperature.value
        if not isinstance(section, SequenceSection):
            tokens = torch.full((2, 12), 2, dtype=torch.int64)
            module = ProbabilityModule(self.networks, None, temperature)
            return ExportModule(module, tokens, "tokens", ("probabilities",), notes)
        scale = (torch.tensor(section.mean), torch.tensor(section.std))
        x = torch.zeros(2, 24, len(section.mean), dtype=torch.float64)
        return ExportModule(ProbabilityModule(self.networks, scale, temperature), x, "x", ("probabilities",), notes)


def _refuse_options(options: Mapping[str, Any]) -> None:
    """Raises InputError for those of forecasts."""
    flags = {"--from": "start", "--backtest": "backtest", "--level": "levels", "--gaps": "gaps", "--short": "short"}
    flags |= {f"--{key}": key for key in ("quantiles", "samples", "anomalies")}
    given = [flag for flag, key in flags.items() if options.get(key)]
    reading = options.get("reading")
    given += [f"data.{key}" for key in READING if reading and key in reading.model_fields_set and key not in FORM]
    if given:
        raise InputError([f"{flag}: is for forecasts; this model is a classifier" for flag in given])


class ProbabilityModule(nn.Module):
    """Scaling, networks, softmax and temperature: sequences or token numbers -> probabilities [batch, classes]."""

    def __init__(
        self, networks: Sequence[nn.Module], scale: tuple[Tensor, Tensor] | None, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.networks, self.temperature = nn.ModuleList(networks), temperature
        self.scaled = scale is not None
        mean, std = scale or (torch.zeros(1), torch.ones(1))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean.double())
        self.register_buffer("std", std.double())

    def forward(self, x: Tensor) -> Tensor:
        x = ((x - self.mean) / self.std).float() if self.scaled else x
        mean = torch.stack([F.softmax(network(x).double(), dim=1) for network in self.networks]).mean(dim=0)
        return mean if self.temperature == 1.0 else F.softmax(mean.log() / self.temperature, dim=1)

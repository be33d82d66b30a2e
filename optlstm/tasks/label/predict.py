"""A trained model of labels on new data: its part of the card, and its predictions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor, nn

from optlstm.data.frames import shown_name
from optlstm.data.labels import Fold
from optlstm.data.scaling import Standardizer
from optlstm.data.sequence_columns import SequenceColumns
from optlstm.data.sequence_reader import read_sequences
from optlstm.data.texts import read_texts
from optlstm.data.vocabulary import UNKNOWN, Tokenizer, Vocabulary
from optlstm.errors import InputError
from optlstm.tasks.base import CardPart, ExportModule, FormCard, Metrics, Positive, Text
from optlstm.tasks.label.calibrate import Temperature, Threshold
from optlstm.tasks.label.chunks import CHUNK
from optlstm.tasks.label.classes import Classes
from optlstm.tasks.label.data import LabelledData, scaled, sequence_shape, sequences_of
from optlstm.tasks.label.number import Number
from optlstm.tasks.label.problem import fold_problem, make_network
from optlstm.tasks.label.several import Several
from optlstm.tasks.label.target import LabelColumn, Target
from optlstm.tasks.options import FORM, READING, DataConfig
from optlstm.training.factory import Shape
from optlstm.training.hparams import Hyperparameters
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import csv_cell, quoted
from optlstm.util.output_file import OutputFile

_log = logging.getLogger(__name__)
_MOSTLY_UNKNOWN = 0.5  # of the tokens of a file
_FAR = 10.0  # deviations of the training values
_MOST_DIM = 1_000_000  # numbers of an embedding


class Rows(NamedTuple):
    """The samples of a file, one after the other, as the networks take them."""

    values: npt.NDArray[Any]  # as `LabelledData.values`
    starts: Integers  # [n + 1]
    ids: tuple[str, ...]  # [n]
    labels: tuple[str, ...]  # [n]; empty where they were not read
    id_column: str = "row"  # heading of the ids
    order: Integers | None = None  # [rows], of labels of steps: the file's row of each
    times: Mapping[str, Sequence[str]] = MappingProxyType({})  # [rows] by the column's name, of the same
    ends: Integers | None = None  # as `LabelledData.ends`
    steps: tuple[str, npt.NDArray[Any]] | None = None  # heading and cells [n] of the steps that windows end at


class LabelSection(CardPart):
    """A part of a card: what labels are, and how a file is read. Classes stand by themselves, as in older versions."""

    weights: ClassVar[Sequence[float]] = ()  # as of a forecaster's part: the model is its networks' mean
    linear: ClassVar[Mapping[str, float]] = {}
    classes: Annotated[list[Text], Field(min_length=2)] | None = None
    labels: Annotated[Number | Several, Field(discriminator="kind")] | None = None
    label: Text
    form: FormCard = FormCard()  # of the files
    temperature: Temperature | None = None
    threshold: Threshold | None = None

    @model_validator(mode="after")
    def _labels_are_of_one_kind(self) -> Self:
        if (self.classes is None) == (self.labels is None):
            raise ValueError("classes, or labels of another kind")
        _ = self.target
        return self

    @model_serializer(mode="wrap")
    def _without_the_other_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        absent = {key for key in ("classes", "labels", "windows", "gaps") if getattr(self, key, None) is None}
        return {key: value for key, value in handler(self).items() if key not in absent}

    @staticmethod
    def of(target: Target) -> dict[str, Any]:
        """The fields that say what labels are."""
        if not isinstance(target, Classes):
            return {"labels": target}
        return {"classes": list(target.names), "temperature": target.temperature, "threshold": target.threshold}

    @property
    def target(self) -> Target:
        """What labels are."""
        if self.labels is not None:
            return self.labels
        names = tuple(self.classes or ())
        return Classes(names=names, temperature=self.temperature, threshold=self.threshold)

    def lines(self) -> list[str]:
        """What the validation rows added, for who reads it."""
        return self.target.lines()

    @property
    def inputs(self) -> dict[str, int]:
        """The networks' `Shape.inputs`."""
        raise NotImplementedError

    def read(self, path: Path, *, labelled: bool, reading: DataConfig | None = None, gaps: str | None = None) -> Rows:
        """The samples of a file. gaps: `data.gaps`; None: as tuned. Raises InputError where its columns do not fit."""
        raise NotImplementedError

    def predictor(
        self, networks: Sequence[nn.Module], hps: Sequence[Hyperparameters], extras: Mapping[str, Tensor]
    ) -> LabelPredictor:
        """The networks' predictor."""
        return LabelPredictor(self, networks, hps)

    def problem(self, hp: Hyperparameters) -> str | None:
        """A hyperparameter that no network can have, or None."""
        return f"embedding_dim {hp.embedding_dim}" if hp.embedding_dim > _MOST_DIM else None

    def extras(self) -> dict[str, tuple[int, ...]]:
        """No tensors beside the weights."""
        return {}

    def sizes(self) -> list[int]:
        """Numbers that the weight file must be large enough for."""
        return [self.target.outputs, *self.inputs.values()]

    def shape(self, hp: Hyperparameters) -> Shape:
        """The networks' shape."""
        return Shape(self.inputs, self.target.outputs)

    def network(self, hp: Hyperparameters) -> nn.Module:
        """A new network."""
        return make_network(hp, self.shape(hp))

    def data(self, values: npt.NDArray[Any], starts: Integers, ends: Integers | None = None) -> LabelledData:
        """Samples whose labels are not known, for `LabelProblem`."""
        n, vocabulary = len(starts) - 1 if ends is None else len(ends), self.inputs.get("vocabulary", 0)
        truth = np.zeros(n, dtype=np.int64)
        return LabelledData(values, starts, truth, self.target, (), np.arange(0), vocabulary, ends=ends)


class SequenceSection(LabelSection):
    """The part of a model of sequences. `columns`: the steps (where a row is a sequence), or the channels."""

    kind: Literal["sequence"] = "sequence"
    series: Text | None
    time: Text | None
    columns: Annotated[list[Text], Field(min_length=1)]
    mean: Annotated[list[float], Field(min_length=1)]  # by channel
    std: list[Positive]
    per_step: bool = False
    causal: bool = False
    windows: Literal[True] | None = None  # whether a sample is a window of a longer sequence
    gaps: Literal["interpolate"] | None = None  # what is done about them; None: refused

    @model_validator(mode="after")
    def _every_channel_has_its_scale(self) -> SequenceSection:
        channels = len(self.columns) if self.series else 1
        if not len(self.mean) == len(self.std) == channels:
            raise ValueError("columns, mean and std are not of one length")
        return self

    @property
    def inputs(self) -> dict[str, int]:
        """The networks' `Shape.inputs`."""
        return dict(sequence_shape(len(self.mean), 0, self.per_step).inputs)

    def data(self, values: npt.NDArray[Any], starts: Integers, ends: Integers | None = None) -> LabelledData:
        data = super().data(values, starts, ends)
        if not self.per_step:
            return data
        return replace(data, truth=np.zeros(len(values), dtype=np.int64), per_step=True, causal=self.causal)

    def read(self, path: Path, *, labelled: bool, reading: DataConfig | None = None, gaps: str | None = None) -> Rows:
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
            per_step=self.per_step,
            by_step=bool(self.windows),
            gaps=(gaps or self.gaps) == "interpolate",
            causal=self.causal,
        )
        sequences = read_sequences(path, columns)
        for note in sequences.notes:
            _log.warning("%s", note)
        values = scaled(sequences.values, Standardizer(np.array(self.mean), np.array(self.std)))
        self._note_other_units(sequences.values, values, shown_name(path))
        times = {self.time: sequences.times} if self.time and sequences.times else {}
        ids, ends, steps = sequences.ids, sequences.ends, None
        if ends is not None:
            heading, cells = sequences.step_names
            ids, steps = tuple(ids[i] for i in sequences_of(sequences.starts, ends)), (heading, cells[ends - 1])
        id_column = self.series or "row"
        return Rows(
            values, sequences.starts, ids, sequences.labels, id_column, sequences.order, times, ends=ends, steps=steps
        )

    def _note_other_units(self, values: Floats, standardised: npt.NDArray[np.float32], file: str) -> None:
        """A line on channels that are far from those of the training file. values: before they were standardised."""
        away, spread = np.abs(np.median(standardised, axis=0)), standardised.std(axis=0)
        for i in np.flatnonzero((away > _FAR) | ((spread < 1 / _FAR**2) & (spread > 0))).tolist():
            name = f"the values of {quoted(self.columns[i])}" if self.series else "its values"
            learned = f"learned {self.mean[i]:.4g} ± {self.std[i]:.2g}"
            here = f"{np.nanmean(values[:, i]):.4g} ± {np.nanstd(values[:, i]):.2g}"
            _log.warning("%s", f"data: {file}: {name} are {here}, and the model has {learned}; are they in its unit?")


class TextSection(LabelSection):
    """The part of a model of texts."""

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

    def read(self, path: Path, *, labelled: bool, reading: DataConfig | None = None, gaps: str | None = None) -> Rows:
        """The token numbers of a file's texts. Raises InputError where it lacks a column."""
        options = self.form.options_with(reading)
        texts = read_texts(path, self.text, self.label, None, labelled=labelled, options=options)
        for note in texts.notes:
            _log.warning("%s", note)
        tokenizer = Tokenizer(self.level, self.lowercase, self.max_tokens)
        tokens, starts = Vocabulary(tuple(self.vocabulary)).encode(tokenizer(text) for text in texts.texts)
        unknown = float((tokens == UNKNOWN).mean()) if len(tokens) else 0.0
        if unknown > _MOSTLY_UNKNOWN:
            column = f"column {quoted(self.text)} of {shown_name(path)}"
            _log.warning("%s", f"data: {column}: {unknown:.0%} of the {self.level}s are unknown to the model")
        return Rows(tokens, starts, tuple(str(i + 1) for i in range(len(texts.texts))), texts.labels)


class LabelPredictor:
    """The `Predictor` of labels. Several networks: the mean of their outputs.

    A prediction is a row: the sample, and what `Target.columns` makes of the output.
    """

    def __init__(self, section: LabelSection, networks: Sequence[nn.Module], hps: Sequence[Hyperparameters]) -> None:
        self.section, self.hps = section, hps
        self.networks = [network.eval() for network in networks]

    def predict(self, data: Path, **options: Any) -> pd.DataFrame:
        """A row for each sequence or text; of windows for each step, or (`last`) each sequence.

        Raises InputError where the file's columns do not fit the model; the label column need not be there.
        """
        rows, target = self._read(data, labelled=False, **options), self.section.target
        ready = self.section.data(rows.values, rows.starts, rows.ends)
        samples = np.arange(ready.n)
        if options.get("last"):
            if rows.ends is None:
                raise InputError("--last: is for windows of sequences, and this model has none; leave it out")
            samples = np.searchsorted(rows.ends, rows.starts[1:])
        columns = target.columns(target.final(self.outputs(ready, samples).mean(axis=0)))
        if rows.order is not None:
            ids = np.repeat(np.array(rows.ids, dtype=object), np.diff(rows.starts))
            frame = pd.DataFrame({rows.id_column: ids, **rows.times, **columns}, index=rows.order)
            return frame.sort_index()  # as the file has its rows
        steps = {} if rows.steps is None else {rows.steps[0]: rows.steps[1][samples]}
        return pd.DataFrame({rows.id_column: [rows.ids[i] for i in samples], **steps, **columns})

    def _read(self, data: Path, *, labelled: bool, **options: Any) -> Rows:
        section = self.section
        _refuse_options(options, section.target, gaps=isinstance(section, SequenceSection))
        return section.read(data, labelled=labelled, reading=options.get("reading"), gaps=options.get("gaps"))

    def write_csv(self, data: Path, out: Path, **options: Any) -> int:
        """As `predict`, into a CSV file that is whole or not there."""
        predictions = self.predict(data, **options)
        texts = predictions.select_dtypes(exclude="number").map(csv_cell)  # samples, their steps and labels
        safe = predictions.assign(**texts).rename(columns=csv_cell)
        OutputFile(out).write(safe.to_csv(index=False, lineterminator="\n", float_format="%.6g").encode())
        return len(predictions)

    def score(self, data: Path, **options: Any) -> Metrics:
        """The metrics on a file with labels. Raises InputError as `predict`, and for labels unknown to the model."""
        rows = self._read(data, labelled=True, **options)
        target = self.section.target
        truth = target.truth(rows.labels, LabelColumn(data.name, self.section.label))
        mean = self.outputs(self.section.data(rows.values, rows.starts, rows.ends)).mean(axis=0)
        return target.all_scores(target.final(mean), truth)

    @torch.no_grad()
    def outputs(self, data: LabelledData, samples: Integers | None = None) -> Floats:
        """[networks, labels, width] of some samples, or of all, before `Target.final`."""
        nothing = Fold(np.arange(0), np.arange(0))
        data = replace(data, folds=(nothing,), target=self.section.target)
        problem = fold_problem(data, nothing, torch.device("cpu"))
        wanted = np.arange(data.n) if samples is None else samples
        pairs = zip(self.networks, self.hps, strict=True)
        return np.stack([problem.outputs(network, wanted, hp) for network, hp in pairs])

    def export_module(self) -> ExportModule:
        """float64 [batch, steps, channels] in the data's units, or int64 token numbers [batch, tokens] -> outputs
        [batch, width], of labels of steps [batch, steps, width]. The samples of a batch are of one length.
        """
        section, target, notes = self.section, self.section.target, tuple(self.section.lines())
        if not isinstance(section, SequenceSection):
            tokens = torch.full((2, 12), 2, dtype=torch.int64)
            module = OutputModule(self.networks, target)
            return ExportModule(module, tokens, "tokens", (target.output_name,), notes)
        if section.per_step:
            notes += (f"a sequence is read at once, and predict reads {CHUNK} steps at a time: give no more",)
        scale = (torch.tensor(section.mean), torch.tensor(section.std))
        windows = [hp.window for hp in self.hps] if section.windows else []
        x = torch.zeros(2, max(windows, default=24), len(section.mean), dtype=torch.float64)
        module = OutputModule(self.networks, target, scale, windows)
        return ExportModule(module, x, "x", (target.output_name,), notes)


def _refuse_options(options: Mapping[str, Any], target: Target, *, gaps: bool = False) -> None:
    """Raises InputError for those of forecasts. gaps: whether samples may have some."""
    flags = {"--from": "start", "--backtest": "backtest", "--level": "levels", "--short": "short"}
    if not gaps:
        flags["--gaps"] = "gaps"
    elif options.get("gaps") not in (None, "refuse", "interpolate"):
        raise InputError(f"--gaps: of sequences must be refuse or interpolate, got {quoted(options['gaps'])}")
    flags |= {f"--{key}": key for key in ("quantiles", "samples", "anomalies")}
    given = [flag for flag, key in flags.items() if options.get(key)]
    reading = options.get("reading")
    given += [f"data.{key}" for key in READING if reading and key in reading.model_fields_set and key not in FORM]
    if given:
        has_point = isinstance(target, Number) and not target.head.levels
        hint = "; a study with --loss quantiles gives quantiles" if has_point else ""
        hints = dict.fromkeys(("--level", "--quantiles"), hint)
        raise InputError(
            [f"{flag}: is for forecasts; this model predicts labels{hints.get(flag, '')}" for flag in given]
        )


class OutputModule(nn.Module):
    """Scaling, networks and what their numbers mean: sequences or token numbers -> outputs [batch, width]."""

    def __init__(
        self,
        networks: Sequence[nn.Module],
        target: Target,
        scale: tuple[Tensor, Tensor] | None = None,
        windows: Sequence[int] = (),
    ) -> None:
        """windows: as many of the last steps each network reads; empty: all."""
        super().__init__()
        self.windows = list(windows) or [0] * len(networks)
        self.output, self.final = target.output, target.final_tensor
        self.networks = nn.ModuleList(networks)
        self.scaled = scale is not None
        mean, std = scale or (torch.zeros(1), torch.ones(1))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean.double())
        self.register_buffer("std", std.double())

    def forward(self, x: Tensor) -> Tensor:
        x = ((x - self.mean) / self.std).float() if self.scaled else x
        pairs = zip(self.networks, self.windows, strict=True)
        outputs = [self._output(network(x[:, -window:] if window else x)) for network, window in pairs]
        return self.final(torch.stack(outputs).mean(dim=0))

    def _output(self, raw: Tensor) -> Tensor:
        if raw.ndim == 2:
            return self.output(raw)
        flat = self.output(raw.flatten(0, 1))  # of steps: [batch * steps, width]
        return flat.reshape(*raw.shape[:2], flat.shape[1])

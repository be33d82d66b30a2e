"""The `data` section of a config: the keys of all tasks. `Task.keys` are those that a task reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from optlstm.data.file_format import SEPARATORS, FileOptions, encoding_problem, separator_problem
from optlstm.util.time_formats import FORMATS, STEP, is_format

Gaps = Literal["refuse", "interpolate", "mask"]
FILES = ("path", "validation_path", "test_path", "vectors")  # keys of `data` that name a file
FORM = ("separator", "decimal", "thousands", "encoding", "header", "missing")  # keys of the form of its files
READING = (*FORM, "time_format", "dayfirst")  # keys that a new file may have otherwise than the study's


class Section(BaseModel):
    """A table of the config. Strict: `trials = true` is no 1, and `trials = "20"` no 20."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        return {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}


class DataConfig(Section):
    path: str | None = Field(
        None, description="CSV (.gz, .zip too), Parquet, .ts or .tsf; none: the bundled CO2 series"
    )
    separator: str | None = Field(None, description="comma, semicolon, tab, bar, blanks, or a character")
    decimal: Literal[".", ","] | None = Field(None, description="decimal mark (default: told by the file)")
    thousands: Literal[".", ","] | None = Field(None, description="mark between thousands (default: told by the file)")
    encoding: str | None = Field(None, description="of text files (default: UTF-8, or told by the file)")
    header: bool | Annotated[int, Field(ge=1)] | None = Field(
        None, description="false: the first row holds data; a number: the line of the header"
    )
    missing: tuple[float | str, ...] = Field((), description="values that stand for a gap, as -200")
    time: str | None = Field(
        None, description="time column (default: ds), several such as year,month,day, or row: the rows are in order"
    )
    time_format: str | None = Field(
        None,
        description="of the time column's cells: strptime's, integer, excel, unix_s, unix_ms (default: by the cells)",
    )
    dayfirst: bool | None = Field(None, description="01/02/2020: true is February 1, false January 2")
    target: tuple[str, ...] | None = Field(None, description="target columns (default: y)", min_length=1)
    horizon: Annotated[int, Field(ge=1, le=10**6)] | None = Field(
        None, description="steps to forecast (default: one season)"
    )
    season: Annotated[int, Field(ge=0, le=10**6)] | None = Field(
        None, description="rows of a season; 0: the frequency's (default: that, or what the training rows show)"
    )
    splits: tuple[float, float, float] | tuple[int, int, int] = Field(
        (0.7, 0.1, 0.2), description="train, validation, test (may be 0): fractions, or numbers of rows"
    )
    fraction: float = Field(1.0, gt=0, le=1, description="share of the training rows to train on, the newest")
    validation_path: str | None = Field(None, description="file of the validation rows (default: split off)")
    test_path: str | None = Field(None, description="file of the test rows (default: split off)")
    label: str | None = Field(None, description="label column (default: label), or several: a,b,c")
    kind: Literal["auto", "classes", "number"] = Field("auto", description="what labels are (auto: told by the labels)")
    every: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="labels of steps: a sample ends at one labelled step in so many (default: 1, where they change)",
    )
    cap: float | None = Field(None, description="labels that are numbers: the largest; those above it are taken for it")
    series: str | None = Field(
        None, description="column (or columns) that says which series (or sequence) a row belongs to"
    )
    past: tuple[str, ...] | None = Field(None, description="columns known up to a forecast's start", min_length=1)
    future: tuple[str, ...] | None = Field(None, description="columns known over the horizon too", min_length=1)
    static: tuple[str, ...] | None = Field(None, description="columns that are constant in a series", min_length=1)
    categorical: tuple[str, ...] | None = Field(
        None, description="which of these columns are categories, beside those that hold text", min_length=1
    )
    calendar: bool | tuple[str, ...] = Field(False, description="features of the time: true, or which of them")
    sort: bool = Field(False, description="put each series' rows in order of time")
    repeated: Literal["refuse", "last", "mean"] = Field("refuse", description="rows at one time of a series")
    resample: str | None = Field(
        None, description="step to bring the rows to, as 10min, h, D or MS: means of numbers, the last of categories"
    )
    resample_sum: tuple[str, ...] = Field((), description="columns of numbers that `resample` sums")
    gaps: Gaps = Field("refuse", description="missing rows and values: refuse, interpolate, or mask (of forecasts)")
    short: Literal["refuse", "omit"] = Field("refuse", description="series of many that are too short to be split")
    scaling: Literal["series", "global"] = Field("series", description="many series: each on its own scale, or on one")
    epoch_windows: int = Field(
        16_384, ge=1, description="many series, covariates: training windows in an epoch, where there are more"
    )
    epoch_steps: int = Field(
        32, ge=1, description="forecasts: steps in an epoch, about, where a short series has fewer: it is repeated"
    )
    quantiles: tuple[float, ...] | None = Field(
        None,
        description="of forecasts and numbers with the loss quantiles: which (default: 5 to 95 %)",
        min_length=1,
        max_length=99,
    )
    positive: bool = Field(False, description="no target is below zero, and so no forecast")
    per_step: bool = Field(False, description="a label is of a step, not of a sequence")
    causal: bool = Field(False, description="labels of steps: each from the steps up to it alone")
    group: str | None = Field(None, description="column whose equal values stay on one side of every split")
    channels: tuple[str, ...] | None = Field(None, description="columns of numbers at each step (default: the others)")
    text: str | None = Field(None, description="text column (default: text)")
    folds: Annotated[int, Field(ge=0)] | None = Field(
        None, description="cross-validation: so many models in one trial; 0: none (default: where there is little data)"
    )
    level: Literal["word", "character"] = Field("word", description="what a text's tokens are")
    lowercase: bool = Field(True, description="A and a are one token")
    vocabulary: int = Field(20_000, ge=1, description="most tokens; the others are unknown")
    min_count: int = Field(1, ge=1, description="training texts' occurrences below which a token is unknown")
    max_tokens: int = Field(400, ge=1, description="tokens of a text that are read")
    vectors: str | None = Field(None, description="file of pretrained vectors, GloVe's text format")
    class_weights: bool | Literal["balanced"] | dict[str, float] = Field(
        False, description="of classes in the loss: balanced (or true): each weighs the same; or a table by class"
    )

    @field_validator(
        "target", "channels", "past", "future", "static", "categorical", "calendar", "resample_sum", mode="before"
    )
    @classmethod
    def _one_target_is_a_list(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("time", "series", "label", mode="before")
    @classmethod
    def _a_list_is_one_text(cls, value: Any) -> Any:
        names = isinstance(value, tuple) and all(isinstance(name, str) for name in value)
        return ",".join(value) if names else value

    @field_validator("time_format")
    @classmethod
    def _is_a_format(cls, value: str | None) -> str | None:
        if value is not None and not is_format(value):
            raise ValueError(f"must be {FORMATS}, got {value!r}")
        return value

    @field_validator("resample")
    @classmethod
    def _is_a_step(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(STEP, value):
            raise ValueError(f"must be a number of s, min, h, D, W, MS, QS or YS, such as 10min or MS, got {value!r}")
        return value

    @field_validator("missing", mode="before")
    @classmethod
    def _one_value_is_a_list(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    @field_validator("quantiles")
    @classmethod
    def _levels_increase(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and (problem := levels_problem(value)):
            raise ValueError(problem)
        return value

    @field_validator("class_weights")
    @classmethod
    def _weights_are_positive(cls, value: Any) -> Any:
        wrong = [name for name, weight in value.items() if not 0 < weight < inf] if isinstance(value, dict) else []
        if wrong:
            raise ValueError(f"each must be above 0, got {value[wrong[0]]} for {wrong[0]!r}")
        return value

    @field_validator("separator")
    @classmethod
    def _separator_is_a_character(cls, value: str | None) -> str | None:
        problem = None if value is None else separator_problem(value)
        if problem:
            raise ValueError(problem)
        return SEPARATORS.get(value or "", value)

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str | None) -> str | None:
        problem = None if value is None else encoding_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _marks_differ(self) -> DataConfig:
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands cannot both be {self.decimal!r}")
        return self

    @property
    def form(self) -> FileOptions:
        """What is said about the form of the files."""
        return FileOptions(**{key: getattr(self, key) for key in FORM})

    @field_validator("splits", mode="before")
    @classmethod
    def _row_counts_stay_whole(cls, value: Any) -> Any:
        numbers = isinstance(value, list | tuple) and all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in value
        )
        if not numbers or len(value) != 3:
            raise ValueError(f"must be three fractions or three numbers of rows, got {as_toml(value)!r}")
        return value


def levels_problem(levels: Sequence[float]) -> str | None:
    """Why these are no levels of quantiles, or None."""
    increasing = all(low < high for low, high in pairwise((0.0, *levels, 1.0)))
    return None if increasing else f"must be increasing numbers between 0 and 1, got {list(levels)}"


def as_toml(value: Any) -> Any:
    """A value as a study file would write it."""
    return list(value) if isinstance(value, tuple) else value

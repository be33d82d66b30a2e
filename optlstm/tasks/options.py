"""The `data` section of a config: the keys of every task. Which of them a task reads, it says itself (`Task.keys`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


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
    path: str | None = Field(None, description="CSV (.gz too) or Parquet file; none: the bundled CO2 series")
    time: str | None = Field(None, description="time column (default: ds)")
    target: tuple[str, ...] | None = Field(None, description="target columns (default: y)", min_length=1)
    horizon: Annotated[int, Field(ge=1)] | None = Field(None, description="steps to forecast (default: one season)")
    splits: tuple[float, float, float] | tuple[int, int, int] = Field(
        (0.7, 0.1, 0.2), description="train, validation, test: fractions, or numbers of rows"
    )

    fraction: float = Field(1.0, gt=0, le=1, description="share of the training rows to train on, the newest")

    @field_validator("target", mode="before")
    @classmethod
    def _one_target_is_a_list(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("splits", mode="before")
    @classmethod
    def _row_counts_stay_whole(cls, value: Any) -> Any:
        numbers = isinstance(value, list | tuple) and all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in value
        )
        if not numbers or len(value) != 3:
            raise ValueError(f"must be three fractions or three numbers of rows, got {as_toml(value)!r}")
        return value


def as_toml(value: Any) -> Any:
    """A value as a study file would write it."""
    return list(value) if isinstance(value, tuple) else value

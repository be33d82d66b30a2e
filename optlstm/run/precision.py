"""The precision of a study's training: decided once, where `auto` is asked for, and kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optlstm.config.schema import StudyConfig
from optlstm.util.processor import multiplies_bf16


def with_precision(config: StudyConfig) -> StudyConfig:
    """With what `training.precision = "auto"` stands for on this machine.

    Raises:
        InputError: Its device is not there.
    """
    if config.training.precision != "auto":
        return config
    from optlstm.training.precision import faster_precision  # it brings torch
    from optlstm.training.runtime import resolve_device

    precision = faster_precision(resolve_device(config.training.device))
    return config.model_copy(update={"training": config.training.model_copy(update={"precision": precision})})


def without_auto(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What is given for a study that exists: `auto` was decided when it was made."""
    training = raw.get("training")
    if not isinstance(training, Mapping) or training.get("precision") != "auto":
        return {**raw}
    return {**raw, "training": {key: value for key, value in training.items() if key != "precision"}}


def precision_notes(config: StudyConfig) -> list[str]:
    """A note where this machine's processor makes training in bf16 slow."""
    if config.training.precision != "bf16" or config.training.device.startswith("cuda") or multiplies_bf16():
        return []
    return [
        "training.precision: this processor has no instructions for bf16: on it, bf16 is slower than fp32, and its last"
        " bits may differ from those of a processor that has them"
    ]

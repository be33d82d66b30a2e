"""What a test of forecasts comes to: scores, baselines beside them, and intervals from the residuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from optlstm.tasks.base import Evaluation
from optlstm.tasks.forecast.conformal import cross_coverage, highest_level, radii
from optlstm.tasks.forecast.errors import Scores


def forecast_verdict(
    ensemble: Scores,
    members: Sequence[Scores],
    rivals: Mapping[str, Scores],
    residuals: NDArray[np.float32],
    *,
    method: str,
    every: int,
    gap: int,
) -> Evaluation:
    """The verdict on test rows.

    Args:
        residuals: absolute, [windows, columns, horizon] on the standardised scale, by time; each `every`-th window's.
        method: how the intervals are made, in words.
        gap: windows to leave out between the two halves that coverage is measured on.
    """
    highest = highest_level(len(residuals))
    return Evaluation(
        test=ensemble.overall,
        members=[scores.overall for scores in members],
        baselines={name: scores.overall for name, scores in rivals.items()},
        lower_is_better={"mse": True, "mae": True},
        steps=ensemble.steps,
        baseline_steps={name: scores.steps for name, scores in rivals.items()},
        intervals={
            "method": method,
            "windows": len(residuals),
            "every": every,
            "highest_level": highest,
            "measured": cross_coverage(residuals, gap),
        },
        extras={"radii": torch.from_numpy(radii(residuals).astype(np.float32))} if highest else {},
        card_updates={"calibrated": len(residuals) if highest else 0},
    )

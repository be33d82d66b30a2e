"""A model's test scores, as they are printed."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from optlstm.console.scores import score_tables
from optlstm.models.card import Test as Scores


@pytest.mark.parametrize(("std", "expected"), [(12.3, "10"), (0.043, "0.04"), (123.0, "100"), (1.0, "1")])
def test_the_spread_of_single_networks_is_a_plain_number(std: float, expected: str) -> None:
    test = Scores.model_construct(
        metrics={"mse": 90.14}, baselines={}, spread={"mean": {"mse": 90.14}, "std": {"mse": std}}
    )
    out = io.StringIO()

    Console(file=out, width=100).print(*score_tables(test))

    assert out.getvalue().splitlines()[-1].split("  ")[-1].strip() == f"90.14 ± {expected}"

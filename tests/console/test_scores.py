"""A model's test scores, as they are printed."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from optlstm.console.scores import blank_lines, in_words, interval_lines, score_tables
from optlstm.models.card import Test as Scores


@pytest.mark.parametrize(("std", "expected"), [(12.3, "10"), (0.043, "0.04"), (123.0, "100"), (1.0, "1")])
def test_the_spread_of_single_networks_is_a_plain_number(std: float, expected: str) -> None:
    test = Scores.model_construct(
        metrics={"mse": 90.14}, baselines={}, spread={"mean": {"mse": 90.14}, "std": {"mse": std}}
    )
    out = io.StringIO()

    Console(file=out, width=100).print(*score_tables(test))

    assert out.getvalue().splitlines()[-1].split("  ")[-1].strip() == f"90.14 ± {expected}"


@pytest.mark.parametrize(("least", "said"), [(0.84, True), (0.77, False)])
def test_intervals_are_too_narrow_where_chance_does_not_explain_what_they_held(least: float, said: bool) -> None:
    measured = {"50": {"coverage": 0.5, "least": 0.4}, "90": {"coverage": 0.81, "least": least}}
    first, *more = interval_lines({"measured": {**measured, "95": {"coverage": None, "least": None}}})

    assert first == "coverage of the prediction intervals on the test rows: 50 %: 50.0 %, 90 %: 81.0 %"
    narrow = (
        "the intervals are too narrow: the 90 % one holds 81 % of the test rows, where chance alone would leave 84 %"
    )
    assert [line.startswith(f"{narrow}; new rows") for line in more] == [True] * said


def test_every_level_that_is_too_narrow_is_named_in_digits_that_tell() -> None:
    measured = {"80": {"coverage": 0.798, "least": 0.802}, "90": {"coverage": 0.81, "least": 0.84}}

    assert interval_lines({"measured": measured})[-1].startswith(
        "the intervals are too narrow: the 80 % one holds 79.8 % of the test rows, where chance alone would leave"
        " 80.2 %, the 90 % one 81 % (84 %); new rows"
    )


def test_the_metrics_in_which_baselines_are_better_are_one_line() -> None:
    test = Scores.model_construct(
        metrics={"mse": 2.0, "mae": 0.0330041, "wql": 1.0},
        baselines={"nlinear": {"mse": 1.0, "mae": 0.0330039}, "seasonal_quantiles": {"mse": 1.5, "wql": 0.5}},
        members=[],
        beaten_by={"mse": ["nlinear", "seasonal_quantiles"], "mae": ["nlinear"], "wql": ["seasonal_quantiles"]},
    )

    assert in_words(test) == [
        "better than this model: in mse nlinear and seasonal quantiles (1.000 against 2.000), in mae nlinear"
        " (0.0330039 against 0.0330041), in wql seasonal quantiles (0.5000 against 1.000)"
    ]


def test_it_is_said_why_a_metric_is_blank() -> None:
    blank: dict[str, float | None] = {"wql": 1.0, "crps": None, "msis": None}

    assert blank_lines(Scores.model_construct(metrics=blank)) == [
        "crps and msis are blank: they need 99 and 19 calibration windows, and there were fewer"
    ]
    assert blank_lines(Scores.model_construct(metrics={**blank, "msis": 2.0})) == [
        "crps is blank: it needs 99 calibration windows, and there were fewer"
    ]
    assert blank_lines(Scores.model_construct(metrics={"wql": None, "crps": None})) == []


def test_single_networks_that_are_better_than_the_model_are_said_in_a_line() -> None:
    members: list[dict[str, float | None]] = [
        {"mse": 1.0, "mae": 3.0, "accuracy": 0.8, "mse_raw": 10.0},
        {"mse": 2.0, "mae": 3.0, "mse_raw": 10.0},
    ]
    test = Scores.model_construct(
        metrics={"mse": 2.0, "mae": 3.0, "accuracy": 0.9, "mse_raw": 20.0}, beaten_by={}, members=members
    )

    assert in_words(test) == ["a single network is, on average, better than this model in mse: 1.500 against 2.000"]
    assert in_words(test.model_copy(update={"members": [{"mse": 1.99999, "accuracy": 0.900001}]})) == []  # shown alike
    test = test.model_copy(update={"members": [{"mse": 1.0, "mae": 2.0, "accuracy": 0.95}]})
    (line,) = in_words(test)
    assert line == "its network alone is better than this model in mse, mae and accuracy: 1.000 against 2.000 (mse)"


def test_the_columns_of_a_model_that_was_read_are_in_the_order_of_one_that_was_made() -> None:
    metrics = dict.fromkeys(("mse", "mae", "mse_raw", "mae_raw", "mase", "smape", "wql", "crps", "coverage_80"), 1.0)
    made, read = (
        Scores.model_construct(metrics=part, baselines={}, spread={})
        for part in (metrics, dict(sorted(metrics.items())))
    )

    assert [[column.header for column in table.columns] for table in score_tables(read)] == [
        [column.header for column in table.columns] for table in score_tables(made)
    ]

"""The median and percentile pruners: decisions are Optuna's, whatever is reported and however it ends."""

from __future__ import annotations

import math
import warnings

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import PercentilePruner
from optuna.trial import TrialState

from optlstm.study.percentile_pruner import ColumnPruner

VALUES = st.one_of(st.floats(-3, 3), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0]))
CURVES = st.lists(st.tuples(st.dictionaries(st.integers(1, 6), VALUES, max_size=6), st.booleans()), max_size=9)


@settings(max_examples=150, deadline=None)
@given(
    curves=CURVES,
    percentile=st.sampled_from([0.0, 25.0, 50.0, 60.0, 100.0]),
    startup=st.integers(0, 3),
    warmup=st.integers(0, 3),
    interval=st.integers(1, 3),
    least=st.integers(1, 3),
    direction=st.sampled_from(["minimize", "maximize"]),
)
def test_decisions_are_optunas(
    curves: list[tuple[dict[int, float], bool]],
    percentile: float,
    startup: int,
    warmup: int,
    interval: int,
    least: int,
    direction: str,
) -> None:
    ours = ColumnPruner(percentile, startup, warmup, interval, n_min_trials=least)
    theirs = PercentilePruner(percentile, startup, warmup, interval, n_min_trials=least)
    study = optuna.create_study(direction=direction)
    for curve, completes in curves:
        trial = study.ask()
        for step in sorted(curve):
            trial.report(curve[step], step)
            frozen = study.get_trials(deepcopy=False)[trial.number]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of values that are not finite
                assert ours.prune(study, frozen) == theirs.prune(study, frozen)
        if completes:
            study.tell(trial, 1.0)
        else:
            study.tell(trial, state=TrialState.FAIL)

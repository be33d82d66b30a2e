"""The objective under plain Optuna."""

from __future__ import annotations

import optuna

from optlstm.run.objective import Objective
from optlstm.study.declaration import parse_space
from tests.training.problems import Sine


def test_plain_optuna_optimizes_and_prunes_it() -> None:
    rate = {"learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}}
    space = parse_space(rate, {"learning_rate": 0.01, "window": 12, "patch": 3, "hidden_size": 6, "batch_size": 32})
    study = optuna.create_study(
        sampler=optuna.samplers.RandomSampler(seed=1), pruner=optuna.pruners.MedianPruner(n_startup_trials=1)
    )

    study.optimize(Objective(Sine(), space, 7, epochs=3, pruned=optuna.TrialPruned), n_trials=5)

    assert {t.state.name for t in study.trials} == {"COMPLETE", "PRUNED"}
    for trial in study.trials:
        complete = trial.state.name == "COMPLETE"
        assert len(trial.intermediate_values) == 3 if complete else trial.last_step < 3
        assert not complete or trial.value == min(trial.intermediate_values.values())

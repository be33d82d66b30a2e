"""Optuna's importances without scikit-learn."""

from __future__ import annotations

import sys

import optuna
import pytest

from optlstm.report.importance import optuna_importance


def test_importances_import_no_scikit_learn_and_leave_optunas_package_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = optuna.create_study()
    for k in range(12):
        params = {"x": k / 12, "y": (5 * k % 12) / 12}
        ranges = dict.fromkeys(params, optuna.distributions.FloatDistribution(0, 1))
        study.add_trial(optuna.create_trial(params=params, distributions=ranges, value=k))
    for name in [name for name in sys.modules if name.startswith(("sklearn", "optuna.importance"))]:
        monkeypatch.delitem(sys.modules, name)
    before = vars(optuna)["importance"]

    package = optuna_importance.__wrapped__()
    shares = package.get_param_importances(study, evaluator=package.PedAnovaImportanceEvaluator())

    assert max(shares, key=shares.__getitem__) == "x"
    assert not [name for name in sys.modules if name.startswith(("sklearn", "optuna.importance"))]
    assert vars(optuna)["importance"] is before

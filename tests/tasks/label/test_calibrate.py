"""What validation rows add to a classifier: a temperature where it helps, and a threshold between two classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from optlstm.tasks.label.calibrate import choose_threshold, fit_temperature, tempered
from optlstm.tasks.label.classes import Classes
from optlstm.tasks.label.scores import ALL, all_scores, classification_scores
from optlstm.training.focal import focal_loss
from optlstm.training.metric import Goal
from optlstm.util.arrays import Floats, Integers


def drawn(temperature: float, n: int = 2000, classes: int = 3) -> tuple[Floats, Integers]:
    """Probabilities of logits that are `temperature` times too large, and classes drawn by the right ones."""
    random = np.random.default_rng(0)
    right = np.exp(random.normal(0, 1.5, (n, classes)))
    right /= right.sum(axis=1, keepdims=True)
    codes = (right.cumsum(axis=1) < random.random((n, 1))).sum(axis=1)
    return tempered(right, 1 / temperature), codes


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_temperature_of_the_logits_comes_back_and_changes_no_likeliest_class(temperature: float) -> None:
    probabilities, codes = drawn(temperature)

    fitted = fit_temperature(probabilities, codes, np.arange(len(codes)))

    assert fitted is not None
    assert fitted.value == pytest.approx(temperature, rel=0.1)
    assert fitted.after < fitted.before == all_scores(probabilities, codes)["log_loss"]
    after = tempered(probabilities, fitted.value)
    assert (after.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    before, calibrated = all_scores(probabilities, codes)["ece"], all_scores(after, codes)["ece"]
    assert before is not None
    assert calibrated is not None
    assert calibrated < before / 3


def test_probabilities_that_are_right_stay_and_so_do_those_of_few_rows() -> None:
    assert fit_temperature(*drawn(1.0), np.arange(2000)) is None
    probabilities, codes = drawn(3.0, n=19)
    assert fit_temperature(probabilities, codes, np.arange(19)) is None


def test_rows_of_few_sequences_are_few() -> None:
    probabilities, codes = drawn(3.0)

    assert fit_temperature(probabilities, codes, np.arange(2000) // 110) is None
    assert fit_temperature(probabilities, codes, np.arange(2000) // 100) is not None


def test_rows_that_are_all_right_do_not_make_probabilities_certain() -> None:
    codes = np.arange(40) % 2
    probabilities = np.where(np.eye(2)[codes] == 1, 0.8, 0.2)

    fitted = fit_temperature(probabilities, codes, np.arange(len(codes)))

    assert fitted is not None
    assert tempered(probabilities, fitted.value).max() == pytest.approx(41 / 42, abs=1e-3)


def test_the_threshold_is_the_best_of_the_metric() -> None:
    second = np.array([0.1, 0.2, 0.25, 0.3, 0.35, 0.4])
    codes, probabilities = np.array([0, 0, 0, 1, 1, 1]), np.stack([1 - second, second], axis=1)

    chosen = choose_threshold(probabilities, codes, "macro_f1")

    assert chosen.value == pytest.approx(0.275)
    assert (chosen.before, chosen.after) == (pytest.approx(1 / 3), 1.0)
    assert all_scores(probabilities, codes, chosen.value)["accuracy"] == 1.0
    assert all_scores(probabilities, codes)["accuracy"] == 0.5


@pytest.mark.parametrize("asked", [None, "accuracy"])
def test_a_threshold_that_was_asked_for_and_is_no_better_is_said(asked: str | None) -> None:
    output, truth = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])

    target = Classes(names=("a", "b")).held_out(output, truth, Goal(None, ("accuracy",), asked), np.arange(2))

    line = "threshold: 'b' from a probability of 0.5 on; no other is better in accuracy on validation rows (1)"
    assert target.lines() == ([line] if asked else [])


@pytest.mark.parametrize("classes", [2, 3])
def test_metrics_of_probabilities_are_those_of_scikit_learn(classes: int) -> None:
    from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

    probabilities, codes = drawn(2.0, 300, classes)

    scores = classification_scores(probabilities, codes, ALL)

    given = probabilities[:, 1] if classes == 2 else probabilities
    assert scores["auc"] == pytest.approx(roc_auc_score(codes, given, multi_class="ovr"))
    assert scores["average_precision"] == pytest.approx(average_precision_score(codes, given))
    assert scores["brier"] == pytest.approx(brier_score_loss(codes, given))
    assert list(classification_scores(probabilities, codes)) == list(ALL[:4])  # in training only what costs nothing


def test_the_calibration_error_by_hand_and_what_one_class_does_not_define() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.38, 0.62]])

    scores = all_scores(probabilities, np.array([0, 0, 0, 0]))

    assert scores["ece"] == pytest.approx((2 * 0.1 + 0.6 + 0.62) / 4)
    assert scores["auc"] is scores["average_precision"] is None


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 4.0, 0.5])])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_focal_loss_is_cross_entropy_times_the_square_of_what_is_missed(
    weight: torch.Tensor | None, smoothing: float
) -> None:
    torch.manual_seed(0)
    scores, codes = torch.randn(20, 3), torch.arange(20) % 3
    logs = F.log_softmax(scores, dim=1)
    missed = (1 - logs.exp()).square().detach()

    loss = focal_loss(scores, codes, weight, smoothing)

    sure = torch.where(F.one_hot(codes, 3) == 1, 40.0, -40.0)
    assert focal_loss(sure, codes, weight, 0.0) == 0
    # `nll_loss` of logs times `missed` has the weights and the mean of `F.cross_entropy`.
    of_true = F.nll_loss(missed * logs, codes, weight)
    if smoothing == 0:
        assert loss.item() == pytest.approx(of_true.item())
    ones = torch.ones(3) if weight is None else weight
    spread = -(missed * logs * ones).sum() / 3 / ones[codes].sum()
    assert loss.item() == pytest.approx(((1 - smoothing) * of_true + smoothing * spread).item())

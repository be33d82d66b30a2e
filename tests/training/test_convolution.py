"""The convolutions beside an LSTM."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optlstm.training.classifier import SequenceClassifier
from optlstm.training.convolution import BatchNorm, ConvolutionBranch
from tests.training.test_lengths import hyperparameters


def test_statistics_are_those_of_torch_where_nothing_is_padding() -> None:
    torch.manual_seed(1)
    ours, theirs = BatchNorm(3), nn.BatchNorm1d(3)
    for _ in range(2):
        x = 5 + 2 * torch.randn(4, 3, 6)
        torch.testing.assert_close(ours(x, None), theirs(x))

    torch.testing.assert_close(ours.mean, theirs.running_mean)
    torch.testing.assert_close(
        ours.eval()(x, None), theirs.eval()(x), rtol=0.02, atol=0.02
    )  # its variance: n / (n - 1)


def test_padding_is_in_no_statistic() -> None:
    torch.manual_seed(2)
    alone, padded = BatchNorm(3), BatchNorm(3)
    x = torch.randn(2, 3, 5)
    inside = torch.tensor([True] * 5 + [False] * 4).expand(2, 1, 9)

    out = padded(torch.cat([x, torch.full((2, 3, 4), 1e6)], dim=2), inside)

    torch.testing.assert_close(out[:, :, :5], alone(x, None))
    torch.testing.assert_close(padded.mean, alone.mean)
    torch.testing.assert_close(padded.variance, alone.variance)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_batch_may_be_one_short_sequence(steps: int) -> None:
    branch = ConvolutionBranch(2, 3, filters=4, stride=2, dropout=0.0)

    for lengths in (None, torch.tensor([steps])):
        scores = branch(torch.randn(1, steps, 2), lengths)
        scores.sum().backward()
        assert scores.isfinite().all()


def test_in_training_most_sequences_have_the_scores_of_the_convolutions_alone() -> None:
    torch.manual_seed(3)
    network = SequenceClassifier(hyperparameters(conv_filters=2), channels=1, classes=2)
    x = torch.randn(1, 8, 1).expand(1000, 8, 1)

    by_lstm = (network(x) - network.convolution(x)).norm(dim=1)  # type: ignore[misc]

    alone = (by_lstm - network.head.bias.norm()).abs() < 1e-6
    assert 0.75 < alone.float().mean() < 0.85
    assert by_lstm[~alone].unique().numel() < 10  # the others have one LSTM's, to a rounding error

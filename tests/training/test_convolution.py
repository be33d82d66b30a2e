"""The convolutions beside an LSTM."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optlstm.training.classifier import SequenceClassifier
from optlstm.training.convolution import BatchNorm, ConvolutionBranch
from tests.training.test_lengths import hyperparameters


@pytest.mark.parametrize(("channels", "stride"), [(1, 1), (2, 3)])
def test_the_layers_are_torchs_convolutions_and_batch_norms(channels: int, stride: int) -> None:
    torch.manual_seed(1)
    branch = ConvolutionBranch(channels, 3, filters=4, stride=stride, dropout=0.0)
    theirs = nn.Sequential(
        *(part for conv in branch.layers for part in (conv, nn.BatchNorm1d(conv.out_channels), nn.ReLU()))
    )

    for _ in range(2):
        x = 5 + 2 * torch.randn(6, 40, channels)
        torch.testing.assert_close(branch(x), branch.head(theirs(x.transpose(1, 2)).mean(dim=2)))
    for ours, norm in zip(branch.norms, theirs[1::3], strict=True):
        torch.testing.assert_close(ours.mean, norm.running_mean)
        norm.running_var.copy_(ours.variance)  # theirs: n / (n - 1) of it
    torch.testing.assert_close(branch.eval()(x), branch.head(theirs.eval()(x.transpose(1, 2)).mean(dim=2)))


def test_padding_is_in_no_statistic() -> None:
    torch.manual_seed(2)
    alone, padded = BatchNorm(3), BatchNorm(3)
    x = torch.randn(2, 3, 1, 5)
    inside = torch.tensor([True] * 5 + [False] * 4).expand(2, 1, 1, 9)

    out = padded(torch.cat([x, torch.full((2, 3, 1, 4), 1e6)], dim=3), inside)

    torch.testing.assert_close(out[..., :5], alone(x, None))
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
    x = torch.randn(1, 8, 1).repeat(1000, 1, 1)

    by_lstm = (network(x) - network.convolution(x)).norm(dim=1)  # type: ignore[misc]

    alone = (by_lstm - network.head.bias.norm()).abs() < 1e-6
    assert 0.75 < alone.float().mean() < 0.85
    assert by_lstm[~alone].unique().numel() < 10  # the others have one LSTM's, to a rounding error

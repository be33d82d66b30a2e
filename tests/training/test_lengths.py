"""Sequences of different lengths in one batch: nothing of one reaches another, and padding changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optlstm.training.classifier import SequenceClassifier, TextClassifier
from optlstm.training.hparams import Hyperparameters
from optlstm.training.lengths import run_lstm

POOLINGS = ["last", "mean", "max"]


def hyperparameters(**changes: object) -> Hyperparameters:
    return Hyperparameters.from_params({"hidden_size": 6, "num_layers": 2, "window_norm": "none", **changes})


@pytest.mark.parametrize("layers", [1, 2])
def test_both_directions_read_each_sequence_as_if_it_were_alone(layers: int) -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(3, 5, layers, batch_first=True, bidirectional=True)
    x, lengths = torch.randn(4, 9, 3), torch.tensor([9, 1, 4, 6])

    out = run_lstm(lstm, x, lengths, 0.0)

    for i, length in enumerate(lengths.tolist()):
        alone = lstm(x[i : i + 1, :length])[0][0]
        torch.testing.assert_close(out[i, :length], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("convolutions", [{}, {"conv_filters": 2}, {"conv_filters": 3, "conv_stride": 4}])
@pytest.mark.parametrize("norm", ["none", "last", "mean_std"])
@pytest.mark.parametrize("patch", [1, 3])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_sequence_does_not_change_when_longer_ones_join_its_batch(
    pooling: str, bidirectional: bool, patch: int, norm: str, convolutions: dict[str, int]
) -> None:
    torch.manual_seed(1)
    hp = hyperparameters(pooling=pooling, bidirectional=bidirectional, patch=patch, window_norm=norm, **convolutions)
    network = SequenceClassifier(hp, channels=2, classes=3)
    network(torch.randn(5, 9, 2))  # statistics of convolutions that are not those of nothing
    network.eval()
    short, long = torch.randn(1, 4, 2), torch.randn(2, 11, 2)
    padded = torch.full((1, 11, 2), 1e6)  # whatever stands behind the end
    padded[:, :4] = short

    with torch.no_grad():
        alone = network(short, torch.tensor([4]))
        together = network(torch.cat([padded, long]), torch.tensor([4, 11, 7]))

    torch.testing.assert_close(together[:1], alone, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(together[1], together[0])


@pytest.mark.parametrize("upper", [3, 9])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_layers_of_different_widths_are_pooled_as_without_padding(
    pooling: str, bidirectional: bool, upper: int
) -> None:
    torch.manual_seed(1)
    hp = hyperparameters(pooling=pooling, bidirectional=bidirectional, hidden_size_2=upper)
    network = SequenceClassifier(hp, channels=2, classes=3).eval()
    x = torch.randn(2, 11, 2)

    with torch.no_grad():
        alone = [network(x[i : i + 1, :length]) for i, length in enumerate((11, 4))]  # of one length, all steps given
        together = network(x, torch.tensor([11, 4]))

    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_text_does_not_change_when_longer_ones_join_its_batch(pooling: str, bidirectional: bool) -> None:
    torch.manual_seed(2)
    hp = hyperparameters(pooling=pooling, bidirectional=bidirectional, embedding_dim=4)
    network = TextClassifier(hp, vocabulary=20, classes=3).eval()
    tokens = torch.randint(2, 20, (2, 8))
    padded = torch.cat([tokens[:1, :3], torch.zeros(1, 5, dtype=tokens.dtype)], dim=1)

    with torch.no_grad():
        alone = network(tokens[:1, :3])
        together = network(torch.cat([padded, tokens[1:]]), torch.tensor([3, 8]))

    torch.testing.assert_close(together[:1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("conv_filters", [0, 2])
def test_no_gradient_comes_from_padding(conv_filters: int) -> None:
    torch.manual_seed(3)
    hp = hyperparameters(pooling="max", bidirectional=True, conv_filters=conv_filters)
    network = SequenceClassifier(hp, channels=1, classes=2)
    x = torch.randn(2, 6, 1, requires_grad=True)

    network(x, torch.tensor([2, 6])).sum().backward()

    assert x.grad is not None
    assert torch.count_nonzero(x.grad[0, 2:]) == 0
    assert torch.count_nonzero(x.grad[0, :2]) == 2


def test_recurrent_dropout_is_for_training() -> None:
    torch.manual_seed(4)
    hp = hyperparameters(bidirectional=True, recurrent_dropout=0.5)
    network = SequenceClassifier(hp, channels=1, classes=2)
    x, lengths = torch.randn(3, 5, 1), torch.tensor([5, 2, 3])

    assert not torch.equal(network.train()(x, lengths), network(x, lengths))
    assert torch.equal(network.eval()(x, lengths), network(x, lengths))


def test_input_noise_is_for_training_and_of_the_asked_size() -> None:
    network = SequenceClassifier(hyperparameters(input_noise=0.5), channels=1, classes=2)
    x, lengths = torch.randn(3, 5, 1), torch.tensor([5, 2, 3])

    torch.manual_seed(5)
    noisy = network.train()(x, lengths)
    torch.manual_seed(5)
    by_hand = network.eval()(x + 0.5 * torch.randn(3, 5, 1), lengths)

    assert torch.equal(noisy, by_hand)
    assert not torch.allclose(noisy, network(x, lengths))

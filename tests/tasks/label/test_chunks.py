"""Long records in chunks: every step once, each with its context, and padding and joins change no output."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from optlstm.tasks.label.chunks import Chunks
from optlstm.training.classifier import SequenceLabeller
from optlstm.training.hparams import Hyperparameters


@pytest.mark.parametrize("causal", [False, True])
def test_every_step_is_kept_once_and_has_read_its_context(causal: bool) -> None:
    for steps in range(1, 60):
        starts = np.array([3, 3 + steps, 10 + steps])
        chunks = Chunks.of(starts, causal, chunk=10, context=3)
        rows, _ = chunks.kept(np.arange(len(chunks.record)))
        assert rows.tolist() == list(range(3, 10 + steps))
        for record, first, length, begin, end in zip(
            chunks.record, chunks.first, chunks.lengths, chunks.begin, chunks.end, strict=True
        ):
            assert starts[record] <= first < first + length <= starts[record + 1]
            assert length <= 10
            assert begin >= min(3, first - starts[record])
            assert causal or length - end >= min(3, starts[record + 1] - first - length)


def test_what_follows_moves_no_causal_chunk() -> None:
    short, long = (Chunks.of(np.array([0, steps]), causal=True, chunk=10, context=3) for steps in (25, 40))

    assert short.first.tolist() == long.first[: len(short.first)].tolist() == [0, 7, 14, 21]


@pytest.mark.parametrize("hp", [{"num_layers": 2, "bidirectional": True}, {"bidirectional": False}, {"patch": 4}])
def test_what_is_behind_a_sequence_changes_nothing(hp: dict[str, object]) -> None:
    torch.manual_seed(0)
    params = Hyperparameters.from_params({"hidden_size": 8, "window_norm": "none", **hp})
    network, x = SequenceLabeller(params, channels=2, outputs=3).eval(), torch.randn(3, 20, 2)
    lengths = torch.tensor([20, 13, 6])

    with torch.no_grad():
        together = network(x, lengths)
        noise = network(torch.where((torch.arange(20) < lengths[:, None])[:, :, None], x, torch.tensor(9.0)), lengths)
        alone = [network(x[i : i + 1, :n])[0] for i, n in enumerate(lengths.tolist())]

    for i, n in enumerate(lengths.tolist()):
        assert torch.equal(together[i, :n], noise[i, :n])
        torch.testing.assert_close(together[i, :n], alone[i], rtol=1e-5, atol=1e-6)


def test_a_causal_network_knows_nothing_of_later_steps() -> None:
    params = Hyperparameters.from_params({"hidden_size": 8, "window_norm": "none", "num_layers": 2})
    network, x = SequenceLabeller(params, channels=2, outputs=3).eval(), torch.randn(1, 20, 2)
    later = x.clone()
    later[:, 12:] += 5

    with torch.no_grad():
        torch.testing.assert_close(network(x)[:, :12], network(later)[:, :12], rtol=0, atol=0)


def test_an_exported_graph_takes_any_batch() -> None:
    params = Hyperparameters.from_params({"hidden_size": 4, "window_norm": "none", "bidirectional": True})
    network, dynamic = SequenceLabeller(params, channels=2, outputs=3).eval(), {0: torch.export.Dim("batch", min=1)}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of what it does itself
        program = torch.export.export(network, (torch.zeros(2, 8, 2),), dynamic_shapes=(dynamic,))

    x = torch.randn(5, 8, 2)
    torch.testing.assert_close(program.module()(x), network(x))

"""Recurrent layers that train in bfloat16: they do so while they train alone, and resume bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from optlstm.training import precision
from optlstm.training.loop import Epoch, State, fit
from optlstm.training.precision import faster_precision, recurrent_layers_in
from tests.training.problems import Sine, params

HP = params(hidden_size=64, num_layers=2, dropout=0.2, recurrent_dropout=0.2, linear_skip=True, window_norm="last")


def train(precision: str, state: State | None = None) -> list[Epoch]:
    return list(fit(Sine(), HP, epochs=4, patience=None, seed=1, state=state, precision=precision))


def test_resuming_after_any_epoch_changes_not_one_bit() -> None:
    whole = train("bf16")

    for stop in (1, 2, 3):
        rest = train("bf16", whole[stop - 1].state)
        assert [(e.value, e.train_loss) for e in rest] == [(e.value, e.train_loss) for e in whole[stop:]]
        ends = rest[-1].state.tensors, whole[-1].state.tensors
        assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_what_is_learnt_is_near_to_that_of_fp32_and_kept_in_float32() -> None:
    epochs = {name: train(name) for name in ("fp32", "bf16")}

    assert epochs["bf16"][-1].value != epochs["fp32"][-1].value
    assert epochs["bf16"][-1].value == pytest.approx(epochs["fp32"][-1].value, rel=0.05)
    kept = {tensor.dtype for name, tensor in epochs["bf16"][-1].state.tensors.items() if name.startswith("network.")}
    assert kept == {torch.float32}


class Layers(nn.Module):
    """As a custom network may have them; it fails where it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.LSTM(3, 64, batch_first=True), nn.GRU(64, 64, batch_first=True)])
        self.head = nn.Linear(64, 1)

    def forward(self, x: torch.Tensor, fails: bool = False) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)[0]
            assert x.dtype == torch.float32
        if fails:
            raise ValueError
        out: torch.Tensor = self.head(x)
        return out


def test_only_recurrent_layers_compute_in_bf16_and_only_inside() -> None:
    network, x = Layers(), torch.rand(2, 5, 3)
    before = network(x)

    with recurrent_layers_in("bf16", network):
        inside = network(x)
        again = network(x)
    with pytest.raises(ValueError), recurrent_layers_in("bf16", network):
        network(x, fails=True)

    assert torch.equal(inside, again)
    assert not torch.equal(inside, before)
    torch.testing.assert_close(inside, before, rtol=0.02, atol=0.02)
    assert torch.equal(network(x), before)


def test_few_units_and_steps_stay_in_float32_and_packed_sequences_are_counted() -> None:
    lstm, x = nn.LSTM(3, 32), torch.rand(16, 2, 3)
    few, many = x[:7], pack_padded_sequence(x, torch.tensor([16, 3]))
    before = lstm(few)[0], lstm(many)[0].data

    with recurrent_layers_in("bf16", lstm):
        inside = lstm(few)[0], lstm(many)[0].data

    assert torch.equal(inside[0], before[0])
    assert inside[1].dtype == torch.float32
    assert not torch.equal(inside[1], before[1])


@pytest.mark.parametrize(("bf16_s", "expected"), [(0.5, "bf16"), (0.95, "fp32"), (2.0, "fp32")])
def test_bf16_is_taken_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, bf16_s: float, expected: str
) -> None:
    def step_s(lstm: Any, _: Any) -> float:
        return bf16_s if "forward" in vars(lstm) else 1.0

    monkeypatch.setattr(precision, "_step_s", step_s)
    before = torch.get_rng_state()

    assert faster_precision(torch.device("cpu")) == expected
    assert torch.equal(torch.get_rng_state(), before)

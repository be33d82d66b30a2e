"""Learning-rate factors at the steps where they are known."""

from __future__ import annotations

import pytest
import torch

from optlstm.training.schedule import lr_factor, plateau_factor


def test_one_cycle_is_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=51)
    expected = []
    for _ in range(51):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 51:
            scheduler.step()

    ours = [lr_factor("one_cycle", step, 51) for step in range(51)]

    # torch peaks at step 0.3 * 51 - 1, we at 0.3 * 50: less than half a step apart
    assert ours[0] == pytest.approx(expected[0])
    assert ours[-1] == pytest.approx(expected[-1])
    assert ours == pytest.approx(expected, abs=0.06)
    assert max(ours) == 1.0


def test_warmup_climbs_to_one_and_cosine_falls_to_nothing() -> None:
    factors = [lr_factor("cosine", step, 100, warmup=0.1) for step in range(101)]

    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0)


def test_constant_stays() -> None:
    assert {lr_factor("constant", step, 10) for step in range(10)} == {1.0}


def test_plateau_halves_after_two_epochs_without_a_new_best() -> None:
    values = [5.0, 4.0, 4.0, 4.5, 4.5, 4.5, 3.0, 3.5]

    factors = [plateau_factor(values[:n]) for n in range(len(values) + 1)]

    assert factors == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert lr_factor("plateau", 7, 100, values=values) == 0.25


def test_one_step_and_unknown_names() -> None:
    assert 0 < lr_factor("one_cycle", 0, 1) <= 1
    with pytest.raises(ValueError, match="unknown learning-rate schedule 'cosin'"):
        lr_factor("cosin", 0, 10)

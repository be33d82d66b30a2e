"""What a custom objective is given: checkpoints, reports, attributes, and what it says where they cannot be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optlstm.backends.trial import Decision
from optlstm.errors import StopTrial, TrialFailed
from optlstm.run.custom_checkpoint import Saved
from optlstm.run.custom_trial import Trial, track
from optlstm.training.checkpoints import write_checkpoint
from optlstm.util.files import trial_folder
from tests.backends.contract import INLINE, Studies
from tests.run.custom import Killed, custom_trial, plan_of, run


def test_what_was_saved_is_what_is_loaded_and_nothing_is_pickled(studies: Studies, tmp_path: Path) -> None:
    file = tmp_path / "saving.py"
    file.write_text(
        "import numpy as np, torch\n"
        "def space(trial):\n    return {'x': trial.suggest_float('x', 0, 1)}\n"
        "def objective(trial, params):\n"
        "    assert trial.load_checkpoint() is None\n"
        "    trial.save_checkpoint(1, {'a': np.arange(3), 'b': torch.ones(2)}, {'note': 'kept'})\n"
        "    saved = trial.load_checkpoint()\n"
        "    assert (saved.epoch, saved.meta) == (1, {'note': 'kept'})\n"
        "    assert isinstance(saved.arrays['a'], np.ndarray) and saved.arrays['a'].dtype == np.int64\n"
        "    assert isinstance(saved.arrays['b'], torch.Tensor)\n"
        "    trial.set_user_attr('seed', trial.seed)\n"
        "    return params['x']\n"
    )
    ledger = run(studies, "saving", plan_of(file), tmp_path / "saved", 2, INLINE)
    assert ledger.counts == {"COMPLETE": 2}
    assert len({trial.user_attrs["seed"] for trial in ledger.trials}) == 2


def test_killed_between_a_checkpoint_and_its_report_the_value_is_reported_when_the_trial_is_resumed(
    tmp_path: Path,
) -> None:
    reports: list[tuple[int, float]] = []
    before = custom_trial(tmp_path, reports, Decision.CONTINUE, last_epoch=0)
    for epoch in (1, 2):
        before.save_checkpoint(epoch, meta={"at": epoch})
        before.report(epoch / 10, epoch)
    before.save_checkpoint(3, meta={"at": 3})  # killed here

    again = custom_trial(tmp_path, reports, None, last_epoch=2)
    saved = again.load_checkpoint()
    assert saved is not None
    assert (saved.epoch, saved.meta) == (2, {"at": 2})  # epoch 3 is trained again: nobody knows its value
    again.save_checkpoint(3, meta={"at": 3})
    with pytest.raises(Killed):
        again.report(0.3, 3)

    last = custom_trial(tmp_path, reports, Decision.CONTINUE, last_epoch=2)
    saved = last.load_checkpoint()
    assert saved is not None
    assert saved.epoch == 3
    assert reports == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_the_pruner_is_asked_about_a_value_that_the_study_lacked(tmp_path: Path) -> None:
    reports: list[tuple[int, float]] = []
    before = custom_trial(tmp_path, reports, None, last_epoch=0)
    before.save_checkpoint(1)
    with pytest.raises(Killed):
        before.report(0.5, 1)

    again = custom_trial(tmp_path, reports, Decision.END, last_epoch=0)
    with pytest.raises(StopTrial):
        again.load_checkpoint()
    assert (reports, again.should_prune()) == ([(1, 0.5)], True)


@pytest.mark.parametrize(
    "meta", [{}, {"numpy": None, "meta": {}}, {"numpy": [], "meta": 3}, {"numpy": [], "meta": {}, "values": {"x": 1}}]
)
def test_a_checkpoint_of_another_kind_fails_the_trial_and_says_so(tmp_path: Path, meta: dict[str, Any]) -> None:
    """Found by scripts/fuzz."""
    trial = custom_trial(tmp_path, [], Decision.CONTINUE, last_epoch=1)
    write_checkpoint(trial_folder(tmp_path, 0), 1, {}, meta)
    with pytest.raises(TrialFailed, match="epoch 1 is none that save_checkpoint wrote"):
        trial.load_checkpoint()


def test_a_checkpoint_of_the_first_versions_is_loaded(tmp_path: Path) -> None:
    trial = custom_trial(tmp_path, [], Decision.CONTINUE, last_epoch=2)
    tensors = {"a": torch.arange(3), "b": torch.ones(2)}
    write_checkpoint(trial_folder(tmp_path, 0), 2, tensors, {"meta": {"note": 1}, "numpy": ["a"], "values": {"2": 0.5}})
    saved = trial.load_checkpoint()
    assert saved is not None
    assert (saved.epoch, saved.meta, saved.value) == (2, {"note": 1}, 0.5)
    assert {name: type(array) for name, array in saved.arrays.items()} == {"a": np.ndarray, "b": torch.Tensor}


def test_a_checkpoint_without_a_report_is_kept_when_the_objective_returns(studies: Studies, tmp_path: Path) -> None:
    file = tmp_path / "silent.py"
    file.write_text(
        "def space(trial):\n    return {}\n"
        "def objective(trial, params):\n    trial.save_checkpoint(4, meta={'note': 'kept'})\n    return 1.0\n"
    )
    run(studies, "silent", plan_of(file), tmp_path / "silent", 1, INLINE)
    newest = Saved.newest(tmp_path / "silent" / "trial-00000")
    assert newest is not None
    assert (newest.epoch, newest.meta) == (4, {"note": "kept"})


def test_an_attribute_that_the_study_could_not_read_again_fails_its_trial(studies: Studies, tmp_path: Path) -> None:
    file = tmp_path / "member.py"
    file.write_text(
        "def space(trial):\n    return {}\n"
        "def objective(trial, params):\n    trial.set_user_attr('member', 'x')\n    return 1.0\n"
    )
    ledger = run(studies, "member", plan_of(file), tmp_path / "member", 1, INLINE)
    assert ledger.trials[0].user_attrs["reason"] == "TypeError: set_user_attr('member'): must be a whole number"


def test_a_value_that_json_cannot_hold_fails_its_trial_at_the_call(studies: Studies, tmp_path: Path) -> None:
    file = tmp_path / "attributes.py"
    file.write_text(
        "def space(trial):\n    return {}\n"
        "def objective(trial, params):\n"
        "    later = {'a': (1, 2)}\n"
        "    trial.set_user_attr('kept', later)\n"
        "    later['b'] = object()\n"
        "    if trial.number == 0:\n        trial.set_user_attr('k', object())\n"
        "    if trial.number == 1:\n        trial.set_user_attr('k' * 513, 1)\n"
        "    return 1.0\n"
    )
    ledger = run(studies, "attrs", plan_of(file), tmp_path / "attrs", 3, INLINE)
    reasons = [trial.user_attrs.get("reason") for trial in ledger.trials]
    assert reasons[0] == (
        "TypeError: set_user_attr('k'): the value must be one that JSON holds: Object of type object is not JSON"
        " serializable"
    )
    assert reasons[1].startswith("TypeError: set_user_attr('kkk")
    assert reasons[1].endswith("a key is 1 to 512 printable characters")
    assert ledger.trials[2].user_attrs["kept"] == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("trial.report(1.0, -1)", "report(value, step): steps are whole numbers from 0, got -1"),
        ("trial.report(1.0, 0.5)", "report(value, step): steps are whole numbers from 0, got 0.5"),
        ("trial.report(1.0, 1); trial.report(1.0, 0)", "report(value, step): steps are whole numbers from 1, got 0"),
        ("trial.set_user_attr('a', 1)", "the objective returned None, and has reported no value"),
    ],
)
def test_a_report_of_what_is_no_epoch_fails_the_trial_and_says_so(
    studies: Studies, tmp_path: Path, report: str, expected: str
) -> None:
    file = tmp_path / "zero.py"
    file.write_text(f"def space(trial):\n    return {{}}\ndef objective(trial, params):\n    {report}\n")
    ledger = run(studies, "zero", plan_of(file), tmp_path / "zero", 1, INLINE)
    assert ledger.trials[0].user_attrs["reason"] == expected


def test_a_value_that_is_not_finite_ends_the_trial_at_its_report(studies: Studies, tmp_path: Path) -> None:
    file = tmp_path / "diverges.py"
    file.write_text(
        "def objective(trial):\n"
        "    for epoch in range(1, 4):\n"
        "        trial.set_user_attr('reached', epoch)\n"
        "        print('epoch', epoch)\n"
        "        trial.report(float('nan') if epoch == 2 else 1.0, epoch)\n"
        "    return 1.0\n"
    )
    ledger = run(studies, "diverges", plan_of(file), tmp_path / "diverges", 1, INLINE)
    assert ledger.trials[0].user_attrs["reason"] == "the validation value is nan at epoch 2"
    assert ledger.counts == {"FAIL": 1}
    log = (tmp_path / "diverges" / "logs" / "trial-00000.txt").read_text()
    assert "epoch 3" not in log
    assert log.endswith("TrialDiverged: the value is nan after epoch 2\n")


@pytest.mark.parametrize("function", [lambda trial: trial.track, lambda trial: partial(track, trial)])
def test_what_track_cannot_keep_is_said_at_once(tmp_path: Path, function: Callable[[Trial], Any]) -> None:
    call = function(custom_trial(tmp_path, [], Decision.CONTINUE, 0))
    for arguments in ((torch.nn.Linear(1, 1),), (0, torch.nn.Linear(1, 1))):
        with pytest.raises(TypeError, match=r"track: what it keeps has a name, track\(model=model, optimizer=opt"):
            call(*arguments)
    with pytest.raises(
        TypeError, match=r"track\(models=...\): models.0 is of type Linear, which is not kept; .* one by one"
    ):
        call(models=[torch.nn.Linear(1, 1)])

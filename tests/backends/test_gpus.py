"""Trials on GPUs, which are simulated: what counts is what each worker's own environment names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from optlstm.backends.driver import Run
from optlstm.backends.local import gpus, worker
from optlstm.backends.local.gpus import Gpus, Share, gpus_for, trials_on_one, visible_gpus
from optlstm.backends.local.runner import _Pool, run_local
from optlstm.backends.trial import Job
from optlstm.config.schema import RayConfig
from optlstm.errors import InputError
from tests.backends.contract import Studies, job
from tests.backends.objectives import Curve
from tests.conftest import Cli


def seen(studies: Studies) -> Counter[str]:
    """How many trials each GPU had, as their workers saw them."""
    return Counter(trial.user_attrs["gpus"] for trial in studies.ledger(pruner="none").trials)


def test_eight_trials_of_a_quarter_use_both_gpus(
    studies: Studies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gpus.VARIABLE, "2,5")
    there = gpus_for(0.25)
    assert there.places == 8
    run_local(Run(studies.ledger(pruner="none"), 8), job(together=8, first_time=str(tmp_path)), 8, gpus=there)
    assert seen(studies) == {"2": 4, "5": 4}


def make_measured(data: dict[str, Any]) -> Curve:
    """In a worker: its trials take two fifths of a GPU's memory."""
    worker.gpus.memory_share = lambda: 0.4  # type: ignore[assignment]
    return Curve(trouble={}, **data)


def test_the_first_trial_decides_how_many_share_a_gpu(studies: Studies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "visible_gpus", lambda: ["0", "1"])
    run, lines = Run(studies.ledger(pruner="none"), 6), list[str]()
    run.announce = lines.append
    pool = _Pool(run, Job(make_measured, {}), gpus=gpus_for("auto"))
    pool.work(8)
    assert lines == ["the first trial took 40 % of a GPU's memory: 2 fit on each of 2 GPUs, 4 at a time"]
    assert Counter(worker.gpus for worker in pool.workers) == {"0": 2, "1": 2}


@pytest.mark.parametrize(
    ("share", "device", "expected"),
    [
        (None, "auto", Gpus(("0", "1", "2", "3"))),
        (None, "cuda:1", Gpus()),
        (None, "cpu", Gpus()),
        (0, "auto", Gpus(("",))),
        (0.3, "cuda", Gpus(("0", "1", "2", "3"), 12)),
        (1, "auto", Gpus(("0", "1", "2", "3"), 4)),
        (2, "auto", Gpus(("0,1", "2,3"), 2)),
        ("auto", "auto", Gpus(("0", "1", "2", "3"), measures=True)),
    ],
)
def test_shares_and_places(share: Share, device: str, expected: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "visible_gpus", lambda: ["0", "1", "2", "3"])
    assert gpus_for(share, device) == expected


def test_gpus_are_counted_as_cuda_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, names in (("", []), ("1, GPU-8f,-1,0", ["1", "GPU-8f"])):
        monkeypatch.setenv(gpus.VARIABLE, given)
        assert visible_gpus() == names
    monkeypatch.delenv(gpus.VARIABLE)
    monkeypatch.setattr(gpus, "_DRIVER", tmp_path)
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    assert visible_gpus() == ["0", "1"]
    assert [trials_on_one(share) for share in (0.9, 0.4, 0.05)] == [1, 2, 16]


def test_a_share_of_no_gpu_is_refused_before_anything_is_made(cli: Cli) -> None:
    refused = cli("study", "tiny.toml", "--gpus-per-trial", "0.5")
    assert (refused.code, refused.lines) == (
        2,
        ["--gpus-per-trial: a trial asks for 0.5 GPU, and this machine has 0; 0 keeps to CPUs"],
    )
    assert not Path("runs").exists()
    with pytest.raises(InputError, match=r"training\.device is cpu"):
        gpus_for(0.5, "cpu")


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_on_ray_a_trial_takes_one_gpu_where_there_are_any_and_a_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from optlstm.backends.ray import runner

    monkeypatch.setattr(runner, "gpus_now", lambda: 2.0)
    monkeypatch.setattr(runner, "check_room", lambda _: None)
    for asked, resources, notes in (
        (None, {"cpu": 1, "gpu": 1}, 1),
        (0, {"cpu": 1}, 0),
        (0.5, {"cpu": 1, "gpu": 0.5}, 0),
    ):
        with runner.prepared(RayConfig.model_validate({"gpus_per_trial": asked}), None, None) as there:
            assert there.config.resources == resources
            assert len(there.notes) == notes
    with pytest.raises(InputError, match="auto: is for --backend local"):
        runner.prepared(RayConfig.model_validate({"gpus_per_trial": "auto"}), None, None).__enter__()

"""Trackers hold what the study holds, on every backend, and are read back by their own readers where they have one."""

from __future__ import annotations

import itertools
import json
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from optlstm.training.checkpoints import CheckpointWriter
from optlstm.util.extras import install
from tests.conftest import URL, Cli

ALL = ("--track", "tensorboard", "--track", "mlflow", "--track", "wandb")
STUDY = ("study", "tiny.toml", "--quiet", "--epochs", 4, "--set", "pruner.n_startup_trials=1")
Curves = dict[int, dict[int, float]]


def study_trials() -> list[FrozenTrial]:
    return optuna.load_study(study_name="tiny", storage=URL).trials


def study_curves() -> Curves:
    return {t.number: t.intermediate_values for t in study_trials()}


def study_folder() -> Path:
    (folder,) = Path("runs").glob("tiny-*/")
    return folder


def tensorboard_curves() -> Curves:
    """By TensorBoard's own reader; a step that is there twice fails."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found: Curves = {}
    for folder in sorted(study_folder().glob("tensorboard/trial-*")):
        reader = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()  # all of them, no sample
        events = reader.Tensors("mse")
        assert len({e.step for e in events}) == len(events)
        found[int(folder.name[6:])] = {e.step: float(make_ndarray(e.tensor_proto)) for e in events}
    return found


def mlflow_runs() -> tuple[Any, dict[str, Any]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{study_folder().absolute()}/mlflow.db")
    experiment = client.get_experiment_by_name("optlstm")
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id]))
    by_trial = {run.data.tags["optlstm.trial"]: run for run in runs}
    assert len(by_trial) == len(runs)
    return client, by_trial


def mlflow_curves() -> Curves:
    client, runs = mlflow_runs()
    histories = {int(n): client.get_metric_history(run.info.run_id, "mse") for n, run in runs.items() if n}
    assert all(len({m.step for m in history}) == len(history) for history in histories.values())
    return {n: {m.step: m.value for m in history} for n, history in histories.items()}


def wandb_records(file: Path) -> Iterator[Any]:
    """W&B's records out of an offline run's file. Its package has no reader for Python any more: this one knows the
    file's frame (LevelDB's log: blocks of 32 kB, records in pieces), the records are read as W&B's own messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, pieces = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        pieces += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record = Record()
            record.ParseFromString(pieces)
            pieces = b""
            yield record


def wandb_curves() -> Curves:
    found: Curves = {}
    for file in sorted(study_folder().glob("wandb/offline-run-*/*.wandb")):
        for record in wandb_records(file):
            if record.HasField("history"):
                row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
                curve = found.setdefault(int(file.stem.split("-")[-1]), {})
                assert row["_step"] not in curve
                curve[row["_step"]] = row["mse"]
    return found


def approximately(curves: Curves) -> Any:
    """TensorBoard keeps 32 bits of a number."""
    return {n: pytest.approx(curve, rel=1e-6) for n, curve in curves.items()}


def test_an_interrupted_study_is_continued_in_the_same_runs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as during:
        during.setattr(CheckpointWriter, "write", interrupting(CheckpointWriter.write, at=2))
        interrupted = cli(*STUDY, *ALL, "--trials", 4)

    assert interrupted.code == 130
    assert [t.state.name for t in study_trials()] == ["RUNNING"]
    assert mlflow_curves() == study_curves()
    continued = cli("study", "--name", "tiny", "--quiet", "--workers", 1)  # what to track is kept with the study
    assert continued.code == 0
    assert "tracker" not in interrupted.err + continued.err
    check_trackers()


def interrupting(write: Callable[..., None], at: int) -> Callable[..., None]:
    """A checkpoint writer whose `at`-th checkpoint is followed by Ctrl-C."""
    count = itertools.count(1)

    def wrapped(*arguments: Any) -> None:
        write(*arguments)
        if next(count) == at:
            os.kill(os.getpid(), signal.SIGINT)

    return wrapped


def check_trackers() -> None:
    trials = study_trials()
    assert {t.state.name for t in trials} == {"COMPLETE", "PRUNED"}
    assert tensorboard_curves() == approximately(study_curves())
    assert mlflow_curves() == study_curves()
    assert wandb_curves() == study_curves()
    _, runs = mlflow_runs()
    statuses = {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}
    for trial in trials:
        run = runs[str(trial.number)]
        assert run.info.status == statuses[trial.state.name]
        assert run.data.params.items() >= {k: str(v) for k, v in trial.params.items()}.items()
        assert run.data.tags["mlflow.parentRunId"] == runs[""].info.run_id
        assert run.data.metrics.get("best.mse") == trial.value
    assert runs[""].info.status == "FINISHED"


def test_a_tracker_that_comes_later_gets_what_was_before(cli: Cli) -> None:
    cli(*STUDY, "--trials", 2)

    cli(*STUDY, "--trials", 3, "--track", "tensorboard")

    assert tensorboard_curves() == approximately(study_curves())


def test_a_failing_tracker_is_said_once_and_fails_no_trial(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")

    outcome = cli(*STUDY, "--trials", 2, "--track", "mlflow", "--track", "tensorboard")

    assert outcome.code == 0
    said = [r.message for r in caplog.records if "tracker" in r.message]
    assert len(said) == 1
    assert said[0].startswith("tracker mlflow failed and is left out from here on: ")
    assert {t.state.name for t in study_trials()} <= {"COMPLETE", "PRUNED"}
    assert tensorboard_curves() == approximately(study_curves())


def test_a_tracker_that_is_missing_or_unknown_is_refused_before_anything_is_made(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # as Python marks a package that cannot be imported

    outcome = cli(*STUDY, "--track", "wandb", "--track", "tensorbord")

    assert outcome.code == 2
    assert outcome.lines == [
        f"tracking.trackers: wandb is not installed: {install('wandb')}",
        "tracking.trackers: 'tensorbord' is no tracker; did you mean 'tensorboard'?"
        " (trackers: tensorboard, mlflow, wandb)",
    ]
    assert not Path("runs").exists()


def test_hyperparameters_are_tensorboards_own(cli: Cli) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    cli(*STUDY, "--trials", 1, "--track", "tensorboard")

    reader = EventAccumulator(str(study_folder() / "tensorboard" / "trial-00000")).Reload()
    content = reader.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    (trial,) = study_trials()
    assert values["learning_rate"].number_value == trial.params["learning_rate"]
    assert values["pooling"].string_value == trial.params["pooling"]
    assert values["hidden_size"].number_value == 4

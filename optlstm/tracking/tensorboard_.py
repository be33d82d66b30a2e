"""TensorBoard: a folder per trial with its curve and hyperparameters. TensorBoard stores 32-bit values."""

from __future__ import annotations

import time
from typing import Any

from optlstm.tracking import Snapshot, TrackedStudy
from optlstm.util.files import trial_name

ENDED = "ended"  # a file in a trial's folder, once all of the trial is written


class TensorBoard:
    """Writes with TensorBoard's event writer.

    A trial that is continued is written again from the study: its earlier event files are removed, so that no value is
    there twice, whatever a kill has left.
    """

    def __init__(self, study: TrackedStudy) -> None:
        self.study = study
        self.folder = study.folder / "tensorboard"
        self._writers: dict[int, Any] = {}

    def open(self) -> set[int]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return {int(path.parent.name.split("-")[1]) for path in self.folder.glob(f"trial-*/{ENDED}")}

    def sync(self, trial: Snapshot) -> None:
        if trial.number not in self._writers:
            self._begin(trial)
        if trial.ended:
            self._end(trial)

    def report(self, number: int, epoch: int, value: float) -> None:
        self._scalar(number, self.study.objective, value, epoch)
        self._writers[number].flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _begin(self, trial: Snapshot) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = self.folder / trial_name(trial.number)
        for old in [*folder.glob("events.out.tfevents.*"), *folder.glob(ENDED)]:
            old.unlink()
        self._writers[trial.number] = EventFileWriter(str(folder))
        values = {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in trial.params.items()}
        self._write(trial.number, hparams_pb(values, trial_id=trial_name(trial.number), start_time_secs=time.time()))
        for epoch, value in trial.values.items():
            self._scalar(trial.number, self.study.objective, value, epoch)
        self._writers[trial.number].flush()

    def _end(self, trial: Snapshot) -> None:
        last = max(trial.values, default=0)
        if trial.value is not None:
            self._scalar(trial.number, f"best/{self.study.objective}", trial.value, last)
        for name, value in trial.metrics.items():
            self._scalar(trial.number, f"trial/{name}", value, last)
        self._write(trial.number, _session_end(failed=trial.state == "FAIL"))
        self._writers.pop(trial.number).close()
        (self.folder / trial_name(trial.number) / ENDED).touch()

    def _scalar(self, number: int, tag: str, value: float, step: int) -> None:
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        self._write(number, scalar_pb(tag, value), step)

    def _write(self, number: int, summary: Any, step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writers[number].add_event(Event(wall_time=time.time(), step=step, summary=summary))


def _session_end(*, failed: bool) -> Any:
    """How a trial ended: the same as TensorBoard's `session_end_pb`, which needs TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    status = Status.STATUS_FAILURE if failed else Status.STATUS_SUCCESS
    data = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=time.time()))
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])

"""W&B: a run per trial, grouped by study. Offline unless told otherwise: `wandb sync` sends the files later."""

from __future__ import annotations

import json
import os
from typing import Any

from optlstm.tracking import Snapshot, TrackedStudy
from optlstm.util.files import LocalFolder


class WeightsAndBiases:
    """A run's id is derived from the study and the trial, so a continued trial is logged to the same run."""

    def __init__(self, study: TrackedStudy) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self.study = study
        # How far each trial is written: an offline run's files cannot be read.
        self.notes = study.folder / "wandb-trials"
        self._runs: dict[int, Any] = {}

    def open(self) -> set[int]:
        self.notes.mkdir(parents=True, exist_ok=True)
        return {int(path.stem) for path in self.notes.glob("*.json") if self._noted(int(path.stem))["ended"]}

    def sync(self, trial: Snapshot) -> None:
        if trial.number not in self._runs:
            self._begin(trial)
        run = self._runs[trial.number]
        if not trial.ended:
            return
        run.summary.update({f"trial/{name}": value for name, value in trial.metrics.items()})
        run.summary.update({"state": trial.state, "reason": trial.reason})
        if trial.value is not None:
            run.summary[f"best/{self.study.objective}"] = trial.value
        self._runs.pop(trial.number).finish(exit_code=1 if trial.state == "FAIL" else 0)
        self._note(trial.number, max(trial.values, default=0), ended=True)

    def report(self, number: int, epoch: int, value: float) -> None:
        self._runs[number].log({self.study.objective: value}, step=epoch)
        self._note(number, epoch, ended=False)

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()

    def _begin(self, trial: Snapshot) -> None:
        import wandb

        written = self._noted(trial.number)["written"]
        run = self._runs[trial.number] = wandb.init(
            project=self.study.project,
            id=f"{self.study.uid[:8]}-{trial.number}",
            name=f"{self.study.name} {trial.number}",
            group=self.study.name,
            config=dict(trial.params),
            dir=str(self.study.folder),
            mode=self.study.options["wandb_mode"],
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True
            ),
        )
        for epoch, value in trial.values.items():
            if epoch > written and epoch >= run.step:  # online, `step` is where the run's earlier part ended
                self.report(trial.number, epoch, value)

    def _note(self, number: int, written: int, *, ended: bool) -> None:
        """Called after the value is logged: a kill in between repeats a step, which W&B ignores, and loses none."""
        content = json.dumps({"written": written, "ended": ended}).encode()
        LocalFolder(self.notes).write(f"{number}.json", content, wait=False)

    def _noted(self, number: int) -> dict[str, Any]:
        try:
            note: dict[str, Any] = json.loads(LocalFolder(self.notes).read(f"{number}.json"))
        except (OSError, ValueError):
            return {"written": 0, "ended": False}
        return note

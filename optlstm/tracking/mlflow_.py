"""MLflow: a run for the study, and nested in it one per trial, identified by their tags."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from typing import Any

from optlstm.study.database.url import sqlite_url
from optlstm.tracking import Snapshot, TrackedStudy

STUDY_TAG, TRIAL_TAG = "optlstm.study", "optlstm.trial"
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
PAGE = 1000


class MLflow:
    """Uses the server of MLFLOW_TRACKING_URI, or else a database in the study's folder."""

    def __init__(self, study: TrackedStudy) -> None:
        # By default it sends usage statistics, and logs the creation of a database to the terminal.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.study = study
        study.folder.mkdir(parents=True, exist_ok=True)
        uri = os.environ.get("MLFLOW_TRACKING_URI") or sqlite_url(study.folder / "mlflow.db")
        self._client = MlflowClient(tracking_uri=uri)
        self._runs: dict[int, str] = {}
        self._parent = ""

    def open(self) -> set[int]:
        experiment = self._client.get_experiment_by_name(self.study.project)
        self._experiment = str(
            experiment.experiment_id if experiment else self._client.create_experiment(self.study.project)
        )
        ended = set()
        for run in self._search():
            tag = run.data.tags[TRIAL_TAG]
            if not tag:
                self._parent = run.info.run_id
            else:
                self._runs[int(tag)] = run.info.run_id
                ended |= {int(tag)} if run.info.status in STATUS.values() else set()
        if self._parent:
            self._client.update_run(self._parent, status="RUNNING")
        else:
            self._parent = self._create(self.study.name, "")
        return ended

    def sync(self, trial: Snapshot) -> None:
        from mlflow.entities import Metric, Param

        if trial.number not in self._runs:
            self._runs[trial.number] = self._create(f"trial {trial.number}", str(trial.number), self._parent)
        run = self._runs[trial.number]
        epochs = {metric.step for metric in self._client.get_metric_history(run, self.study.objective)}
        params = self._client.get_run(run).data.params
        now = round(time.time() * 1000)
        self._client.log_batch(
            run,
            [Metric(self.study.objective, v, now, epoch) for epoch, v in trial.values.items() if epoch not in epochs],
            [Param(name, str(value)) for name, value in trial.params.items() if name not in params],
        )
        if trial.ended:
            self._end(run, trial)

    def report(self, number: int, epoch: int, value: float) -> None:
        self._client.log_metric(self._runs[number], self.study.objective, value, step=epoch)

    def close(self) -> None:
        self._client.set_terminated(self._parent)

    def _end(self, run: str, trial: Snapshot) -> None:
        last, known = max(trial.values, default=0), self._client.get_run(run).data.metrics
        finals = {f"trial.{name}": v for name, v in trial.metrics.items()}
        if trial.value is not None:
            finals[f"best.{self.study.objective}"] = trial.value
        for name, value in finals.items():
            if name not in known:
                self._client.log_metric(run, name, value, step=last)
        if trial.reason:
            self._client.set_tag(run, "optlstm.reason", trial.reason)
        self._client.set_terminated(run, STATUS[trial.state])

    def _search(self) -> Iterator[Any]:
        """All runs of the study, page by page."""
        token = None
        while True:
            query = f"tags.`{STUDY_TAG}` = '{self.study.uid}'"
            page = self._client.search_runs([self._experiment], query, max_results=PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _create(self, name: str, trial: str, parent: str = "") -> str:
        tags = {STUDY_TAG: self.study.uid, TRIAL_TAG: trial, **({"mlflow.parentRunId": parent} if parent else {})}
        return str(self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id)

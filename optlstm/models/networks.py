"""The networks of a model: a study's trials trained again, in this process or side by side in workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import safetensors.torch
from torch import Tensor

from optlstm.backends.local.calls import Map, calls
from optlstm.backends.local.fork_server import ForkServer
from optlstm.backends.trial import Job
from optlstm.models.card import Trained
from optlstm.models.selection import Choice, refit_schedule
from optlstm.run.concurrency import local_gpus, networks_at_once
from optlstm.run.objective import Objective
from optlstm.run.plan import Plan
from optlstm.run.retraining import Packed, refitted, tuned_again
from optlstm.run.worker_server import worker_server
from optlstm.study.lineage import Segment
from optlstm.study.results import refit_seconds
from optlstm.study.seeds import derive_seed
from optlstm.tasks.base import TunedNetwork
from optlstm.training.hparams import NO_PARAMS, Hyperparameters
from optlstm.util.files import Location

# network (from 1), networks (0: as many as there is time for), epoch, epochs
Listener = Callable[[int, int, int, int], None]
# networks of each trial so far, seconds that the last of each took -> how many more there is time for
More = Callable[[int, float], int]
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Networks:
    """Networks trained with one trial's params: what the card says of them, and each one's weights."""

    trained: Trained
    hp: Hyperparameters
    members: list[Weights]

    @classmethod
    def of(
        cls, choice: Choice, hp: Hyperparameters, members: list[Weights], seeds: list[int], segments: list[Segment]
    ) -> Networks:
        """segments: the schedule they were trained by."""
        trained = Trained(
            trial=choice.trial.number,
            value=choice.trial.intermediate_values[choice.best_epoch],
            params={k: v for k, v in asdict(hp).items() if k not in NO_PARAMS},
            custom=dict(hp.custom),
            grown_layers=hp.grown_layers,
            pooled_width=hp.pooled_width,
            schedule=segments,
            seeds=seeds,
        )
        return cls(trained, hp, members)


@contextmanager
def trainer(plan: Plan, chosen: Sequence[Choice], seeds: int, workers: int | str) -> Iterator[Trainer]:
    """What trains so many networks of each of these trials. workers: networks at a time, as of `refit`."""
    seconds = seeds * sum(refit_seconds(choice.trial, plan.config.training.epochs) for choice in chosen)
    at_once = networks_at_once(plan.config, workers, seeds * len(chosen), seconds)
    needs = {
        "workers": at_once,
        "task": plan.record.task["task"],
        "training": {"threads": plan.config.training.threads},
    }
    with worker_server(needs) as server:
        yield Trainer(plan, at_once, server)


@dataclass(frozen=True)
class Trainer:
    """Trains networks of a study's trials; what they become does not depend on how many at a time."""

    plan: Plan
    at_once: int
    server: ForkServer | None

    def tuned(self, chosen: Sequence[Choice], folder: Location) -> list[TunedNetwork]:
        """Each trial's network of tuning, of the training rows alone: as it was kept, or trained again.

        Args:
            folder: of the study's checkpoints; empty: they are of other data.
        """
        job = self.plan.job(folder)
        objective: Any = job.make_objective(job.data)
        schedules = [choice.until(choice.best_epoch) for choice in chosen]
        kept = [objective.kept_network(segments) for segments in schedules]
        lost = [(segments,) for segments, network in zip(schedules, kept, strict=True) if network is None]
        trained: Iterator[Packed] = iter(())
        if lost:
            with self._calls(job) as run:
                trained = iter(run(tuned_again, lost, lambda *_: None))
        return [network or _unpacked(objective, *next(trained)) for network in kept]

    def refitted(
        self,
        chosen: Sequence[Choice],
        data: Any,
        seeds: int,
        more: More | None,
        averaging: float | None,
        on_epoch: Listener,
    ) -> list[Networks]:
        """Networks of each trial, each from its own seed, trained on all of `data`. Arguments as of `refit`."""
        schedules = [refit_schedule(choice, self.plan, averaging) for choice in chosen]
        values = [choice.values(segments) for choice, segments in zip(chosen, schedules, strict=True)]
        trained = list[Packed]()
        done, count, total = 0, 1 if more else seeds, 0 if more else seeds * len(chosen)
        with self._calls(replace(self.plan.job(""), data=data)) as run:
            while count > 0:
                began, first = time.monotonic(), 1 + len(trained)
                members = range(done, done + count)
                todo = [(*given, m) for m in members for given in zip(schedules, values, strict=True)]
                trained += run(refitted, todo, lambda k, *epochs, first=first: on_epoch(first + k, total, *epochs))
                done = members.stop
                left = more(done, time.monotonic() - began) if more else 0
                count = min(left, max(1, self.at_once // len(chosen)))
        networks = []
        for i, (choice, segments) in enumerate(zip(chosen, schedules, strict=True)):
            weights = [safetensors.torch.load(blob) for _, blob in trained[i :: len(chosen)]]
            names = [derive_seed("refit", self.plan.config.seed, choice.trial.number, m) for m in range(done)]
            networks.append(Networks.of(choice, trained[i][0], weights, names, segments))
        return networks

    def _calls(self, job: Job) -> AbstractContextManager[Map]:
        return calls(job, self.at_once, self.server, local_gpus(self.plan.config))


def _unpacked(objective: Objective, hp: Hyperparameters, weights: bytes) -> TunedNetwork:
    return hp, objective.network(hp, safetensors.torch.load(weights))

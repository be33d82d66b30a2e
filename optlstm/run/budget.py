"""A time limit for a whole model: how it is divided between the search and the refit after it.

What decides the trials is fixed before the study begins, from a short measurement, and is part of its record: windows
in an epoch, epochs of a trial, and the slowest configuration that is tried. So a study that is continued, elsewhere
too, is the same study. Afterwards the clock decides one thing only: when the search ends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from optlstm.backends.driver import Deadline
from optlstm.run.custom_objective import CustomTask
from optlstm.run.plan import Plan
from optlstm.run.session import Session
from optlstm.run.task_space import hyperparameters
from optlstm.study.database.connection import Database
from optlstm.study.events import Event, TrialFinished
from optlstm.study.ledger import Ledger
from optlstm.study.record import BUDGET_KEY, PLANNED_KEY
from optlstm.study.results import find_study, refit_seconds, train_seconds
from optlstm.util.format import duration
from optlstm.util.processor import cores

SUFFIX = "-fit"  # of a study's name, so that it is none of `study`
_TRIALS = 12  # that the search has time for, with all their epochs; pruned ones take less
_LEAST_EPOCHS, _LEAST_WINDOWS = 4, 2048  # of a trial, and of an epoch
_SLOWEST = 2.0  # times its share of the search that a trial may take
_BOUNDLESS = 30  # times the defaults' work that no configuration reaches
_LEAST_RESERVE, _MOST_RESERVE = 0.1, 0.3  # shares of the time that are kept for the refit
_MARGIN = 1.3  # times what the refit should take
_TOP, _SEEDS, MOST_SEEDS = 3, 3, 9  # trials of the model, networks of each that time is kept for, and the most of each
_OUTGROWN = 2.0  # times the time that a study was cut down for: another is begun
_DECIDED = ("trials", "timeout", "scheduler", "objective", "objectives")  # keys that fit decides, or has no use for


def config_problems(raw: Mapping[str, Any], minutes: float) -> list[str]:
    """What a config may not say, as `fit` decides it; and what is wrong with the time."""
    number = isinstance(minutes, int | float) and 0 < minutes < math.inf
    problems = [] if number else [f"minutes: must be a number above 0, got {minutes!r}"]
    return problems + [f"{key}: fit decides it; leave it out, or use study and refit" for key in _DECIDED if key in raw]


class Budget(Deadline):
    """The time for one model. As the deadline of a run it passes when the refit must begin.

    Args:
        seconds: In all.
        began: When it began to run, by `time.monotonic()`.
        command: What continues it, without the program.
    """

    def __init__(self, seconds: float, began: float, command: str = "") -> None:
        self.seconds, self._began, self.command = seconds, began, command
        self._spent = 0.0  # on the search, by earlier runs of the study
        self._ledger: Ledger | None = None
        self._hopeless = False  # no epoch fits into the time
        self._cut_down = False  # a new study, whose record shows the lack of time
        self._evaluation = 2.0  # seconds that the refit takes beside its training, about
        self.baselines: dict[str, float] = {}  # their validation values by name, the best first
        self.notes: list[str] = []

    @property
    def seconds_left(self) -> float:
        """Of the whole, the refit's included."""
        return max(0.0, self.seconds - self._spent - (time.monotonic() - self._began))

    @property
    def refit_seconds_left(self) -> float:
        """Of the whole, for the refit: a share is its own, whatever was spent."""
        return max(self.seconds_left, _LEAST_RESERVE * self.seconds)

    @property
    def passed(self) -> bool:
        return self._hopeless or self.seconds_left <= self._reserve

    @property
    def allows_trial(self) -> bool:
        trials = self._finished
        usual = sum(map(train_seconds, trials)) / len(trials) if trials else 0.0
        return not self._hopeless and self.seconds_left - self._reserve > usual / 2

    @property
    def _reserve(self) -> float:
        """Seconds to keep for the refit: of as many of the best trials as fit into its share, and seeds of each."""
        costs, most = [_MARGIN * self._refit_seconds(trial) for trial in self._best], _MOST_RESERVE * self.seconds
        while len(costs) > 1 and sum(costs) > most:
            costs.pop()
        network = sum(costs)
        seeds = max(1, min(_SEEDS, int(most / network))) if network else 1
        return max(_LEAST_RESERVE * self.seconds, self._evaluation + seeds * network)

    @property
    def _finished(self) -> Sequence[FrozenTrial]:
        return [t for t in self._ledger.trials if t.state == TrialState.COMPLETE] if self._ledger else []

    @property
    def _best(self) -> Sequence[FrozenTrial]:
        if self._ledger is None:
            return []
        record = self._ledger.record
        return self._ledger.ranking[: _TOP if record.task.get("task") == "forecast" and not record.objectives else 1]

    def outgrows(self, database: Database | None, name: str) -> bool:
        """Whether the study of this name was cut down for a far shorter time: it would search on like that."""
        study = find_study(database, name)
        planned = None if study is None else self._too_little(study.user_attrs)
        if planned is not None:
            self.notes.append(f"study {name} was cut down for {duration(planned)}: another one is begun")
        return planned is not None

    def _too_little(self, attrs: Mapping[str, Any]) -> float | None:
        """The time that a study was cut down for, where it is far shorter than this one."""
        planned = attrs.get(PLANNED_KEY)
        return planned if isinstance(planned, int | float) and self.seconds >= _OUTGROWN * planned else None

    def adapt(self, plan: Plan) -> dict[str, Any]:
        """What a new study's config must say so that the search has time for some trials."""
        from optlstm.training.network_cost import training_cost, work

        hp = hyperparameters(plan.space, plan.space.defaults())
        cost, config = training_cost(plan.problem, hp), plan.config
        self._evaluation += 4 * cost.validation
        workers = config.workers if isinstance(config.workers, int) else cores()
        search = max(0.0, self.seconds_left - _LEAST_RESERVE * self.seconds - self._evaluation)
        share, epochs = workers * search / _TRIALS, config.training.epochs
        epoch, changes = cost.epoch, dict[str, Any]()
        given = config.data.model_fields_set
        assert not isinstance(plan.task, CustomTask)
        if epochs * epoch > share and "epoch_windows" in plan.task.keys and "epoch_windows" not in given:
            steps = max(_LEAST_WINDOWS / hp.batch_size, (share / epochs - cost.validation) / cost.step)
            if steps < cost.steps:
                changes["data"] = {"epoch_windows": round(steps * hp.batch_size), "epoch_steps": 1}
                epoch = steps * cost.step + cost.validation
        if epochs * epoch > share and "epochs" not in config.training.model_fields_set:
            epochs = min(epochs, max(_LEAST_EPOCHS, int(share / epoch)))
            changes["training"] = {"epochs": epochs}
        slowest = max(1.0, _SLOWEST * share / (epochs * epoch))
        if slowest < _BOUNDLESS and plan.factory is None and not config.constraints.limits:
            changes["constraints"] = {"max_work": round(slowest * work(plan.problem, hp), 3)}
        self._hopeless, self._cut_down = search < epoch, bool(changes)
        if config.data.path is None:
            self.notes.append("no --data: a model of the bundled series, weekly CO2, as an example")
        self.notes.append(_in_words(epoch, epochs, changes))
        return changes

    def begin(self, session: Session) -> None:
        """Be the deadline of a session's run."""
        self._ledger = session.ledger
        self._spent = float(session.ledger.attrs.get(BUDGET_KEY, 0.0))
        if self._cut_down:
            session.ledger.set_attrs({PLANNED_KEY: self.seconds})
        elif planned := self._too_little(session.ledger.attrs):
            self.notes.append(f"it was cut down for {duration(planned)}, and stays so; another --name begins one anew")
        began = time.monotonic()
        assert not isinstance(session.plan.task, CustomTask)
        window = {**session.plan.space.fixed, **session.plan.space.defaults()}.get("window", 1)
        baselines = session.plan.task.evaluator().validation_baselines(session.plan.metric, int(window))
        self._evaluation = min(self._evaluation + 4 * (time.monotonic() - began), _MOST_RESERVE * self.seconds)
        self.baselines = dict(sorted(baselines.items(), key=lambda item: item[1]))
        session.run.deadline = self
        session.ledger.listen(self._on_event)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, TrialFinished):
            self.save()

    def save(self) -> None:
        """Write down what was spent on the search."""
        assert self._ledger is not None
        spent = self.seconds if self._hopeless else self._spent + time.monotonic() - self._began
        self._ledger.set_attrs({BUDGET_KEY: round(spent, 3)})

    def refit_options(self) -> dict[str, Any] | None:
        """`top`, `more` and `retrain` of a refit that fits into the time left; None: no trial has come to an epoch."""
        assert self._ledger is not None
        if not self._best:
            return {"top": 1} if self._ledger.paused else None
        left = self.refit_seconds_left - self._evaluation
        for top in range(len(self._best), 0, -1):
            network = _MARGIN * sum(map(self._refit_seconds, self._best[:top]))
            if network <= left:
                return {"top": top, "more": self._more}
        return {"top": 1} if self._folds else {"top": len(self._best), "retrain": False}

    def _more(self, networks: int, seconds: float) -> int:
        """As `more` of `refit`: the ones that are trained side by side take as long as the last ones did."""
        return MOST_SEEDS - networks if self.seconds_left - self._evaluation > seconds else 0

    def _refit_seconds(self, trial: FrozenTrial) -> float:
        assert self._ledger is not None
        return refit_seconds(trial, self._ledger.record.epochs)

    @property
    def _folds(self) -> Any:
        assert self._ledger is not None
        data: Mapping[str, Any] = self._ledger.record.task.get("data", {})
        return data.get("folds")


def _in_words(epoch: float, epochs: int, changes: Mapping[str, Any]) -> str:
    line = f"an epoch of the defaults takes about {duration(epoch)}"
    if "data" in changes:
        line += f", of {changes['data']['epoch_windows']:,} windows, as there is little time"
    if "training" in changes:
        line += f"; a trial has {epochs} epochs"
    return line + ("; slow configurations are left out" if "constraints" in changes else "")

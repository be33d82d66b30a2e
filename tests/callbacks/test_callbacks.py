"""The libraries' own loops: reported, pruned, and killed and continued as if undisturbed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import pytorch_lightning as pl
import skorch
import torch
from pytorch_lightning.callbacks import EarlyStopping
from skorch.callbacks import EpochScoring, LRScheduler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from optlstm.backends.trial import Decision, WorkerTrial
from optlstm.callbacks.lightning import LightningCallback
from optlstm.callbacks.skorch import SkorchCallback
from optlstm.run.custom_trial import Trial
from optlstm.study.events import Assignment
from optlstm.training.tracked import seed_everything

EPOCHS = 4
X = torch.linspace(-1, 1, 32)[:, None]
Loop = Callable[[Any], Any]


class Regression(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1))

    def training_step(self, batch: Any, _: int) -> Any:
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


def with_lightning(trial: Any) -> Any:
    data, module = TensorDataset(X, X**2), Regression()
    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[EarlyStopping("val_loss", patience=3), LightningCallback(trial, "val_loss")],
    )
    trainer.fit(module, DataLoader(data, 8, shuffle=True), DataLoader(data, 32))
    stopping = trainer.early_stopping_callback
    assert stopping is not None
    return module.state_dict(), trainer.global_step, stopping.state_dict()


def with_skorch(trial: Any) -> Any:
    net = skorch.NeuralNetRegressor(
        nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1)),
        max_epochs=EPOCHS,
        lr=0.1,
        optimizer=torch.optim.Adam,
        iterator_train__shuffle=True,
        verbose=0,
        callbacks=[
            ("steps", LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)),
            ("score", EpochScoring("r2", lower_is_better=False)),
            SkorchCallback(trial),
        ],
    )
    net.fit(X.numpy(), (X**2).numpy())
    assert net.max_epochs == EPOCHS
    scores = dict(net.callbacks_)["score"].best_score_, net.history[:, "r2"], net.history[:, "event_lr"]
    return net.module_.state_dict(), len(net.history), scores


class Killed(BaseException):
    """Ends the process, as the loop sees it."""


def run(loop: Loop, folder: Path, reports: dict[int, float], kill: int = 0, prune: int = 0) -> Any:
    """A trial as its worker runs it; killed in the report of an epoch, before or after the study has it."""

    def report(epoch: int, value: float) -> Decision:
        if epoch == kill:
            if kill % 2:
                reports[epoch] = value
            raise Killed
        reports[epoch] = value
        return Decision.END if epoch == prune else Decision.CONTINUE

    seed_everything(5)
    worker = WorkerTrial(Assignment(0, {}, max(reports, default=0), 0), report)
    with warnings.catch_warnings(), Trial(worker, 0, EPOCHS, folder) as trial:
        warnings.simplefilter("ignore")  # the libraries' own
        return loop(trial)


@pytest.mark.parametrize("loop", [with_lightning, with_skorch])
def test_killed_and_continued_equals_undisturbed(tmp_path: Path, loop: Loop) -> None:
    whole, broken = dict[int, float](), dict[int, float]()
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    weights, *progress = run(loop, tmp_path / "whole", whole)
    for kill in (1, 2, 3):
        with pytest.raises(Killed):
            run(loop, tmp_path / "broken", broken, kill)
    again, *continued = run(loop, tmp_path / "broken", broken)
    assert len(whole) == EPOCHS
    assert broken == whole
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert repr(continued) == repr(progress)


@pytest.mark.parametrize("loop", [with_lightning, with_skorch])
def test_a_pruned_trial_leaves_the_loop_with_optlstm_and_with_optuna_alone(tmp_path: Path, loop: Loop) -> None:
    with pytest.raises(optuna.TrialPruned, match="after epoch 2"):
        run(loop, tmp_path, {}, prune=2)
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=-1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.optimize(loop, n_trials=1)
    (trial,) = study.trials
    assert (trial.state, [*trial.intermediate_values]) == (optuna.trial.TrialState.PRUNED, [0])

"""PyTorch Lightning: `Trainer(callbacks=[LightningCallback(trial, "val_loss")])`."""

from __future__ import annotations

from typing import Any

import optuna
from pytorch_lightning import Callback, LightningModule, Trainer

from optlstm.run.custom_trial import track


class LightningCallback(Callback):
    """Reports a metric after each epoch, prunes, and resumes `trainer.fit` where the trial was killed.

    The module, optimizers, schedulers, precision, loops and other callbacks are tracked: what they have in
    `state_dict`. An epoch is reported when all is done for it, as the next one begins: schedulers have stepped.

    Args:
        trial: Of optlstm, or Optuna's own, which is not resumed.
        monitor: What was logged with `self.log`. An epoch before its first value is not reported.
    """

    def __init__(self, trial: Any, monitor: str) -> None:
        self._trial, self._monitor, self._reported = trial, monitor, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loop, things = trainer.fit_loop, dict[str, Any]()
        things |= {f"optimizer {i}": optimizer for i, optimizer in enumerate(trainer.optimizers)}
        things |= {f"scheduler {i}": config.scheduler for i, config in enumerate(trainer.lr_scheduler_configs)}
        things |= {callback.state_key: callback for callback in trainer.callbacks if callback is not self}  # type: ignore[attr-defined]
        things |= {"precision": trainer.precision_plugin, "loop": loop}
        self._reported = track(self._trial, 0, model=pl_module, **things)
        if self._reported:
            loop.restarting = False  # in the middle of an epoch, as from Lightning's own checkpoints
            loop.on_iteration_done()
            for progress in (loop.epoch_progress.current, loop.epoch_progress.total):
                progress.ready = progress.completed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        value, epochs = trainer.callback_metrics.get(self._monitor), trainer.current_epoch
        if value is None or epochs == self._reported:
            return
        self._reported = epochs
        self._trial.report(value.item(), epochs - 1)
        if self._trial.should_prune():
            raise optuna.TrialPruned(f"after epoch {epochs}")

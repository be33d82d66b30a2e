"""skorch: `NeuralNet(..., callbacks=[..., SkorchCallback(trial)])`, the last of them."""

from __future__ import annotations

from typing import Any

import optuna
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch.optim.lr_scheduler import LRScheduler

from optlstm.run.custom_trial import track

_PLAIN = (bool, int, float, str, dict, type(None))


class SkorchCallback(Callback):  # type: ignore[misc]
    """Reports a value of the history after each epoch, prunes, and resumes `net.fit` where the trial was killed.

    Modules, criteria, optimizers, the history and what the other callbacks have learnt are tracked.

    Args:
        trial: Of optlstm, or Optuna's own, which is not resumed.
        monitor: A key of the history's rows.
    """

    def __init__(self, trial: Any, monitor: str = "valid_loss") -> None:
        self.trial, self.monitor = trial, monitor

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        names = [*net._modules, *net._criteria, *net._optimizers]
        things = {name: getattr(net, f"{name}_") for name in names} | {"history": net.history}
        things |= {f"callback {name}": _Learnt(callback) for name, callback in net.callbacks_ if callback is not self}
        self.max_epochs_ = net.max_epochs
        net.max_epochs -= track(self.trial, 0, **things)

    def on_train_end(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        net.max_epochs = self.max_epochs_

    def on_epoch_end(self, net: NeuralNet, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        epoch = len(net.history) - 1
        self.trial.report(net.history[-1, self.monitor], epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"after epoch {epoch + 1}")


class _Learnt:
    """What a callback has in attributes that end with `_`, as scikit-learn has it: counters, the best, a scheduler."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback

    def state_dict(self) -> dict[str, Any]:
        learnt = {name: value for name, value in vars(self._callback).items() if name.endswith("_")}
        states = {name: v.state_dict() if isinstance(v, LRScheduler) else v for name, v in learnt.items()}
        return {name: state for name, state in states.items() if isinstance(state, _PLAIN)}

    def load_state_dict(self, states: dict[str, Any]) -> None:
        for name, state in states.items():
            value = getattr(self._callback, name, None)
            if isinstance(value, LRScheduler):
                value.load_state_dict(state)
            else:
                setattr(self._callback, name, state)

"""CMA-ES whose state, which Optuna keeps as a pickle, is read as numbers: a pickle is code, and a database is data.

Optuna loads that pickle as it is. Here only the classes of `cmaes` and NumPy's arrays can come out of it, and the state
must be one that a search in this space can have reached.
"""

from __future__ import annotations

import io
import pickle
import warnings
from typing import Any

import cmaes
import numpy as np
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution
from optuna.samplers import CmaEsSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from optlstm.errors import InputError

_NUMPY = ("numpy._core.multiarray", "numpy.core.multiarray")  # NumPy 2 and 1
ADMITTED = {
    ("cmaes._cma", "CMA"),
    ("cmaes._sepcma", "SepCMA"),
    ("cmaes._cmawm", "CMAwM"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((module, name) for module in _NUMPY for name in ("scalar", "_reconstruct")),
}
_GREATEST = 1e100  # of a number of the state; its products are finite
_UNREAD = ("_rng", "_funhist_values")  # seeded anew for every trial; only read where it was written


class _NumbersOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


class CmaEs(CmaEsSampler):
    """Optuna's sampler, trial for trial, also on the studies that Optuna's own class has written."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._searched = (study, search_space)
        return super().sample_relative(study, trial, search_space)

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        for trial in reversed(completed_trials):
            stored = {k: v for k, v in trial.system_attrs.items() if k.startswith(self._attr_key_optimizer)}
            if stored:
                return self._restored(trial, stored)
        return None

    def _restored(self, trial: FrozenTrial, stored: dict[str, str]) -> Any:
        """Raises InputError where the state of this trial is none that a search can have."""
        try:
            raw = bytes.fromhex(self._concat_optimizer_attrs(stored))
            optimizer = _NumbersOnly(io.BytesIO(raw)).load()
            if type(optimizer) not in (cmaes.CMA, cmaes.SepCMA, cmaes.CMAwM):
                raise TypeError(f"it is a {type(optimizer).__name__}")
            dimensions = int(optimizer.dim)
        except Exception as error:  # a pickle can raise anything
            raise self._refusal(trial, str(error)) from error
        fresh = self._fresh()
        # Of another size: the params that all trials share have changed, and Optuna draws without it.
        if dimensions == fresh.dim and (wrong := _difference(optimizer, fresh)):
            raise self._refusal(trial, wrong)
        return optimizer

    def _fresh(self) -> Any:
        """The state that the search would begin with; no draw is taken from the sampler."""
        study, search_space = self._searched
        before = self._cma_rng.rng.get_state()
        trans = _SearchSpaceTransform(search_space, transform_step=not self._with_margin, transform_0_1=True)
        with warnings.catch_warnings(action="ignore"):  # those of a new search; this is none
            fresh = self._init_optimizer(trans, study.direction)
        self._cma_rng.rng.set_state(before)
        return fresh

    def _refusal(self, trial: FrozenTrial, reason: str) -> InputError:
        return InputError(
            f"storage: trial {trial.number}: {self._attr_key_optimizer} is not what the sampler cmaes writes:"
            f" {reason:.200}"
        )


def _difference(state: Any, fresh: Any, name: str = "") -> str | None:
    """How a state differs in its form from a new one: in types, shapes and all that training does not change."""
    if type(state) is type(fresh) and type(fresh).__module__.startswith("cmaes."):
        if vars(state).keys() != vars(fresh).keys():
            return "it has other parts"
        parts = ((key, value, vars(fresh)[key]) for key, value in vars(state).items() if key not in _UNREAD)
        return next((wrong for key, value, new in parts if (wrong := _difference(value, new, key))), None)
    if isinstance(fresh, np.ndarray):
        sound = type(state) is np.ndarray and state.dtype == fresh.dtype and state.shape == fresh.shape
        if sound and fresh.dtype.kind == "f":
            sound = bool(np.all(np.abs(state) < _GREATEST))  # NaN is not
        elif sound:
            sound = np.array_equal(state, fresh)
    elif isinstance(fresh, float):
        sound = isinstance(state, float) and abs(state) < _GREATEST
    elif name == "_g":  # the generation
        sound = type(state) is int and state >= 0
    else:
        sound = type(state) is type(fresh) and state == fresh
    return None if sound else f"{name} does not fit"

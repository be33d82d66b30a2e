"""What a training loop changes from epoch to epoch, as state to be kept and put back: anything with a `state_dict`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from optlstm.errors import TrialFailed
from optlstm.training.nested import encode

KINDS = "what has state_dict and load_state_dict, random generators, tensors, arrays, dicts and lists"


@dataclass(frozen=True)
class _Access:
    """How the state of a thing is read, and put back in place."""

    read: Callable[[], Any]
    load: Callable[[Any], Any]


@dataclass(frozen=True)
class Tracked:
    """Models, optimizers and the like, by name.

    Raises:
        TypeError: One of them has no state that can be put back.
    """

    things: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, thing in self.things.items():
            access = _access(thing)
            if access is None:
                kind = type(thing).__name__
                advice = ": put it in a dict, and change it there" if isinstance(thing, int | float | str) else ""
                raise TypeError(f"track({name}=...) cannot put back a {kind}{advice}; it can {KINDS}")
            if isinstance(thing, dict | list):
                try:
                    encode(access.read(), name, copy=False)
                except TypeError as error:
                    raise TypeError(f"track({name}=...): {error}; name models and optimizers one by one") from None

    def states(self) -> dict[str, Any]:
        """As they are now; tensors are theirs, not copies."""
        return {name: access.read() for name, access in self._accesses()}

    def restore(self, states: Mapping[str, Any], *, copied: bool = False) -> None:
        """Put states back, in the order in which the things were named.

        Args:
            copied: They are another trial's: what this trial's params decide (learning rates) stays.

        Raises:
            TrialFailed: They are those of other things.
        """
        if states.keys() != self.things.keys():
            held, given = (", ".join(map(str, names)) or "nothing" for names in (states, self.things))
            raise TrialFailed(f"its checkpoint holds {held}, and track(...) was given {given}")
        for name, access in self._accesses():
            thing, state = self.things[name], states[name]
            try:
                access.load(_with_options_of(thing, state) if copied else state)
            except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise TrialFailed(f"track({name}=...) cannot put its checkpoint back: {error}") from error

    def _accesses(self) -> list[tuple[str, _Access]]:
        return [(name, access) for name, thing in self.things.items() if (access := _access(thing)) is not None]


def _access(thing: Any) -> _Access | None:
    if callable(getattr(thing, "state_dict", None)) and callable(getattr(thing, "load_state_dict", None)):
        return _Access(thing.state_dict, thing.load_state_dict)
    match thing:
        case torch.Generator():
            return _Access(thing.get_state, thing.set_state)
        case np.random.Generator():
            bits = thing.bit_generator
            return _Access(lambda: bits.state, lambda state: setattr(bits, "state", state))
        case np.random.RandomState():
            return _Access(thing.get_state, thing.set_state)
        case random.Random():
            return _Access(thing.getstate, thing.setstate)
        case torch.Tensor():
            return _Access(lambda: thing, lambda state: thing.data.copy_(state))
        case np.ndarray():
            return _Access(lambda: thing, lambda state: np.copyto(thing, state))
        case dict():
            return _Access(lambda: dict(thing), partial(_refill, thing))
        case list():
            return _Access(lambda: list(thing), lambda state: thing.__setitem__(slice(None), state))
    return None


def _refill(thing: dict[Any, Any], state: Mapping[Any, Any]) -> None:
    thing.clear()
    thing.update(state)


def _with_options_of(thing: Any, state: Any) -> Any:
    """Another trial's state with this thing's own options: a copy in a population has changed learning rates.

    What a scheduler has made of the learning rate so far is kept in proportion.
    """
    if isinstance(thing, Optimizer):
        groups = [_group(group, saved) for group, saved in zip(thing.param_groups, state["param_groups"], strict=True)]
        return {**state, "param_groups": groups}
    if isinstance(thing, LRScheduler):
        return {**state, "base_lrs": list(thing.base_lrs)}
    return state


def _group(group: Mapping[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**saved, **{key: value for key, value in group.items() if key != "params"}}
    if "initial_lr" in saved and "initial_lr" in group and saved["initial_lr"]:
        merged["lr"] = saved["lr"] * group["initial_lr"] / saved["initial_lr"]
    return merged


def seed_everything(seed: int) -> None:
    """Torch's, NumPy's and Python's global random states."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def random_states() -> dict[str, Any]:
    """Torch's, CUDA's, NumPy's and Python's global random states."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    version, numbers, gauss = random.getstate()
    python = {"version": version, "numbers": np.array(numbers, np.uint32), "gauss": gauss}
    return {"torch": torch.get_rng_state(), "cuda": cuda, "numpy": np.random.get_state(), "python": python}


def restore_random(states: Mapping[str, Any]) -> None:
    """Put them back. CUDA's where there is as much of it as there was."""
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])
    python = states["python"]
    random.setstate((python["version"], tuple(python["numbers"].tolist()), python["gauss"]))
    if states["cuda"] and torch.cuda.is_available() and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all(states["cuda"])

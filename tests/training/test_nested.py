"""Nested state comes back bit for bit: of every optimizer and scheduler of torch, and of anything that JSON has not."""

from __future__ import annotations

import inspect
import json
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn

from optlstm.errors import ArtifactError, TrialFailed
from optlstm.training.checkpoints import newest_checkpoint, write_checkpoint
from optlstm.training.nested import decode, encode
from optlstm.training.tracked import Tracked, random_states, restore_random, seed_everything

OPTIMIZERS = sorted(
    name
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
)
SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda e: 0.9**e),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda e: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 3]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, cycle_momentum=False),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)], [2]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ExponentialLR(o, 0.9)]),
    "SWALR": lambda o: SWALR(o, 0.05),
}


def through_file(value: Any, folder: Path) -> Any:
    """As a checkpoint on the disk gives it back."""
    tree, tensors = encode(value)
    write_checkpoint(folder, 1, tensors, {"state": tree})
    newest = newest_checkpoint(folder)
    assert newest is not None
    return decode(newest[2]["state"], newest[1])


def same(a: Any, b: Any) -> bool:
    """To the last bit, and of the same types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        raw = [t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*raw)
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and np.shape(a) == np.shape(b) and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return [*map(repr, a)] == [*map(repr, b)] and all(
            same(x, y) for x, y in zip(a.values(), b.values(), strict=True)
        )
    if isinstance(a, list | tuple | deque):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) or (a != a and b != b)


class Loop:
    """A model of a few layers that anything trains."""

    def __init__(self, optimizer: str = "AdamW", scheduler: str = "StepLR") -> None:
        kinds: dict[str, Any] = vars(torch.optim)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
        params = [*self.model.parameters()]
        if optimizer == "SparseAdam":
            self.model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(9, 2))
            params = [*self.model[0].parameters()]
        if optimizer == "Muon":  # of matrices alone
            params = [p for p in params if p.ndim == 2]
        self.optimizer = kinds[optimizer](params, lr=0.05)
        self.scheduler = SCHEDULERS[scheduler](self.optimizer)
        self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(0.9))  # type: ignore[no-untyped-call]
        self.sparse = optimizer == "SparseAdam"

    def steps(self, count: int) -> None:
        for _ in range(count):
            x = torch.randint(5, (6, 3)) if self.sparse else torch.randn(6, 3)

            def loss(x: torch.Tensor = x) -> torch.Tensor:
                self.optimizer.zero_grad()
                value = self.model(x).pow(2).mean()
                value.backward()
                return value

            value = float(self.optimizer.step(loss).detach())
            self.scheduler.step(value) if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau) else (
                self.scheduler.step()
            )
            self.ema.update_parameters(self.model)  # type: ignore[no-untyped-call]

    def tracked(self) -> Tracked:
        return Tracked({"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler, "ema": self.ema})


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [*((name, "StepLR") for name in OPTIMIZERS), *(("SGD", name) for name in SCHEDULERS)],
)
def test_a_loop_that_is_restored_goes_on_to_the_last_bit(tmp_path: Path, optimizer: str, scheduler: str) -> None:
    seed_everything(3)
    undisturbed = Loop(optimizer, scheduler)
    undisturbed.steps(3)
    kept = {"things": undisturbed.tracked().states(), "random": random_states()}
    loaded = through_file(kept, tmp_path / "kept")
    assert same(loaded, kept)
    undisturbed.steps(3)
    drawn = torch.rand(1), np.random.random(), random.random()

    restored = Loop(optimizer, scheduler)  # with first weights of its own
    restored.tracked().restore(loaded["things"])
    restore_random(loaded["random"])
    restored.steps(3)
    assert same(restored.tracked().states(), undisturbed.tracked().states())
    assert (torch.rand(1), np.random.random(), random.random()) == drawn


def test_the_schedulers_are_all_of_torchs() -> None:
    kinds = {
        name
        for name, kind in vars(lr_scheduler).items()
        if inspect.isclass(kind) and issubclass(kind, lr_scheduler.LRScheduler) and not name.startswith("_")
    }
    assert kinds - {"LRScheduler"} <= SCHEDULERS.keys()
    assert len(OPTIMIZERS) >= 14


def test_a_grad_scaler_generators_and_things_without_a_state_dict_are_put_back(tmp_path: Path) -> None:
    def things() -> dict[str, Any]:
        return {
            "scaler": torch.amp.GradScaler("cpu"),
            "torch": torch.Generator().manual_seed(1),
            "numpy": np.random.default_rng(1),
            "old": np.random.RandomState(1),
            "python": random.Random(1),
            "tensor": torch.zeros(2, requires_grad=True),
            "array": np.zeros(2),
            "history": {"best": float("inf"), "losses": [1.5]},
            "list": [1, (2, None)],
        }

    ours = things()
    ours["scaler"].scale(torch.ones(1))
    drawn = (ours["torch"].get_state().clone(), ours["numpy"].random(), ours["old"].rand(), ours["python"].random())
    ours["tensor"].data += 1
    ours["array"] += 2
    ours["history"]["losses"].append(0.5)
    ours["list"].append("x")
    kept = through_file(Tracked(ours).states(), tmp_path / "kept")
    again = things()
    array = again["array"]
    Tracked(again).restore(kept)
    assert again["scaler"].state_dict() == ours["scaler"].state_dict()
    assert same(again["torch"].get_state(), drawn[0])
    assert [again[k].random() for k in ("numpy", "python")] == [ours[k].random() for k in ("numpy", "python")]
    assert again["old"].rand() == ours["old"].rand()
    assert (array.tolist(), again["tensor"].tolist()) == ([2, 2], [1, 1])
    assert again["history"] == {"best": float("inf"), "losses": [1.5, 0.5]}
    assert again["list"] == [1, (2, None), "x"]


def test_what_cannot_be_put_back_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"track\(best=...\) cannot put back a float: put it in a dict, and change it"):
        Tracked({"best": 0.5})
    with pytest.raises(TypeError, match=r"track\(data=...\) cannot put back a object; it can what has state_dict"):
        Tracked({"data": object()})
    with pytest.raises(TrialFailed, match=r"its checkpoint holds a, b, and track.* was given a"):
        Tracked({"a": {}}).restore({"a": {}, "b": {}})
    with pytest.raises(TrialFailed, match=r"track\(model=...\) cannot put its checkpoint back: Error"):
        Tracked({"model": nn.Linear(2, 3)}).restore({"model": nn.Linear(2, 4).state_dict()})


def test_a_copy_in_a_population_keeps_its_own_learning_rate_and_the_schedulers_progress() -> None:
    donor, child = nn.Linear(1, 1), nn.Linear(1, 1)
    optimizers = [torch.optim.SGD(m.parameters(), lr=lr, momentum=0.9) for m, lr in ((donor, 0.1), (child, 0.4))]
    schedulers = [lr_scheduler.ExponentialLR(o, 0.5) for o in optimizers]
    donor(torch.ones(1, 1)).sum().backward()
    optimizers[0].step()
    schedulers[0].step()
    kept = Tracked({"optimizer": optimizers[0], "scheduler": schedulers[0]}).states()
    Tracked({"optimizer": optimizers[1], "scheduler": schedulers[1]}).restore(kept, copied=True)
    assert optimizers[1].param_groups[0]["lr"] == pytest.approx(0.2)
    assert optimizers[1].state_dict()["state"].keys() == {0, 1}
    child(torch.ones(1, 1)).sum().backward()
    optimizers[1].step()
    schedulers[1].step()
    assert (schedulers[1].get_last_lr(), schedulers[1].last_epoch) == ([pytest.approx(0.1)], 2)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(),
    st.sampled_from([torch.Size([2, 3]), torch.float16, torch.device("cpu"), {1, 2}, np.float32(0.1), np.int64(3)]),
    st.sampled_from([np.arange(6).reshape(2, 3).T, np.array(["a", "bc"]), np.zeros((0, 2)), np.array(1 + 2j)]),
    st.sampled_from([torch.arange(4).to(d).reshape(2, 2).T for d in (torch.uint8, torch.bfloat16, torch.complex128)]),
    st.sampled_from([torch.zeros(0, 3), torch.ones(3).to(torch.float8_e4m3fn), torch.tensor([float("nan"), -0.0])]),
)
KEYS = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.tuples(st.integers(), st.text()))


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    mappings = st.dictionaries(KEYS, inner, max_size=3)
    lists = st.lists(inner, max_size=3)
    return st.one_of(mappings, mappings.map(OrderedDict), lists, lists.map(tuple), lists.map(lambda v: deque(v, 5)))


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.recursive(LEAVES, _containers, max_leaves=12))
def test_any_nested_value_comes_back_of_the_same_types(value: Any) -> None:
    tree, tensors = encode(value)
    assert same(decode(json.loads(json.dumps(tree, allow_nan=False, sort_keys=True)), tensors), value)


def test_names_that_would_clash_and_versions_of_a_module_are_kept() -> None:
    value = {
        "a.b": torch.zeros(1),
        "a": {"b": torch.ones(1)},
        "counted": Counter([1, 1]),
        "sd": nn.BatchNorm1d(2).state_dict(),
    }
    tree, tensors = encode(value)
    again = decode(json.loads(json.dumps(tree)), tensors)
    assert same(again, value)
    assert again["sd"]._metadata == value["sd"]._metadata  # type: ignore[attr-defined]


def test_what_is_not_kept_is_refused_with_its_name() -> None:
    with pytest.raises(TypeError, match=r"model\.0\.fn is of type function, which is not kept; tensors, arrays"):
        encode({"model": [{"fn": lambda: 1}]})
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="contains itself"):
        encode(loop)


@pytest.mark.parametrize(
    "tree",
    [
        {"tensor": "gone"},
        {"what": 1},
        {},
        {"array": ["a", "O", [1]]},
        {"dict": [[[1], 2]]},
        {"array": ["a", "<f8", [3]]},
    ],
)
def test_a_tree_that_was_not_written_here_is_refused(tree: Any) -> None:
    with pytest.raises(ArtifactError, match="it is not what was kept"):
        decode(tree, {"a": torch.zeros(8, dtype=torch.uint8)})

"""Every private name of Optuna, Ray, skorch and torch in use: a version that drops one is named here first.

A name is private that begins with one underscore, or stands in such a module. The source is read, so that a private
name that is used and not listed fails too.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.test_imports import PACKAGE, make_package, modules

STANDARD = ("atexit", "os", "sys", "threading")  # Python's own
FOREIGN = ("optuna", "ray", "skorch", "torch")
LISTED = (
    # What study/database/statements.py and optuna_tables.py know of the tables, and what it fills in of a trial.
    "optuna.storages._rdb.models",
    "optuna.storages._rdb.storage._create_scoped_session",
    "optuna.storages.RDBStorage._get_trials",
    "optuna.storages.RDBStorage._create_new_trial",
    "optuna.study._frozen.FrozenStudy",
    "optuna.distributions.BaseDistribution._contains",
    "optuna.trial.FrozenTrial._trial_id",
    "optuna.trial.FrozenTrial._params",
    "optuna.trial.FrozenTrial._distributions",
    "optuna.trial.FrozenTrial._values",
    "optuna.trial.FrozenTrial._user_attrs",
    "optuna.trial.FrozenTrial._system_attrs",
    # What study/database/cached_storage.py keeps in step.
    "optuna.storages.InMemoryStorage._lock",
    "optuna.storages.InMemoryStorage._studies",
    "optuna.storages.InMemoryStorage._max_study_id",
    "optuna.storages.InMemoryStorage._max_trial_id",
    "optuna.storages.InMemoryStorage._trial_id_to_study_id_and_number",
    "optuna.storages.InMemoryStorage._prev_waiting_trial_number",
    "optuna.storages.InMemoryStorage._update_cache",
    "optuna.Study._study_id",
    "optuna.Study._storage",
    # The fast paths, which fall back on Optuna's own classes.
    "optuna.Study._get_trials",
    "optuna.samplers.TPESampler._sample",
    "optuna.samplers.TPESampler._get_internal_repr",
    "optuna.samplers.TPESampler._compute_acquisition_func",
    "optuna.samplers.TPESampler._compare",
    "optuna.samplers.TPESampler._constant_liar",
    "optuna.samplers.TPESampler._gamma",
    "optuna.samplers.TPESampler._n_ei_candidates",
    "optuna.samplers.TPESampler._parzen_estimator_cls",
    "optuna.samplers.TPESampler._parzen_estimator_parameters",
    "optuna.samplers.TPESampler._rng",
    "optuna.samplers._tpe.sampler._get_infeasible_trial_score",
    "optuna.samplers._tpe.sampler._get_pruned_trial_score",
    "optuna.search_space.group_decomposed._GroupDecomposedSearchSpace",
    "optuna.pruners.PercentilePruner._percentile",
    "optuna.pruners.PercentilePruner._n_startup_trials",
    "optuna.pruners.PercentilePruner._n_warmup_steps",
    "optuna.pruners.PercentilePruner._interval_steps",
    "optuna.pruners.PercentilePruner._n_min_trials",
    "optuna.pruners._percentile._get_best_intermediate_result_over_steps",
    "optuna.pruners._percentile._is_first_in_interval_step",
    # CMA-ES's state, which Optuna's own class unpickles.
    "optuna._transform._SearchSpaceTransform",
    "optuna.samplers.CmaEsSampler._restore_optimizer",
    "optuna.samplers.CmaEsSampler._init_optimizer",
    "optuna.samplers.CmaEsSampler._concat_optimizer_attrs",
    "optuna.samplers.CmaEsSampler._attr_key_optimizer",
    "optuna.samplers.CmaEsSampler._cma_rng",
    "optuna.samplers.CmaEsSampler._with_margin",
    # Which bracket Hyperband puts a trial in.
    "optuna.pruners.HyperbandPruner._try_initialization",
    "optuna.pruners.HyperbandPruner._get_bracket_id",
    # Ray's own folder, its switch for a cluster, its search for one, where its workers import from, and ASHA's rungs.
    "ray._private.worker._global_node",
    "ray._private.ray_constants.ENABLE_RAY_CLUSTER",
    "ray._private.services.find_gcs_addresses",
    "ray.job_config.JobConfig._serialize",
    "ray.job_config.JobConfig._py_driver_sys_path",
    # Places that are reserved ahead of the trials.
    "ray.air.execution.resources.PlacementGroupResourceManager._maybe_update_state",
    "ray.air.execution.resources.PlacementGroupResourceManager._acquired_pgs",
    "ray.air.execution.resources.PlacementGroupResourceManager._request_to_staged_pgs",
    "ray.air.execution.resources.PlacementGroupResourceManager._request_to_ready_pgs",
    "ray.tune.schedulers.TrialScheduler._supports_buffered_results",
    "ray.tune.schedulers.ASHAScheduler._brackets",
    "ray.tune.schedulers.ASHAScheduler._metric_op",
    "ray.tune.schedulers.ASHAScheduler._trial_info",
    "ray.tune.schedulers.async_hyperband._Bracket._rungs",
    # Which modules, criteria and optimizers a net of skorch has.
    "skorch.NeuralNet._modules",
    "skorch.NeuralNet._criteria",
    "skorch.NeuralNet._optimizers",
    "torch._foreach_lerp_",
)


SOUND = """
import os
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

class Ours(TPESampler):
    def __init__(self):
        self._memory = {}

    def sample(self, other: "Ours", trial: FrozenTrial):
        os._exit(0)
        return self._memory, other._memory, trial.__class__, trial.number
"""

BROKEN = [
    ("from optuna._convert_positional_args import x", "optuna._convert_positional_args.x"),
    ("import torch._dynamo", "torch._dynamo"),
    ("def f():\n    from ray.tune import _a", "ray.tune._a"),
    ("def f(trial):\n    return trial._a", "_a"),
    ("import ray\nray._a.b()", "_a"),
    ("import ray\ngetattr(ray, '_a', None)", "_a"),
    ("from optuna.samplers import TPESampler\nclass A(TPESampler):\n    def _sample(self): ...", "_sample"),
    ("import optuna\nclass A(optuna.samplers.TPESampler):\n    def f(self):\n        return self._rng", "_rng"),
    (
        "import torch\nfrom torch import nn\nclass A(nn.Module):\n    def f(self):\n        self._buffers = 1",
        "_buffers",
    ),
]


@pytest.mark.parametrize("path", LISTED)
def test_it_is_there(path: str) -> None:
    assert exists(path), f"{path} is no more: see what the package makes of it"


def test_what_is_used_is_listed_and_what_is_listed_is_used() -> None:
    seen = used(PACKAGE)
    parts = {part for path in LISTED for part in path.split(".")}
    unlisted = [f"{name}, used by {where}" for name, where in seen.items() if name not in parts and name not in LISTED]
    unused = [
        path for path in LISTED if path not in seen and not seen.keys() & set(filter(is_private, path.split(".")))
    ]
    assert (unlisted, unused) == ([], [])


def test_their_packages_have_an_upper_bound_that_holds_here() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    texts = [
        *project["dependencies"],
        *(t for name in ("ray", "skorch") for t in project["optional-dependencies"][name]),
    ]
    bounds = {r.name: r.specifier for r in map(Requirement, texts) if any(s.operator == "<" for s in r.specifier)}
    assert bounds.keys() == {path.split(".")[0] for path in LISTED}
    assert [name for name, bound in bounds.items() if not bound.contains(version(name))] == []


@pytest.mark.parametrize(("source", "name"), BROKEN)
def test_a_private_name_is_seen(source: str, name: str, tmp_path: Path) -> None:
    assert list(used(make_package(tmp_path, {"study/a.py": source}))) == [name]


def test_what_is_ours_or_pythons_is_not_seen(tmp_path: Path) -> None:
    assert used(make_package(tmp_path, {"study/a.py": SOUND})) == {}


@pytest.mark.parametrize("path", ["optuna._gone", "optuna.Study._gone", "ray._private._gone.x", "nothing._here"])
def test_what_a_version_dropped_is_missed(path: str) -> None:
    assert not exists(path)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def exists(path: str) -> bool:
    """Whether a dotted path leads to something: a module's name, a class's, or what a class gives its instances."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            at: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for name in parts[length:]:
            if hasattr(at, name):
                at = getattr(at, name)
            else:
                return inspect.isclass(at) and name == parts[-1] and name in names_of(at)
        return True
    return False


def names_of(cls: type) -> set[str]:
    """The private names of a foreign class: those that it has, and those that its methods give to `self`."""
    names = {name for name in dir(cls) if is_private(name)}
    for base in cls.__mro__:
        if base.__module__.split(".")[0] in FOREIGN:
            for node in ast.walk(ast.parse(inspect.cleandoc("\n" + inspect.getsource(base)))):
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self" and is_private(node.attr):
                    names.add(node.attr)
    return names


def used(package: Path) -> dict[str, str]:
    """Each private name of others that the package uses, and where: whole paths of what is imported, else the name."""
    found: dict[str, str] = {}
    for module, path in modules(package).items():
        for name, line in _used(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(name, f"{module}:{line}")
    return found


def _imported(tree: ast.Module) -> dict[str, str]:
    """What a name of the module stands for: its whole path."""
    paths: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            paths |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            paths |= {alias.asname: alias.name for alias in node.names if alias.asname}
    return paths


def _used(tree: ast.Module) -> Iterator[tuple[str, int]]:
    imported = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            base = f"{node.module}." if isinstance(node, ast.ImportFrom) and node.module else ""
            for alias in node.names:
                whole = base + alias.name
                if whole.split(".")[0] in FOREIGN and any(map(is_private, whole.split("."))):
                    yield whole, node.lineno
        elif isinstance(node, ast.ClassDef):
            theirs = [c for base in node.bases if (c := _foreign_class(ast.unparse(base), imported)) is not None]
            names = set().union(*map(names_of, theirs)) if theirs else set()
            for name, line in _private_names(node):
                if name in names:
                    yield name, line
    own = {name for name in _defined(tree) if is_private(name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(str(name.value)):
                yield str(name.value), node.lineno
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            receiver = ast.unparse(node.value)
            if receiver in ("self", "cls", "super()") or receiver.split(".")[0] in STANDARD:
                continue
            if node.attr not in own:
                yield node.attr, node.lineno


def _foreign_class(base: str, imported: dict[str, str]) -> type | None:
    first, *rest = base.split("[")[0].split(".")
    path = ".".join([imported.get(first, first), *rest])
    if path.split(".")[0] not in FOREIGN:
        return None
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def _private_names(node: ast.ClassDef) -> Iterator[tuple[str, int]]:
    """What a class defines, and what it asks of itself."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef) and is_private(inner.name):
            yield inner.name, inner.lineno
        elif (
            isinstance(inner, ast.Attribute)
            and ast.unparse(inner.value) in ("self", "super()")
            and is_private(inner.attr)
        ):
            yield inner.attr, inner.lineno
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store) and is_private(inner.id):
            yield inner.id, inner.lineno


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id

"""The house's rules, read from the source: what stands on what, which wing knows what, who prints.

Every rule is a function from a package's directory to a list of problems. Each runs on optlstm, and on made-up packages
that break it, so that no rule passes because it sees nothing.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "optlstm"

# From the bottom up, a row a folder; "" is optlstm/__init__.py. A module imports from its own row and those before it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("", "errors"),
    ("util",),
    ("data",),
    ("training",),
    ("study",),
    ("tracking",),
    ("tasks",),
    ("config",),
    ("backends",),
    ("run",),
    ("callbacks",),
    ("models",),
    ("report",),
    ("console",),
    ("maintenance",),
    ("notebook",),
    ("api",),
    ("estimators",),
    ("cli", "__main__"),
)

# The two wings: neither loads any of this, not even by way of another module of the package.
TRAINING_NEVER = ("optuna", "ray", "optlstm.study")
NEVER: dict[str, tuple[str, ...]] = {
    "study": ("torch", "optlstm.training", "optlstm.tasks", "optlstm.data"),
    "tracking": ("torch", "optlstm.training", "optlstm.tasks", "optlstm.data"),
    "training": TRAINING_NEVER,
    "tasks": TRAINING_NEVER,
    "data": TRAINING_NEVER,
}

MAY_PRINT = ("cli", "console", "__main__")
PRINTING = {"print", "exit", "quit", "SystemExit", "sys.exit", "typer.echo", "typer.secho"}

MAKES_CODE = {"eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load", "marshal.loads"}
MAY_MAKE_CODE = {
    ("optlstm.util.user_code", "exec"),
    ("optlstm.backends.local.shared_data", "pickle.loads"),
    ("optlstm.study.cmaes", "pickle.Unpickler"),  # which admits arrays and numbers alone
}

HEAVY = ("torch", "ray", "plotly", "optuna")
SLOW = ("sklearn", "statsmodels", "matplotlib", "plotly", "scipy.signal", "scipy.stats", "scipy.optimize")


def modules(package: Path) -> dict[str, Path]:
    """Dotted name -> file of every module in `package`, itself included."""
    named = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


@functools.cache
def imported(name: str, path: Path) -> tuple[str, ...]:
    return tuple(_imported(name, path))


def _imported(name: str, path: Path) -> Iterator[str]:
    """Absolute names the module imports, at its top or inside functions; `from a import b` gives a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {
            "importlib.import_module",
            "import_module",
            "__import__",
        }:
            yield from (str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def part(name: str) -> str:
    """`study` for optlstm.study.ledger, "" for optlstm itself."""
    return [*name.split("."), ""][1]


def is_within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def layer_problems(package: Path) -> list[str]:
    """Nothing imports what stands above it, and everything has its place."""
    known = modules(package)
    height = {name: row for row, names in enumerate(LAYERS) for name in names}
    problems = [f"{name} has no place in LAYERS" for name in known if part(name) not in height]
    for name, path in known.items():
        inside = {target for target in imported(name, path) if target in known}
        problems += [
            f"{name} imports {target}, which stands above it"
            for target in sorted(inside)
            if height.get(part(target), 0) > height.get(part(name), 0)
        ]
    return problems


def direct_imports(name: str, path: Path, known: dict[str, Path]) -> list[str]:
    """The modules that `name` imports; of `from a import b`, a only where b is no module."""
    names = imported(name, path)

    def is_meant(target: str) -> bool:
        children = [child for child in names if child.rpartition(".")[0] == target]
        return not children or any(child not in known for child in children)

    return sorted({target for target in names if target in known and target != name and is_meant(target)})


def circle_problems(package: Path) -> list[str]:
    """No module imports itself by way of others, inside functions and for the type checker included."""
    known = modules(package)
    targets = {name: direct_imports(name, path, known) for name, path in known.items()}
    ways: dict[frozenset[str], str] = {}
    for start in known:
        before, waiting = dict.fromkeys(targets[start], start), list(targets[start])
        for here in waiting:  # grows: nearest first
            waiting += [target for target in targets[here] if target not in before]
            before = {**dict.fromkeys(targets[here], here), **before}
        if start in before:
            way = [start, before[start]]
            while way[-1] != start:
                way.append(before[way[-1]])
            ways.setdefault(frozenset(way), " -> ".join(reversed(way)))
    return list(ways.values())


def wing_problems(package: Path) -> list[str]:
    """No wing reaches what it must never know, directly or through other modules of the package."""
    known = modules(package)
    return [route for name in known for route in forbidden_routes(name, known, NEVER.get(part(name), ()))]


def forbidden_routes(start: str, known: dict[str, Path], never: tuple[str, ...]) -> list[str]:
    """For each name in `never` that importing `start` can load, one chain of imports that leads there."""
    routes, waiting = {start: start}, [start]
    while waiting:
        here = waiting.pop()
        for target in with_parents(imported(here, known[here])):
            reached = next((prefix for prefix in never if is_within(target, prefix)), target)
            if reached not in routes and (reached in never or reached in known):
                routes[reached] = f"{routes[here]} -> {reached}"
                waiting += [reached] if reached not in never else []
    return [routes[name] for name in never if name in routes]


def with_parents(names: Iterable[str]) -> list[str]:
    """To import a.b.c is to run a and a.b as well."""
    return sorted({name.rsplit(".", up)[0] for name in names for up in range(name.count(".") + 1)})


def ray_problems(package: Path) -> list[str]:
    """Only optlstm.backends.ray* imports ray."""
    return [
        f"{name} imports {target}"
        for name, path in modules(package).items()
        if not name.startswith("optlstm.backends.ray")
        for target in imported(name, path)
        if is_within(target, "ray")
    ]


def slow_problems(package: Path) -> list[str]:
    """What takes half a second and not every command needs is imported where it is used."""
    return [
        f"{name}:{node.lineno} imports {target}"
        for name, path in modules(package).items()
        if name != "optlstm.estimators"  # are scikit-learn's
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for target in (f"{getattr(node, 'module', None) or ''}.{alias.name}".strip(".") for alias in node.names)
        if any(is_within(target, slow) for slow in SLOW)
    ]


def printing_problems(package: Path) -> list[str]:
    """Only the command line and its progress display print or end the process."""
    return [
        f"{name}:{node.lineno} calls {ast.unparse(node.func)}"
        for name, path in modules(package).items()
        if part(name) not in MAY_PRINT
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTING
    ]


def code_problems(package: Path) -> list[str]:
    """Nothing makes code of what a file holds, except user code (Python files) and pickles between our processes."""
    return [
        f"{name}:{node.lineno} calls {used}"
        for name, path in modules(package).items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call | ast.ClassDef)
        for used in map(ast.unparse, [node.func] if isinstance(node, ast.Call) else node.bases)
        if used in MAKES_CODE and (name, used) not in MAY_MAKE_CODE
    ]


RULES = [layer_problems, circle_problems, wing_problems, ray_problems, slow_problems, printing_problems, code_problems]

TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
IMPORTS_A = "importlib.import_module('optlstm.a')"

BROKEN = [
    (
        layer_problems,
        {"data/a.py": "from optlstm.training import loop", "training/loop.py": ""},
        "optlstm.training.loop",
    ),
    (layer_problems, {"errors.py": "def f():\n    import optlstm.cli", "cli.py": ""}, "stands above it"),
    (layer_problems, {"training/a.py": "from ..tasks import b", "tasks/b.py": ""}, "optlstm.tasks.b"),
    (layer_problems, {"backends/local.py": "from optlstm import api", "api.py": ""}, "optlstm.api"),
    (layer_problems, {"attic.py": ""}, "optlstm.attic has no place in LAYERS"),
    (
        circle_problems,
        {"run/a.py": "from optlstm.run import b", "run/b.py": "def f():\n    from .a import c"},
        "optlstm.run.a -> optlstm.run.b -> optlstm.run.a",
    ),
    (
        circle_problems,
        {"data/a.py": "import optlstm.data.b", "data/b.py": TYPES + "    import optlstm.data.a"},
        "optlstm.data.a -> optlstm.data.b -> optlstm.data.a",
    ),
    (
        circle_problems,
        {"a.py": "from .b import x", "b.py": "from .c import x", "c.py": "import importlib\n" + IMPORTS_A},
        "optlstm.a -> optlstm.b -> optlstm.c -> optlstm.a",
    ),
    (
        circle_problems,
        {"run/__init__.py": "from optlstm.run.a import b\nc = 1", "run/a.py": "from . import c"},
        "optlstm.run -> optlstm.run.a -> optlstm.run",
    ),
    (wing_problems, {"study/a.py": "def f():\n    from torch import nn"}, "optlstm.study.a -> torch"),
    (
        wing_problems,
        {"study/a.py": "from optlstm import artifacts", "artifacts.py": "import torch"},
        "artifacts -> torch",
    ),
    (
        wing_problems,
        {"study/a.py": "from .b import c", "study/b.py": "from optlstm.data import c"},
        "b -> optlstm.data",
    ),
    (wing_problems, {"study/a.py": "from optlstm.tasks import b"}, "optlstm.tasks"),
    (
        wing_problems,
        {"study/a.py": "import importlib\nimportlib.import_module('optlstm.training.x')"},
        "optlstm.training",
    ),
    (
        wing_problems,
        {"study/a.py": "import optlstm.config.b", "config/__init__.py": "import torch", "config/b.py": ""},
        "torch",
    ),
    (wing_problems, {"training/a.py": "import optuna.trial"}, "optlstm.training.a -> optuna"),
    (wing_problems, {"tasks/a.py": "from ray import tune"}, "optlstm.tasks.a -> ray"),
    (
        wing_problems,
        {"data/a.py": "from optlstm import study", "study/__init__.py": ""},
        "optlstm.data.a -> optlstm.study",
    ),
    (ray_problems, {"backends/local.py": "def f():\n    import ray.tune"}, "optlstm.backends.local imports ray.tune"),
    (
        slow_problems,
        {"tasks/a.py": "from scipy.signal import lfilter"},
        "optlstm.tasks.a:1 imports scipy.signal.lfilter",
    ),
    (slow_problems, {"tasks/a.py": "from scipy import fft, signal"}, "optlstm.tasks.a:1 imports scipy.signal"),
    (printing_problems, {"study/a.py": "print(1)"}, "optlstm.study.a:1 calls print"),
    (printing_problems, {"backends/a.py": "import sys\nsys.exit(2)"}, "optlstm.backends.a:2 calls sys.exit"),
    (printing_problems, {"api.py": "import typer\ntyper.echo('x')"}, "typer.echo"),
    (printing_problems, {"api.py": "raise SystemExit(1)"}, "SystemExit"),
    (code_problems, {"models/a.py": "import torch\ntorch.load('x', weights_only=True)"}, "models.a:2 calls torch.load"),
    (code_problems, {"util/user_code.py": "exec('1')\neval('1')"}, "optlstm.util.user_code:2 calls eval"),
]

SOUND = {
    "__init__.py": "__version__ = '1'",
    "errors.py": "",
    "data/a.py": "import torch\nfrom .. import errors, __version__",
    "study/a.py": "import optuna\nfrom optlstm.errors import x",
    "study/__init__.py": "from . import a, rayon",
    "study/rayon.py": "import rays",
    "run/objective.py": "from optlstm.study import a\nfrom optlstm.data import a as b",
    "backends/ray_tune/core.py": "import ray\nfrom optlstm.study import a",
    "cli.py": "import sys\nfrom optlstm.backends import local\nprint(1)\nsys.exit(0)",
    "console/progress.py": "print(1)",
}


def make_package(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "optlstm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root / "optlstm"


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule: Callable[[Path], list[str]]) -> None:
    assert rule(PACKAGE) == []


@pytest.mark.parametrize(("rule", "files", "problem"), BROKEN)
def test_the_rule_sees_a_breach(
    rule: Callable[[Path], list[str]], files: dict[str, str], problem: str, tmp_path: Path
) -> None:
    found = rule(make_package(tmp_path, files))
    assert found
    assert all(problem in line for line in found)


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_passes_a_sound_package(rule: Callable[[Path], list[str]], tmp_path: Path) -> None:
    assert rule(make_package(tmp_path, SOUND)) == []


def loaded_by(code: str, names: tuple[str, ...]) -> list[str]:
    """Those of `names` that a fresh interpreter has loaded once `code` has run; its exit, if any, must be 0."""
    script = (
        f"import sys\ntry:\n    exec({code!r})\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"print('\\nloaded:', *(n for n in {names!r} if n in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import optlstm", HEAVY) == []


def test_help_loads_nothing_heavy() -> None:
    run_module = "import runpy, sys; sys.argv[1:] = ['--help']; runpy.run_module('optlstm', run_name='__main__')"
    assert loaded_by(run_module, HEAVY) == []


def test_a_ray_worker_loads_nothing_of_the_drivers() -> None:
    its = "import optlstm.backends.ray.worker, optlstm.backends.trial"
    assert loaded_by(its, ("optuna", "sqlalchemy", "torch", "optlstm.study.ledger")) == []


def test_what_is_loaded_is_seen() -> None:
    assert loaded_by("import colorsys, sys; sys.exit(0)", ("colorsys", *HEAVY)) == ["colorsys"]

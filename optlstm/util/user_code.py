"""User code, a Python file or `module:function`: read, fingerprinted and imported, only here."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from optlstm.errors import InputError, did_you_mean, named


def fingerprint(source: str) -> str:
    """Hash of the code without comments and layout; imported modules are not included."""
    return hashlib.sha256(ast.dump(ast.parse(source)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class UserFile:
    """A Python file as it was read: workers on other machines are given its text."""

    path: str
    source: str = field(repr=False)

    @classmethod
    def read(cls, key: str, path: str) -> UserFile:
        """Raises InputError `KEY: ...` where it cannot be read."""
        file = Path(path).expanduser().absolute()
        try:
            return cls(str(file), file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            near = did_you_mean(file.name, (p.name for p in file.parent.glob("*.py")) if file.parent.is_dir() else ())
            raise InputError(f"{key}: {path} does not exist{near}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{key}: {path} cannot be read: {error}") from None

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.source)

    def run(self, key: str, module: str) -> ModuleType:
        """Run the file as `module`. It can import modules from its folder.

        Raises:
            InputError: It is not Python, or raises.
        """
        folder = str(Path(self.path).parent)
        if folder not in sys.path and Path(folder).is_dir():
            sys.path.insert(0, folder)
        loaded = ModuleType(module)
        loaded.__file__ = self.path
        try:
            with _failures(f"{key}: {self.name} raised", SyntaxError):
                _run(loaded, self.source, self.path)
        except SyntaxError as error:
            raise InputError(f"{key}: {self.name}, line {error.lineno}: {error.msg}") from None
        return loaded


@dataclass(frozen=True)
class UserFunction:
    """`module:function` as it was read, with its module's source: where there is no such module, that text is run."""

    reference: str
    source: str = field(repr=False)

    @classmethod
    def read(cls, key: str, reference: str, signature: str) -> UserFunction:
        """Import it. Raises as `import_function`."""
        import_function(key, reference, signature)
        try:
            return cls(reference, inspect.getsource(sys.modules[reference.partition(":")[0]]))
        except (OSError, TypeError):  # a module in C has none
            return cls(reference, "")

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.source)

    def load(self) -> Any:
        """The function, in any process. Raises what importing its module raises."""
        name, _, function = self.reference.partition(":")
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            if not self.source:
                raise
            module = ModuleType(name)
            _run(module, self.source, f"<{name}>")
        return getattr(module, function)


def import_function(key: str, reference: str, signature: str) -> Any:
    """The function that `module:function` names; modules in the working directory can be imported.

    Args:
        signature: How it is called, for the message: `function(a, b) -> c`.

    Raises:
        InputError: `KEY: ...`: there is no such module or function, or importing it raises.
    """
    name, colon, function = reference.partition(":")
    if not colon or not name or not function:
        raise InputError(f"{key}: must be module:function, got {reference!r}")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        with _failures(f"{key}: importing {name} raised", ModuleNotFoundError):
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(f"{key}: there is no module '{error.name}' (looked for it in {here}, too)") from None
    if not callable(getattr(module, function, None)):
        raise InputError(f"{key}: {name} has no {signature.replace('function', function, 1)}")
    return getattr(module, function)


def _run(module: ModuleType, source: str, path: str) -> None:
    sys.modules[module.__name__] = module  # so that its classes can be pickled by worker processes it starts
    exec(compile(source, path, "exec"), module.__dict__)


@contextmanager
def _failures(prefix: str, allowed: type[BaseException]) -> Iterator[None]:
    """Raises InputError `PREFIX ...` for any exception but `allowed`, sys.exit() included."""
    try:
        yield
    except (KeyboardInterrupt, allowed):
        raise
    except BaseException as error:
        raise InputError(f"{prefix} {named(error)}") from error

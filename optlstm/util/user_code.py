"""User code, a Python file or `module:function`: read, fingerprinted, admitted and run, only here.

Code runs where the command names it, or where a study's database does and this user's own earlier command named the
very same code (`trusted_code`). A worker runs what its driver sent.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
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
from optlstm.util import trusted_code

FINGERPRINT = 16  # characters of the hash that a study keeps


@dataclass(frozen=True)
class Stored:
    """Says of code that it is named by a study's database alone, and not by the command.

    Args:
        study: Whose database entry names it.
        remedy: What to type to name it.
        fingerprint: Of the code that the study was made with; None: the study has none.
        never: Whether the command runs no code of a database's naming at all.
    """

    study: str
    remedy: str
    fingerprint: str | None = None
    never: bool = False

    def refusal(self, key: str, name: str, reason: str) -> InputError:
        return InputError(
            f"{key}: {name} is named by study '{self.study}' alone, and {reason}; to run it: {self.remedy}"
        )

    def check_name(self, key: str, name: str) -> None:
        """Before anything of that name is opened. Raises InputError."""
        if self.never or not trusted_code.is_named(name):
            reason = "this command runs no such code" if self.never else "no command of yours has run it here"
            raise self.refusal(key, name, reason)

    def check_code(self, key: str, name: str, digest: str) -> None:
        """Before it is run. Raises InputError."""
        changed = self.fingerprint is not None and self.fingerprint != digest[:FINGERPRINT]
        if changed or not digest or not trusted_code.is_trusted(name, digest):
            raise self.refusal(key, name, "it has changed since")


def fingerprint(source: str) -> str:
    """Hash of the code without comments and layout; imported modules are not included."""
    return _digest(source)[:FINGERPRINT]


def _digest(source: str) -> str:
    try:
        code = ast.dump(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # no Python: it will be refused, or is built
        code = source
    return hashlib.sha256(code.encode(errors="surrogateescape")).hexdigest()


@dataclass(frozen=True)
class UserFile:
    """A Python file as it was read: workers on other machines are given its text."""

    path: str
    source: str = field(repr=False)

    @classmethod
    def read(cls, key: str, path: str, stored: Stored | None = None) -> UserFile:
        """Raises InputError `KEY: ...` where it cannot be read, or is `stored` and may not be run."""
        file = Path(path).expanduser().absolute()
        if stored is not None:
            stored.check_name(key, str(file))
        try:
            read = cls(str(file), file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            near = did_you_mean(file.name, (p.name for p in file.parent.glob("*.py")) if file.parent.is_dir() else ())
            raise InputError(f"{key}: {path} does not exist{near}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{key}: {path} cannot be read: {error}") from None
        _admit(key, read.path, _digest(read.source), stored)
        return read

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
    def read(cls, key: str, reference: str, signature: str, stored: Stored | None = None) -> UserFunction:
        """Import it. Raises as `import_function`, and InputError where it is `stored` and may not be run."""
        name = reference.partition(":")[0]
        if stored is not None:
            stored.check_name(key, reference)
            _search_here()
            stored.check_code(key, reference, _module_digest(name))
        import_function(key, reference, signature)
        if stored is None and (digest := _module_digest(name)):
            trusted_code.remember(reference, digest)
        try:
            return cls(reference, inspect.getsource(sys.modules[name]))
        except (OSError, TypeError):  # a module in C has none
            return cls(reference, "")

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.source)

    def load(self) -> Any:
        """The function, in any process. Raises what importing its module raises.

        Where this machine has no such module, or one with other code than the driver's, the driver's text is run.
        """
        name, _, function = self.reference.partition(":")
        if name not in sys.modules and self.source and _module_digest(name) != _digest(self.source):
            _run(ModuleType(name), self.source, f"<{name}>")
        return getattr(importlib.import_module(name), function)


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
    here = _search_here()
    try:
        with _failures(f"{key}: importing {name} raised", ModuleNotFoundError):
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(f"{key}: there is no module '{error.name}' (looked for it in {here}, too)") from None
    if not callable(getattr(module, function, None)):
        raise InputError(f"{key}: {name} has no {signature.replace('function', function, 1)}")
    return getattr(module, function)


def _search_here() -> str:
    """Modules in the working directory can be imported; gives it."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    return here


def _admit(key: str, name: str, digest: str, stored: Stored | None) -> None:
    """Raises InputError where code may not be run; what the command itself names is remembered."""
    if stored is None:
        trusted_code.remember(name, digest)
    else:
        stored.check_code(key, name, digest)


def _module_digest(name: str) -> str:
    """Of the file that a module is, or would be, imported from; empty where there is none.

    The module is not imported for it; the packages that it lies in are.
    """
    try:
        spec = importlib.util.find_spec(name)
        content = Path(str(spec.origin)).read_bytes() if spec and spec.has_location else b""
    except Exception:  # of the packages' code, or no file
        return ""
    try:
        return _digest(importlib.util.decode_source(content)) if content else ""
    except (SyntaxError, UnicodeDecodeError):  # a module in C
        return hashlib.sha256(content).hexdigest()


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

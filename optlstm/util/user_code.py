"""User code, a Python file or `module:function`: read, fingerprinted, admitted and run, only here.

Code runs where the command names it, or where a study's database does and this user's own earlier command named the
very same code (`trusted_code`). A worker runs what its driver sent.
"""

from __future__ import annotations

import inspect
import linecache
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from optlstm.errors import InputError, did_you_mean, named
from optlstm.util import trusted_code
from optlstm.util.module_text import digest, import_texts, joint_digest, lies_in, read_modules

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

    def check_code(self, key: str, name: str, source: str, digest: str) -> None:
        """Before it is run. Raises InputError.

        Args:
            source: Of the file or module; the packages around it are no part of a study's fingerprint.
            digest: Of all that runs; empty: there is nothing.
        """
        changed = self.fingerprint is not None and source and self.fingerprint != fingerprint(source)
        if changed:
            raise InputError(
                f"{key}: {name} is named by study '{self.study}' alone, and it has changed since the study was made: "
                "put it back, or name it to a new study, with another --name"
            )
        if not digest or not trusted_code.is_trusted(name, digest):
            raise self.refusal(key, name, "it has changed since")


def fingerprint(source: str) -> str:
    """Hash of the code without comments and layout; imported modules are not included."""
    return digest(source)[:FINGERPRINT]


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
            moved = (
                f"; where it was moved: study NEW_PLACE/{shlex.quote(file.name)} --name {shlex.quote(stored.study)}"
                if stored
                else ""
            )
            raise InputError(f"{key}: {path} does not exist{near}{moved}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{key}: {path} cannot be read: {error}") from None
        if stored is None:
            trusted_code.remember(read.path, digest(read.source))
        else:
            stored.check_code(key, read.path, read.source, digest(read.source))
        return read

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.source)

    def run(self, key: str, module: str) -> ModuleType:
        """Run the file as `module`. It can import modules from its folder, and of a working one above it.

        Raises:
            InputError: It is not Python, or raises.
        """
        folder = str(Path(self.path).parent)
        if folder not in sys.path and Path(folder).is_dir():
            sys.path.insert(0, folder)
        here = _working_folder()
        if here and here not in sys.path and Path(folder).is_relative_to(here):
            sys.path.append(here)
        loaded = ModuleType(module)
        loaded.__file__ = self.path
        # Tracebacks show the lines that run, also on a machine without the file, or where it has been edited since.
        linecache.cache[self.path] = (len(self.source), None, self.source.splitlines(keepends=True), self.path)
        try:
            with _failures(f"{key}: {self.name} raised", SyntaxError), as_program(self.path):
                _run(loaded, compile(self.source, self.path, "exec"))
        except SyntaxError as error:
            raise InputError(f"{key}: {self.name}, line {error.lineno}: {error.msg}") from None
        return loaded


@dataclass(frozen=True)
class UserFunction:
    """`module:function` as it was read: every process runs the text of its module that this one has read.

    Args:
        source: Of the module; empty where it has none.
        packages: Names of the packages that it lies in, and the text of their `__init__.py`.
    """

    reference: str
    source: str = field(repr=False)
    packages: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def read(cls, key: str, reference: str, signature: str, stored: Stored | None = None) -> UserFunction:
        """Import it; its module may lie in the working directory.

        Args:
            signature: How it is called, for the message: `function(a, b) -> c`.

        Raises:
            InputError: `KEY: ...`: there is no such module or function, importing it raises, or it is `stored` and
                may not be run.
        """
        name, colon, function = reference.partition(":")
        if not colon or not name or not function:
            raise InputError(f"{key}: must be module:function, got {reference!r}")
        if stored is not None:
            stored.check_name(key, reference)
        here = _working_folder()
        added = bool(here) and here not in sys.path and "" not in sys.path and lies_in(here, name)
        if added:
            sys.path.insert(0, here)
        modules = read_modules(name)
        source, code = modules[-1].source if modules else "", joint_digest(modules)
        if stored is not None:
            try:
                stored.check_code(key, reference, source, code)
            except InputError:
                if added:
                    sys.path.remove(here)
                raise
        packages = tuple((module.name, module.source) for module in modules[:-1] if module.source)
        module = _import(key, name, {**dict(packages), name: source})
        if not callable(getattr(module, function, None)):
            raise InputError(f"{key}: {name} has no {signature.replace('function', function, 1)}")
        if stored is None and code:
            trusted_code.remember(reference, code)
        return cls(reference, source or _source(module), packages)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.source)

    def load(self) -> Any:
        """The function, in any process. Raises what importing its module raises.

        The text that was read is run, in the packages of this machine where it has the module, else alone.
        """
        name, _, function = self.reference.partition(":")
        if name not in sys.modules and self.source and not read_modules(name):
            _run(ModuleType(name), compile(self.source, f"<{name}>", "exec", dont_inherit=True))
        texts = {**dict(self.packages), name: self.source} if self.source else {}
        return getattr(import_texts(name, texts), function)


@contextmanager
def as_program(path: str) -> Iterator[None]:
    """Code that parses a command line sees that of a file which was run without arguments, not this program's."""
    before = sys.argv
    sys.argv = [path]
    try:
        yield
    finally:
        sys.argv = before


def _import(key: str, name: str, texts: dict[str, str]) -> ModuleType:
    """As `import_texts`; raises InputError."""
    try:
        with _failures(f"{key}: importing {name} raised", ModuleNotFoundError):
            return import_texts(name, {module: text for module, text in texts.items() if text})
    except ModuleNotFoundError as error:
        raise InputError(
            f"{key}: there is no module '{error.name}' (looked for it in {_working_folder()}, too)"
        ) from None


def _working_folder() -> str:
    """Empty where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def _source(module: ModuleType) -> str:
    """Of one whose file could not be found before it was imported."""
    try:
        return inspect.getsource(module)
    except (OSError, TypeError):  # a module in C has none
        return ""


def _run(module: ModuleType, code: CodeType) -> None:
    sys.modules[module.__name__] = module  # so that its classes can be pickled by worker processes it starts
    exec(code, module.__dict__)


@contextmanager
def _failures(prefix: str, allowed: type[BaseException]) -> Iterator[None]:
    """Raises InputError `PREFIX ...` for any exception but `allowed`, sys.exit() included."""
    try:
        yield
    except (KeyboardInterrupt, allowed):
        raise
    except BaseException as error:
        raise InputError(f"{prefix} {named(error)}") from error

"""Modules as text: found without running anything, hashed, and imported from the very text that was hashed.

Python itself would run the packages around a module to find it, and a bytecode cache (`.pyc`) in its source's place.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


@dataclass(frozen=True)
class ModuleText:
    """A module, or a package's `__init__.py`.

    Args:
        source: Empty where it is none of Python's (a module in C).
        digest: See `digest`; without source, the SHA-256 of the file.
    """

    name: str
    source: str = field(repr=False)
    digest: str


def digest(source: str) -> str:
    """SHA-256 of the code without comments and layout; imported modules are not included."""
    try:
        code = ast.dump(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # no Python: it will be refused, or is built
        code = source
    return hashlib.sha256(code.encode(errors="surrogateescape")).hexdigest()


def joint_digest(modules: Sequence[ModuleText]) -> str:
    """Of all that importing the last of them runs by itself; empty where there is none."""
    if len(modules) < 2:
        return "".join(module.digest for module in modules)
    return hashlib.sha256("\n".join(f"{module.name} {module.digest}" for module in modules).encode()).hexdigest()


def read_modules(name: str) -> list[ModuleText]:
    """The packages that a module lies in, outermost first, and the module; empty where there is no file of it."""
    modules = []
    try:
        for spec in _locate(name):
            if spec.loader is None:  # a package without __init__.py
                continue
            content = Path(str(spec.origin)).read_bytes() if spec.has_location else b""
            if not spec.has_location:
                return []
            if isinstance(spec.loader, SourceFileLoader):
                source = importlib.util.decode_source(content)
                modules.append(ModuleText(spec.name, source, digest(source)))
            else:
                modules.append(ModuleText(spec.name, "", hashlib.sha256(content).hexdigest()))
    except (OSError, ImportError, ValueError, SyntaxError):  # no such file, or no text
        return []
    return modules if modules and modules[-1].name == name else []


def lies_in(folder: str, name: str) -> bool:
    """Whether a module, or the outermost package that it lies in, lies in a folder."""
    return _spec_in([folder], name.partition(".")[0]) is not None


def import_texts(name: str, texts: Mapping[str, str]) -> ModuleType:
    """Import a module, and wherever it comes to one of these names, run that text.

    Raises what importing it raises.
    """
    finder = _Texts(texts)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)


def _locate(name: str) -> list[ModuleSpec]:
    """Of the packages that a module lies in and of the module; empty where there is none. Nothing is imported."""
    specs: list[ModuleSpec] = []
    parts = name.split(".")
    for depth in range(len(parts)):
        part = ".".join(parts[: depth + 1])
        if part in sys.modules or not specs:
            spec = importlib.util.find_spec(part) if not specs else sys.modules[part].__spec__
        else:
            spec = _spec_in(specs[-1].submodule_search_locations or (), part)
        if spec is None:
            return []
        specs.append(spec)
    return specs


def _spec_in(folders: Iterable[str], name: str) -> ModuleSpec | None:
    """As Python's own finder, which would want the packages around it to have been imported."""
    parts: list[str] = []
    for folder in folders:
        finder: Any = pkgutil.get_importer(folder)
        spec = finder.find_spec(name) if finder else None
        if isinstance(spec, ModuleSpec):
            if spec.loader is not None:
                return spec
            parts += spec.submodule_search_locations or ()
    if not parts:
        return None
    package = ModuleSpec(name, None, is_package=True)
    package.submodule_search_locations = parts
    return package


class _Texts(MetaPathFinder):
    """Finds modules as the others do, and has them run from a text."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if (text := self._texts.get(fullname)) is None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.has_location:
                    spec.loader = _TextLoader(fullname, str(spec.origin), text)
                return spec
        return None


class _TextLoader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, text: str) -> None:
        super().__init__(fullname, path)
        self._text = text

    def get_source(self, fullname: str) -> str:
        return self._text

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self._text, self.path, "exec", dont_inherit=True)
        return code

"""Nested state as tensors beside JSON, and back bit for bit: state dicts, lists, numbers, None; nothing is pickled.

What JSON has stands in the tree as it is: null, booleans, text, whole and finite numbers, and lists. Anything else is
an object whose key names its kind: `{"tuple": [...]}`, `{"dict": [[key, value], ...]}`, `{"tensor": "model.weight"}`.
"""

from __future__ import annotations

import base64
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optlstm.errors import ArtifactError
from optlstm.training.tensor_file import DTYPES

KEPT = "tensors, arrays, numbers, text, None, and lists, tuples and dicts of these"
_DTYPES = {str(v).removeprefix("torch."): v for v in vars(torch).values() if isinstance(v, torch.dtype)}
_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {"tuple": tuple, "size": torch.Size, "set": set}
_MAPPINGS: dict[str, Callable[[list[Any]], Any]] = {
    "dict": dict,
    "ordered": OrderedDict,
    "counter": lambda p: Counter(dict(p)),
}
_METADATA = "_metadata"  # an attribute of a module's state dict: the versions of its parts


def encode(value: Any, name: str = "", *, copy: bool = True) -> tuple[Any, dict[str, Tensor]]:
    """A value as a JSON tree and its tensors by name, on the CPU.

    Args:
        name: Of the value, for messages.
        copy: As they are now. Without, those that are on the CPU change with the value.

    Raises:
        TypeError: Some part is of a kind that is not kept; the message names it.
    """
    encoder = _Encoder(copy)
    try:
        return encoder.tree(value, (name,) if name else ()), encoder.tensors
    except RecursionError:
        raise TypeError(f"{name or 'the value'} contains itself, or is nested too deeply") from None


def decode(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value that was encoded; its tensors are on the CPU.

    Raises:
        ArtifactError: `encode` wrote no such tree.
    """
    try:
        return _decoded(tree, tensors)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise ArtifactError(f"it is not what was kept: {type(error).__name__}: {error}") from error


@dataclass
class _Encoder:
    copy: bool
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def tree(self, value: Any, path: tuple[str, ...]) -> Any:
        match value:
            case None | bool():
                return value
            case np.generic():
                return {"scalar": self._array(np.asarray(value), path)}
            case int() | str() if type(value) in (int, str):
                return value
            case float() if type(value) is float:
                return value if math.isfinite(value) else {"float": str(value)}
            case list() if type(value) is list:
                return self._items(value, path)
            case Tensor():
                return {"tensor": self._tensor(value, path)}
            case np.ndarray():
                return {"array": self._array(value, path)}
        return self._container(value, path)

    def _container(self, value: Any, path: tuple[str, ...]) -> Any:
        """A container, or one of the rarer kinds."""
        kind = type(value)
        if kind in (tuple, torch.Size, set):
            return {"size" if kind is torch.Size else kind.__name__: self._items(list(value), path)}
        if kind in (dict, Counter):
            return {kind.__name__.lower(): self._pairs(value, path)}
        if kind is OrderedDict:
            known = getattr(value, _METADATA, None)
            more = {} if known is None else {"metadata": self.tree(known, (*path, _METADATA))}
            return {"ordered": self._pairs(value, path), **more}
        if kind is deque:
            return {"deque": self._items(list(value), path), "most": value.maxlen}
        if kind is complex:
            return {"complex": self._items([value.real, value.imag], path)}
        if kind in (bytes, bytearray):
            return {kind.__name__: base64.b64encode(value).decode()}
        if kind in (torch.dtype, torch.device):
            return {kind.__name__: str(value).removeprefix("torch.")}
        raise TypeError(f"{'.'.join(path) or 'the value'} is of type {kind.__name__}, which is not kept; {KEPT} are")

    def _items(self, values: list[Any], path: tuple[str, ...]) -> list[Any]:
        return [self.tree(value, (*path, str(position))) for position, value in enumerate(values)]

    def _pairs(self, value: Mapping[Any, Any], path: tuple[str, ...]) -> list[Any]:
        return [[self.tree(key, (*path, "key")), self.tree(item, (*path, str(key)))] for key, item in value.items()]

    def _tensor(self, tensor: Tensor, path: tuple[str, ...]) -> Any:
        """Its name, or where safetensors does not know its type [name, type, shape]."""
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise TypeError(f"{'.'.join(path)} is a sparse or quantized tensor, which is not kept")
        here = tensor.detach().resolve_conj().resolve_neg()
        copy = self.copy or tensor.is_shared()  # type: ignore[no-untyped-call]  # with processes that may train it
        here = here.to("cpu", copy=copy, memory_format=torch.contiguous_format)
        if here.dtype in DTYPES:  # safetensors has a name for it; of others the bytes are written
            return self._keep(here, path)
        raw = here.reshape(-1).view(torch.uint8)
        return [self._keep(raw, path), str(here.dtype).removeprefix("torch."), list(here.shape)]

    def _array(self, array: np.ndarray, path: tuple[str, ...]) -> Any:
        """As `_tensor`, by NumPy's types."""
        if array.dtype.hasobject:
            raise TypeError(f"{'.'.join(path)} is an array of Python objects, which is not kept")
        raw = np.frombuffer(bytearray(array.tobytes()), np.uint8) if array.nbytes else np.zeros(0, np.uint8)
        return [self._keep(torch.from_numpy(raw), path), array.dtype.str, list(array.shape)]

    def _keep(self, tensor: Tensor, path: tuple[str, ...]) -> str:
        name = base = ".".join(path) or "value"
        clashes = 1
        while name in self.tensors:  # {"a.b": ...} beside {"a": {"b": ...}}
            clashes += 1
            name = f"{base}#{clashes}"
        self.tensors[name] = tensor
        return name


def _decoded(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_decoded(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    (kind,) = set(tree) - {"metadata", "most"}
    content = tree[kind]
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](_decoded(content, tensors))
    if kind in _MAPPINGS:
        made = _MAPPINGS[kind]([(_decoded(key, tensors), _decoded(item, tensors)) for key, item in content])
        if "metadata" in tree:
            setattr(made, _METADATA, _decoded(tree["metadata"], tensors))
        return made
    return _LEAVES[kind](content, tree, tensors)


def _leaf_tensor(content: Any, _: Any, tensors: Mapping[str, Tensor]) -> Tensor:
    if isinstance(content, str):
        return tensors[content]
    name, dtype, shape = content
    return tensors[name].view(_DTYPES[dtype]).reshape(shape)


def _leaf_array(content: Any, _: Any, tensors: Mapping[str, Tensor]) -> Any:
    name, text, shape = content
    raw, dtype = tensors[name].numpy(), np.dtype(text)
    if dtype.hasobject:
        raise TypeError("bytes are no Python objects")
    return (raw.view(dtype) if raw.size else np.zeros(0, dtype)).reshape(shape)


_LEAVES: dict[str, Callable[[Any, Any, Mapping[str, Tensor]], Any]] = {
    "tensor": _leaf_tensor,
    "array": _leaf_array,
    "scalar": lambda content, tree, tensors: _leaf_array(content, tree, tensors)[()],
    "float": lambda content, *_: float(content),
    "complex": lambda content, _, tensors: complex(*_decoded(content, tensors)),
    "bytes": lambda content, *_: base64.b64decode(content),
    "bytearray": lambda content, *_: bytearray(base64.b64decode(content)),
    "deque": lambda content, tree, tensors: deque(_decoded(content, tensors), tree["most"]),
    "dtype": lambda content, *_: _DTYPES[content],
    "device": lambda content, *_: torch.device(content),
}

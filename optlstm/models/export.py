"""A model as one file for programs without optlstm: raw input to raw output, scaling and mean over networks inside."""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from optlstm.errors import InputError
from optlstm.models.model import Model
from optlstm.tasks.base import ExportModule
from optlstm.util.extras import install
from optlstm.util.output_file import OutputFile
from optlstm.util.temporary import temporary_folder

FORMATS = {"onnx": ".onnx", "torchscript": ".torchscript.pt", "pt2": ".pt2"}
_ONNX_PACKAGES = ("onnx", "onnxscript")
_CACHE = "TORCHINDUCTOR_CACHE_DIR"
_ANY_BATCH = ({0: torch.export.Dim("batch", min=1)},)  # the first dimension of the input


def export_model(model: Model, form: str, file: OutputFile) -> str:
    """Write `model` to `file`, whole or not at all; returns a description of its input and output, line by line.

    onnx: for onnxruntime and others. torchscript: for C++ (libtorch); torch itself calls it deprecated. pt2: its
    successor, read by `torch.export.load`. Each takes any number of samples.

    Raises:
        InputError: a package that the format needs is missing.
        OptlstmError: the file cannot be written.
    """
    exported = model.predictor.export_module()
    exported.module.eval()
    with _private_cache():
        content = _WRITERS[form](exported)
    file.write(content)
    with torch.no_grad():
        given = exported.module(exported.example)
    outputs = given if isinstance(given, tuple) else (given,)
    named = ", ".join(f"{name} {_shape(out)}" for name, out in zip(exported.output_names, outputs, strict=True))
    dtype = str(exported.example.dtype).removeprefix("torch.")
    return "\n".join([f"{exported.input_name} {_shape(exported.example)} -> {named}, {dtype}", *exported.notes])


def _onnx(exported: ExportModule) -> bytes:
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"--format: onnx needs {' and '.join(missing)}: {install('onnx')}")
    with warnings.catch_warnings(), _errors_only("torch.onnx", "onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")  # torch warns of its own deprecated calls
        program: Any = torch.onnx.export(
            exported.module,
            (exported.example,),
            dynamo=True,
            input_names=[exported.input_name],
            output_names=list(exported.output_names),
            dynamic_shapes=_ANY_BATCH,
            verbose=False,
        )
    return bytes(program.model_proto.SerializeToString(deterministic=True))


def _torchscript(exported: ExportModule) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
        torch.jit.save(torch.jit.trace(exported.module, exported.example, check_trace=False), out)  # type: ignore[no-untyped-call]
    return out.getvalue()


def _pt2(exported: ExportModule) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(exported.module, (exported.example,), dynamic_shapes=_ANY_BATCH)
        torch.export.save(program, out)
    return out.getvalue()


_WRITERS: dict[str, Callable[[ExportModule], bytes]] = {"onnx": _onnx, "torchscript": _torchscript, "pt2": _pt2}


@contextmanager
def _private_cache() -> Iterator[None]:
    """Torch's compiler wants a folder though nothing is compiled; its own name for one in /tmp may be anybody's."""
    if _CACHE in os.environ:
        yield
        return
    with temporary_folder() as folder:
        os.environ[_CACHE] = str(folder)
        try:
            yield
        finally:
            os.environ.pop(_CACHE, None)


@contextmanager
def _errors_only(*names: str) -> Iterator[None]:
    """Inside, the loggers of these names report errors only."""
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def _shape(tensor: Tensor) -> str:
    return f"[batch, {', '.join(str(n) for n in tensor.shape[1:])}]"

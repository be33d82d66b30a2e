"""A model as one file for programs without optlstm: raw input to raw output, scaling and mean over networks inside."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from optlstm.errors import InputError
from optlstm.util.files import OutputFile

if TYPE_CHECKING:
    from optlstm.models.model import Model
    from optlstm.tasks.base import ExportModule

FORMATS = {"onnx": ".onnx", "torchscript": ".torchscript.pt", "pt2": ".pt2"}
_NEEDS = ("onnx", "onnxscript")


def export_model(model: Model, form: str, file: OutputFile) -> str:
    """Write `model` to `file`, whole or not at all; says in words what it takes and gives.

    onnx: for onnxruntime and others. torchscript: for C++ (libtorch); torch itself calls it deprecated. pt2: what
    `torch.export.load` reads, its successor. The number of samples is free in all of them.

    Raises:
        InputError: a package that the format needs is missing.
        OptlstmError: the file cannot be written.
    """
    exported = model.predictor.export_module()
    exported.module.eval()
    file.write(_WRITERS[form](exported))
    with torch.no_grad():
        answer = exported.module(exported.example)
    takes = f"{exported.input_name} {_shape(exported.example)}"
    dtype = str(exported.example.dtype).removeprefix("torch.")
    return f"{takes} -> {exported.output_name} {_shape(answer)}, {dtype}"


def _onnx(exported: ExportModule) -> bytes:
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"--format: onnx needs {' and '.join(missing)}: pip install 'optlstm[onnx]'")
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")  # torch's own, about itself
        program: Any = torch.onnx.export(
            exported.module,
            (exported.example,),
            dynamo=True,
            input_names=[exported.input_name],
            output_names=[exported.output_name],
            dynamic_shapes=({0: batch},),
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
        program = torch.export.export(
            exported.module, (exported.example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
        )
        torch.export.save(program, out)
    return out.getvalue()


_WRITERS: dict[str, Callable[[ExportModule], bytes]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "pt2": _pt2,
}


class _quiet:
    """Loggers that speak of errors only, for a while."""

    def __init__(self, *names: str) -> None:
        self._loggers = [logging.getLogger(name) for name in names]

    def __enter__(self) -> None:
        self._levels = [logger.level for logger in self._loggers]
        for logger in self._loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for logger, level in zip(self._loggers, self._levels, strict=True):
            logger.setLevel(level)


def _shape(tensor: Tensor) -> str:
    return f"[batch, {', '.join(str(n) for n in tensor.shape[1:])}]"

"""A safetensors file of tensors where they lie: to copy them first, as the library does, takes longer than to write."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torch import Tensor

# The format's names of types; those of the library's that old versions of it do not read are left out.
DTYPES = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNMENT = 8  # bytes, of the header


def tensor_file(tensors: Mapping[str, Tensor]) -> list[bytes | memoryview]:
    """The file's parts, one after the other; those that are views change with their tensors.

    Args:
        tensors: On the CPU, contiguous, of `DTYPES`.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # so that each is aligned
    header, at = dict[str, object](), 0
    for name in names:
        tensor = tensors[name]
        span = [at, at := at + tensor.nbytes]
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": span}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    raw = (tensors[name].detach().reshape(-1).view(torch.uint8).numpy().data for name in names if tensors[name].numel())
    return [len(text).to_bytes(8, "little"), text, *raw]

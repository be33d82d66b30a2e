"""A model's folder: two files, written whole, and read only as what they were written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from optlstm.errors import InputError, ModelFileError, OptlstmError
from optlstm.models.card import CARD_FILE, WEIGHT_FILE, Card, Weights, read_card
from optlstm.training.factory import Factory
from optlstm.training.hparams import Hyperparameters
from optlstm.util.files import LocalFolder, check_folder

_MOST_JSON = 64 << 20  # bytes
_MOST_HEADER = 64 << 20
_CUSTOM_DTYPES = {"F32", "I64", "BOOL"}  # of custom networks: batch norms count in whole numbers
_AGAIN = "make the folder anew (python -m optlstm refit), or copy it again"
Shapes = dict[str, tuple[int, ...]]


def check_target(folder: Path) -> None:
    """See that a model may be written to `folder`: new, empty, or a model's already.

    Raises:
        InputError: something else stands there, or nothing may be made there.
    """
    check_folder(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CARD_FILE).is_file():
        raise InputError(f"-o: {folder} is not empty and holds no model; name a new folder")


def pack(networks: Sequence[Mapping[str, Tensor]], extras: Mapping[str, Tensor]) -> tuple[bytes, Weights]:
    """The weight file of a model and what its card says of it."""
    tensors = {f"{i}.{name}": t.contiguous() for i, weights in enumerate(networks) for name, t in weights.items()}
    blob = safetensors.torch.save({**tensors, **{f"extra.{name}": t.contiguous() for name, t in extras.items()}})
    return blob, Weights(size=len(blob), sha256=hashlib.sha256(blob).hexdigest())


def write(folder: Path, card: Card, blob: bytes) -> None:
    """A model exists once its card does: a process that is killed leaves the model, or a folder that is refused.

    Raises:
        InputError: as `check_target`.
        OptlstmError: the folder cannot be written.
    """
    check_target(folder)
    files = LocalFolder(folder)
    try:
        files.remove(CARD_FILE)
        files.write(WEIGHT_FILE, blob)
        files.write(CARD_FILE, card.to_bytes())
    except OSError as error:
        raise OptlstmError(f"cannot write {folder}: {error.strerror or error}") from error


def read(folder: Path, factory: str | None = None) -> tuple[Card, bytes, list[nn.Module], dict[str, Tensor]]:
    """The card, the weight file, the networks (in eval mode, on the CPU) and the other tensors of a model.

    Sizes are checked against each other before anything of that size is made; nothing is unpickled, and no code is
    imported but what the caller names.

    Args:
        factory: `module:function` that makes the networks, where they are custom.

    Raises:
        ModelFileError: for whatever is wrong, with the file and what to do.
        InputError: the factory is not the one of the card, or is not there.
    """
    with _blaming(folder):
        card, blob = _read(folder)
    made_by = _factory(card, folder, factory)  # an error of the caller's, not of the files
    with _blaming(folder):
        return (card, blob, *_unpack(card, blob, made_by))


@contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    """Whatever is wrong is the folder's fault."""
    try:
        yield
    except (ModelFileError, InputError, OSError, SafetensorError) as error:
        reason = f"{error.strerror or error}" if isinstance(error, OSError) else str(error).replace("\n", "; ")
        raise ModelFileError(f"model {folder}: {reason}; {_AGAIN}") from error


def _factory(card: Card, folder: Path, given: str | None) -> Factory | None:
    """What makes the networks. A folder may come from anywhere, so the code it names is imported on demand alone."""
    if given != card.factory:
        if card.factory is None:
            raise InputError(f"--factory: the networks of model {folder} are optlstm's own; leave it out")
        was = f"--factory: {given} is not what made them" if given else "it is imported when you name it"
        raise InputError(
            f"model {folder}: its networks are made by {card.factory!r}; {was}: --factory {card.factory} "
            f"(from Python: factory='{card.factory}')"
        )
    return None if given is None else Factory.read(given)


def _read(folder: Path) -> tuple[Card, bytes]:
    if not folder.is_dir():
        raise ModelFileError("there is no such folder")
    if not any((folder / name).exists() for name in (CARD_FILE, WEIGHT_FILE)):
        raise ModelFileError(f"it holds no {CARD_FILE}, so it is no model's folder")
    with _open(folder / CARD_FILE) as file:
        raw = file.read(_MOST_JSON + 1)
    if len(raw) > _MOST_JSON:
        raise ModelFileError(f"{CARD_FILE} is larger than any card")
    card = read_card(raw)
    with _open(folder / WEIGHT_FILE) as file:
        size = os.fstat(file.fileno()).st_size
        if size != card.weights.size:
            raise ModelFileError(f"{WEIGHT_FILE} has {size} bytes, and {CARD_FILE} says {card.weights.size}")
        start = _header(file, size)
        if card.factory is None:
            _check_shapes(card, start, size)
        else:
            _shapes(start[8:], _CUSTOM_DTYPES)
        blob = start + file.read()
    if hashlib.sha256(blob).hexdigest() != card.weights.sha256:
        raise ModelFileError(f"{WEIGHT_FILE} is not what was written (altered)")
    return card, blob


def _open(path: Path) -> IO[bytes]:
    if not path.is_file():  # a pipe would never end
        raise ModelFileError(f"{path.name} is missing")
    return path.open("rb")


def _header(file: IO[bytes], size: int) -> bytes:
    """A safetensors file's length prefix and header."""
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(size - 8, _MOST_HEADER):
        raise ModelFileError(f"{WEIGHT_FILE} has a header that cannot be (altered)")
    return prefix + file.read(length)


def _check_shapes(card: Card, start: bytes, size: int) -> None:
    """See that the header has just the tensors of the card's networks."""
    shapes, first = _shapes(start[8:], {"F32"}), 0
    expected: dict[str, tuple[int, ...]] = {}
    for trained in card.trials:
        hp, count = trained.hyperparameters(), len(trained.seeds)
        too_large = card.task.problem(hp) or _oversized(hp, card.task.sizes(), size)
        least = 4 * hp.num_layers * count  # tensors
        if too_large or len(expected) + least > len(shapes):
            claim = too_large or f"{first + count} network(s) of {hp.num_layers} layer(s)"
            raise ModelFileError(f"{CARD_FILE} says {claim}, and {WEIGHT_FILE} has {size} bytes")
        with torch.device("meta"):
            network = card.task.network(hp)
        one = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        expected |= {f"{i}.{name}": shape for i in range(first, first + count) for name, shape in one.items()}
        first += count
    expected |= {f"extra.{name}": shape for name, shape in card.task.extras().items()}
    if expected != shapes:
        name = min(n for n in expected.keys() | shapes.keys() if expected.get(n) != shapes.get(n))
        words = " and ".join(
            f"{file} {'has no ' + name if shape is None else f'{list(shape)}'}"
            for file, shape in ((WEIGHT_FILE, shapes.get(name)), (CARD_FILE, expected.get(name)))
        )
        raise ModelFileError(f"tensor {name!r}: {words}")


def _shapes(header: bytes, allowed: Set[str]) -> Shapes:
    try:
        entries: dict[str, Any] = json.loads(header)
        entries.pop("__metadata__", None)
        shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in entries.items()}
        kinds = {entry["dtype"] for entry in entries.values()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{WEIGHT_FILE} has a header that cannot be (altered)") from error
    if kinds - allowed:
        raise ModelFileError(f"{WEIGHT_FILE} holds {', '.join(sorted(map(str, kinds)))[:80]} numbers, not F32 ones")
    return shapes


def _unpack(card: Card, blob: bytes, factory: Factory | None) -> tuple[list[nn.Module], dict[str, Tensor]]:
    tensors = safetensors.torch.load(blob)
    extras = {name.removeprefix("extra."): t for name, t in tensors.items() if name.startswith("extra.")}
    networks = []
    for i, hp in enumerate(card.hyperparameters()):
        weights = {name.removeprefix(f"{i}."): t for name, t in tensors.items() if name.startswith(f"{i}.")}
        if not all(bool(t.isfinite().all()) for t in weights.values()):
            raise ModelFileError(f"{WEIGHT_FILE} holds weights that are no numbers")
        networks.append(network_with(card.task, hp, weights, factory))
    return networks, extras


def network_with(
    section: Any, hp: Hyperparameters, weights: Mapping[str, Tensor], factory: Factory | None = None
) -> nn.Module:
    """The network that a card's section, or a factory, makes of `hp`, with these weights.

    Raises:
        InputError: the factory's network has other weights.
    """
    if factory is None:
        with torch.device("meta"):  # nothing is drawn at random
            network: nn.Module = section.network(hp)
        network.load_state_dict(weights, assign=True)
        return network.eval().requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        network = factory.make(hp, section.shape(hp))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise InputError(f"model.factory: {factory.reference} makes networks of other weights: {first}") from error
    return network.eval().requires_grad_(False)


def _oversized(hp: Hyperparameters, sizes: Sequence[int], limit: int) -> str | None:
    """The first size above `limit`, the bytes of the weight file; None where all may be true."""
    named = {**hp.sizes(), **{f"the task's size {n}": number for n, number in enumerate(sizes, start=1)}}
    return next((f"{name} {value}" for name, value in named.items() if value > limit), None)

"""A model's folder: two files, written as a whole, and refused where they are not as they were written."""

from __future__ import annotations

import hashlib
import logging
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from optlstm.errors import InputError, ModelFileError, OptlstmError, did_you_mean
from optlstm.models.card import CARD_FILE, WEIGHT_FILE, Card, Weights, read_card
from optlstm.models.signature import SIGNATURE_FILE, read_private_key, read_public_key, sign, verified_sums
from optlstm.training.factory import Factory
from optlstm.training.hparams import Hyperparameters
from optlstm.util.files import LocalFolder, check_folder, check_size
from optlstm.util.format import model_folder, visible
from optlstm.util.program import program

_log = logging.getLogger(__name__)
_MOST_JSON = 64 << 20  # bytes
NEXT_FILE = f"{WEIGHT_FILE}.next"
_CUSTOM_DTYPES = {"F32", "I64", "BOOL"}  # of custom networks: batch norms count in whole numbers
_ADVICE_SIGNED = "do not use it; ask its maker"


def check_target(folder: Path) -> None:
    """Check that a model may be written to `folder`: it is new, empty, or holds a model.

    Raises:
        InputError: it holds something else, or cannot be made.
    """
    check_folder(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CARD_FILE).is_file():
        raise InputError(f"-o: {folder} is not empty and holds no model; name a new folder")


def described(folder: Path) -> str:
    """The model in a folder, in a line; "" where there is none."""
    if not (folder / CARD_FILE).is_file():
        return ""
    try:
        with (folder / CARD_FILE).open("rb") as file:
            card = read_card(file.read(_MOST_JSON))
    except (OSError, ModelFileError):
        return "a model that cannot be read"
    metrics = card.test.metrics
    metric = "mae" if "mae" in metrics else next(iter(metrics), "")
    value = metrics.get(metric)
    score = "" if value is None else f" (test {metric} {value:.4g})"
    return visible(f"trial {card.trials[0].trial} of study {card.study.name}{score}")


def card_of(folder: Path) -> Card:
    """The card of a model's folder, its weights not read. Raises ModelFileError as `read`."""
    _check_is_folder(folder)
    with _model_file_errors(folder, _advice()):
        _check_is_model(folder)
        return read_card(_card_bytes(folder))


def kept(folder: Path, digests: Collection[str]) -> Card | None:
    """The card in a folder, where its model is whole and is one whose card has such a SHA-256, or an update of it."""
    try:
        card, _ = _read(folder, None)
    except (ModelFileError, InputError, OSError, SafetensorError):
        return None
    return None if {card.digest, *(step.parent for step in card.history)}.isdisjoint(digests) else card


def pack(networks: Sequence[Mapping[str, Tensor]], extras: Mapping[str, Tensor]) -> tuple[bytes, Weights]:
    """The weight file of a model, and its size and checksum for the card."""
    tensors = {f"{i}.{name}": t.contiguous() for i, weights in enumerate(networks) for name, t in weights.items()}
    blob = safetensors.torch.save({**tensors, **{f"extra.{name}": t.contiguous() for name, t in extras.items()}})
    return blob, Weights(size=len(blob), sha256=hashlib.sha256(blob).hexdigest())


def write(folder: Path, card: Card, blob: bytes, key: Path | None = None) -> None:
    """Write a model's files. A process that is killed leaves the folder's earlier model, or this one, whole.

    The new weights stand beside the earlier ones until the card, which names theirs by their checksum, is there.

    Args:
        key: The PEM file of an Ed25519 private key to sign the folder with.

    Raises:
        InputError: as `check_target`, or the key cannot be used.
        OptlstmError: the folder cannot be written.
    """
    check_target(folder)
    private = None if key is None else read_private_key(key)
    files, was_signed = LocalFolder(folder), (folder / SIGNATURE_FILE).exists()
    try:
        files.remove(SIGNATURE_FILE)
        files.write(NEXT_FILE, blob)
        files.write(CARD_FILE, card.to_bytes())
        (folder / NEXT_FILE).replace(folder / WEIGHT_FILE)
    except OSError as error:
        raise OptlstmError(f"cannot write {folder}: {error.strerror or error}") from error
    if private is not None:
        sign(folder, private)
    elif was_signed:
        _log.warning("%s was signed; it no longer is, for no key was given", folder)


def read(
    folder: Path, factory: str | None = None, verify: Path | None = None
) -> tuple[Card, bytes, list[nn.Module], dict[str, Tensor]]:
    """The card, the weight file, the networks (in eval mode, on the CPU) and the other tensors of a model.

    Sizes are checked against each other before memory of that size is allocated; nothing is unpickled, and only the
    code that the caller names is imported.

    Args:
        factory: `module:function` that makes the networks, where they are custom.
        verify: the PEM file of an Ed25519 public key; a folder that was not signed with its private key is refused.

    Raises:
        ModelFileError: the files are missing, altered or invalid; with the file and what to do.
        InputError: the factory is not the one of the card, or cannot be imported; the key cannot be used.
    """
    key = None if verify is None else read_public_key(verify)
    advice = _advice() if key is None else _ADVICE_SIGNED
    _check_is_folder(folder)
    with _model_file_errors(folder, advice):
        _check_is_model(folder)
        card, blob = _read(folder, None if key is None else verified_sums(folder, key))
    # A folder may come from anywhere: the code it names is imported only on demand. An error of the caller, not of it.
    made_by = Factory.named(factory, card.factory, f"model {folder}")
    with _model_file_errors(folder, advice):
        return (card, blob, *_unpack(card, blob, made_by))


def _advice() -> str:
    return f"make the folder again ({program()} refit), or copy it again"


@contextmanager
def _model_file_errors(folder: Path, advice: str) -> Iterator[None]:
    """Raises ModelFileError, which names the folder and gives the advice, for every error inside."""
    try:
        yield
    except (ModelFileError, InputError, OSError, SafetensorError) as error:
        reason = f"{error.strerror or error}" if isinstance(error, OSError) else str(error).replace("\n", "; ")
        raise ModelFileError(f"model {folder}: {reason}; {advice}") from error


def _check_is_folder(folder: Path) -> None:
    if not folder.is_dir():
        parent = folder.absolute().parent
        models = [path.parent.name for path in parent.glob(f"*/{CARD_FILE}")] if parent.is_dir() else []
        usual = model_folder(folder.name)  # of a study
        hint = did_you_mean(usual if usual in models else folder.name, models)
        if not hint and len(folder.parts) == 1:  # as a study is named
            hint = f"; of a study: {program()} refit {shlex.quote(folder.name)} -o {model_folder(folder.name)}"
        raise ModelFileError(f"model {folder}: there is no such folder{hint}")


def _check_is_model(folder: Path) -> None:
    if not any((folder / name).exists() for name in (CARD_FILE, WEIGHT_FILE)):
        raise ModelFileError(f"it holds no {CARD_FILE}, so it is no model's folder")


def _read(folder: Path, signed: Mapping[str, str] | None) -> tuple[Card, bytes]:
    """signed: the SHA-256 of its files, where they were signed. That of the weights stands in the card, too."""
    raw = _card_bytes(folder)
    if signed is not None and hashlib.sha256(raw).hexdigest() != signed.get(CARD_FILE):
        raise ModelFileError(f"{CARD_FILE} is not what was signed")
    card = read_card(raw)
    weights = _weights(folder, card)
    size = weights.stat().st_size
    check_size(size)
    if size != card.weights.size:
        raise ModelFileError(f"{WEIGHT_FILE} has {size} bytes, and {CARD_FILE} says {card.weights.size}")
    shapes = _shapes(weights, {"F32"} if card.factory is None else _CUSTOM_DTYPES)
    if card.factory is None:
        _check_shapes(card, shapes, size)
    else:
        _match({name: shape for name, shape in shapes.items() if name.startswith("extra.")}, _extra_shapes(card))
    blob = weights.read_bytes()
    if hashlib.sha256(blob).hexdigest() != card.weights.sha256:
        raise ModelFileError(f"{WEIGHT_FILE} is not what was written (altered)")
    return card, blob


def _card_bytes(folder: Path) -> bytes:
    with _regular(folder / CARD_FILE).open("rb") as file:
        raw = file.read(_MOST_JSON + 1)
    if len(raw) > _MOST_JSON:
        raise ModelFileError(f"{CARD_FILE} is larger than any card")
    return raw


def _weights(folder: Path, card: Card) -> Path:
    """The file of the card's weights: the next one, where a process was killed before it took the other's place."""
    newer = folder / NEXT_FILE
    if newer.is_file() and newer.stat().st_size == card.weights.size:
        check_size(card.weights.size)
        if hashlib.sha256(newer.read_bytes()).hexdigest() == card.weights.sha256:
            return newer
    return _regular(folder / WEIGHT_FILE)


def _regular(path: Path) -> Path:
    if not path.is_file():  # a pipe would never end
        raise ModelFileError(f"{path.name} is missing")
    return path


def _check_shapes(card: Card, shapes: Mapping[str, tuple[int, ...]], size: int) -> None:
    """Check that the weight file, of `size` bytes, holds the tensors of the card's networks and no others."""
    expected: dict[str, tuple[int, ...]] = {}
    first = 0
    for trained in card.trials:
        hp, count = trained.hyperparameters(), len(trained.seeds)
        too_large = card.task.problem(hp) or _oversized(hp, card.task.sizes(), size)
        least = 4 * hp.num_layers * count  # tensors
        if too_large or len(expected) + least > len(shapes):
            claim = too_large or f"{first + count} network(s) of {hp.num_layers} layer(s)"
            raise ModelFileError(f"{CARD_FILE} says {claim}, and {WEIGHT_FILE} has {size} bytes")
        with torch.device("meta"):
            network = card.task.network(hp)
        member = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        expected |= {f"{i}.{name}": shape for i in range(first, first + count) for name, shape in member.items()}
        first += count
    _match(shapes, expected | _extra_shapes(card))


def _extra_shapes(card: Card) -> dict[str, tuple[int, ...]]:
    """Of the tensors beside the networks' weights, as the weight file names them."""
    return {f"extra.{name}": shape for name, shape in card.task.extras().items()}


def _match(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ModelFileError with the first tensor that the weight file has otherwise than the card."""
    if expected != shapes:
        name = min(n for n in expected.keys() | shapes.keys() if expected.get(n) != shapes.get(n))
        words = " and ".join(
            f"{file} {'has no ' + name if shape is None else f'{list(shape)}'}"
            for file, shape in ((WEIGHT_FILE, shapes.get(name)), (CARD_FILE, expected.get(name)))
        )
        raise ModelFileError(f"tensor {name!r}: {words}")


def _shapes(weights: Path, dtypes: set[str]) -> dict[str, tuple[int, ...]]:
    """The tensors' shapes by name, from the header alone. Raises ModelFileError for other dtypes than these."""
    try:
        with safe_open(weights, "pt") as file:
            tensors = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            shapes = {name: tuple(tensor.get_shape()) for name, tensor in tensors.items()}
            other = {str(tensor.get_dtype()) for tensor in tensors.values()} - dtypes
    except SafetensorError as error:
        raise ModelFileError(f"{WEIGHT_FILE} has an invalid header (altered)") from error
    if other:
        raise ModelFileError(f"{WEIGHT_FILE} holds {', '.join(sorted(other))} numbers, not F32 ones")
    return shapes


def _unpack(card: Card, blob: bytes, factory: Factory | None) -> tuple[list[nn.Module], dict[str, Tensor]]:
    tensors = safetensors.torch.load(blob)
    extras = {name.removeprefix("extra."): t for name, t in tensors.items() if name.startswith("extra.")}
    networks = []
    for i, hp in enumerate(card.hyperparameters()):
        weights = {name.removeprefix(f"{i}."): t for name, t in tensors.items() if name.startswith(f"{i}.")}
        if not all(bool(t.isfinite().all()) for t in weights.values()):
            raise ModelFileError(f"{WEIGHT_FILE} holds weights that are not finite numbers")
        networks.append(network_with(card.task, hp, weights, factory))
    return networks, extras


def network_with(
    section: Any, hp: Hyperparameters, weights: Mapping[str, Tensor], factory: Factory | None = None
) -> nn.Module:
    """The network that a card's section, or a factory, makes for `hp`, with these weights.

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
    """The first size above `limit`, the bytes of the weight file; None where there is none."""
    named = {**hp.sizes(), **{f"the task's size {n}": number for n, number in enumerate(sizes, start=1)}}
    return next((f"{name} {value}" for name, value in named.items() if value > limit), None)

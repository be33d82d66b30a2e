"""Signed model folders: who has the public key sees that the holder of the private key wrote every file of a folder.

`model.sig` is text: the format's name, the Ed25519 signature (RFC 8032) in Base64, and what is signed: a line for every
other file of the folder, with its SHA-256 and name. Nothing is parsed before the signature is seen to hold.
"""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from optlstm.errors import InputError, ModelFileError, OptlstmError
from optlstm.util.extras import install
from optlstm.util.files import LocalFolder
from optlstm.util.format import first_few, quoted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_FILE = "model.sig"
_FORMAT = b"optlstm-model-signature-1"
_MAX_BYTES = 1 << 20
_MAKE_KEY = "make one with: openssl genpkey -algorithm ed25519 -out KEY.pem"
_MAKE_PUBLIC = "the public part of a key is written by: openssl pkey -in KEY.pem -pubout -out PUBLIC.pem"


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """The key of a PEM file without a password. Raises InputError, as of --sign."""
    pem = _pem(path, "--sign")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise InputError(f"--sign: {path} is encrypted; give a key without a password") from error
    except Exception as error:  # cryptography's, of many kinds
        raise InputError(f"--sign: {path} holds no private key in PEM; {_MAKE_KEY}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"--sign: {path} holds a key of another kind than Ed25519; {_MAKE_KEY}")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The key of a PEM file. Raises InputError, as of --verify."""
    pem = _pem(path, "--verify")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except Exception as error:  # cryptography's, of many kinds
        raise InputError(f"--verify: {path} holds no public key in PEM; {_MAKE_PUBLIC}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"--verify: {path} holds a key of another kind than Ed25519")
    return key


def sign(folder: Path, key: Ed25519PrivateKey) -> None:
    """Write `model.sig` over every other file in a folder. Raises OptlstmError where that cannot be done."""
    try:
        manifest = _manifest(_sums(folder, _names(folder)))
        signature = base64.b64encode(key.sign(_FORMAT + b"\n" + manifest))
        LocalFolder(folder).write(SIGNATURE_FILE, b"\n".join([_FORMAT, signature, manifest]))
    except OSError as error:
        raise OptlstmError(f"cannot sign {folder}: {error.strerror or error}") from error


def verified_sums(folder: Path, key: Ed25519PublicKey) -> dict[str, str]:
    """The SHA-256 of every file of a signed folder, by name.

    Raises:
        ModelFileError: It is not signed, or by another key, or a file was added, altered or removed since.
        OSError: A file cannot be read.
    """
    from cryptography.exceptions import InvalidSignature

    if not (folder / SIGNATURE_FILE).exists():
        raise ModelFileError(f"it is not signed (it holds no {SIGNATURE_FILE})")
    parts = LocalFolder(folder).read(SIGNATURE_FILE, _MAX_BYTES).split(b"\n", 2)
    try:
        name, signature, manifest = parts
        key.verify(base64.b64decode(signature, validate=True), name + b"\n" + manifest)
    except (ValueError, InvalidSignature) as error:
        raise ModelFileError(
            f"its signature is not of this key (check whose it is), or {SIGNATURE_FILE} is altered"
        ) from error
    if name != _FORMAT:
        raise ModelFileError(f"{SIGNATURE_FILE} has another format than this optlstm reads")
    signed = {line[66:]: line[:64] for line in manifest.decode().splitlines()}
    names = _names(folder)
    changed = sorted(signed.keys() ^ names)  # before the content of a file that was added is read
    if not changed:
        sums = _sums(folder, names)
        changed = sorted(file for file in names if signed[file] != sums[file])
    if changed:
        raise ModelFileError(f"added, altered or removed since it was signed: {first_few([*map(quoted, changed)])}")
    return sums


def _manifest(sums: dict[str, str]) -> bytes:
    if wrong := [name for name in sums if not name.isprintable()]:
        raise OSError(f"{quoted(wrong[0])} is no name for a signed file")
    return "\n".join(f"{digest}  {name}" for name, digest in sorted(sums.items())).encode()


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {SIGNATURE_FILE}


def _sums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Raises OSError for what is no file: a link may lead elsewhere later, a folder may hold anything."""
    files = LocalFolder(folder)
    return {name: files.sha256(name) for name in names}


def _pem(path: Path, option: str) -> bytes:
    if importlib.util.find_spec("cryptography") is None:
        raise InputError(f"{option}: needs cryptography: {install('sign')}")
    try:
        with path.expanduser().open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise InputError(f"{option}: {path} cannot be read: {error.strerror or error}") from error

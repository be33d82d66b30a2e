"""Signed folders: what the key's holder wrote is read, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

import optlstm
from optlstm.errors import InputError, ModelFileError
from optlstm.models import folder as folders
from optlstm.models.signature import SIGNATURE_FILE
from tests.conftest import Cli
from tests.models.test_folder import forge, put

PREDICT = ("predict", "model", "--data", "tiny.csv", "-o", "out.csv", "--verify")


def write_keys(name: str, key: Any, password: bytes | None = None) -> None:
    """`NAME.pem` and `NAME.pub`."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    Path(f"{name}.pem").write_bytes(private)
    Path(f"{name}.pub").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, public))


@pytest.fixture
def signed(made: Path) -> Path:
    """As `made`, its model signed with `ours.pem`; `theirs.pem` is another key."""
    for name in ("ours", "theirs"):
        write_keys(name, ed25519.Ed25519PrivateKey.generate())
    optlstm.load("model").save("model", sign="ours.pem")
    return made


def test_a_signed_model_is_refitted_and_predicts(
    cli: Cli, cached_cli: Cli, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cached_cli("study", "tiny.toml")
    write_keys("key", ed25519.Ed25519PrivateKey.generate())

    assert cli("refit", "tiny", "-o", "model", "--sign", "key.pem").code == 0
    assert cli(*PREDICT, "key.pub").code == 0

    assert Path("out.csv").read_text().startswith("ds,y\n")
    assert optlstm.load("model", verify="key.pub").card.members == 1
    assert cli("refit", "tiny", "-o", "model").code == 0
    assert caplog.messages == ["model was signed; it no longer is, for no key was given"]
    assert cli("refit", "tiny", "-o", "model").code == 0
    assert len(caplog.messages) == 1


SPOILT: dict[str, tuple[Callable[[], Any], str]] = {
    "unsigned": (lambda: Path("model", SIGNATURE_FILE).unlink(), "it is not signed"),
    "saved again without a key": (lambda: optlstm.load("model").save("model"), "it is not signed"),
    "another key": (lambda: optlstm.load("model").save("model", sign="theirs.pem"), "not of this key"),
    "altered and made consistent": (lambda: forge(Path("model"), put("study", "name", value="x")), "'model.json'"),
    "a byte of the weights": (lambda: flip("model.safetensors", 400), "altered .* signed: 'model.safetensors'"),
    "a byte of the signature": (lambda: flip(SIGNATURE_FILE, 40), "not of this key"),
    "a byte of what is signed": (lambda: flip(SIGNATURE_FILE, -3), "not of this key"),
    "a byte of the format": (lambda: flip(SIGNATURE_FILE, 0), "not of this key"),
    "no signature in it": (lambda: Path("model", SIGNATURE_FILE).write_bytes(b"\xff" * 9), "not of this key"),
    "a hole in the signature's place": (
        lambda: os.truncate(Path("model", SIGNATURE_FILE), 256 << 20),
        "268,435,456 bytes, and 1,048,576 at most are right",
    ),
    "one more file": (lambda: Path("model/new.py").write_text(""), "added, altered or removed .*: 'new.py'"),
    "one more folder": (lambda: Path("model/new").mkdir(), "added, altered or removed .*: 'new'"),
    "a file less": (lambda: Path("model/model.json").unlink(), "added, altered or removed .*: 'model.json'"),
    "a link in place of a file": (
        lambda: (shutil.move("model/model.json", "card"), Path("model/model.json").symlink_to("../card")),
        "symbolic link",
    ),
}


def flip(name: str, place: int) -> None:
    content = bytearray(Path("model", name).read_bytes())
    content[place] ^= 1
    Path("model", name).write_bytes(content)


@pytest.mark.parametrize("kind", SPOILT)
def test_what_was_not_signed_is_refused_before_anything_is_parsed(
    signed: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, message = SPOILT[kind]
    spoil()

    monkeypatch.setattr(folders, "read_card", None)
    monkeypatch.setattr(folders, "safe_open", None)
    with pytest.raises(ModelFileError, match=message):
        optlstm.load("model", verify="ours.pub")


def test_a_card_that_is_exchanged_after_the_check_is_refused(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = folders.verified_sums

    def exchange(folder: Path, key: Any) -> dict[str, str]:
        sums = check(folder, key)
        forge(folder, put("study", "name", value="x"))
        return sums

    monkeypatch.setattr(folders, "verified_sums", exchange)
    with pytest.raises(ModelFileError, match=r"model\.json is not what was signed"):
        optlstm.load("model", verify="ours.pub")


@pytest.mark.parametrize(
    ("name", "content", "sign", "verify"),
    [
        ("missing", None, "cannot be read: No such file", "cannot be read: No such file"),
        (".", None, "cannot be read: Is a directory", "cannot be read: Is a directory"),
        ("text", b"key", "holds no private key in PEM; make one with: openssl", "holds no public key in PEM; the pub"),
        ("ours.pub", None, "holds no private key in PEM", None),
        ("ours.pem", None, None, "holds no public key in PEM"),
        ("curve.pem", None, "holds a key of another kind than Ed25519", None),
        ("curve.pub", None, None, "holds a key of another kind than Ed25519"),
        ("locked.pem", None, "is encrypted; give a key without a password", None),
    ],
)
def test_keys_that_cannot_be_used_are_one_line(
    signed: Path, name: str, content: bytes | None, sign: str | None, verify: str | None
) -> None:
    write_keys("curve", ec.generate_private_key(ec.SECP256R1()))
    write_keys("locked", ed25519.Ed25519PrivateKey.generate(), b"secret")
    if content is not None:
        Path(name).write_bytes(content)
    before = Path("model", SIGNATURE_FILE).read_bytes()

    if sign is not None:
        with pytest.raises(InputError, match=f"^--sign: {name} {sign}"):
            optlstm.load("model").save("model", sign=name)
    if verify is not None:
        with pytest.raises(InputError, match=f"^--verify: {name} {verify}"):
            optlstm.load("model", verify=name)
    assert Path("model", SIGNATURE_FILE).read_bytes() == before


def test_the_command_line_refuses_in_one_line(cli: Cli, signed: Path) -> None:
    card = json.loads(Path("model/model.json").read_text())
    assert card["format"] == 1

    outcome = cli(*PREDICT, "theirs.pub")
    assert (outcome.code, len(outcome.lines)) == (2, 1)
    assert outcome.lines[0].startswith("model model: its signature is not of this key (check whose it is), or ")
    assert outcome.lines[0].endswith("; do not use it; ask its maker")
    assert not Path("out.csv").exists()
    assert cli("export", "model", "--format", "torchscript", "--verify", "theirs.pub").code == 2
    assert cli("refit", "tiny", "-o", "new", "--sign", "ours.pub").code == 2
    assert not Path("new").exists()

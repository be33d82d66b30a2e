"""Everything that optlstm parses: how a sound input is made, how it is spoilt, and what reads it."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import random
import re
import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch

from optlstm.backends.trial import Decision, WorkerTrial
from optlstm.cli import main
from optlstm.config.sources import read_layers, read_override, read_toml
from optlstm.models import card, folder
from optlstm.run.custom_trial import Trial
from optlstm.run.plan import make_plan
from optlstm.study.events import Assignment
from optlstm.training import checkpoints
from optlstm.training.nested import encode
from tests.conftest import write_tiny
from tests.fuzz.mutate import mutated_bytes, mutated_value, to_json

Attack = Callable[[random.Random], None]


@dataclass(frozen=True)
class Parser:
    """begin: Called once, in an empty current folder; gives what spoils one input and has it read.

    Args:
        share: Of all inputs, in parts: what is slow has fewer.
    """

    begin: Callable[[], Attack]
    share: int


def _command(*arguments: str) -> None:
    """As typed, its output where it does not disturb, and encoded as a terminal would have it."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with redirect_stdout(out), redirect_stderr(out):
        main(arguments)
        out.flush()


# -- checkpoints ------------------------------------------------------------------------------------------------------

_EPOCH = Path("trial/epoch-00001")


def _checkpoint() -> Attack:
    """Of the form that optlstm writes now, and of that of its first versions."""
    tensors = {"walk": torch.arange(4.0), "count": torch.tensor([3])}
    first = {"meta": {"best": 0.5}, "numpy": ["walk"], "values": {"1": 0.5}}
    value = {"arrays": {"w": torch.ones(2), "n": np.arange(3), 1: (None, float("inf"))}, "meta": {}, "random": {}}
    tree, more = encode(value)
    written = []
    for kept, meta in ((tensors, first), (more, {"state": tree, "first": 0, "values": {"1": 0.5}})):
        checkpoints.write_checkpoint(Path("trial"), 1, kept, meta)
        written.append([_EPOCH.with_suffix(suffix).read_bytes() for suffix in (".safetensors", ".json")])

    def attack(draw: random.Random) -> None:
        blob, header = draw.choice(written)
        weights, text = blob, header
        if draw.random() < 0.5:
            weights = _spoilt_safetensors(draw, blob)
        if draw.random() < 0.7:
            text = _spoilt_header(draw, json.loads(header), weights)
        else:
            text = mutated_bytes(draw, header)
        _EPOCH.with_suffix(".safetensors").write_bytes(weights)
        _EPOCH.with_suffix(".json").write_bytes(text)
        checkpoints.newest_checkpoint(Path("trial"))
        _trial().load_checkpoint()

    return attack


def _trial() -> Trial:
    worker_trial = WorkerTrial(Assignment(0, {}, 0, 1), lambda epoch, value: Decision.CONTINUE)
    trial = Trial(worker_trial, seed=0, epochs=2, checkpoints=None)
    trial._folder = Path("trial")
    return trial


def _spoilt_header(draw: random.Random, header: dict[str, Any], weights: bytes) -> bytes:
    """A checkpoint's JSON with its checksums right: what stands in it is read."""
    header.pop("sha256")
    header |= {"size": len(weights), "tensors": hashlib.sha256(weights).hexdigest()}
    if draw.random() < 0.8:
        header = mutated_value(draw, header)
    if not isinstance(header, dict):
        return to_json(header)
    try:
        digest = hashlib.sha256(checkpoints._json(header)).hexdigest()
    except (ValueError, UnicodeEncodeError):
        digest = ""
    return to_json({**header, "sha256": digest})


def _spoilt_safetensors(draw: random.Random, blob: bytes) -> bytes:
    """Its bytes, or the JSON at its beginning with the length right."""
    if draw.random() < 0.3:
        return mutated_bytes(draw, blob)
    size = struct.unpack("<Q", blob[:8])[0]
    header = to_json(mutated_value(draw, json.loads(blob[8 : 8 + size])))
    return struct.pack("<Q", len(header)) + header + blob[8 + size :]


# -- models -----------------------------------------------------------------------------------------------------------


def _model() -> Attack:
    _make_study()
    if not Path("model").exists():
        _command("refit", "tiny", "-o", "model")
    sound, blob = (Path("model") / card.CARD_FILE).read_bytes(), (Path("model") / card.WEIGHT_FILE).read_bytes()

    def attack(draw: random.Random) -> None:
        weights = _spoilt_safetensors(draw, blob) if draw.random() < 0.4 else blob
        if draw.random() < 0.2:
            text = mutated_bytes(draw, sound)
        else:
            text = _spoilt_card(draw, json.loads(sound), weights)
        (Path("model") / card.CARD_FILE).write_bytes(text)
        (Path("model") / card.WEIGHT_FILE).write_bytes(weights)
        folder.read(Path("model"))
        _command("predict", "model", "--data", "tiny.csv", "-o", "out.csv")

    return attack


def _make_study() -> None:
    """Unless it is there."""
    if not Path("runs").exists():
        write_tiny(Path())
        _command("study", "tiny.toml")


def _spoilt_card(draw: random.Random, content: dict[str, Any], weights: bytes) -> bytes:
    content.pop("sha256")
    content["weights"] = {"size": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
    if draw.random() < 0.9:
        content = mutated_value(draw, content)
    try:
        return card._text({**content, "sha256": card._checksum(content)})
    except (ValueError, TypeError, UnicodeEncodeError):
        return to_json(content)


# -- configs ----------------------------------------------------------------------------------------------------------

_STUDY = {
    **{"trials": 3, "epochs": 2, "seed": 1, "workers": 1, "keep": 3, "storage_timeout": 60.0},
    "data": {"path": "tiny.csv", "horizon": 4, "splits": [0.7, 0.1, 0.2]},
    "training": {"patience": 3, "threads": 1, "metric": "mse"},
    "sampler": {"name": "tpe", "n_startup_trials": 5},
    "pruner": {"name": "median", "n_startup_trials": 3},
    "stop": {"no_improvement": 5},
    "space": {
        "window": 8,
        "patch": 4,
        "hidden_size": {"low": 4, "high": 8, "step": 4},
        "learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
        "optimizer": {"choices": ["adamw", "sgd"]},
        "weight_decay": {"low": 1e-4, "high": 1e-1, "log": True, "when": {"optimizer": "adamw"}},
        "num_layers": 1,
    },
}


def _toml() -> Attack:
    write_tiny(Path())
    sound = b"\n".join(path.read_bytes() for path in sorted(Path(__file__).parents[2].glob("studies/*.toml")))
    sound += Path("tiny.toml").read_bytes()

    def attack(draw: random.Random) -> None:
        if draw.random() < 0.3:
            start = draw.randrange(len(sound))
            Path("spoilt.toml").write_bytes(mutated_bytes(draw, sound[start : start + draw.choice([100, 1000])]))
            read_toml(Path("spoilt.toml"))
        elif draw.random() < 0.3:
            read_override(mutated_bytes(draw, b"space.learning_rate={low=1e-3, high=0.1}").decode(errors="replace"))
        else:
            Path("spoilt.toml").write_bytes(_as_toml(mutated_value(draw, _STUDY)))
            raw, problems = read_layers(Path("spoilt.toml"), {}, [], {})
            make_plan(raw, problems)

    return attack


def _as_toml(value: Any) -> bytes:
    pairs = value.items() if isinstance(value, dict) else []
    return b"\n".join(f"{_key(k)} = {_toml_value(v)}".encode() for k, v in pairs)


def _key(key: str) -> str:
    return json.dumps(key.encode(errors="replace").decode(), ensure_ascii=False)


def _toml_value(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{_key(k)} = {_toml_value(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml_value, value)) + "]"
        case bool():
            return str(value).lower()
        case str():
            return _key(value)
        case None:
            return '""'
        case _:
            return str(value)


# -- data files -------------------------------------------------------------------------------------------------------

_PLANS: list[dict[str, Any]] = [
    {"data": {"horizon": 4}},
    {"data": {"horizon": 4, "time": "ds", "target": ["y", "z"], "past": ["kind"]}},
    {"data": {"horizon": 2, "series": "kind", "target": "y", "gaps": "fill"}},
    {"task": "sequence", "data": {"label": "kind"}},
    {"task": "text", "data": {"text": "text", "label": "kind"}},
]


def _frame() -> pd.DataFrame:
    steps = np.arange(80)
    return pd.DataFrame(
        {
            "ds": pd.date_range("2024-01-01", periods=80, freq="h"),
            "y": np.sin(steps / 3).round(4),
            "z": steps,
            "kind": np.where(steps % 2, "a", "b"),
            "text": [f"a text of {n} words, so to say" for n in steps % 7],
        }
    )


def _plan_of(draw: random.Random, path: Path) -> None:
    plan = draw.choice(_PLANS)
    make_plan({**plan, "data": {**plan["data"], "path": str(path)}, "space": {"window": 8, "patch": 4}})


def _csv() -> Attack:
    """Half of the inputs are plain CSV, the others text in other forms."""
    frame = _frame()
    plain = ("data.csv", frame.to_csv(index=False).encode())
    numbers = frame[["y", "z"]].to_numpy()
    steps = [":".join(",".join(map(str, channel)) for channel in numbers[i : i + 8].T) for i in range(0, 80, 8)]
    others = [
        ("data.csv", b"# here\n" + frame.to_csv(index=False, sep=";", decimal=",").encode()),
        ("data.csv", frame.rename(columns={"z": "größe"}).to_csv(index=False).encode("latin-1")),
        ("data.csv", frame.to_csv(sep="\t").encode("utf-16")),
        ("data.txt", re.sub(r'["\t ]+', "  ", frame[["y", "z"]].to_csv(sep="\t", header=False)).encode()),
        (
            "data.ts",
            "\n".join(["@univariate false", "@classLabel true a", "@data", *(f"{s}:a" for s in steps)]).encode(),
        ),
        (
            "data.tsf",
            ("@attribute start_timestamp date\n@frequency hourly\n@data\n2020-01-01:" + steps[0][:40]).encode(),
        ),
    ]

    def attack(draw: random.Random) -> None:
        name, sound = plain if draw.random() < 0.5 else draw.choice(others)
        Path(name).write_bytes(mutated_bytes(draw, sound))
        _plan_of(draw, Path(name))

    return attack


def _parquet() -> Attack:
    kinds = []
    for compression in ("snappy", "none", "zstd"):
        _frame().to_parquet(f"{compression}.parquet", compression=None if compression == "none" else compression)
        kinds.append(Path(f"{compression}.parquet").read_bytes())

    def attack(draw: random.Random) -> None:
        Path("data.parquet").write_bytes(_spoilt_parquet(draw, draw.choice(kinds)))
        _plan_of(draw, Path("data.parquet"))

    return attack


def _spoilt_parquet(draw: random.Random, sound: bytes) -> bytes:
    """Anywhere, or in the description at its end, with the length right."""
    if draw.random() < 0.3:
        return mutated_bytes(draw, sound)
    size = struct.unpack("<I", sound[-8:-4])[0]
    end = mutated_bytes(draw, sound[-8 - size : -8])
    return sound[: -8 - size] + end + struct.pack("<I", len(end)) + b"PAR1"


# -- databases --------------------------------------------------------------------------------------------------------

_ATTRIBUTES = ("study_user_attributes", "study_system_attributes", "trial_user_attributes", "trial_system_attributes")
_COMMANDS = [
    *(("show", "tiny"), ("show", "tiny", "--format", "json"), ("show", "tiny", "--format", "csv"), ("studies",)),
    *(("doctor", "tiny"), ("study", "--name", "tiny", "--dry-run"), ("report", "tiny", "-o", "report.html")),
    *(("study", "tiny.toml", "--name", "next", "--import", "tiny", "--dry-run"), ("schedule", "tiny", "0")),
]


def _database() -> Attack:
    _make_study()
    shutil.copy("runs/optlstm.db", "sound.db")
    with sqlite3.connect("sound.db") as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        rows = [
            (table, number, value)
            for table in _ATTRIBUTES
            for number, value in connection.execute(f"SELECT rowid, value_json FROM {table}")
        ]
    connection.close()

    def attack(draw: random.Random) -> None:
        for left in Path("runs").glob("optlstm.db*"):
            left.unlink()
        shutil.copy("sound.db", "runs/optlstm.db")
        table, number, value = draw.choice(rows)
        spoilt = to_json(mutated_value(draw, json.loads(value))).decode() if draw.random() < 0.9 else "{"
        with sqlite3.connect("runs/optlstm.db") as connection:
            connection.execute(f"UPDATE {table} SET value_json = ? WHERE rowid = ?", (spoilt, number))
        connection.close()
        _command(*draw.choice(_COMMANDS))

    return attack


PARSERS = {
    "checkpoint": Parser(_checkpoint, 25),
    "model": Parser(_model, 15),
    "config": Parser(_toml, 20),
    "csv": Parser(_csv, 20),
    "parquet": Parser(_parquet, 15),
    "database": Parser(_database, 5),
}


def environment() -> None:
    """What makes a run the same anywhere, and quiet."""
    os.environ["COLUMNS"] = "120"
    logging.disable()
    torch.set_num_threads(1)
    assert safetensors.torch  # loaded before memory is limited

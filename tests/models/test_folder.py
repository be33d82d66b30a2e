"""A model's folder is read as what was written, or refused; nothing in it can make us allocate or run anything."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import random
import resource
import shutil
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import optlstm
from optlstm.errors import InputError, ModelFileError
from optlstm.models.card import Trained
from tests.conftest import Cli
from tests.study.processes import CONTEXT, exit_code, start

FILES = ("model.json", "model.safetensors")
Change = Callable[[dict[str, Any]], Any]


def forge(folder: Path, change: Change) -> None:
    """Change what the card says, and make its sums right again."""
    card = json.loads((folder / "model.json").read_text())
    change(card)
    del card["sha256"]
    card["sha256"] = hashlib.sha256(text(card).encode()).hexdigest()
    (folder / "model.json").write_text(text(card))


def text(card: dict[str, Any]) -> str:
    return json.dumps(card, indent=1, sort_keys=True) + "\n"


def put(*keys: str | int, value: Any) -> Change:
    def change(card: dict[str, Any]) -> None:
        for key in keys[:-1]:
            card = card[key]
        card[keys[-1]] = value

    return change


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_byte_is_refused(made: Path, name: str) -> None:
    file, dice = made / "model" / name, random.Random(name)
    sound = file.read_bytes()
    places = [0, 7, 8, len(sound) - 1, *dice.sample(range(len(sound)), 40)]
    for place in places:
        flipped = bytearray(sound)
        flipped[place] ^= 1 << dice.randrange(8)
        file.write_bytes(flipped)

        with pytest.raises(ModelFileError, match=r"model.*; make the folder again"):
            optlstm.load(made / "model")
    file.write_bytes(sound)
    assert optlstm.load(made / "model").card.members == 2


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes() + b" "),
        lambda file: (file.unlink(), file.mkdir()),
        lambda file: (file.unlink(), os.mkfifo(file)),
    ],
    ids=["missing", "empty", "cut", "longer", "folder", "pipe"],
)
def test_a_spoilt_file_is_refused_by_predict_in_one_line(
    cli: Cli, made: Path, name: str, spoil: Callable[[Path], Any]
) -> None:
    spoil(made / "model" / name)

    outcome = cli("predict", "model", "--data", "tiny.csv", "-o", "out.csv")

    assert outcome.code == 2
    assert len(outcome.lines) == 1
    assert outcome.lines[0].startswith("model model: ")
    assert not Path("out.csv").exists()


def test_white_space_is_a_change_too(made: Path) -> None:
    file = made / "model" / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text())))

    with pytest.raises(ModelFileError, match="not what was written"):
        optlstm.load(made / "model")


def test_no_folder_and_no_model_are_told_apart(made: Path) -> None:
    with pytest.raises(ModelFileError, match="no such folder"):
        optlstm.load("nowhere")
    with pytest.raises(ModelFileError, match="no model's folder"):
        optlstm.load(made / "runs")


def test_networks_of_the_first_versions_keep_their_pooling(made: Path) -> None:
    content = json.loads((made / "model" / "model.json").read_text())["trials"][0]
    assert Trained.model_validate_json(json.dumps(content)).hyperparameters().pooled_width == 0
    del content["pooled_width"]  # they wrote none, and pooled as many units as the first layer has

    assert (
        Trained.model_validate_json(json.dumps(content)).hyperparameters().pooled_width
        == content["params"]["hidden_size"]
    )


MANY = 10**12
HOSTILE: list[tuple[Change, str]] = [
    *(
        (put("trials", 0, "params", name, value=MANY), name)
        for name in ("hidden_size", "patch", "projection", "window")
    ),
    (put("trials", 0, "params", "num_layers", value=MANY), "num_layers"),
    (put("trials", 0, "params", "hidden_size", value=1000), "shape|tensor|bytes"),
    (put("trials", 0, "params", "hidden_size", value=-4), "hidden_size"),
    (put("trials", 0, "params", "hidden_size", value="4"), "hidden_size"),
    (put("trials", 0, "params", "hidden_size", value=True), "hidden_size"),
    (put("trials", 0, "params", "hidden_size", value=[4]), "params"),
    (put("trials", 0, "params", "../../etc/passwd", value=1), "no hyperparameter has this name"),
    (put("trials", 0, "params", value={}), "tensor"),
    (put("trials", 0, "grown_layers", value=MANY), "grown_layers"),
    (put("trials", value=[]), "trials"),
    (put("trials", value=MANY), "trials"),
    (lambda card: card.update(trials=card["trials"] * 1000), "network"),
    (put("trials", 0, "seeds", value=[]), "trials.0.seeds"),
    (put("trials", 0, "seeds", value=MANY), "trials.0.seeds"),
    (put("trials", 0, "seeds", value=[1] * 10_000), "10000 network"),
    (put("trials", 0, "seeds", value=[1]), "tensor"),
    (put("trials", 0, "schedule", value=[]), "trials.0.schedule"),
    (put("task", "horizon", value=MANY), "task's size"),
    (put("task", "horizon", value=4.5), r"task.*horizon"),
    (put("task", "columns", value=["../x", "y"]), "one length"),
    (put("task", "columns", value="y"), r"task.*columns"),
    (put("task", "mean", value=["0"]), r"task.*mean"),
    (put("task", "std", value=[0.0]), r"task.*std"),
    (put("task", "std", value=[[0.0]]), r"task.*std"),
    (put("task", "ids", value=["", ""]), r"task.*one length"),
    (put("task", "ids", value=MANY), r"task.*ids"),
    (put("task", "inputs", value={"calendar": ["moon"]}), r"task.*unknown calendar"),
    (put("task", "freq", value="; rm -rf /"), r"task.*freq"),
    (put("task", "freq", value="9" * 30 + "h"), r"task.*freq"),
    (put("task", "kind", value="../forecast"), "task"),
    (put("task", value=None), "task"),
    (put("weights", "size", value=MANY), "bytes"),
    (put("weights", "sha256", value="0" * 64), "not what was written"),
    (put("format", value=2), "format 2, of optlstm"),
    (put("format", value=True), "format"),
    (put("more", value=1), "more"),
    (put("data", value=10**4000), "data"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_a_card_that_says_what_cannot_be_is_refused(made: Path, change: Change, message: str) -> None:
    forge(made / "model", change)

    with pytest.raises(ModelFileError, match=message) as refused:
        optlstm.load(made / "model")
    assert len(str(refused.value)) < 600


def test_a_forged_card_that_stays_true_is_accepted(made: Path) -> None:
    forge(made / "model", put("study", "name", value="../other"))  # what `forge` makes is refused for its content only

    assert optlstm.load(made / "model").card.study.name == "../other"


def test_older_folders_are_read(made: Path) -> None:
    """One series had a form of its own, and many series another name."""
    expected = optlstm.load("model").predict("tiny.csv", levels=[50])

    def of_one_series(card: dict[str, Any]) -> None:
        task = card["task"]
        for key in ("mean", "std", "naive"):
            (task[key],) = task[key]
        for key in ("series", "scaling", "gaps", "inputs", "ids"):
            del task[key]

    shutil.copytree("model", "many")
    forge(made / "many", put("task", "kind", value="panel"))
    forge(made / "model", of_one_series)
    for folder in ("model", "many"):
        pd.testing.assert_frame_equal(optlstm.load(folder).predict("tiny.csv", levels=[50]), expected)


def test_deep_nesting_is_refused(made: Path) -> None:
    (made / "model" / "model.json").write_text("[" * 100_000)

    with pytest.raises(ModelFileError, match="not JSON"):
        optlstm.load(made / "model")


def weights_of(folder: Path, blob: bytes) -> None:
    """Put other weights there, with a card that vouches for them."""
    (folder / "model.safetensors").write_bytes(blob)
    forge(folder, put("weights", value={"size": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}))


def header(entries: dict[str, Any]) -> bytes:
    content = json.dumps(entries).encode()
    return len(content).to_bytes(8, "little") + content


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\xff" * 8,
        (2**62).to_bytes(8, "little") + b"{}",
        header({"0.head.bias": {"dtype": "F32", "shape": [MANY], "data_offsets": [0, 4 * MANY]}}),
        header({"0.head.bias": {"dtype": "F32", "shape": "many", "data_offsets": [0, 4]}}),
        header({"../0.head.bias": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}) + bytes(8),
        header({"a": 1}),
        header([1]),  # type: ignore[arg-type]
    ],
)
def test_weights_that_cannot_be_are_refused(made: Path, blob: bytes) -> None:
    weights_of(made / "model", blob)

    with pytest.raises(ModelFileError):
        optlstm.load(made / "model")


def test_weights_that_are_not_finite_are_refused(made: Path) -> None:
    import safetensors.torch

    tensors = safetensors.torch.load((made / "model" / "model.safetensors").read_bytes())
    tensors["1.head.bias"][0] = float("nan")
    weights_of(made / "model", safetensors.torch.save(tensors))

    with pytest.raises(ModelFileError, match="not finite numbers"):
        optlstm.load(made / "model")


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran.txt").absolute(),))


def test_nothing_hostile_allocates_or_runs_whatever_the_environment_says(made: Path) -> None:
    folders = [made / f"hostile-{n}" for n in range(len(HOSTILE) + 2)]
    for folder in folders:
        shutil.copytree(made / "model", folder)
    for folder, (change, _) in zip(folders, HOSTILE, strict=False):
        forge(folder, change)
    weights_of(folders[-1], pickle.dumps(Payload()))
    torch.save({"0.head.bias": Payload()}, made / "pickle")
    weights_of(folders[-2], (made / "pickle").read_bytes())

    ours, theirs = CONTEXT.Pipe()
    process = start(load_all, Path.cwd(), [folder.name for folder in folders], theirs)
    assert exit_code(process) == 0
    loaded, grown = ours.recv()

    assert loaded == []
    assert grown < 30_000  # kilobytes
    assert not Path("ran.txt").exists()


def load_all(current: Path, folders: list[str], told: Connection) -> None:
    """Tell which of them could be loaded, and by how many kilobytes the process has grown since it loaded one."""
    os.chdir(current)
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    optlstm.load("model")
    before, loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for folder in folders:
        with contextlib.suppress(ModelFileError):
            optlstm.load(folder)
            loaded.append(folder)
    told.send((loaded, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))


def test_saving_what_was_loaded_writes_the_same_files(made: Path) -> None:
    optlstm.load("model").save("again/and/deeper")

    assert sorted(os.listdir("again/and/deeper")) == sorted(FILES)
    for name in FILES:
        assert Path("again/and/deeper", name).read_bytes() == Path("model", name).read_bytes()


def test_a_folder_of_something_else_is_left_alone(made: Path) -> None:
    model = optlstm.load("model")
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years")

    for folder in ("mine", "tiny.csv", "tiny.csv/below"):
        with pytest.raises(InputError, match="-o: "):
            model.save(folder)
    assert os.listdir("mine") == ["thesis.txt"]


def test_saving_over_a_model_keeps_what_else_is_there(made: Path) -> None:
    Path("model/notes.txt").write_text("mine")

    optlstm.load("model").save("model")

    assert sorted(os.listdir("model")) == sorted([*FILES, "notes.txt"])
    assert np.isfinite(optlstm.load("model").predict("tiny.csv")["y"]).all()

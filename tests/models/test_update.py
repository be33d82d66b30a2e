"""`update` and `check`: a model and the rows that came since."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

import optlstm
from optlstm.models import folder
from optlstm.models.folder import NEXT_FILE, WEIGHT_FILE
from tests.conftest import Cli, series


@pytest.fixture
def newer(ensemble: Path) -> Path:
    """A file with 60 more rows of the logistic map that the model `ensemble` learned on 120 of."""
    values = [0.3]
    while len(values) < 180:
        values.append(3.9 * values[-1] * (1 - values[-1]))
    path = Path("newer.csv")
    path.write_text("ds,y\n" + "".join(f"{i},{value:.6f}\n" for i, value in enumerate(values)))
    return path


def test_it_goes_on_from_the_weights_and_keeps_its_history(cli: Cli, newer: Path) -> None:
    done = cli("update", "ensemble", "--data", newer, "-o", "new", "--json")

    assert done.code == 0, done.err
    told = json.loads(done.out)
    old, model = optlstm.load("ensemble"), optlstm.load("new")
    assert set(told["scores"]) == {"keep", "continue", "refit"}
    best = min(told["scores"], key=lambda name: told["scores"][name]["mse"])
    assert (told["how"], told["rows"], told["last"]) == (best, 180, "179")
    assert model.test["mse"] == pytest.approx(told["scores"][best]["mse"])
    assert model.card.data["splits"] == [144, 0, 36]
    assert len(model.card.history) == 1
    assert len(model.predict(newer)) == 4
    assert model.card.ensemble.keys() == old.card.ensemble.keys()
    cli("update", "ensemble", "--data", newer, "-o", "again")
    assert [Path(name, "model.json").read_bytes() for name in ("new", "again")] == [
        Path("new/model.json").read_bytes()
    ] * 2
    refused = cli("update", "new", "--data", newer, "-o", "newest")
    assert refused.lines == ["data: newer.csv has no rows after 179, which the model knows already"]


def test_a_continued_model_differs(cli: Cli, newer: Path) -> None:
    cli("update", "ensemble", "--data", newer, "-o", "new", "--mode", "continue")
    new = optlstm.load("new").card.history[0]
    assert set(new.scores) == {"keep", "continue"}
    assert new.scores["keep"] != new.scores["continue"]


def test_a_model_that_was_better_is_kept(cli: Cli, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A learning rate that spoils the networks stands for rows that teach nothing."""
    monkeypatch.setattr("optlstm.models.update._RATE", 1000.0)
    Path("newer.csv").write_text(series(180))

    kept = cli("update", "model", "--data", "newer.csv", "-o", "kept", "--mode", "continue")

    step, before = optlstm.load("kept").card.history[0], optlstm.load("model").predict("newer.csv")
    assert (step.how, step.scores["keep"]["mse"] < step.scores["continue"]["mse"]) == ("keep", True)  # type: ignore[operator]
    assert "the model as it was is the better one and was kept" in kept.out
    assert optlstm.load("kept").predict("newer.csv").equals(before)


def test_intervals_of_more_windows_than_the_newest_rows_hold_stay(cli: Cli, made: Path) -> None:
    Path("newer.csv").write_text(series(126))
    old = optlstm.load("model")

    done = cli("update", "model", "--data", "newer.csv", "-o", "new", "--mode", "continue")

    new = optlstm.load("new")
    assert new.card.intervals["windows"] == old.card.intervals["windows"] > new.card.intervals["test_windows"]
    tensors = [load_file(Path(name, WEIGHT_FILE)) for name in ("model", "new")]
    assert all(tensors[0][name].equal(tensors[1][name]) for name in ("extra.radii", "extra.ranks"))
    assert new.card.intervals["measured"]["80"]["coverage"] is not None
    assert (
        "not measured" not in done.out + cli("predict", "new", "--data", "newer.csv", "-o", "o.csv", "--level", 80).err
    )


@pytest.mark.parametrize(("shift", "code"), [(0.0, 0), (3.0, 1)], ids=["as before", "level shift"])
def test_check_tells_a_level_shift_from_noise(cli: Cli, made: Path, shift: float, code: int) -> None:
    """The spread of the test's own errors is the measure; scripts/bench/check.py has 20 of each."""
    lines = series(144).splitlines()
    rows = [line.split(",") for line in lines[1:]]
    moved = [f"{t},{float(y) + (shift if int(t) >= 120 else 0):.6f}" for t, y in rows]
    Path("newer.csv").write_text("\n".join([lines[0], *moved]) + "\n")

    outcome = cli("check", "model", "--data", "newer.csv")
    told = json.loads(cli("check", "model", "--data", "newer.csv", "--json").out)

    assert outcome.code == code, outcome.out
    assert told["in_bounds"] is (code == 0)
    assert (told["rows"], told["windows"]) == (24, 21)
    assert ("in bounds\n" in outcome.out) is (code == 0)


def test_killed_at_any_moment_the_folder_holds_the_old_model_or_the_new_one(
    cli: Cli, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each step of writing; what a process that dies leaves is what stands on the disk then."""
    old = Path("ensemble/model.json").read_bytes()
    cli("update", "ensemble", "--data", newer, "-o", "new")
    new = Path("new/model.json").read_bytes()
    states = []
    write = folder.LocalFolder.write

    def watched(self: folder.LocalFolder, name: str, content: bytes) -> None:
        write(self, name, content)
        states.append(optlstm.load("ensemble").card.to_bytes())

    monkeypatch.setattr(folder.LocalFolder, "write", watched)
    cli("update", "ensemble", "--data", newer, "-o", "ensemble")

    assert states == [old, new]
    assert optlstm.load("ensemble").card.to_bytes() == new
    assert not Path("ensemble", NEXT_FILE).exists()
    assert Path("ensemble", WEIGHT_FILE).is_file()


def test_what_cannot_be_updated_is_refused(cli: Cli, made: Path) -> None:
    assert cli("update", "model", "--data", "tiny.csv", "-o", "n", "--mode", "x").lines == [
        "--mode: must be one of auto, continue, refit, got 'x'"
    ]
    assert cli("check", "model", "--data", "tiny.csv").lines == [
        "data: tiny.csv has no rows after 119, which the model knows already"
    ]

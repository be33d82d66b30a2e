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


def test_check_says_what_it_cannot_judge(cli: Cli, made: Path) -> None:
    Path("few.csv").write_text(series(126))
    Path("many.csv").write_text(series(180))

    few, many = (json.loads(cli("check", "model", "--data", name, "--json").out) for name in ("few.csv", "many.csv"))

    assert few["coverage"]["limit"] is None
    assert few["unjudged"] == ["the 90 % interval: 3 overlapping forecasts are too few to bound what it holds"]
    assert many["unjudged"] == [
        "the mean of y: 60 rows came, and before them there are 2 stretches of as many; 4 are needed"
    ]
    assert many["coverage"]["limit"] > 0.6
    text = cli("check", "model", "--data", "few.csv").out
    assert "90 % interval: 100 % inside\n" in text
    assert "not judged: the 90 % interval: 3 overlapping forecasts are too few to bound what it holds\n" in text


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
        "mode: must be one of auto, continue, refit, got 'x'"
    ]
    assert cli("check", "model", "--data", "tiny.csv").lines == [
        "data: tiny.csv has no rows after 119, which the model knows already"
    ]


def _with(values: dict[int, float], rows: int = 144) -> str:
    """The tiny series to a new end, with other values in some rows."""
    header, *lines = series(rows).splitlines()
    changed = [f"{i},{values[i]}" if i in values else line for i, line in enumerate(lines)]
    return "\n".join([header, *changed]) + "\n"


def test_another_series_is_refused(cli: Cli, made: Path) -> None:
    Path("other.csv").write_text(_with({i: 2.0 + i % 5 for i in range(144)}))

    refused = cli("check", "model", "--data", "other.csv")

    assert (refused.code, len(refused.lines)) == (2, 1)
    assert refused.lines[0].startswith("data: other.csv is another series than the model was made from: ")
    assert refused.lines[0].endswith(
        "; give the newer rows of the model's own, or make a model of this one (python -m optlstm fit --data other.csv)"
    )
    assert cli("update", "model", "--data", "other.csv", "-o", "new").lines == refused.lines
    assert not Path("new").exists()


def test_a_history_with_corrected_values_goes_on_and_says_so(
    cli: Cli, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path("newer.csv").write_text(_with({119: 9.0, 118: 8.0, 3: 0.0}))
    Path("newest.csv").write_text(series(150))

    updated = cli("update", "model", "--data", "newer.csv", "-o", "new", "--mode", "continue")

    changed = "values known from before have changed since the model was made; going on with the new ones"
    assert updated.code == 0
    assert caplog.messages == [f"data: newer.csv: 2 of 42 {changed}"]
    cli("check", "model", "--data", "newest.csv")
    assert len(caplog.messages) == 1
    cli("check", "new", "--data", "newest.csv")  # what the update has read is what it knows
    assert len(caplog.messages) == 2


def test_older_rows_may_be_gone(cli: Cli, made: Path) -> None:
    header, *lines = series(144).splitlines()
    Path("newer.csv").write_text("\n".join([header, *lines[88:]]) + "\n")
    Path("other.csv").write_text("\n".join([header, *(f"{i},{i % 5}" for i in range(100, 144))]) + "\n")

    assert "data:" not in cli("check", "model", "--data", "newer.csv").err
    assert "is another series" in cli("check", "model", "--data", "other.csv").err


@pytest.mark.parametrize(("begin", "rows"), [(89, "31 rows"), (120, "0 rows"), (130, "0 rows")])
def test_check_needs_the_rows_of_the_test(cli: Cli, made: Path, begin: int, rows: str) -> None:
    header, *lines = series(144).splitlines()
    Path("short.csv").write_text("\n".join([header, *lines[begin:]]) + "\n")

    refused = cli("check", "model", "--data", "short.csv")

    assert (refused.code, refused.lines) == (2, [
        f"data: short.csv has {rows} up to the model's last, and check reads 32: 24 of the model's test and 8 before"
        " them; give it a longer file"
    ])  # fmt: skip


def test_an_update_of_fewer_rows_says_so_and_of_too_few_is_refused(
    cli: Cli, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    header, *lines = series(144).splitlines()
    for name, begin in (("cut", 60), ("short", 130)):
        Path(f"{name}.csv").write_text("\n".join([header, *lines[begin:]]) + "\n")

    done = cli("update", "model", "--data", "cut.csv", "-o", "new", "--mode", "continue")
    refused = cli("update", "model", "--data", "short.csv", "-o", "newer")

    assert done.code == 0
    assert caplog.messages == [
        "data: cut.csv begins at 60, and the model's rows at 0: it is trained and tested on the file's rows alone"
    ]
    assert (refused.code, refused.lines) == (2, [
        "data: short.csv has 14 rows, 4 of them the new test, and the model reads 8 and forecasts 4; give it a longer"
        " file"
    ])  # fmt: skip
    assert not Path("newer").exists()


@pytest.mark.parametrize(
    ("cell", "problem", "remedy"),
    [
        ("129,", "1 empty or NaN value(s) (row 131)", "fill them in, or"),
        ("129,closed", "1 cell(s) are not numbers (row 131: 'closed')", "correct them, or empty the cells and"),
    ],
)
def test_what_is_said_of_gaps_can_be_done(cli: Cli, made: Path, cell: str, problem: str, remedy: str) -> None:
    """These commands have no --gaps."""
    lines = series(144).splitlines()
    lines[130] = cell
    Path("newer.csv").write_text("\n".join(lines) + "\n")

    refused = [cli(*command, "--data", "newer.csv") for command in (("check", "model"), ("update", "model", "-o", "n"))]

    line = (
        f"data: column 'y' of newer.csv: {problem}; {remedy} tune a model with --gaps interpolate: it reads such files"
    )
    assert [outcome.lines for outcome in refused] == [[line]] * 2


def test_forecasts_of_another_series_are_made_and_it_is_said(
    cli: Cli, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    days = [f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(28)]
    for name, values in (("days", [i % 7 for i in range(28)]), ("other", [50 + i % 3 for i in range(28)])):
        Path(f"{name}.csv").write_text("ds,y\n" + "".join(f"{d},{v}\n" for d, v in zip(days, values, strict=True)))
    cli("study", "tiny.toml", "--data", "days.csv", "--name", "days", "--trials", 1)
    cli("refit", "days", "-o", "m")

    done = [cli("predict", "m", "--data", f"{name}.csv", "-o", f"{name}-out.csv").code for name in ("days", "other")]

    assert done == [0, 0]
    assert caplog.messages == [
        "data: other.csv is another series than the model was made from: 26 of 26 values compared differ, by 25"
        " standard deviations (median); it is forecast on the scale of that one"
    ]


def test_scores_that_are_near_each_other_are_told_apart(cli: Cli, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("newer.csv").write_text(series(144))
    near = iter([0.0330041, 0.0330039])
    monkeypatch.setattr("optlstm.models.update._Candidate.scores", property(lambda _: {"mse": next(near)}))

    done = cli("update", "model", "--data", "newer.csv", "-o", "new", "--mode", "continue")

    assert "mse on the newest 29 rows: as it was 0.0330041, trained on 0.0330039\n" in done.out

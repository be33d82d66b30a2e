"""Models of the tasks with labels: tuned, refitted, tested beside their baselines, saved, and used on new files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import optlstm
from optlstm.data.labels import Fold
from optlstm.tasks.label.baselines import bag_of_words, constant_outputs, nearest_neighbour
from optlstm.tasks.label.classes import Classes
from optlstm.tasks.label.data import LabelledData
from optlstm.tasks.label.predict import LabelPredictor, SequenceSection
from optlstm.tasks.label.scores import ALL
from tests.cli.test_bad_input import refuses
from tests.conftest import Cli
from tests.tasks.test_tasks import SEQUENCES, TEXTS, lines, texts

MODELS = [(SEQUENCES, "lines.csv", "nearest_neighbour"), (TEXTS, "texts.csv", "bag_of_words")]


@pytest.fixture(autouse=True)
def _files(folder: Path) -> None:
    Path("lines.csv").write_text(lines(40))
    Path("texts.csv").write_text(texts(40))


@pytest.mark.parametrize(("command", "file", "rival"), MODELS, ids=["sequence", "text"])
def test_from_study_to_predictions(cli: Cli, command: tuple[str, ...], file: str, rival: str) -> None:
    assert cli(*command, "--name", "s").code == 0

    done = cli("refit", "s", "-o", "model", "--json", "--seeds", "2")
    found = json.loads(done.out)
    assert set(found["baselines"]) == {"majority_class", rival}
    assert tuple(found["test"]) == ALL
    first = Path("model/model.safetensors").read_bytes()
    cli("refit", "s", "-o", "again", "--seeds", "2")
    assert Path("again/model.safetensors").read_bytes() == first

    frame = pd.read_csv(file)
    frame.drop(columns="label").to_csv("new.csv", index=False)
    assert cli("predict", "model", "--data", "new.csv", "-o", "out.csv").code == 0
    out = pd.read_csv("out.csv", dtype={"prediction": str})
    names = sorted(str(name) for name in frame["label"].unique())
    assert list(out.columns) == ["row", "prediction", *(f"p_{name}" for name in names)]
    assert len(out) == len(frame)
    np.testing.assert_allclose(out.iloc[:, 2:].sum(axis=1), 1, atol=1e-5)
    likeliest = [names[i] for i in out.iloc[:, 2:].to_numpy().argmax(axis=1)]
    assert out["prediction"].tolist() == likeliest
    scored = optlstm.load("model").score(file)
    assert scored["accuracy"] == pytest.approx(np.mean(out["prediction"] == frame["label"].astype(str)))


def test_no_class_is_a_formula_in_the_predictions(folder: Path) -> None:
    class Predicted(LabelPredictor):
        def __init__(self) -> None:
            pass

        def predict(self, data: Path, **options: Any) -> pd.DataFrame:
            return pd.DataFrame({"@id": ["=1", "-1"], "prediction": ["+A1", "b"], "p_+A1": [-0.25, 0.5]})

    assert Predicted().write_csv(Path("lines.csv"), Path("out.csv")) == 2
    assert Path("out.csv").read_text() == "'@id,prediction,p_+A1\n'=1,'+A1,-0.25\n-1,b,0.5\n"


def test_a_beaten_model_says_so(cli: Cli) -> None:
    cli(*TEXTS, "--name", "s", "--set", "space.learning_rate=1e-6")

    done = cli("refit", "s", "-o", "model", "--seeds", "1")

    assert re.search(r"better than this model: .*in log_loss bag of words \(", done.out), done.out


def test_weights_of_a_cross_validation_are_no_model(cli: Cli) -> None:
    cli(*SEQUENCES, "--name", "s")

    refuses(cli, ("refit", "s", "-o", "model", "--no-refit"), [["--no-refit: a trial of a cross-validation"]])
    refuses(
        cli, ("refit", "s", "-o", "model", "--rivals"), [["--rivals: these are forecasts of series, and the study"]]
    )


def test_tuned_weights_are_a_model_where_there_is_one_split(cli: Cli) -> None:
    cli(*SEQUENCES, "--name", "s", "--set", "data.folds=0", "--set", "data.class_weights=true")

    assert cli("refit", "s", "-o", "model", "--no-refit").code == 0


def test_a_threshold_and_a_temperature_are_stored_and_used(cli: Cli) -> None:
    noisy = "".join(f"{'ab'[i % 4 == 0]},{i % 7},{i % 4 % 3},{-i % 5}\n" for i in range(60))
    Path("lines.csv").write_text("label,t0,t1,t2\n" + noisy)
    cli(*SEQUENCES, "--name", "s", "--set", "training.metric=auc", "--loss", "focal")

    done = cli("refit", "s", "-o", "model", "--threshold", "0.01", "--seeds", "1")

    assert "threshold: 'b' from a probability of 0.01 on" in done.out, done.out
    assert "calibrated: probabilities with temperature" in done.out
    model = optlstm.load("model")
    section = model.card.task
    assert isinstance(section, SequenceSection)
    assert section.temperature is not None
    out = model.predict("lines.csv")
    assert out["prediction"].tolist() == ["b"] * 60
    module = model.predictor.export_module()
    x = torch.tensor(pd.read_csv("lines.csv")[["t0", "t1", "t2"]].to_numpy(dtype=np.float64))[:, :, None]
    with torch.no_grad():
        np.testing.assert_allclose(module.module(x).numpy(), out.iloc[:, 2:], atol=1e-6)
    assert module.notes == tuple(section.lines())
    model.predictor.section = section.model_copy(update={"temperature": None})
    raw = model.predict("lines.csv").iloc[:, 2:].to_numpy() ** (1 / section.temperature.value)
    np.testing.assert_allclose(raw / raw.sum(axis=1, keepdims=True), out.iloc[:, 2:], atol=1e-9)
    refuses(cli, ("refit", "s", "-o", "model", "--threshold", "f1"), [["--threshold: must be accuracy", "got 'f1'"]])


def test_a_metric_that_a_threshold_changes_chooses_it(cli: Cli) -> None:
    rare = "".join(f"{'ab'[i % 4 == 0]},{i % 7},{3 * (i % 4 == 0)},{-i % 5}\n" for i in range(60))
    Path("lines.csv").write_text("label,t0,t1,t2\n" + rare)
    cli(*SEQUENCES, "--name", "rare", "--set", "training.metric=macro_f1", "--epochs", "1")

    done = cli("refit", "rare", "-o", "model", "--seeds", "1")

    assert "(macro_f1 on validation rows " in done.out, done.out


def test_files_that_do_not_fit_the_model_are_refused(cli: Cli, caplog: pytest.LogCaptureFixture) -> None:
    cli(*SEQUENCES, "--name", "s")
    cli("refit", "s", "-o", "model")
    Path("narrow.csv").write_text("t0,t1\n1,2\n")

    command = ("predict", "model", "--data", "narrow.csv", "-o", "out.csv")
    refuses(cli, command, [["narrow.csv does not have the columns of the model: it lacks t2, t3, t4 (and 1 more)"]])
    Path("wide.csv").write_text("note,t5,t4,t3,t2,t1,t0\nx,6,5,4,3,2,1\n")
    Path("straight.csv").write_text("t0,t1,t2,t3,t4,t5\n1,2,3,4,5,6\n")
    with caplog.at_level("WARNING"):
        pd.testing.assert_frame_equal(*(optlstm.load("model").predict(f"{name}.csv") for name in ("wide", "straight")))
    assert [record.getMessage() for record in caplog.records] == [
        "data: wide.csv has columns that are none of the model's; they are not read: note"
    ]
    command = ("predict", "model", "--data", "lines.csv", "-o", "out.csv", "--backtest", "3", "--level", "90")
    refuses(cli, command, [["--backtest: is for forecasts"], ["--level: is for forecasts"]])


def test_the_graph_for_export_gives_the_same_probabilities(cli: Cli) -> None:
    Path("lines.csv").write_text("label,t0,t1,t2\n" + "".join(f"{i % 2},{i},{i % 2},{-i}\n" for i in range(40)))
    cli(*SEQUENCES, "--name", "s")
    cli("refit", "s", "-o", "model")
    model = optlstm.load("model")
    frame = pd.read_csv("lines.csv")

    module = model.predictor.export_module().module
    with torch.no_grad():
        given = module(torch.tensor(frame[["t0", "t1", "t2"]].to_numpy(dtype=np.float64))[:, :, None])

    np.testing.assert_allclose(given.numpy(), model.predict("lines.csv").iloc[:, 2:], atol=1e-6)


def test_tune_from_python(folder: Path) -> None:
    result = optlstm.tune(
        pd.read_csv("texts.csv"), task="text", n_trials=1, epochs=1, folds=0, workers=1, progress=False, name="t"
    )

    model = result.refit()
    assert "accuracy" in model.test
    assert model.card.members == 3  # of labels the mean of three seeds is the default


def test_baselines_by_hand() -> None:
    codes, train, test = np.array([0, 0, 1, 1, 0]), np.array([0, 1, 2]), np.array([3, 4])
    values = np.array([0, 0, 1, 1, 9, 0, 8, 0, 0], dtype=np.float32)[:, None]
    starts = np.array([0, 2, 4, 6, 7, 9])  # the fourth has one step

    fold = Fold(train, np.arange(0))
    data = LabelledData(values, starts, codes, Classes(names=("a", "b")), (fold,), test)
    guess = data.target.all_scores(constant_outputs(data, train, test)["majority_class"], codes[test])
    assert guess["accuracy"] == 0.5
    assert guess["log_loss"] == pytest.approx(-(np.log(1 / 3) + np.log(2 / 3)) / 2)
    near = nearest_neighbour(data, train)
    assert near is not None
    assert (near["accuracy"], near["log_loss"]) == (1.0, None)
    words = bag_of_words(["a b", "a c", "d d", "d d d", "a a"], str.split, data, train)
    assert words["accuracy"] == 1.0

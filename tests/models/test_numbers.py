"""Models of numbers: of whole sequences, and of windows of longer ones whose label changes within them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import optlstm
from optlstm.errors import InputError
from optlstm.tasks.label.number import Number
from optlstm.tasks.label.predict import LabelPredictor, SequenceSection, _refuse_options
from optlstm.tasks.label.problem import LabelProblem
from optlstm.tasks.label.sequences import SequenceTask
from optlstm.tasks.options import DataConfig
from optlstm.training.hparams import Hyperparameters
from tests.cli.test_bad_input import refuses
from tests.conftest import Cli, rows

SMALL = ("--epochs", "2", "--workers", "1", "--set", "space.hidden_size=4")
STUDY = ("study", "--task", "sequence", "--label", "life", *SMALL)
RUNS = (*STUDY, "--data", "runs.csv", "--series", "unit", "--time", "cycle", "--set", "data.cap=9")
RUNS += ("--set", "data.kind=number")
NETWORKS = """
import torch


class Last(torch.nn.Module):
    def __init__(self, width, channels, outputs):
        super().__init__()
        self.rnn, self.head = torch.nn.GRU(channels, width, batch_first=True), torch.nn.Linear(width, outputs)

    def forward(self, x, lengths=None):
        states = self.rnn(x)[0]
        return self.head(states[:, -1] if lengths is None else states[torch.arange(len(x)), lengths - 1])


def make(config, inputs, outputs):
    return Last(config.hidden_size, inputs["channels"], outputs)
"""
METRIC = "def late(truth, prediction):\n    return float((prediction - truth).max())\n"


def runs(units: int = 12, last: bool = False) -> pd.DataFrame:
    """Units whose level rises until they fail; `life` counts down. last: it is given at the last step alone."""
    random, parts = np.random.default_rng(0), []
    for unit in range(units):
        steps = 10 + 2 * unit % 9
        life = np.arange(steps)[::-1].astype(float)
        frame = pd.DataFrame({"unit": f"u{unit}", "cycle": np.arange(1, steps + 1), "x": random.normal(-life, 0.3)})
        if last:
            life[:-1] = np.nan
        parts.append(frame.assign(z=random.normal(size=steps), life=life))
    return pd.concat(parts)


@pytest.fixture(autouse=True)
def _files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    runs().to_csv("runs.csv", index=False)
    runs(4, last=True).to_csv("ends.csv", index=False)
    Path("metrics_of_mine.py").write_text(METRIC)
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("metrics_of_mine", None)


def test_from_study_to_predictions_of_whole_sequences(cached_cli: Cli, cli: Cli) -> None:
    random = np.random.default_rng(0)
    level = random.normal(40, 9, 60)
    frame = pd.DataFrame(random.normal(level[:, None], 0.5, (60, 5)), columns=[f"t{i}" for i in range(5)])
    frame.assign(life=level).to_csv("lines.csv", index=False)
    command = (*STUDY, "--data", "lines.csv", "--name", "n", "--trials", 2, "--set", "data.folds=2", "--loss")

    done = cli(*command, "quantiles")

    assert "60 sequences (48 in 2 folds, 12 test), a number" in done.err
    assert "the 60 labels are 60 different numbers, so a number is learned" in done.err
    assert "validation pinball" in done.out
    result = json.loads(cli("refit", "n", "-o", "model", "--json").out)
    baselines = {"mean", "median", "nearest_neighbour", "linear_on_last_values", "linear_on_summary"}
    assert set(result["baselines"]) == baselines
    assert list(result["test"]) == ["rmse", "mae", "r2", "mape", "pinball"]
    assert len(result["members"]) == 3
    assert "linear_on_summary" in result["beaten_by"]["rmse"]
    assert "better than this model: in rmse " in cli("refit", "n", "-o", "again", "--seeds", "1").out
    model = optlstm.load("model")
    out = model.predict("lines.csv")
    assert list(out.columns) == ["row", "prediction", "q5", "q10", "q25", "q50", "q75", "q90", "q95"]
    assert (np.diff(out.iloc[:, 2:].to_numpy(), axis=1) >= 0).all()
    np.testing.assert_array_equal(out["prediction"], out["q50"])
    assert model.score("lines.csv")["rmse"] == pytest.approx(np.sqrt(np.square(out["prediction"] - level).mean()))
    with pytest.raises(InputError, match=r"this model predicts labels$"):
        model.predict("lines.csv", levels=[80])
    with pytest.raises(InputError, match=r"labels; a study with --loss quantiles gives quantiles$"):
        _refuse_options({"levels": [80]}, Number())
    with torch.no_grad():
        x = torch.tensor(frame.to_numpy())[:, :, None]
        exported = model.predictor.export_module().module(x)
    np.testing.assert_allclose(exported.numpy(), out.iloc[:, 1:], atol=1e-4)
    assert cli("report", "n", "-o", "n.html").code == 0
    assert "Predicted and true numbers" in Path("n.html").read_text()


def test_from_study_to_predictions_of_windows(cli: Cli) -> None:
    space = ("--set", "space.window={choices=[4, 8], default=4}")
    command = (*RUNS, "--test-data", "ends.csv", "--trials", 1, *space, "--name")

    done = cli(*command, "w", "--set", "training.metric=rul_score")

    assert "windows (" in done.err
    assert "4 test), a number up to 9, 16 sequences of 10 to 18 steps of 2 channels (" in done.err
    result = json.loads(cli("refit", "w", "-o", "model", "--json", "--seeds", "1").out)
    assert json.loads(Path("model/model.json").read_text())["data"]["splits"][2] == 4  # the labelled steps alone
    assert set(result["test"]) == {"rmse", "mae", "r2", "mape", "rul_score"}
    assert set(result["beaten_by"]) <= {"rmse", "mae", "rul_score"}
    assert cli("predict", "model", "--data", "ends.csv", "-o", "all.csv").code == 0
    assert cli("predict", "model", "--data", "ends.csv", "-o", "last.csv", "--last").code == 0
    every, last = pd.read_csv("all.csv"), pd.read_csv("last.csv")
    assert list(every.columns) == ["unit", "cycle", "prediction"]
    assert every["cycle"].tolist() == runs(4)["cycle"].tolist()
    pd.testing.assert_frame_equal(last, every.groupby("unit").tail(1).reset_index(drop=True))
    assert optlstm.load("model").score("ends.csv")["rmse"] == pytest.approx(result["test"]["rmse"])
    module = optlstm.load("model").predictor.export_module()
    steps = torch.tensor(runs(1)[["x", "z"]].to_numpy())[None, -module.example.shape[1] :]
    with torch.no_grad():
        np.testing.assert_allclose(module.module(steps)[0, 0], last["prediction"][0], atol=1e-4)


def test_custom_networks_of_a_population_give_quantiles(cli: Cli) -> None:
    Path("networks_of_numbers.py").write_text(NETWORKS)
    population = ("--scheduler", "pbt", "--set", "pbt.population=2", "--set", "pbt.interval=1", "--set", "data.folds=0")
    custom = ("--set", "model.factory=networks_of_numbers:make", "--loss", "quantiles", "--set", "artifacts=0")

    assert cli(*RUNS, "--name", "p", *population, *custom).code == 0

    assert cli("refit", "p", "-o", "model", "--seeds", 1).code == 0
    given = ("--data", "ends.csv", "-o", "last.csv", "--last", "--factory", "networks_of_numbers:make")
    assert cli("predict", "model", *given).code == 0
    table = pd.read_csv("last.csv")
    assert list(table)[2:4] == ["prediction", "q5"]
    assert (table["q5"] <= table["q95"]).all()


def test_texts_with_numbers(cli: Cli) -> None:
    scores = np.arange(60) * 7 % 13 / 10
    frame = pd.DataFrame({"text": ["good " * int(10 * score) + "day" for score in scores], "label": scores})
    frame.to_csv("texts.csv", index=False)
    study = ("study", "--task", "text", "--data", "texts.csv", "--set", "data.kind=number", "--set", "data.folds=0")

    assert cli(*study, "--name", "t", "--trials", 1, *SMALL, "--set", "artifacts=0").code == 0

    outcome = json.loads(cli("refit", "t", "-o", "model", "--seeds", 1, "--json").out)
    assert list(outcome["baselines"]) == ["mean", "median", "bag_of_words"]
    assert optlstm.load("model").predict("texts.csv")["prediction"].dtype == float


@pytest.mark.ray
def test_two_legs_on_two_backends_are_one_study(cli: Cli, local_ray: None) -> None:
    command = (*RUNS, "--set", "training.metric=metrics_of_mine:late", "--trials")
    cli(*command, 2, "--name", "whole")
    for trials, backend in ((1, "ray"), (2, "local")):
        assert cli(*command, trials, "--name", "legs", "--backend", backend).code == 0

    assert rows("whole") == rows("legs")


def test_a_window_never_reaches_into_another_sequence_and_a_sequence_is_on_one_side(folder: Path) -> None:
    data = DataConfig(path="runs.csv", series="unit", time="cycle", label="life", kind="number", every=3, folds=3)
    task = SequenceTask.read(data)
    prepared, lengths, stops = task.data(), np.diff(task.samples.starts), task.samples.starts[1:]

    first, steps = prepared.spans(5)

    ends = np.concatenate([np.arange(stop, stop - n, -3)[::-1] for stop, n in zip(stops, lengths, strict=True)])
    np.testing.assert_array_equal(first + steps, ends)
    unit = np.repeat(np.arange(12), lengths)
    assert (unit[first] == unit[ends - 1]).all()
    assert steps.max() == 5
    np.testing.assert_array_equal(task.truth, runs()["life"].to_numpy()[ends - 1])
    sides = [set(unit[ends[part] - 1]) for fold in task.split.folds for part in (fold.train, fold.validation)]
    assert not any(train & validation for train, validation in zip(sides[::2], sides[1::2], strict=True))
    assert not any(side & set(unit[ends[task.split.test] - 1]) for side in sides)
    (fold, *_), hp = prepared.folds, Hyperparameters(window=5, window_norm="none", hidden_size=4, batch_size=8)
    problem = LabelProblem(prepared, fold, torch.device("cpu"))
    scaled = problem._values.numpy()[prepared.rows(fold.train)]
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    assert problem.target.mean == pytest.approx(task.truth[fold.train].mean())  # type: ignore[attr-defined]
    batch = next(iter(problem.batches(hp, torch.Generator().manual_seed(0))))
    assert max(batch[0].shape[1], 5) == 5


def test_padding_changes_no_output() -> None:
    task = SequenceTask.read(DataConfig(path="runs.csv", series="unit", time="cycle", label="life", kind="number"))
    data, hp = task.data(), Hyperparameters(window=6, window_norm="none", hidden_size=4, bidirectional=True)
    problem = LabelProblem(data, data.folds[0], torch.device("cpu"))
    torch.manual_seed(0)
    network = problem.network(hp).eval()

    with torch.no_grad():
        together = problem.outputs(network, np.arange(20), hp)
        alone = [problem.outputs(network, np.array([i]), hp)[0] for i in (0, 3, 12)]

    np.testing.assert_allclose(together[[0, 3, 12]], alone, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"kind": "classes"}, r"column 'life' of runs.csv changes within a sequence .*--set data.per_step=true"),
        ({"path": "words.csv", "kind": "number"}, r"column 'life' of words.csv: 1 label\(s\) are not finite numbers"),
        ({"label": "unit", "series": "unit"}, "data.series: 'unit' is the label column"),
        ({}, r"column 'life' of runs.csv changes within a sequence"),
    ],
)
def test_labels_of_another_kind_are_refused(options: dict[str, str], problem: str) -> None:
    Path("words.csv").write_text(Path("runs.csv").read_text() + "u99,1,0.0,0.0,soon\n")
    given = {"path": "runs.csv", "series": "unit", "time": "cycle", "label": "life", **options}
    with pytest.raises(InputError, match=problem):
        SequenceTask.read(DataConfig.model_validate(given))


def test_a_custom_metric_decides_and_is_run_where_the_command_names_it(cli: Cli) -> None:
    command = (*RUNS, "--trials", 1, "--name", "c", "--set", "training.metric=metrics_of_mine:late")

    done = cli(*command)

    assert "metrics_of_mine:late" in done.out, done.err
    result = json.loads(cli("refit", "c", "-o", "model", "--json", "--seeds", "1").out)
    assert "metrics_of_mine:late" in result["test"]
    assert "metrics_of_mine:late" in result["baselines"]["mean"]
    Path("metrics_of_mine.py").write_text(METRIC.replace("max", "min"))
    changed = cli(*command, "--trials", 2)
    assert (changed.code, "metric" in changed.err) == (2, True)
    refuses(cli, (*RUNS, "--set", "training.metric=metrics_of_mine:rate"), [["training.metric: ", "has no rate(truth"]])


def test_last_is_for_windows(cli: Cli) -> None:
    section = SequenceSection(
        classes=["a", "b"], label="y", series=None, time=None, columns=["t"], mean=[0.0], std=[1.0]
    )
    Path("t.csv").write_text("t\n1\n")

    with pytest.raises(InputError, match="--last: is for windows of sequences"):
        LabelPredictor(section, [], []).predict(Path("t.csv"), last=True)

"""Several labels of a sample: 0 or 1, or numbers; how they are read, learned, scored and predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

import optlstm
from optlstm.tasks.label.problem import make_problem
from optlstm.tasks.label.sequences import SequenceTask
from optlstm.tasks.label.several import OneLabel, Several
from optlstm.tasks.label.texts import TextTask
from optlstm.tasks.options import DataConfig
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit
from tests.cli.test_bad_input import refuses
from tests.conftest import Cli

CPU = torch.device("cpu")
STUDY = ("study", "--task", "sequence", "--data", "many.csv", "--trials", "1", "--epochs", "2", "--workers", "1")
SMALL = ("--set", "space.hidden_size=4", "--set", "data.folds=0")


def many(rows: int = 60) -> pd.DataFrame:
    """Sequences of 6 steps; up: whether they rise, high: whether they lie above 0, level: where they lie."""
    random = np.random.default_rng(0)
    up, level = random.integers(0, 2, rows), random.normal(0, 2, rows)
    steps = level[:, None] + np.linspace(-1, 1, 6) * (2 * up[:, None] - 1) + random.normal(0, 0.1, (rows, 6))
    table = pd.DataFrame(steps, columns=[f"t{i}" for i in range(6)])
    return table.assign(up=up, high=(level > 0).astype(int), level=level.round(3))


def read(folder: Path, frame: pd.DataFrame, label: str, **data: Any) -> SequenceTask:
    frame.to_csv(folder / "many.csv", index=False)
    given = {"path": str(folder / "many.csv"), "label": label, "folds": 0, **data}
    return SequenceTask.read(DataConfig.model_validate(given))


def test_metrics_by_hand_and_as_scikit_learns() -> None:
    from sklearn.metrics import average_precision_score, f1_score, r2_score

    random = np.random.default_rng(0)
    binary, number = random.integers(0, 2, (40, 2)), random.normal(3, 2, 40)
    truth = np.column_stack([binary, number])
    output = np.column_stack([np.clip(binary + random.normal(0, 0.6, (40, 2)), 0.01, 0.99), number + 1])
    each = (*(OneLabel(name=name, binary=True) for name in "ab"), OneLabel(name="n", binary=False, mean=3.0, std=2.0))

    scores = Several(each=each).all_scores(output, truth)

    said = output[:, :2] >= 0.5
    assert scores["macro_f1"] == pytest.approx(f1_score(binary, said, average="macro"))
    assert scores["micro_f1"] == pytest.approx(f1_score(binary, said, average="micro"))
    assert scores["average_precision"] == pytest.approx(average_precision_score(binary, output[:, :2]))
    assert scores["accuracy"] == pytest.approx((said == binary).mean())
    assert scores["rmse"] == pytest.approx(0.5)  # of deviations
    assert scores["r2"] == pytest.approx(r2_score(number, number + 1))
    logs = -np.log(np.where(binary, output[:, :2], 1 - output[:, :2])).mean()
    assert scores["loss"] == pytest.approx((2 * logs + 0.25) / 3)


def test_the_loss_is_what_is_scored_and_the_scale_is_of_the_training_rows(tmp_path: Path) -> None:
    task = read(tmp_path, many(), "up,level")
    data = task.data()
    problem, hp = make_problem(data, CPU), Hyperparameters.from_params({"hidden_size": 8, "window_norm": "none"})
    torch.manual_seed(0)
    network = problem.network(hp).eval()

    x, lengths, truth, smoothing = next(problem.batches(hp, torch.Generator().manual_seed(0)))
    loss = problem.loss(network, (x, lengths, truth, smoothing))

    raw = network(x, None)
    assert raw.shape[1] == 2
    known = many()["level"].to_numpy()[task.split.folds[0].train]
    standardised = ((truth[:, 1] - known.mean()) / known.std()).float()
    entropy = F.binary_cross_entropy_with_logits(raw[:, 0], truth[:, 0].float())
    assert loss.item() == pytest.approx((entropy + F.mse_loss(raw[:, 1], standardised)).item() / 2, rel=1e-5)


@pytest.mark.parametrize(("label", "folds"), [("up,high", 2), ("up,level", 0)])
def test_it_learns_every_label(tmp_path: Path, label: str, folds: int) -> None:
    data = read(tmp_path, many(160), label, folds=folds).data()
    hp = Hyperparameters.from_params(
        {"hidden_size": 16, "window_norm": "none", "learning_rate": 0.02, "batch_size": 16, "bidirectional": True}
    )

    epochs = list(fit(make_problem(data, CPU), hp, epochs=5, patience=None, seed=0))

    assert epochs[-1].value == epochs[-1].metrics["loss"] < 0.5 * epochs[0].value
    assert epochs[-1].metrics["macro_f1"] > 0.9
    assert ("rmse" in epochs[-1].metrics) == (label == "up,level")


def test_from_study_to_a_column_for_every_label(cli: Cli) -> None:
    many().to_csv("many.csv", index=False)
    assert cli(*STUDY, *SMALL, "--label", "up, level", "--name", "s", "--set", "training.metric=macro_f1").code == 0

    done = cli("refit", "s", "-o", "model", "--seeds", "2")
    assert "label means" in done.out, done.out
    assert "nearest neighbour" in done.out
    many().drop(columns=["up", "level"]).to_csv("new.csv", index=False)
    assert cli("predict", "model", "--data", "new.csv", "-o", "out.csv").code == 0
    out = pd.read_csv("out.csv")
    assert list(out.columns) == ["row", "up", "level", "p_up"]
    assert out["up"].tolist() == (out["p_up"] >= 0.5).astype(int).tolist()
    model = optlstm.load("model")
    assert model.score("many.csv")["accuracy"] == pytest.approx((out["up"] == many()["up"]).mean())
    x = torch.tensor(many()[[f"t{i}" for i in range(6)]].to_numpy())[:, :, None]
    with torch.no_grad():
        given = model.predictor.export_module().module(x)
    np.testing.assert_allclose(given.numpy(), model.predict("new.csv")[["p_up", "level"]], atol=1e-6)
    assert cli("report", "s").code == 0
    assert 'id="confusion"' in Path("s.html").read_text()


def test_every_step_may_have_several_labels_and_so_may_a_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"series_id": np.repeat(range(12), 9), "x": np.arange(108) % 7})
    frame = frame.assign(a=frame["x"] > 3, b=frame["x"] * 0.5)
    data = read(tmp_path, frame, "a,b", per_step=True).data()
    hp = Hyperparameters.from_params({"hidden_size": 8, "window_norm": "none", "bidirectional": True})
    epoch = next(fit(make_problem(data, CPU), hp, epochs=1, patience=None, seed=0))
    assert data.truth.shape == (108, 2)
    assert {"macro_f1", "rmse"} <= set(epoch.metrics)

    texts = pd.DataFrame({"text": ["good thing", "bad thing"] * 20, "a": [1, 0] * 20, "b": [1, 1, 0, 0] * 10})
    texts.to_csv(tmp_path / "texts.csv", index=False)
    task = TextTask.read(DataConfig(path=str(tmp_path / "texts.csv"), label="a,b"))
    assert task.describe().endswith("2 labels of 0 or 1, 3 tokens known")
    assert task.target.linear(np.eye(2)[[0, 1] * 20], task.truth, np.eye(2)).round().tolist()[0][0] == 1


def test_a_column_of_that_very_name_is_one_label(tmp_path: Path) -> None:
    frame = many().rename(columns={"up": "up,high"}).drop(columns=["high", "level"])

    assert read(tmp_path, frame, "up,high").kind == "classes"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--label", "up,hihg"), [["column 'hihg' not found in many.csv; did you mean 'high'?"]]),
        (("--label", "up,up"), [["data.label: 'up' stands there twice; name each column once"]]),
        (("--label", "up,word"), [["column 'word' of many.csv: 60 label(s) are not finite numbers", "0 or 1, or a"]]),
        (("--label", "up,one"), [["column 'one' of many.csv holds only one value (1); there is nothing to learn"]]),
        (("--label", "up,gaps"), [["column 'up', 'gaps' of many.csv: no row has a value"]]),
        (("--label", "up,high", "--set", "data.kind=number"), [["data.kind: is for one label; leave it out"]]),
        (("--label", "up,high", "--set", "data.class_weights=true"), [["data.class_weights: is for one label"]]),
        (("--label", "up,high", "--loss", "focal"), [["focal is not defined on these data"]]),
        (
            ("--label", "up,high", "--set", "training.metric=log_loss"),
            [["labels are 2 labels of 0 or 1; take another (known: loss, accuracy, macro_f1, micro_f1, average_"]],
        ),
        (
            ("--data", "long.csv", "--label", "up,word,t0"),
            [["column 'up' of long.csv changes within a sequence"], ["column 't0' of long.csv changes within a"]],
        ),
        (("--label", "up,high", "--set", "training.metric=rmse"), [["rmse is not defined", "no label is a number"]]),
        (("--label", "up,high", "--test-data", "other.csv"), [["column 'high' of other.csv holds 3, and 0 or 1 in"]]),
    ],
)
def test_what_cannot_be_several_labels_is_refused_in_a_line(
    cli: Cli, arguments: tuple[str, ...], expected: list[list[str]]
) -> None:
    frame = many()
    frame.assign(high=3, one=1).to_csv("other.csv", index=False)
    if "up,gaps" in arguments:
        frame["gaps"] = np.nan
    if "up,word" in arguments:
        frame["word"] = "x"
    frame.assign(one=1).to_csv("many.csv", index=False)
    frame.assign(series_id=np.arange(60) // 4, word=0).to_csv("long.csv", index=False)

    refuses(cli, (*STUDY, *SMALL, *arguments), expected)

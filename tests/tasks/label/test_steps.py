"""Labels of steps: how records are split and read in chunks, what is learned and scored, and predictions by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

import optlstm
from optlstm.errors import InputError
from optlstm.tasks.label.baselines import window_of_steps
from optlstm.tasks.label.chunks import Chunks
from optlstm.tasks.label.problem import StepProblem, make_problem
from optlstm.tasks.label.sequences import SequenceTask
from optlstm.tasks.options import DataConfig
from optlstm.tasks.plot_data import Confusion, Regression
from optlstm.training.factory import Factory, Shape
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit
from optlstm.util.user_code import UserFunction
from tests.cli.test_bad_input import refuses
from tests.conftest import Cli

CPU = torch.device("cpu")
HP = Hyperparameters.from_params(
    {"hidden_size": 8, "window_norm": "none", "learning_rate": 0.02, "batch_size": 4, "bidirectional": True}
)
STEPS = ("--task", "sequence", "--data", "steps.csv", "--set", "data.per_step=true")
STUDY = ("study", *STEPS, "--trials", "2", "--epochs", "2", "--workers", "1", "--set", "space.hidden_size=4")


def regimes(lengths: list[int], number: bool = False) -> pd.DataFrame:
    """Records that are high and low in turn, in noise; number: the label is the level, and not its name."""
    random, parts = np.random.default_rng(0), []
    for i, n in enumerate(lengths):
        level = (np.arange(n) // 5 + i) % 2
        label = level * 2.5 if number else np.where(level, "high", "low")
        parts.append(
            pd.DataFrame({"series_id": f"r{i}", "t": range(n), "x": random.normal(level, 0.4), "label": label})
        )
    return pd.concat(parts)


def read(folder: Path, frame: pd.DataFrame, **data: Any) -> SequenceTask:
    frame.to_csv(folder / "steps.csv", index=False)
    return SequenceTask.read(DataConfig.model_validate({"path": str(folder / "steps.csv"), "per_step": True, **data}))


@pytest.mark.parametrize(("label", "notes"), [("x", 0), ("series_id", 1)])
def test_labels_that_are_the_same_for_all_steps_of_a_sequence_are_said(tmp_path: Path, label: str, notes: int) -> None:
    frame = regimes([12, 20, 31, 8] * 2)
    task = read(tmp_path, frame.assign(label=frame[label].astype("category").cat.codes % 2))

    assert [note[:58] for note in task.warnings] == [
        "data: no label of steps.csv changes within a sequence; wit"
    ] * notes


@pytest.mark.parametrize("folds", [0, 3])
def test_a_record_is_on_one_side_with_all_its_steps(tmp_path: Path, folds: int) -> None:
    task = read(tmp_path, regimes([12, 20, 31, 8] * 5), folds=folds)

    for fold in task.split.folds:
        parts = [*fold.train.tolist(), *fold.validation.tolist(), *task.split.test.tolist()]
        assert sorted(parts) == list(range(20))
        held_out = np.diff(task.samples.starts)[fold.validation].sum()
        assert len(task.truth_of(fold.validation)) == held_out
    assert task.describe().endswith("2 classes, a label for each of 8 to 31 steps of 1 channel (x)")
    assert task.record()["sequences"] == 20
    assert task.record()["per_step"]


@pytest.mark.parametrize(("records", "folds"), [(7, 1), (12, 3), (40, 5), (50, 1)])
def test_few_records_are_cross_validated(tmp_path: Path, records: int, folds: int) -> None:
    assert len(read(tmp_path, regimes([10] * records)).split.folds) == folds


@pytest.mark.parametrize("causal", [False, True])
def test_joins_of_chunks_change_no_output(tmp_path: Path, causal: bool) -> None:
    data = read(tmp_path, regimes([2600, 5000, 40, 7]), splits=[0.5, 0.25, 0.25], causal=causal).data()
    problem = StepProblem(data, data.folds[0], CPU)
    torch.manual_seed(0)
    hp = Hyperparameters.from_params({"hidden_size": 8, "window_norm": "none", "bidirectional": not causal})
    network = problem.network(hp).eval()

    with torch.no_grad():
        joined = problem.outputs(network, np.arange(4), hp)
        whole = [network(problem._values[None, a:b])[0] for a, b in zip(data.starts, data.starts[1:], strict=False)]

    np.testing.assert_allclose(joined, F.softmax(torch.cat(whole).double(), dim=1).numpy(), rtol=0, atol=1e-7)
    assert [len(Chunks.of(data.starts[i : i + 2], causal).first) for i in range(4)] == [2, 3, 1, 1]
    assert problem.spans(hp).lengths.max() == 512  # and in training
    assert problem.spans(hp).lengths.sum() == data.starts[-1]


def test_the_loss_is_the_mean_over_all_steps_and_padding_counts_nowhere(tmp_path: Path) -> None:
    data = read(tmp_path, regimes([5, 17, 9, 30] * 4), folds=0).data()
    problem = make_problem(data, CPU)
    torch.manual_seed(0)
    network = problem.network(HP).eval()

    x, lengths, truth, smoothing = next(problem.batches(HP, torch.Generator().manual_seed(0)))
    loss = problem.loss(network, (x, lengths, truth, smoothing))
    behind = torch.arange(x.shape[1]) >= lengths[:, None]
    other = problem.loss(network, (x, lengths, torch.where(behind, 1 - truth, truth), smoothing))

    assert behind.any()
    assert loss == other
    alone = [network(x[i : i + 1, :n])[0] for i, n in enumerate(lengths.tolist())]
    labels = [truth[i, :n] for i, n in enumerate(lengths.tolist())]
    assert loss.item() == pytest.approx(F.cross_entropy(torch.cat(alone), torch.cat(labels)).item(), rel=1e-5)


@pytest.mark.parametrize("number", [False, True])
def test_it_learns_and_shows_the_first_records_step_by_step(tmp_path: Path, number: bool) -> None:
    data = read(tmp_path, regimes([40] * 12, number), folds=0, kind="number" if number else "classes").data()
    problem = make_problem(data, CPU)

    epochs = list(fit(problem, HP, epochs=3, patience=None, seed=0))

    assert epochs[-1].value == epochs[-1].metrics["rmse" if number else "log_loss"] < 0.8 * epochs[0].value
    assert isinstance(problem, StepProblem)
    with torch.no_grad():
        shown = problem.plot_data(problem.network(HP).eval(), HP)
    assert isinstance(shown, Regression if number else Confusion)
    first = int(data.folds[0].validation[0])
    assert shown.strips[0].sequence == first
    assert shown.strips[0].truth.tolist() == data.truth_of(np.array([first])).tolist()


@pytest.mark.parametrize("number", [False, True])
def test_interrupted_after_an_epoch_it_ends_with_the_same_bits(tmp_path: Path, number: bool) -> None:
    data = read(tmp_path, regimes([40, 9] * 6, number), folds=2, kind="number" if number else "classes").data()
    hp = replace(HP, dropout=0.2)

    whole = list(fit(make_problem(data, CPU), hp, epochs=3, patience=None, seed=0))
    first = next(fit(make_problem(data, CPU), hp, epochs=3, patience=None, seed=0))
    rest = list(fit(make_problem(data, CPU), hp, epochs=3, patience=None, seed=0, state=first.state))

    assert [epoch.value for epoch in [first, *rest]] == [epoch.value for epoch in whole]
    assert all(torch.equal(tensor, rest[-1].state.tensors[name]) for name, tensor in whole[-1].state.tensors.items())


def test_the_window_of_a_step_is_of_its_record_alone_and_up_to_it_where_causal(tmp_path: Path) -> None:
    frame = regimes([30] * 8)
    frame["x"] = np.where(frame["label"] == "high", 1.0, -1.0)
    frame["label"] = frame["label"].shift(3, fill_value="low")  # what was three steps before, in the file's order
    later = frame.assign(label=frame["x"].shift(-3, fill_value=0) > 0)

    for table, causal, right in ((frame, True, True), (later, True, False), (later, False, True)):
        data = read(tmp_path, table, folds=0, causal=causal).data()
        scores = window_of_steps(data, data.folds[0].train)
        assert scores is not None
        assert scores["accuracy"] is not None
        assert (scores["accuracy"] > 0.85) == right


def test_from_study_to_a_row_for_every_step(cli: Cli) -> None:
    frame = regimes([14, 23, 9, 18] * 3)
    frame.sample(frac=1, random_state=0).sort_values("t", kind="stable").to_csv("steps.csv", index=False)  # interleaved
    assert cli(*STUDY, "--name", "s").code == 0

    done = cli("refit", "s", "-o", "model", "--seeds", "1")
    assert "window of steps" in done.out, done.out
    assert cli("predict", "model", "--data", "steps.csv", "-o", "out.csv").code == 0
    given, out = pd.read_csv("steps.csv"), pd.read_csv("out.csv")
    assert list(out.columns) == ["series_id", "t", "prediction", "p_high", "p_low"]
    assert out[["series_id", "t"]].equals(given[["series_id", "t"]])
    model = optlstm.load("model")
    assert model.score("steps.csv")["accuracy"] == pytest.approx((out["prediction"] == given["label"]).mean())
    one = given[given["series_id"] == "r1"]
    x = torch.tensor(one["x"].to_numpy()).reshape(1, -1, 1)
    with torch.no_grad():
        probabilities = model.predictor.export_module().module(x)[0].numpy()
    expected = model.predict(one.drop(columns="label"))[["p_high", "p_low"]]
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert cli("report", "s").code == 0
    assert 'id="strips"' in Path("s.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--data", "wide.csv"), "data.per_step: a row of wide.csv must be a step; name the column"),
        (("--set", "data.per_step=false", "--set", "data.causal=true"), "data.causal: is for a label of every step"),
        (("--set", "data.causal=true", "--set", "space.bidirectional=true"), "space.bidirectional: reads later steps"),
        (("--set", "data.causal=true", "--set", "space.patch=2"), "space.patch: a patch has later steps"),
        (("--set", "space.window_norm=last"), "space.window_norm: last is of a whole sequence"),
        (("--set", "data.splits=[100, 20, 20]"), "data.splits: with data.per_step they are shares"),
        (("--task", "text", "--text", "t"), "data.per_step: --task text does not read it"),
        (("--data", "one.csv"), "column 'label' of one.csv holds only one class ('1')"),
        (("--data", "gaps.csv"), "column 'label' of gaps.csv: 1 row(s) without a value"),
        (("--set", "data.kind=number"), "column 'label' of steps.csv"),
        (("--series", "label"), "data.series: 'label' is the label column; name another"),
    ],
)
def test_what_cannot_be_labels_of_steps_is_refused_in_a_line(
    cli: Cli, arguments: tuple[str, ...], expected: str
) -> None:
    frame = regimes([14, 23, 9, 18] * 3)
    frame.to_csv("steps.csv", index=False)
    frame.assign(label=1).to_csv("one.csv", index=False)
    frame.assign(label=np.where(np.arange(len(frame)) == 5, "", frame["label"])).to_csv("gaps.csv", index=False)
    Path("wide.csv").write_text("label,t0,t1\n" + "a,1,2\nb,2,1\n" * 9)

    refuses(cli, (*STUDY, *arguments), [[expected]])


def test_two_records_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sequence is left to"):
        read(tmp_path, regimes([40, 40]))


def test_a_custom_network_of_steps_gives_numbers_for_each() -> None:
    def check(shape: tuple[int, ...]) -> None:
        def make(config: Hyperparameters, inputs: dict[str, int], outputs: int) -> torch.nn.Module:
            assert inputs == {"channels": 2, "per_step": 1}

            class Network(torch.nn.Module):
                def forward(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
                    return torch.zeros(len(x), *shape)

            return Network()

        factory = Factory(UserFunction.__new__(UserFunction))
        object.__setattr__(factory, "function", type("Given", (), {"reference": "a:b", "load": lambda self: make})())
        factory.check(HP, Shape({"channels": 2, "per_step": 1}, 3))

    check((8, 3))
    with pytest.raises(InputError, match=r"gives \[2, 3\] for x of \[2, 8, 2\], not \[2, 8, 3\]"):
        check((3,))

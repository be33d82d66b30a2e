"""Classification: what is learned, what is scored, and that nothing of the held-out sequences is known before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from optlstm.data.labels import Fold
from optlstm.data.vocabulary import UNKNOWN
from optlstm.tasks.label.classes import Classes
from optlstm.tasks.label.data import LabelledData
from optlstm.tasks.label.problem import FoldedLabels, LabelProblem, make_problem
from optlstm.tasks.label.scores import classification_scores
from optlstm.tasks.label.sequences import SequenceTask
from optlstm.tasks.label.texts import TextTask
from optlstm.tasks.options import DataConfig
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit
from optlstm.training.network_cost import latency_ms

CPU = torch.device("cpu")
CLASSES = Classes(names=("down", "up"))


def sequences(n: int = 40, even: bool = False) -> LabelledData:
    """Rising and falling lines of 5 to 12 steps in noise; the last quarter is validated on."""
    random = np.random.default_rng(0)
    lengths = np.full(n, 8) if even else random.integers(5, 13, n)
    codes = np.arange(n) % 2
    lines = [
        np.linspace(-1, 1, k) * (1 if c else -1) + random.normal(0, 0.3, k) for k, c in zip(lengths, codes, strict=True)
    ]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    fold = Fold(np.arange(3 * n // 4), np.arange(3 * n // 4, n))
    values = np.concatenate(lines)[:, None].astype(np.float32)
    return LabelledData(values, starts, codes, CLASSES, (fold,), np.arange(0))


def hyperparameters(**changes: object) -> Hyperparameters:
    return Hyperparameters.from_params(
        {
            "hidden_size": 8,
            "window_norm": "none",
            "learning_rate": 0.01,
            "batch_size": 8,
            "bidirectional": True,
            **changes,
        }
    )


def test_scores_by_hand() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])

    scores = classification_scores(probabilities, np.array([0, 0, 1, 1]))

    assert scores["accuracy"] == 0.5
    assert scores["balanced_accuracy"] == 0.5
    assert scores["macro_f1"] == 0.5  # class 2 is neither there nor predicted
    assert scores["log_loss"] == pytest.approx(-np.log([0.8, 0.4, 0.7, 0.3]).mean())


def test_a_class_that_is_often_missed_shows_in_balanced_accuracy_and_macro_f1() -> None:
    probabilities = np.tile([0.9, 0.1], (10, 1))

    scores = classification_scores(probabilities, np.array([0] * 9 + [1]))

    assert scores["accuracy"] == 0.9
    assert scores["balanced_accuracy"] == 0.5
    assert scores["macro_f1"] == pytest.approx((18 / 19 + 0) / 2)


@pytest.mark.parametrize("even", [True, False])
def test_it_learns_and_the_value_is_the_log_loss(even: bool) -> None:
    epochs = list(fit(make_problem(sequences(even=even), CPU), hyperparameters(), epochs=4, patience=None, seed=0))

    assert epochs[-1].value == epochs[-1].metrics["log_loss"] < epochs[0].value
    assert epochs[-1].metrics["accuracy"] == 1.0


def test_an_epoch_has_every_training_sequence_equally_often_and_none_of_validation() -> None:
    data = sequences()
    problem, hp = LabelProblem(data, data.folds[0], CPU), hyperparameters()

    batches = list(problem.batches(hp, torch.Generator().manual_seed(0)))

    assert len(batches) == problem.steps_per_epoch(hp) == 32  # 30 sequences in batches of 8, eight times
    first_values = [float(x[0, 0]) for xs, *_ in batches for x in xs]
    wanted = [float(data.values[data.starts[i], 0]) for i in data.folds[0].train] * 8
    assert sorted(first_values) == sorted(wanted)
    assert all(
        float(xs[i, length:].abs().sum()) == 0 for xs, lengths, *_ in batches for i, length in enumerate(lengths)
    )


@pytest.mark.parametrize("folds", [1, 2])
def test_the_latency_of_one_sequence_is_measured(folds: int) -> None:
    data = sequences()

    problem = make_problem(replace(data, folds=data.folds * folds), CPU)

    assert latency_ms(problem, hyperparameters()) > 0


def test_batches_are_of_like_length() -> None:
    data = sequences(400)
    problem = LabelProblem(data, data.folds[0], CPU)

    spreads = [
        int(lengths.max() - lengths.min()) for _, lengths, *_ in problem.batches(hyperparameters(), torch.Generator())
    ]

    assert np.mean(spreads) < 2


def test_probabilities_do_not_hang_on_the_order_or_company() -> None:
    data = sequences()
    problem = LabelProblem(data, data.folds[0], CPU)
    torch.manual_seed(0)
    network = problem.network(hyperparameters()).eval()

    with torch.no_grad():
        together = problem.outputs(network, np.arange(40), hyperparameters())
        alone = [problem.outputs(network, np.array([i]), hyperparameters())[0] for i in (39, 3, 17)]

    np.testing.assert_allclose(together[[39, 3, 17]], alone, rtol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1)


def test_rare_classes_weigh_as_much_as_others_where_asked() -> None:
    data = sequences()
    codes = np.where(np.arange(40) % 8 == 1, 1, 0)
    weighted = replace(data, truth=codes, target=CLASSES.model_copy(update={"weights": True}))
    problem = LabelProblem(weighted, weighted.folds[0], CPU)
    network = problem.network(hyperparameters()).eval()
    index = torch.arange(30)

    x, lengths = problem._batch(index, problem.spans(hyperparameters()))
    loss = problem.loss(network, (x, lengths, torch.tensor(codes[:30]), torch.tensor(0.0)))

    with torch.no_grad():
        each = -torch.log(
            torch.tensor(problem.outputs(network, np.arange(30), hyperparameters()))[index, torch.tensor(codes[:30])]
        )
    by_class = [each[torch.tensor(codes[:30] == c)].mean() for c in (0, 1)]
    assert loss.item() == pytest.approx(float(sum(by_class) / 2), rel=1e-5)


def test_weights_by_class_are_those_of_the_loss(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("label,t0\n" + "".join(f"{'ab'[i % 2]},{i}\n" for i in range(40)))
    read = {"path": str(tmp_path / "s.csv"), "folds": 0}
    task = SequenceTask.read(DataConfig.model_validate({**read, "class_weights": {"b": 3.0}}))
    data = task.data()

    assert isinstance(data.target, Classes)
    assert data.target.loss_weights(data.truth) == (1.0, 3.0)
    assert task.record()["class_weights"] == {"a": 1.0, "b": 3.0}
    balanced, plain = (
        SequenceTask.read(DataConfig.model_validate({**read, "class_weights": weights}))
        for weights in ("balanced", True)
    )
    assert balanced.record() == plain.record()  # as a study of an older version has it


def write_texts(folder: Path, rows: int = 60) -> Path:
    lines = [f"{'good' if i % 2 else 'bad'} word{i} thing,{'pos' if i % 2 else 'neg'}" for i in range(rows)]
    path = folder / "texts.csv"
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return path


def test_the_vocabulary_is_of_the_training_texts_only(tmp_path: Path) -> None:
    task = TextTask.read(DataConfig(path=str(write_texts(tmp_path)), folds=0))
    (fold,) = task.split.folds

    known = set(task.vocabulary.tokens)
    assert {f"word{i}" for i in fold.train} <= known
    assert not known & {f"word{i}" for i in [*fold.validation, *task.split.test]}


def test_a_fold_knows_the_tokens_of_its_own_training_texts(tmp_path: Path) -> None:
    task = TextTask.read(DataConfig(path=str(write_texts(tmp_path)), folds=3))
    data = task.data()

    for fold in data.folds:
        values = LabelProblem(data, fold, CPU)._values.numpy()
        for i in fold.validation:
            good, own, thing = values[data.starts[i] : data.starts[i + 1]]
            assert own == UNKNOWN
            assert UNKNOWN not in (good, thing)
        for i in fold.train:
            assert UNKNOWN not in values[data.starts[i] : data.starts[i + 1]]


def test_pretrained_vectors_are_what_the_embedding_begins_with(tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("good 1 2 3\nbad -1 -2 -3\n")
    task = TextTask.read(DataConfig(path=str(write_texts(tmp_path)), vectors=str(vectors)))

    assert task.default_space()["embedding_dim"] == 3
    data = task.data()
    network = LabelProblem(data, data.folds[0], CPU).network(hyperparameters(embedding_dim=3))
    row = task.vocabulary.tokens.index("good") + 2
    assert network.embedding.weight[row].tolist() == [1, 2, 3]
    assert "2 of the vocabulary's" in task.warnings[0]


def test_a_fold_is_scaled_by_its_own_training_sequences(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = [f"{'ab'[i % 2]},{','.join(f'{v:.3f}' for v in random.normal(i, 1, 4))}" for i in range(40)]
    (tmp_path / "s.csv").write_text("\n".join(["label,t0,t1,t2,t3", *lines]))
    data = SequenceTask.read(DataConfig(path=str(tmp_path / "s.csv"), folds=4)).data()

    for fold in data.folds:
        values = LabelProblem(data, fold, CPU)._values.numpy().reshape(40, 4)
        assert abs(values[fold.train].mean()) < 1e-5
        assert values[fold.train].std() == pytest.approx(1, abs=1e-5)


def test_the_confusion_of_a_cross_validation_has_every_sequence_once() -> None:
    data = sequences()
    halves = (Fold(np.arange(20), np.arange(20, 40)), Fold(np.arange(20, 40), np.arange(20)))
    problem = make_problem(replace(data, folds=halves), CPU)
    assert isinstance(problem, FoldedLabels)
    torch.manual_seed(0)
    network = problem.network(hyperparameters()).eval()

    with torch.no_grad():
        shown = problem.plot_data(network, hyperparameters())
        scores = problem.validate(network, hyperparameters())

    assert shown.labels == ("down", "up")
    assert shown.counts.sum(axis=1).tolist() == [20, 20]
    assert np.trace(shown.counts) / 40 == pytest.approx(scores["accuracy"])

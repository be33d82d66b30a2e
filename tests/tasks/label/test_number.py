"""Labels that are numbers: which labels are, what is learned, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from optlstm.data.labels import LabelledSamples
from optlstm.errors import InputError
from optlstm.tasks.label.classes import Classes
from optlstm.tasks.label.kinds import read_target, undefined
from optlstm.tasks.label.number import Number
from optlstm.tasks.label.target import LabelColumn
from optlstm.tasks.options import DataConfig
from optlstm.training.metric import Goal

COLUMN = LabelColumn("d.csv", "y")


def test_a_metric_of_other_labels_says_which_have_it() -> None:
    of_numbers, of_classes = undefined(Number()), undefined(Classes(names=("a", "b")))

    assert of_classes["rmse"] == "the labels are 2 classes; data.kind=number has it"
    assert of_numbers["accuracy"] == "the labels are a number; data.kind=classes has it"
    assert of_numbers["micro_f1"] == "the labels are a number; several labels have it"


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ([f"{i / 7:.3f}" for i in range(30)], "number"),
        ([str(i) for i in range(30)], "number"),
        ([str(i % 30) for i in range(120)], "number"),  # 4 samples of each
        ([str(i % 30) for i in range(600)], "classes"),  # whole numbers, 20 of each
        ([f"{i % 30}.5" for i in range(600)], "number"),
        ([f"{i % 5}.5" for i in range(600)], "classes"),
        ([f"c{i}" for i in range(30)], "classes"),
        ([*map(str, range(26)), *"wxyz"], "classes"),
    ],
)
def test_the_labels_say_what_they_are(labels: list[str], kind: str) -> None:
    target, notes = read_target(LabelledSamples(name="d", labels=tuple(labels), groups=None), COLUMN, DataConfig())

    assert target.kind == kind
    assert any("so a number is learned" in note for note in notes) == (kind == "number")


def test_numbers_that_are_taken_for_classes_are_said() -> None:
    for several, said in ((4, False), (5, True)):
        labels = tuple(str(i % several) for i in range(60))
        _, notes = read_target(LabelledSamples(name="d", labels=labels, groups=None), COLUMN, DataConfig())
        assert [*notes] == [
            "data: the labels are 5 different numbers, taken for classes; to learn a number: --set data.kind=number"
        ] * said


@pytest.mark.parametrize(
    ("labels", "options", "problem"),
    [
        (["1", "two", "2"], {}, r"column 'y' of d.csv: 1 label\(s\) are not finite numbers \('two'\); correct them"),
        (["1", "nan", "inf"], {}, r"2 label\(s\) are not finite numbers \('nan', 'inf'\)"),
        (["1,5", "2,5"], {}, "if these are decimal commas, --set data.decimal=,"),
        (["3", "3.0"], {}, r"holds only one number \(3\); there is nothing to learn"),
        (["3", "4"], {"cap": 2.0}, r"holds only one number \(2, with data.cap\)"),
        (["3", "4"], {"class_weights": True}, "data.class_weights: the labels are numbers, not classes"),
    ],
)
def test_labels_that_are_no_numbers_are_refused(labels: list[str], options: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem) as refused:
        read_target(
            LabelledSamples(name="d", labels=tuple(labels), groups=None),
            COLUMN,
            DataConfig.model_validate({"kind": "number", **options}),
        )

    assert len(refused.value.problems) == 1


def test_a_mistake_among_numbers_is_named_and_a_cap_is_of_numbers() -> None:
    numbers = LabelledSamples(name="d", labels=("NaN", *(f"{i / 7:.3f}" for i in range(40))), groups=None)
    with pytest.raises(InputError, match=r"1 label\(s\) are not finite numbers \('NaN'\)"):
        read_target(numbers, COLUMN, DataConfig())
    classes = LabelledSamples(name="d", labels=("a", "b") * 9, groups=None)
    with pytest.raises(InputError, match=r"data\.cap: is for numbers, and the labels are 2 classes"):
        read_target(classes, COLUMN, DataConfig(cap=3.0))


def test_scores_by_hand() -> None:
    scores = Number().scores(np.array([[1.0], [2.0], [6.0]]), np.array([0.0, 4.0, 5.0]), ("pinball",))

    assert scores["rmse"] == pytest.approx(2**0.5)
    assert scores["mae"] == scores["pinball"] == pytest.approx(4 / 3)
    assert scores["r2"] == pytest.approx(1 - 6 / 14)
    assert scores["mape"] == pytest.approx(100 * (0.5 + 0.2) / 2)  # of the labels that are not 0


@pytest.mark.parametrize("loss", list(Number.losses))
def test_the_least_loss_is_at_the_truth_and_outputs_are_in_the_labels_units(loss: str) -> None:
    known = np.array([10.0, 20.0, 60.0])
    target = Number(cap=50.0, levels=(0.1, 0.5, 0.9)).fitted(known).trained_for(Goal(loss, (Number.losses[loss],)))
    minimised, truth = target.loss(known, torch.device("cpu")), torch.tensor(known)
    raw = ((truth - target.mean) / target.std).float()[:, None]
    if loss == "quantiles":  # the middle one, and distances from it that are nearly 0
        raw = torch.cat([torch.full((3, 1), -20.0), raw, torch.full((3, 1), -20.0)], dim=1)

    assert minimised(raw, truth, 0.0) == pytest.approx(0, abs=1e-6)
    assert minimised(raw + 0.1, truth, 0.0) > 1e-3
    output = target.output(raw).numpy()
    assert output.shape == (3, target.width)
    np.testing.assert_allclose(output[:, 0], [10, 20, 50], rtol=1e-5)
    columns = ["prediction", *(["q10", "q50", "q90"] if loss == "quantiles" else [])]
    assert list(target.columns(output)) == columns


def test_parts_have_their_share_of_small_and_large_numbers() -> None:
    truth = np.random.default_rng(0).exponential(size=95)

    strata = Number().strata(truth)

    assert np.bincount(strata).tolist() == [11, 11, 10, 11, 10, 11, 10, 11, 10]
    assert all(truth[strata == k].max() <= truth[strata == k + 1].min() for k in range(8))


@pytest.mark.parametrize(
    ("form", "note"),
    [
        (
            "{} stars",
            "the labels are 5 classes such as '1 stars'; if they stand for numbers, write these without a unit",
        ),
        ("{},5", "the labels are 5 classes such as '1,5'; if these are decimal commas, --set data.decimal=,"),
        ("{}", "the labels are 5 different numbers, taken for classes; to learn a number: --set data.kind=number"),
        ("level {}", ""),
    ],
)
def test_classes_that_may_stand_for_numbers_are_pointed_out(form: str, note: str) -> None:
    samples = LabelledSamples(name="d", labels=tuple(form.format(i % 5 + 1) for i in range(60)), groups=None)

    target, notes = read_target(samples, COLUMN, DataConfig())

    assert (target.kind, notes) == ("classes", (f"data: {note}",) if note else ())

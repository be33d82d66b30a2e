"""Labelled sequences and texts from the command line: studies that run, and bad input that is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from optlstm.errors import InputError
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.label.sequences import SequenceTask
from optlstm.tasks.label.texts import TextTask
from optlstm.tasks.options import DataConfig
from tests.cli.test_bad_input import refuses
from tests.conftest import Cli, rows

TINY = ("--trials", "2", "--epochs", "2", "--workers", "1", "--set", "space.hidden_size=4", "--set", "data.folds=2")
SEQUENCES = ("study", "--task", "sequence", "--data", "lines.csv", *TINY)
TEXTS = ("study", "--task", "text", "--data", "texts.csv", *TINY)


def lines(rows: int = 24, names: tuple[str, ...] = ("down", "up")) -> str:
    """Sequences of 4 to 6 steps that rise or fall."""
    body = []
    for i in range(rows):
        steps = [f"{(1 if i % 2 else -1) * (t + math.sin(i + t)):.4f}" if t < 4 + i % 3 else "" for t in range(6)]
        body.append(",".join([names[i % len(names)], *steps]))
    return "\n".join(["label,t0,t1,t2,t3,t4,t5", *body]) + "\n"


def texts(rows: int = 24) -> str:
    body = [f"{'nice and good' if i % 2 else 'bad'} thing {i},{i % 2}" for i in range(rows)]
    return "\n".join(["text,label", *body]) + "\n"


@pytest.fixture(autouse=True)
def _files(folder: Path) -> None:
    Path("lines.csv").write_text(lines())
    Path("texts.csv").write_text(texts())


@pytest.mark.parametrize("command", [SEQUENCES, TEXTS], ids=["sequence", "text"])
def test_a_study_runs_and_shows_its_metrics(cli: Cli, command: tuple[str, ...]) -> None:
    done = cli(*command)

    assert done.code == 0, done.err
    assert "in 2 folds" in done.err
    for metric in ("log_loss", "accuracy", "balanced_accuracy", "macro_f1"):
        assert f"validation {metric}" in done.out
    again = cli(*command)
    assert "nothing to do" in again.err


def test_two_legs_are_one_study(cli: Cli) -> None:
    cli(*SEQUENCES, "--name", "whole", "--trials", "3")
    for trials in (1, 2, 3):
        assert cli(*SEQUENCES, "--name", "legs", "--trials", trials).code == 0

    assert rows("whole") == rows("legs")
    assert len(rows("whole")) == 3


def test_files_that_are_unlike_the_training_file_are_pointed_out(cli: Cli, caplog: pytest.LogCaptureFixture) -> None:
    for command, name in ((SEQUENCES, "s"), (TEXTS, "t")):
        assert cli(*command, "--name", name).code == 0
        assert cli("refit", name, "-o", f"model-{name}", "--seeds", "1").code == 0
    steps = pd.read_csv("lines.csv").drop(columns="label")
    (steps * 1e-6).to_csv("small.csv", index=False)
    (steps + 1e4).to_csv("far.csv", index=False)
    Path("other.csv").write_text("text\nganz andere Worte\nnice Sache\n")
    notes = {
        "s": {"lines.csv": "", "small.csv": "; are they in its unit?", "far.csv": "and the model has learned"},
        "t": {"texts.csv": "", "other.csv": "column 'text' of other.csv: 80% of the words are unknown to the model"},
    }

    for name, files in notes.items():
        for file, note in files.items():
            caplog.clear()
            assert cli("predict", f"model-{name}", "--data", file, "-o", "out.csv").code == 0
            assert len(caplog.messages) == bool(note)
            assert note in "".join(caplog.messages)


def test_accuracy_may_decide(cli: Cli) -> None:
    done = cli(*SEQUENCES, "--set", "training.metric=accuracy", "--json")

    assert "1 - accuracy" in done.err
    value = json.loads(done.out)["best"]["value"]
    assert 0 <= value <= 1
    assert "training.metric" in cli(*SEQUENCES, "--set", "training.metric=macro_f1").err


def test_test_rows_of_their_own(cli: Cli) -> None:
    Path("test.csv").write_text(lines(10))

    done = cli(*SEQUENCES, "--test-data", "test.csv", "--dry-run")

    assert "lines, 34 sequences (24 in 2 folds, 10 test), 2 classes, 4 to 6 steps (t0 to t5)" in done.out


@pytest.mark.parametrize("tested", [True, False])
def test_validation_rows_of_their_own(tested: bool) -> None:
    for name, count in (("lines", 24), ("validation", 6), ("test", 10)):
        Path(f"{name}.csv").write_text(lines(count))
    data = DataConfig(path="lines.csv", validation_path="validation.csv", test_path="test.csv" if tested else None)

    task = SequenceTask.read(data)

    (fold,) = task.split.folds
    assert fold.validation.tolist() == list(range(24, 30))
    test = list(range(30, 40)) if tested else task.split.test.tolist()
    assert sorted([*fold.train.tolist(), *test]) == [*range(24), *(range(30, 40) if tested else ())]
    assert (len(task.split.test), len(task.truth)) == ((10, 40) if tested else (5, 30))
    assert task.samples.labels[24:30] == SequenceTask.read_file(Path("validation.csv"), data).labels
    with pytest.raises(
        InputError, match=r"data\.folds: --validation-data has the validation rows; leave one of the two"
    ):
        SequenceTask.read(data.model_copy(update={"folds": 3}))
    Path("validation.csv").write_text(lines(6).replace("up", "left"))
    with pytest.raises(InputError, match=r"1 class\(es\) of validation.csv are not in the training file \('left'\)"):
        SequenceTask.read(data)


@pytest.mark.parametrize(
    ("freq", "count", "hinted"), [("D", 365, True), ("D", 364, False), ("B", 260, True), ("h", 400, False)]
)
def test_days_of_a_year_without_calendar_features_are_pointed_out(freq: str, count: int, hinted: bool) -> None:
    times = pd.date_range("2021-01-01", periods=count, freq=freq)
    pd.DataFrame({"ds": times, "y": 100 + np.arange(count) % 7}).to_csv("days.csv", index=False)
    config = DataConfig(path="days.csv", horizon=7)

    hints = [line for line in Forecast.read(config).warnings if line.endswith("are off: --calendar")]

    assert len(hints) == hinted
    assert Forecast.read(config.model_copy(update={"calendar": True})).warnings == []


def test_covariates_by_flags(cli: Cli) -> None:
    times = pd.date_range("2021-01-01", periods=60, freq="D")
    series = [pd.DataFrame({"unique_id": u, "ds": times, "y": range(60), "a": 1, "b": 2, "c": u}) for u in "xyz"]
    pd.concat(series).to_csv("p.csv", index=False)

    done = cli("study", "--data", "p.csv", "--past", "a", "--future", "b", "--static", "c", "--calendar", "--dry-run")

    assert "covariates day_of_week, day_of_year, b, a, c" in done.out


def test_empty_texts_are_texts_and_counted(cli: Cli) -> None:
    Path("texts.csv").write_text(texts() + ",1\nunlabelled,\n,0\n")

    done = cli(*TEXTS)

    assert done.code == 0
    assert "2 empty text(s) (row 26, 28); each is read as one unknown token" in done.err
    assert "column 'label' of texts.csv: 1 of 27 texts have no value; they are left out" in done.err


def test_gaps_of_sequences_are_filled_when_tuned_and_when_predicted(cli: Cli, caplog: pytest.LogCaptureFixture) -> None:
    cells = [line.split(",") for line in lines().splitlines()]
    for i in range(1, len(cells)):
        cells[i][1 + i % 3] = ""
    Path("lines.csv").write_text("".join(",".join(row) + "\n" for row in cells))
    refuses(cli, SEQUENCES, [["24 sequence(s) of lines.csv with an empty or NaN value", "--gaps interpolate"]])
    refuses(cli, (*SEQUENCES, "--gaps", "mask"), [["data.gaps: mask is for forecasts"]])
    refuses(cli, (*TEXTS, "--gaps", "interpolate"), [["data.gaps"]])

    assert cli(*SEQUENCES, "--gaps", "interpolate", "--name", "s").code == 0
    assert cli("refit", "s", "-o", "model", "--seeds", "1").code == 0

    predict = ("predict", "model", "--data", "lines.csv", "-o", "out.csv")
    assert cli(*predict).code == 0
    (line,) = caplog.messages
    assert "24 missing value(s) were interpolated" in line
    out = pd.read_csv("out.csv")
    assert len(out) == 24
    assert not out.isna().any(axis=None)
    refuses(cli, (*predict, "--gaps", "refuse"), [["24 sequence(s) of lines.csv with an empty"]])
    refuses(cli, (*predict, "--gaps", "mask"), [["--gaps: of sequences must be refuse or interpolate, got 'mask'"]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (lines().replace("label", "kind", 1), ["no label column 'label' in lines.csv", "name it: --label kind"]),
        (lines(names=("", "")), ["column 'label' of lines.csv: no row has a value"]),
        (lines(names=("up",)), ["column 'label' of lines.csv holds only one class ('up')"]),
        (lines() + "up,,,,,,\n", ["1 sequence(s) of lines.csv have no value (row 26)"]),
    ],
    ids=["no-label", "missing", "one-class", "empty"],
)
def test_bad_sequences_are_refused_in_one_line(cli: Cli, text: str, expected: list[str]) -> None:
    Path("lines.csv").write_text(text)

    refuses(cli, SEQUENCES, [expected])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("--label", "t4", "--data", "cut.csv", "--set", "data.kind=classes"),
            "no sequence is left to validate on or to test on: 24 of 24 classes have a single sequence; numbers are",
        ),
        (("--set", "data.group=label"), "data.group: 'label' is the label column; name another"),
        (("--set", "data.group=t5", "--data", "cut.csv"), "too few values in column 't5' for so many parts"),
    ],
    ids=["continuous", "group-is-label", "few-groups"],
)
def test_a_split_without_sequences_is_refused(cli: Cli, arguments: tuple[str, ...], expected: str) -> None:
    Path("cut.csv").write_text("label,t4,t5\n" + "".join(f"{i % 2},{i},{i // 12}\n" for i in range(24)))

    refuses(cli, (*SEQUENCES, "--set", "data.folds=0", *arguments), [[expected]])


def test_a_class_of_one_sequence_says_why_there_is_no_cross_validation() -> None:
    Path("lines.csv").write_text(lines() + "left,1,2,3,4,5,6\n")
    Path("texts.csv").write_text(texts() + "once,2\n")
    found = SequenceTask.read(DataConfig(path="lines.csv")), TextTask.read(DataConfig(path="texts.csv"))

    for task, name, noun in zip(found, ("left", "2"), ("sequence", "text"), strict=True):
        single, lacking = task.warnings
        assert f"1 class(es) have a single {noun} ('{name}'), so there is no cross-validation" in single
        assert lacking == f"data: the test and validation {noun}s lack 1 of 3 classes ('{name}'): no score is of them"


def test_labels_and_texts_that_are_read_otherwise_than_meant_are_named() -> None:
    Path("lines.csv").write_text(lines(names=("0.5", "1.5")))
    (line,) = SequenceTask.read(DataConfig(path="lines.csv")).warnings
    assert line == "data: the labels are 2 numbers; each is a class, whichever numbers are near it"

    Path("texts.csv").write_text("text,label\n" + "太差了。再也不来了,pos\n很好吃。我喜欢这家店,neg\n" * 20)
    (line,) = TextTask.read(DataConfig(path="texts.csv")).warnings
    assert line.endswith("so a token is a phrase (5 known); read characters: --set data.level=character")
    assert TextTask.read(DataConfig(path="texts.csv", level="character")).warnings == ()


def test_texts_that_are_all_empty_are_refused(cli: Cli) -> None:
    Path("texts.csv").write_text("text,label\n" + ",0\n ,1\n" * 9)

    refuses(cli, TEXTS, [["column 'text' of texts.csv: all training texts are empty"]])


def test_a_text_is_not_its_own_label(cli: Cli) -> None:
    refuses(cli, (*TEXTS, "--text", "label"), [["data.text: 'label' is the label column; name another"]])


def test_files_that_do_not_fit_each_other_are_refused(cli: Cli) -> None:
    Path("test.csv").write_text(lines(10).replace("up", "left"))
    refuses(cli, (*SEQUENCES, "--test-data", "test.csv"), [["1 class(es) of test.csv", "('left')"]])

    Path("long.csv").write_text(
        "series_id,t,x,label\n" + "".join(f"{i},{t},{t},{i % 2}\n" for i in range(9) for t in (0, 1))
    )
    Path("test.csv").write_text("series_id,t,z,label\na,0,1,0\n")
    command = (*SEQUENCES, "--data", "long.csv", "--test-data", "test.csv")
    refuses(cli, command, [["test.csv does not have the channels of long.csv: it lacks x and has z besides"]])


def test_the_steps_of_the_test_file_are_matched_by_name(cli: Cli) -> None:
    body = [line.split(",") for line in lines(10).splitlines()]
    Path("test.csv").write_text("".join(",".join([*cells[:0:-1], cells[0]]) + "\n" for cells in body))
    data = {"path": "lines.csv", "test_path": "test.csv"}
    found = SequenceTask.read(DataConfig.model_validate(data)).samples
    Path("test.csv").write_text(lines(10))
    assert SequenceTask.read(DataConfig.model_validate(data)).samples.fingerprint == found.fingerprint

    command = (*SEQUENCES, "--test-data", "test.csv", "--dry-run")
    Path("test.csv").write_text("label,s0,s1,s2,s3,t4,t5\nup,1,2,3,4,5,6\n")
    problem = ["test.csv does not have the columns of lines.csv: it lacks t0, t1, t2 (and 1 more) and has s0, s1, s2"]
    refuses(cli, command, [problem])
    Path("test.csv").write_text("label,t0,t1,t2,t3,t4,t5,t6\nup,1,2,3,4,5,6,7\ndown,1,2,3,4,5,6,7\n")
    note = "data: test.csv has columns that are none of lines.csv's; they are not read: t6"
    assert SequenceTask.read(DataConfig.model_validate(data)).warnings == (note,)
    assert "note            data: test.csv has columns" in cli(*command).out


def test_a_wrong_encoding_names_the_likely_one(cli: Cli) -> None:
    Path("texts.csv").write_bytes(texts().replace("nice", "très").encode("latin-1"))

    refuses(cli, TEXTS, [["texts.csv, row 3, column 'text': not UTF-8, it looks like Latin-1 ('très"]])


def test_nested_parquet_columns_are_refused(cli: Cli) -> None:
    parquet.write_table(pa.table({"text": [["a", "b"]] * 4, "label": [0, 1, 0, 1]}), "nested.parquet")

    refuses(cli, (*TEXTS, "--data", "nested.parquet"), [["column 'text' of nested.parquet holds lists or structs"]])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--horizon", "3"), "data.horizon: --task sequence does not read it"),
        (("--set", "space.window=8"), "space.window: a sample is a whole sequence"),
        (("--set", "training.metric=mse"), "training.metric: must be one of log_loss, accuracy"),
        (("--loss", "mae"), "mae is not defined on these data: the labels are 2 classes; data.kind=number has it"),
        (
            ("--loss", "mae", "--set", "data.kind=classes"),
            "training.loss: must be one of cross_entropy, focal, got 'mae'",
        ),
        (
            ("--set", "data.class_weights={upp=2}"),
            "data.class_weights: 'upp' is no class of lines.csv (classes: 'down'",
        ),
        (("--set", "data.class_weights={up=0}"), "data.class_weights: each must be above 0, got 0.0 for 'up'"),
        (("--set", "data.class_weights={up=true}"), "data.class_weights.up: must be a number, got True"),
        (("--label", "labl"), "column 'labl' not found in lines.csv; did you mean 'label'?"),
        (("--set", "data.folds=99"), "data.folds: 99 is not between 2 and the"),
    ],
)
def test_what_a_task_has_no_use_for_is_refused(cli: Cli, arguments: tuple[str, ...], expected: str) -> None:
    refuses(cli, (*SEQUENCES, *arguments), [[expected]])


def test_a_metric_of_ranks_needs_two_classes_to_validate_on(cli: Cli) -> None:
    Path("validation.csv").write_text(lines(6, names=("up", "up")))
    command = (*SEQUENCES, "--validation-data", "validation.csv", "--set", "data.folds=0")

    refuses(
        cli,
        (*command, "--set", "training.metric=auc"),
        [["training: auc is not defined on these data: all validation"]],
    )


def test_a_task_needs_a_file(cli: Cli) -> None:
    refuses(cli, ("study", "--task", "text"), [["data: --task text needs a file: --data FILE"]])


def test_a_population_of_classifiers_grows_without_folds(cli: Cli) -> None:
    population = ("--scheduler", "pbt", "--epochs", "4", "--set", "pbt.population=4", "--set", "pbt.morph=true")
    space = ("--set", "space.hidden_size={low=4, high=8, step=4}", "--set", "data.folds=0", "--workers", "1")
    command = ("study", "--task", "sequence", "--data", "lines.csv", *population, *space)

    assert cli(*command).code == 0
    refuses(cli, (*command, "--set", "data.folds=2"), [["pbt.morph: the networks of a cross-validation do not grow"]])

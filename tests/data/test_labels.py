"""Splits of labelled sequences: every class in every part, no group on two sides, the same every time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from optlstm.data.file_format import FileOptions
from optlstm.data.labels import (
    Fold,
    LabelledSplit,
    check_classes,
    check_split,
    class_names,
    parts_lacking,
    split_labels,
)
from optlstm.data.sequence_columns import SequenceColumns
from optlstm.data.sequence_reader import read_sequences
from optlstm.data.texts import Texts, read_texts
from optlstm.errors import InputError, Problem

CODES = np.repeat([0, 1, 2], [50, 30, 20])


def test_labels_are_texts_and_only_empty_cells_are_missing(tmp_path: Path) -> None:
    cells = ["01", "1", "1.0", "1e0", "2", "NA", "None", "null", "nan", " x"]
    file = tmp_path / "texts.csv"
    file.write_text("text,label,who\n" + "".join(f"NA,{cell},0{cell}\n" for cell in cells))
    found = read_texts(file, None, None, "who")
    assert (found.labels, found.texts) == (tuple(cell.strip() for cell in cells), ("NA",) * len(cells))
    assert found.groups == tuple(f"0{cell}" for cell in cells)
    file.write_text("text,label\n" + "".join(f"a,{cell}\n" for cell in cells[:5]))
    assert read_texts(file, None, None, None).labels == ("01", "1", "1", "1", "2")

    steps = tmp_path / "steps.csv"
    steps.write_text("series_id,x,label\n01,1,NA\n1,2,01\nNA,3,1\n")
    sequences = read_sequences(steps, SequenceColumns())
    assert (sequences.ids, sequences.labels) == (("01", "1", "NA"), ("NA", "01", "1"))

    pd.DataFrame({"text": ["a", "b"], "label": [1.0, None]}).to_parquet(tmp_path / "t.parquet")
    partly = read_texts(tmp_path / "t.parquet", None, None, None)
    assert (partly.texts, partly.labels) == (("a",), ("1",))


def test_texts_in_bytes_are_decoded_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "bytes.parquet"
    pd.DataFrame({"text": ["schön".encode(), b"b"], "label": [1, 0]}).to_parquet(file)
    assert read_texts(file, None, None, None).texts == ("schön", "b")
    pd.DataFrame({"text": ["schön".encode("latin-1")], "label": [1]}).to_parquet(file)
    with pytest.raises(InputError, match=r"column 'text' of bytes\.parquet holds bytes that are no UTF-8 text"):
        read_texts(file, None, None, None)


def test_every_class_has_the_same_shares_in_every_part() -> None:
    split = split_labels(CODES, None, (0.6, 0.2, 0.2))
    (fold,) = split.folds

    for part, share in ((fold.train, 0.6), (fold.validation, 0.2), (split.test, 0.2)):
        assert np.bincount(CODES[part]).tolist() == [50 * share, 30 * share, 20 * share]
    together = np.concatenate([fold.train, fold.validation, split.test])
    assert sorted(together.tolist()) == list(range(100))


def test_folds_cut_all_but_the_test_and_hold_out_each_sequence_once() -> None:
    split = split_labels(CODES, None, (0.7, 0.1, 0.2), folds=5)

    held_out = np.concatenate([fold.validation for fold in split.folds])
    assert sorted(held_out.tolist()) == sorted(set(range(100)) - set(split.test.tolist()))
    for fold in split.folds:
        assert not set(fold.train) & set(fold.validation)
        assert len(fold.train) + len(fold.validation) == 80
        assert np.bincount(CODES[fold.validation]).tolist() in ([8, 5, 3], [8, 4, 4], [8, 5, 4], [8, 5, 2])


def test_a_group_is_on_one_side_of_every_cut() -> None:
    groups = np.random.default_rng(0).integers(0, 25, 100)

    split = split_labels(CODES, groups, (0.6, 0.2, 0.2), folds=4)

    sides = [set(groups[split.test])] + [set(groups[fold.validation]) for fold in split.folds]
    for i, one in enumerate(sides):
        for other in sides[i + 1 :]:
            assert not one & other
    for fold in split.folds:
        assert not set(groups[fold.train]) & set(groups[fold.validation])
        assert set(CODES[fold.train]) == {0, 1, 2}


def test_test_rows_of_their_own_are_the_last_and_stay_out() -> None:
    split = split_labels(CODES, None, (0.7, 0.1, 0.2), tests_apart=10)

    assert split.test.tolist() == list(range(90, 100))
    assert (len(split.folds[0].train), len(split.folds[0].validation)) == (79, 11)


def test_numbers_of_sequences_instead_of_fractions() -> None:
    split = split_labels(CODES, None, (70, 20, 10))

    assert [len(part) for part in (split.folds[0].train, split.folds[0].validation, split.test)] == [70, 20, 10]


@pytest.mark.parametrize(
    ("splits", "options", "message"),
    [
        ((70, 20, 5), {}, "sums to 95, and there are 100 samples"),
        ((0.5, 0.2, 0.2), {}, "sums to 0.9, not to 1"),
        ((60, 20, 10), {"tests_apart": 10}, "takes test rows, and they are in a separate file"),
        ((0.7, 0.1, 0.2), {"folds": 99}, "99 is not between 2 and the 80 samples"),
        ((0.7, 0.1, 0.2), {"folds": 1}, "1 is not between 2 and"),
    ],
)
def test_what_cannot_be_had_is_refused(splits: tuple[float, ...], options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_labels(CODES, None, splits, **options)


@pytest.mark.parametrize("n", range(5, 40))
def test_small_sets_and_rare_classes_are_split_at_every_size(n: int) -> None:
    for sizes in {(n - rare, rare) for rare in range(1, n // 2 + 1)} | {(n - 3, 1, 2)}:
        codes = np.random.default_rng(n).permutation(np.repeat(np.arange(len(sizes)), sizes))
        for folds in {0, min(sizes) if min(sizes) > 1 else 2}:
            split = split_labels(codes, None, (0.7, 0.1, 0.2), folds=folds)
            check_split(codes, ["a", "b", "c"][: len(sizes)], split, tested=True)
            parts = [split.test, *(fold.validation for fold in split.folds)]
            assert min(map(len, parts)) > 0
            assert len(np.unique(np.concatenate(parts))) == sum(map(len, parts))


def test_the_group_of_a_class_that_one_fold_has_alone_is_always_trained_on() -> None:
    groups = np.repeat(np.arange(12), 5)
    codes = np.where(groups == 7, 1, 0)
    codes[::9] = 2

    split = split_labels(codes, groups, (0.8, 0.2, 0.0), folds=3)

    check_split(codes, ["a", "b", "c"], split, "who", tested=False)
    assert all(7 in groups[fold.train] and 7 not in groups[fold.validation] for fold in split.folds)


def test_parts_that_lack_classes_are_named() -> None:
    split = LabelledSplit((Fold(np.arange(6), np.array([6, 7])),), np.array([8, 9]))

    assert parts_lacking(np.array([0, 1, 2, 0, 1, 2, 0, 1, 0, 0]), ["a", "b", "c"], split, "texts") == (
        "data: the test texts lack 2 of 3 classes ('b', 'c'): all are of one class, so their scores say nothing",
        "data: the validation texts lack 1 of 3 classes ('c'): no score is of them",
    )
    assert parts_lacking(np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1]), ["a", "b"], split, "texts") == ()


def test_measured_numbers_are_no_classes() -> None:
    measured = [f"{i * 0.37 - 9:.2f}" for i in range(60)]
    with pytest.raises(InputError) as refused:
        check_classes(measured, "d.csv", "label")
    assert refused.value.problems == [
        "data: column 'label' of d.csv holds numbers (60 different ones in 60 rows), and data.kind=classes "
        "makes each a class: data.kind=number learns them as numbers; or write classes in their place (low, middle, "
        "high: pandas.qcut(column, 3)), or name another with --label COL"
    ]
    assert check_classes(["0.5", "1.5"] * 9, "d.csv", "stars") == ("0.5", "1.5")
    codes = np.arange(60)
    split = split_labels(codes, None, (0.7, 0.1, 0.2))
    with pytest.raises(InputError, match=r"60 of 60 classes have a single sequence; numbers are no classes: data.k"):
        check_split(codes, [*map(str, codes)], split, tested=True)
    with pytest.raises(InputError, match=r"60 of 60 classes have a single sequence \(another column\? --label COL\)"):
        check_split(codes, [f"c{i}" for i in codes], split, tested=True)


def test_classes_are_in_the_order_one_expects() -> None:
    assert class_names(["10", "9", "-1"]) == ("-1", "9", "10")
    assert class_names(["b", "a", "10"]) == ("10", "a", "b")


def as_labels(folder: Path, cells: Sequence[str], separator: str = ";", **options: Any) -> Texts:
    path = folder / "s.csv"
    path.write_text(f"text{separator}label\n" + "".join(f"a b{separator}{cell}\n" for cell in cells))
    return read_texts(path, None, None, None, options=FileOptions(**options))


@pytest.mark.parametrize(
    ("separator", "cells", "labels", "options"),
    [
        (";", ["3,5", "1.234,5", "-0,25", "7"], ("3.5", "1234.5", "-0.25", "7"), {}),
        (";", ["17%", "2,5 %", "10%"], ("17", "2.5", "10"), {}),
        (",", ['"$1,013.50"', "$7", "$ 9"], ("1013.5", "7", "9"), {}),
        (",", ['"1,013.5"', "7.5", '"2,000"'], ("1013.5", "7.5", "2000"), {}),
        (",", ['"3,5"', '"4,5"'], ("3.5", "4.5"), {"decimal": ","}),
        (";", ["1.234", "2.345"], ("1234", "2345"), {"decimal": ","}),
    ],
)
def test_labels_that_are_numbers_with_marks_are_read_as_other_numbers_are(
    tmp_path: Path, separator: str, cells: list[str], labels: tuple[str, ...], options: dict[str, Any]
) -> None:
    texts = as_labels(tmp_path, cells, separator, **options)

    assert texts.labels == labels
    shown, plain = max(((c.strip('"'), p) for c, p in zip(cells, labels, strict=True)), key=lambda pair: len(pair[0]))
    assert texts.notes[-1] == f"data: column 'label' of s.csv: '{shown}' is read as {plain}"


@pytest.mark.parametrize(
    "cells",
    [
        *(["1.0", "01", "2.50"], ["a,b", "b"], ["1.234", "2.345"], ["v1,5", "v2,5"]),
        *(["1", "1-", "2", "2-"], ["(1)", "(2)"], ["3 stars", "4 stars"], ["2WD", "4WD"], ["5", "5%"], ["$5", "€5"]),
    ],
)
def test_labels_that_are_no_such_numbers_stay_as_they_are(tmp_path: Path, cells: list[str]) -> None:
    assert as_labels(tmp_path, cells).labels == tuple(cells)


def test_labels_that_may_be_thousands_or_decimals_are_refused_where_they_are_many(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'1.234' may be 1234 or 1.234; --set data.thousands"):
        as_labels(tmp_path, [f"1.{i}" for i in range(234, 284)])


TEXT = ["a good long film", "a bad and short one", "very good all in all", "bad beyond all words"]


@pytest.mark.parametrize(
    ("header", "row", "lines"),
    [
        ("review,sentiment", "{text},{word}", [("text", "review"), ("label", "sentiment")]),
        ("id,body,kind", "{i},{text},{word}", [("text", "body"), ("label", "kind")]),
        ("spam,some first text here", "{word},{text}", [("text", "c2"), ("label", "c1")]),
        ("text,Rating,n", "{text},{digit},{i}", [("label", "Rating")]),
    ],
)
def test_columns_of_texts_and_labels_are_proposed(
    tmp_path: Path, header: str, row: str, lines: list[tuple[str, str]]
) -> None:
    cells = [{"i": i, "text": f"{TEXT[i % 4]} {i}", "word": ("ham", "spam")[i % 2], "digit": i % 5} for i in range(40)]
    (tmp_path / "s.csv").write_text(
        "\n".join([header, *(row.format(**cell).replace(", a", " a") for cell in cells)]) + "\n"
    )

    with pytest.raises(InputError) as refused:
        read_texts(tmp_path / "s.csv", None, None, None)

    assert len(refused.value.problems) == len(lines)
    for problem, (role, name) in zip(refused.value.problems, lines, strict=True):
        assert f"no {role} column '{role}' in s.csv" in problem
        assert f"name it: --{role} {name} (columns: {header.replace(',', ', ')})" in problem
        assert isinstance(problem, Problem)
        assert problem.fix == {f"data.{role}": name, **({"data.header": "false"} if name.startswith("c") else {})}


def test_the_label_of_sequences_is_proposed(tmp_path: Path) -> None:
    rows = [f"{i % 3},{i * 0.37:.2f},{i * 0.73:.2f},{i * 7 % 31 * 0.31:.2f}" for i in range(40)]
    for name, text, label in (
        ("no.csv", rows, "c1"),
        ("yes.csv", ["kind,t0,t1,t2", *rows], "kind"),
        ("n.csv", ["t0,price,t2,t3", *rows], "price"),
    ):
        (tmp_path / name).write_text("\n".join(text) + "\n")
        with pytest.raises(InputError, match=f"no label column 'label' in {name}; name it: --label {label} "):
            read_sequences(tmp_path / name, SequenceColumns())

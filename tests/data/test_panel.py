"""Many series in one table: what is read, and what is refused in one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optlstm.data.panel import Categories, Panel
from optlstm.data.panel_reader import PanelColumns, read_panel
from optlstm.data.panel_rows import (
    check_lengths,
    default_folds,
    extended,
    filled,
    panel_cuts,
    panel_folds,
    with_missing_rows,
)
from optlstm.errors import InputError


def table(lengths: tuple[int, ...] = (6, 4), freq: str = "D") -> pd.DataFrame:
    """Series a, b, ...: y counts from 0, 100, ...; x is -y."""
    parts = []
    for i, length in enumerate(lengths):
        times = pd.date_range("2024-01-01", periods=length, freq=freq)
        parts.append(pd.DataFrame({"unique_id": "abcdef"[i], "ds": times, "y": 100.0 * i + np.arange(length)}))
    return pd.concat(parts, ignore_index=True).assign(x=lambda frame: -frame["y"])


def read(tmp_path: Path, frame: pd.DataFrame, **columns: object) -> Panel:
    frame.to_csv(tmp_path / "p.csv", index=False)
    return read_panel(tmp_path / "p.csv", PanelColumns(**columns))  # type: ignore[arg-type]


def test_rows_in_any_order_of_series_are_the_same_panel(tmp_path: Path) -> None:
    panel = read(tmp_path, table())
    mixed = read(tmp_path, table().sort_values(["ds", "unique_id"]))
    table().to_parquet(tmp_path / "p.parquet")

    assert panel.ids == ("a", "b")
    assert panel.starts.tolist() == [0, 6, 10]
    assert panel.values[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 100, 101, 102, 103]
    assert (panel.freq, panel.season) == ("D", 7)
    assert mixed.fingerprint == panel.fingerprint
    assert read_panel(tmp_path / "p.parquet", PanelColumns()).fingerprint == panel.fingerprint
    assert read(tmp_path, table().assign(y=lambda frame: frame["y"] + 1)).fingerprint != panel.fingerprint


@pytest.mark.parametrize("freq", ["h", "MS", "W-MON", "B"])
def test_series_may_begin_and_end_at_any_time(tmp_path: Path, freq: str) -> None:
    frame = table((40, 30), freq)
    later = frame.drop(index=[*range(5), *range(65, 70)])

    assert read(tmp_path, later).freq == freq


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f.iloc[[*range(8), 7, 8, 9]], "1 repeated time(s) (row 10: 'b' at 2024-01-02"),
        (
            lambda f: f.iloc[[1, 0, *range(2, 10)]],
            "1 time(s) earlier than the one before in their series (row 3: 'a' at 2024-01-01 after 2024-01-02",
        ),
        (
            lambda f: f.drop(index=[2, 8]),
            "2 missing row(s) in 2 gap(s) of 2 series at a step of D (1 day) (row 4: 'a' at 2024",
        ),
        (lambda f: f.assign(y=f["y"].where(f.index != 7)), "column 'y' of p.csv: 1 empty or NaN value(s) (row 9)"),
        (lambda f: f.assign(unique_id=f["unique_id"].where(f.index != 7)), "1 row(s) name no series (row 9)"),
        (lambda f: f.assign(x=range(10)), "column 'x' of p.csv changes within 2 series: 'a', 'b'"),
    ],
    ids=["twice", "order", "gap", "empty", "no-series", "static"],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: object, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, change(table()), static=["x"] if "changes" in expected else [])  # type: ignore[operator]

    assert len(caught.value.problems) == 1
    assert expected in caught.value.problems[0]


def test_one_step_for_all(tmp_path: Path) -> None:
    frame = pd.concat([table((20,)), table((1, 8), "2D").query("unique_id == 'b'")])

    with pytest.raises(InputError, match=r"1 series have another step than most, which have D .*'b' at 2D"):
        read(tmp_path, frame)


def test_a_column_is_asked_for_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, table(), past=["x", "y"], future=["x"], categorical=["z"], static=["unique_id"])

    assert caught.value.problems == [
        "data: column 'x' is asked for more than once; name it once",
        "data: column 'y' is asked for more than once; name it once",
        "data.categorical: 'z' is none of --past, --future and --static",
    ]


def test_rows_behind_the_last_target_are_the_future(tmp_path: Path) -> None:
    frame = table().assign(kind=["u", "v"] * 5)
    frame.loc[4:5, "y"] = None

    panel = read(tmp_path, frame, future=["x", "kind"])

    assert panel.known.tolist() == [4, 4]
    assert np.asarray(panel.covariates["x"]).tolist() == frame["x"].tolist()
    kind = panel.covariates["kind"]
    assert isinstance(kind, Categories)
    assert [kind.names[code] for code in kind.codes] == frame["kind"].tolist()
    longer = extended(panel, 3, None)
    assert np.diff(longer.starts).tolist() == [7, 7]
    assert str(longer.time[-1].date()) == "2024-01-07"
    assert np.isnan(longer.values[4:7]).all()


def test_categories_are_texts_or_what_is_named_as_such(tmp_path: Path) -> None:
    frame = table().assign(text=["u ", "u", None, "v", "v"] * 2, number=[1, 2] * 5, shop=["x", *[None] * 5, *"yyyy"])

    panel = read(tmp_path, frame, past=["text", "number"], static=["shop"], categorical=["number"])

    text, number, shop = (panel.covariates["text"], panel.covariates["number"], panel.static["shop"])
    assert isinstance(text, Categories)
    assert isinstance(number, Categories)
    assert isinstance(shop, Categories)
    assert (text.names, text.codes[:5].tolist()) == (("u", "v"), [0, 0, -1, 1, 1])
    assert (number.names, number.codes[:3].tolist()) == (("1", "2"), [0, 1, 0])
    assert [shop.names[code] for code in shop.codes] == ["x", "y"]  # said once in a series
    other = read(tmp_path, frame.assign(shop="z"), past=["text", "number"], static=["shop"], categorical=["number"])
    assert other.fingerprint != panel.fingerprint
    with pytest.raises(InputError, match=r"column 'when' of p.csv holds times, which are no covariate"):
        read(tmp_path, frame.assign(when=frame["ds"]), past=["when"])


@pytest.mark.parametrize(
    ("cell", "remedy"),
    [
        ("-", "if it stands for a missing value, --set data.missing=-"),
        ("#DIV/0!", "if it stands for a missing value, --set data.missing='#DIV/0!'"),
        ("<1", "if it stands for a missing value, --set data.missing='<1'"),
        ("closed", "of categories, --set data.categorical=price"),
    ],
)
def test_a_bad_cell_makes_no_categories_of_numbers(tmp_path: Path, cell: str, remedy: str) -> None:
    prices = [f"{i}.5" for i in range(40)]
    frame = pd.DataFrame({"ds": range(40), "y": range(40), "price": [*prices[:20], cell, *prices[21:]]})

    with pytest.raises(
        InputError, match=rf"column 'price' .*: 1 cell\(s\) are not numbers \(row 22: '{cell}'\)"
    ) as caught:
        read(tmp_path, frame, past=["price"])

    assert remedy in str(caught.value)
    assert len(caught.value.problems) == 1
    column = read(tmp_path, frame, past=["price"], categorical=["price"]).covariates["price"]
    assert isinstance(column, Categories)


def test_categories_that_are_named_have_no_units(tmp_path: Path) -> None:
    """A model knows `2WD` from a file with `AWD`, and meets one without."""
    column = read(tmp_path, table().assign(drive=["2WD", "4WD"] * 5), past=["drive"], categorical=["drive"])

    drive = column.covariates["drive"]
    assert isinstance(drive, Categories)
    assert drive.names == ("2WD", "4WD")


@pytest.mark.parametrize("cells", [["1-", "2", "2+", "3", "3-"], ["(1)", "(2)", "(3)", "x", "y"]])
def test_categories_keep_their_texts_for_the_files_of_a_model(tmp_path: Path, cells: list[str]) -> None:
    column = read(tmp_path, table().assign(grade=cells * 2), past=["grade"]).covariates["grade"]

    assert isinstance(column, Categories)
    assert sorted(column.names) == sorted(cells)


def test_categories_that_were_not_asked_for_are_named(tmp_path: Path) -> None:
    frame = pd.DataFrame({"ds": range(8), "y": range(8), "kind": list("abcdabcd")})

    panel = read(tmp_path, frame, past=["kind"])

    assert panel.notes == ("data: covariate 'kind' is text, and read as categories: a, b, c, ... (4 in all)",)
    assert read(tmp_path, frame, past=["kind"], categorical=["kind"]).notes == ()


def test_gaps_are_filled_inside_a_part_alone(tmp_path: Path) -> None:
    frame = table((10,)).drop(index=[2, 5, 6]).drop(columns="unique_id")
    frame.loc[8, "y"] = None

    panel = with_missing_rows(read(tmp_path, frame, gaps=True))
    assert str(panel.time[2].date()) == "2024-01-03"
    cuts = panel_cuts(panel, [6, 2, 2])
    whole, count = filled(panel, cuts)

    # 2 lies between 1 and 3; 5 is the last of the train part, 6 the first of the validation, 8 of the test
    assert whole.inputs[:, 0].tolist() == [0, 1, 2, 3, 4, 4, 7, 7, 9, 9]
    assert np.flatnonzero(np.isnan(whole.values)).tolist() == [2, 5, 6, 8]  # the truth
    assert count == 4
    # a part without any value takes the last one before it, and the first part must have one
    assert filled(panel, np.array([[0, 5, 7, 10]]))[0].inputs[5:7, 0].tolist() == [4, 4]
    with pytest.raises(InputError, match=r"column 'y': its first part has no value to interpolate from"):
        filled(panel, np.array([[2, 3, 7, 10]]))


def test_a_time_far_off_is_no_gap_to_be_filled(tmp_path: Path) -> None:
    frame = table((30,))
    frame.loc[29, "ds"] = frame.loc[29, "ds"] + pd.Timedelta(days=365 * 1000)

    with pytest.raises(
        InputError, match=r"[\d,]{7} rows are missing between 30; the largest gap is from .* to 3\d\d\d-"
    ):
        with_missing_rows(read(tmp_path, frame, gaps=True))


def test_every_series_is_cut_by_time(tmp_path: Path) -> None:
    panel = read(tmp_path, table((20, 10)))

    assert panel_cuts(panel, [0.6, 0.2, 0.2]).tolist() == [[0, 12, 16, 20], [20, 26, 28, 30]]
    assert panel_cuts(panel, [0.6, 0.2, 0.2], 0.5).tolist() == [[6, 12, 16, 20], [23, 26, 28, 30]]
    # numbers of rows count from the end, and the first is the most
    assert panel_cuts(panel, [8, 2, 2]).tolist() == [[8, 16, 18, 20], [20, 26, 28, 30]]
    folds = panel_folds(panel_cuts(panel, [0.6, 0.2, 0.2]), 2)
    assert [fold.tolist() for fold in folds] == [
        [[0, 8, 12, 20], [20, 24, 26, 30]],
        [[0, 12, 16, 20], [20, 26, 28, 30]],
    ]


def test_series_that_are_too_short_are_counted_and_named(tmp_path: Path) -> None:
    panel = read(tmp_path, table((30, 9, 8, 7, 6)))

    with pytest.raises(InputError, match=r"3 of 5 series are too short to be split: 'c' \(8 rows\), 'd' \(7 rows\), "):
        panel_cuts(panel, [5, 4, 4])
    with pytest.raises(InputError) as caught:
        check_lengths(panel, panel_cuts(panel, [0.6, 0.2, 0.2]), 20, 2)
    assert caught.value.problems[0].startswith(
        "data: 5 of 5 series are too short: train needs 22 rows (space.window 20 + horizon 2): "
        "'a' (18 rows), 'b' (5 rows), 'c' (5 rows), ..."
    )


def test_series_that_are_shorter_than_the_window_are_padded_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    panel = read(tmp_path, table((30, 10, 10)))

    check_lengths(panel, panel_cuts(panel, [0.6, 0.2, 0.2]), 4, 2)
    assert not caplog.messages
    check_lengths(panel, panel_cuts(panel, [0.6, 0.2, 0.2]), 16, 2)

    assert caplog.messages == [
        "data: 2 of 3 series are shorter than the longest window (16) and a horizon: 'b' (6 training rows), 'c' (6"
        " training rows); windows are padded with the series' first row"
    ]
    with pytest.raises(InputError, match="3 of 3 series are too short: train needs 7 rows"):
        check_lengths(panel, np.array([[0, 6, 12, 18]] * 3), 1, 6)


def test_windows_that_just_fit_into_one_series(tmp_path: Path) -> None:
    panel = read(tmp_path, table((168,)).drop(columns="unique_id"))

    check_lengths(panel, panel_cuts(panel, [120, 24, 24]), window=96, horizon=24)


def test_every_part_of_one_series_that_is_too_short_is_named(tmp_path: Path) -> None:
    panel = read(tmp_path, table((165,)).drop(columns="unique_id"))

    with pytest.raises(InputError) as caught:
        check_lengths(panel, panel_cuts(panel, [119, 23, 23]), window=96, horizon=24)

    train, validation, test = caught.value.problems
    assert "train has 119 rows and needs at least 120 (space.window 96 + horizon 24)" in train
    assert "validation has 23 rows and needs at least 24" in validation
    assert "test has 23 rows and needs at least 24" in test


def test_folds_follow_one_another_up_to_the_test() -> None:
    cuts = np.array([[0, 70, 80, 100]])

    folds = panel_folds(cuts, 3)

    assert [fold.tolist() for fold in folds] == [[[0, 50, 60, 100]], [[0, 60, 70, 100]], cuts.tolist()]


@pytest.mark.parametrize("folds", [1, 8, 50])
def test_folds_that_leave_nothing_to_train_on_are_refused(folds: int) -> None:
    with pytest.raises(
        InputError, match=f"data.folds: {folds} folds of 10 validation rows do not fit; give 0, or 2 to 7"
    ):
        panel_folds(np.array([[0, 70, 80, 100]]), folds)


@pytest.mark.parametrize(
    ("cuts", "horizon", "count"),
    [
        ([[0, 74, 86, 108]], 12, 3),  # one origin a year apart, three of them leave half of the rows to train
        ([[0, 700, 800, 1000]], 12, 2),
        ([[0, 140, 160, 200]], 4, 2),
        ([[0, 140, 160, 200]], 12, 4),
        ([[0, 74, 86, 108], [108, 182, 194, 216]], 12, 3),
        ([[0, 8000, 8010, 9000]], 12, 0),  # much to train on
        ([[0, 700, 850, 1000]], 12, 0),  # ten horizons are enough
        ([[0, 40, 70, 100]], 12, 0),  # no half would be left
        ([[0, 33, 40, 70]], 10, 0),  # no horizon to validate: the last fold would have none
    ],
)
def test_short_series_are_validated_from_every_origin_once_and_never_on_rows_that_train(
    cuts: list[list[int]], horizon: int, count: int
) -> None:
    table = np.array(cuts)

    folds = default_folds(table, horizon)

    assert len(folds) == count
    length = table[:, 2] - table[:, 1]
    for i, (start, _, test, end) in enumerate(cuts):
        origins = [row for fold in folds for row in range(fold[i, 1], fold[i, 2] - horizon + 1)]
        first = test - count * length[i]
        assert origins == (list(range(first, test - horizon + 1)) if count else [])
        for fold in folds:  # trained on all rows before the first origin, which are half of those before the test
            assert (fold[i, 0], fold[i, 3]) == (start, end)
            assert start + (test - start) / 2 <= first <= fold[i, 1] < fold[i, 2] <= test


def test_a_series_of_a_panel_has_a_horizon_in_each_part_where_half_of_its_rows_train(tmp_path: Path) -> None:
    frames = [
        pd.DataFrame({"unique_id": name, "ds": pd.date_range("2000-01-01", periods=rows, freq="MS"), "y": range(rows)})
        for name, rows in (("long", 300), ("short", 108), ("tiny", 40))
    ]
    pd.concat(frames).to_csv(tmp_path / "p.csv", index=False)
    panel = read_panel(tmp_path / "p.csv", PanelColumns())

    parts = np.diff(panel_cuts(panel, [0.7, 0.1, 0.2], least=12), axis=1)

    assert parts.tolist() == [[210, 30, 60], [74, 12, 22], [28, 4, 8]]

"""Rows that are sorted, merged and resampled on demand: the right numbers, and a line that says how many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optlstm.config.validate import check_config
from optlstm.data.panel import Categories, Panel
from optlstm.data.panel_reader import PanelColumns, read_panel
from optlstm.data.panel_time import RowRules
from optlstm.errors import InputError, Problem


def panel_of(folder: Path, frame: pd.DataFrame, *, columns: dict[str, object] | None = None, **rules: object) -> Panel:
    frame.to_csv(folder / "x.csv", index=False)
    return read_panel(folder / "x.csv", PanelColumns(rules=RowRules(**rules), **(columns or {})))  # type: ignore[arg-type]


def problems_of(
    folder: Path, frame: pd.DataFrame, *, columns: dict[str, object] | None = None, **rules: object
) -> list[str]:
    with pytest.raises(InputError) as caught:
        panel_of(folder, frame, columns=columns, **rules)
    return caught.value.problems


def days(rows: int = 40) -> pd.DataFrame:
    return pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=rows), "y": np.arange(rows) / 7})


def two_series() -> pd.DataFrame:
    return pd.concat([days().assign(unique_id="a"), days(30).assign(unique_id="b", y=lambda f: 100 + f["y"])])


@pytest.mark.parametrize("many", [False, True])
def test_rows_are_sorted_and_so_the_same_data(many: bool, tmp_path: Path) -> None:
    frame = two_series() if many else days()
    mixed = frame.sample(frac=1, random_state=0)
    whole, again = panel_of(tmp_path, frame), panel_of(tmp_path, mixed, sort=True)
    assert whole.notes == panel_of(tmp_path, frame, sort=True).notes == ()
    order = [again.ids.index(name) for name in whole.ids]
    for i, j in enumerate(order):
        np.testing.assert_array_equal(again.values[again.rows(j)], whole.values[whole.rows(i)])
        assert again.time[again.rows(j)].equals(whole.time[whole.rows(i)])
    (note,) = again.notes
    assert note.startswith("data: rows sorted by 'ds': ")
    assert again.fingerprint == whole.fingerprint or many
    (problem,) = problems_of(tmp_path, mixed)
    assert problem.endswith("sort the rows by 'ds', or --set data.sort=true")


@pytest.mark.parametrize(
    ("repeated", "y", "x", "words"),
    [
        ("last", [0, 4, 3], [0, 40, 30], "the last row of each is kept"),
        ("mean", [0, 2.5, 3], [0, 40, 30], "the mean of each one's rows is taken"),
    ],
)
def test_repeated_times(repeated: str, y: list[float], x: list[float], words: str, tmp_path: Path) -> None:
    times = ["2020-01-01", "2020-01-02", "2020-01-02", "2020-01-03"]
    frame = pd.DataFrame({"ds": times, "y": [0, 1, 4, 3], "x": [0, None, 40, 30], "k": list("uvwz")})
    past = {"past": ["x", "k"], "gaps": True}
    panel = panel_of(tmp_path, frame, columns=past, repeated=repeated)
    assert panel.values[:, 0].tolist() == y
    assert np.asarray(panel.covariates["x"]).tolist() == x
    kinds = panel.covariates["k"]
    assert isinstance(kinds, Categories)
    assert [kinds.names[code] for code in kinds.codes] == ["u", "w", "z"]
    kinds_note = "data: covariate 'k' is text, and read as categories: u, v, w, ... (4 in all)"
    assert panel.notes == (kinds_note, f"data: 1 repeated time in 'ds': {words}")
    twice = pd.concat([frame.assign(unique_id="a"), frame.assign(unique_id="b")])
    assert np.diff(panel_of(tmp_path, twice, columns=past, repeated=repeated).starts).tolist() == [3, 3]
    assert problems_of(tmp_path, frame)[0].endswith("(many series: --series COL), or --set data.repeated=last")
    both = problems_of(tmp_path, frame.iloc[[2, 0, 1, 3]], repeated=repeated)
    assert ["1 time(s) earlier" in problem for problem in both] == [True]
    assert panel_of(tmp_path, frame.iloc[[2, 0, 1, 3]], repeated="last", sort=True).values[:, 0].tolist() == [0, 1, 3]


def jittered(rows: int = 600) -> pd.DataFrame:
    """About every 10 s, up to 2 s late."""
    late = np.random.default_rng(0).integers(0, 3, rows)
    times = pd.Timestamp("2020-01-01") + pd.to_timedelta(10 * np.arange(rows) + late, unit="s")
    return pd.DataFrame({"ds": times, "y": np.sin(np.arange(rows)), "rain": 1.0, "k": ["u", "v"] * (rows // 2)})


def test_jittered_times_are_resampled(tmp_path: Path) -> None:
    frame = jittered()
    panel = panel_of(tmp_path, frame, resample="10s")
    assert (panel.freq, len(panel.time), str(panel.time[-1])) == ("10s", 600, "2020-01-01 01:39:50")
    np.testing.assert_array_equal(panel.values[:, 0], frame["y"])
    assert panel.notes == ("data: 600 rows resampled to 600 at 10s: means of numbers",)
    (problem,) = problems_of(tmp_path, frame)
    assert problem.endswith("resample the series to equal steps, or --set data.resample=10s")


@pytest.mark.parametrize("step", ["min", "15min", "h"])
@pytest.mark.parametrize("zone", ["", "Z"])
def test_means_sums_and_the_last_of_categories(step: str, zone: str, tmp_path: Path) -> None:
    frame = jittered(3600)
    columns: dict[str, object] = {"target": ["y", "rain"], "past": ["k"]}
    expected = frame.groupby(frame["ds"].dt.floor(step)).agg({"y": "mean", "rain": "sum", "k": "last"})
    frame["ds"] = frame["ds"].astype("str") + zone
    panel = panel_of(tmp_path, frame, columns=columns, resample=step, sums=("rain",))
    assert isinstance(panel.time, pd.DatetimeIndex)
    assert panel.time.tz_localize(None).equals(pd.DatetimeIndex(expected.index, freq=None).as_unit("us"))
    np.testing.assert_allclose(panel.values, expected[["y", "rain"]].to_numpy())
    kinds = panel.covariates["k"]
    assert isinstance(kinds, Categories)
    assert [kinds.names[code] for code in kinds.codes] == expected["k"].tolist()
    end = f"at {step}: sums of 'rain', means of the other numbers and the last of categories"
    assert panel.notes[-1].endswith(end)


def test_steps_of_months_of_many_series_and_ends_that_are_cut_off(tmp_path: Path) -> None:
    one = pd.DataFrame({"ds": pd.date_range("2020-01-20", "2021-02-28"), "unique_id": "a"}).assign(y=1.0)
    other = pd.DataFrame({"ds": pd.date_range("2020-03-01", "2021-02-10"), "unique_id": "b"}).assign(y=2.0)
    panel = panel_of(tmp_path, pd.concat([one, other]), resample="MS", sums=("y",))
    assert (panel.freq, panel.season, np.diff(panel.starts).tolist()) == ("MS", 12, [13, 11])
    assert [str(panel.time[i].date()) for i in (0, 12, 13, 23)] == [
        "2020-02-01",
        "2021-02-01",
        "2020-03-01",
        "2021-01-01",
    ]
    assert panel.values[[0, 1, 12, 13], 0].tolist() == [29, 31, 28, 62]
    assert panel.notes[0].endswith("; 2 steps at an end left out, of which there are only some rows")


def test_events_are_summed_or_averaged_without_a_rule_for_rows_at_one_time(tmp_path: Path) -> None:
    times = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.random.default_rng(0).integers(0, 60 * 24 * 30, 900), "min")
    frame = pd.DataFrame({"ds": sorted([*times, *times[:300]]), "y": 2.0})

    sums, means = (panel_of(tmp_path, frame, resample="D", sums=sums) for sums in (("y",), ()))

    assert sums.values.sum() == frame[frame["ds"].dt.floor("D").isin(sums.time)]["y"].sum()
    assert set(means.values[:, 0]) == {2.0}
    assert " at the time of another) resampled to" in sums.notes[0]
    (problem,) = problems_of(tmp_path, frame)
    assert "repeated time(s)" in problem
    assert problem.endswith(
        "make one row of those of a step: --set data.resample=D, for example (means; sums with "
        "--set data.resample_sum=COL)"
    )
    assert not getattr(problem, "fix", None)
    (alone,) = problems_of(tmp_path, frame.drop_duplicates("ds"))
    assert "these may be events: make one row of those of a step" in alone


@pytest.mark.parametrize("series", [None, "shop", "item"])
@pytest.mark.parametrize("rules", [{}, {"sort": True}, {"resample": "W", "sort": True}])
def test_mixed_series_are_never_made_one(series: str | None, rules: dict[str, object], tmp_path: Path) -> None:
    frame = pd.concat([days(120).assign(shop=shop, item=item) for shop in (1, 2) for item in "abc"])

    (problem,) = problems_of(tmp_path, frame, columns={"series": series}, **rules)

    both = "item,shop" if series != "shop" else "shop,item"
    assert f"these are many series: --series {both}" in problem
    assert isinstance(problem, Problem)
    assert problem.fix == {"data.series": both}
    totals = panel_of(tmp_path, frame, resample="W", sort=True, sums=("y",))
    assert len(totals.ids) == 1


def test_a_file_of_many_series_for_a_model_of_one_is_named_as_such(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, two_series(), columns={"series": ""}, by_flag=False)
    assert "these are many series (unique_id), and the model is of one series; forecast one at a time" in problem


@pytest.mark.parametrize("many", [False, True])
def test_rows_with_the_newest_first_are_put_in_order(many: bool, tmp_path: Path) -> None:
    frame = two_series() if many else days()

    panel = panel_of(tmp_path, frame.iloc[::-1])

    assert panel.notes == ("data: rows sorted by 'ds': the newest stood first",)
    assert len(panel.values) == len(frame)
    assert "1 time(s) earlier" in problems_of(tmp_path, days().iloc[[1, 0, *range(2, 40)]])[0]


@pytest.mark.parametrize(("unit", "late", "step"), [("h", "1s", "h"), ("min", "7ms", "min"), ("s", "1ms", "s")])
def test_jitter_is_resampled_to_a_step_of_clocks(unit: str, late: str, step: str, tmp_path: Path) -> None:
    times = pd.date_range("2020-01-01", periods=200, freq=unit) + pd.Timedelta(late) * (np.arange(200) * 7 % 5)

    (problem,) = problems_of(tmp_path, pd.DataFrame({"ds": times, "y": 1.0}))

    assert isinstance(problem, Problem)
    assert problem.fix == {"data.resample": step}


def test_hours_at_which_nothing_is_recorded_are_named_as_such(tmp_path: Path) -> None:
    times = pd.date_range("2020-01-06", periods=24 * 60, freq="h")
    frame = pd.DataFrame({"ds": times, "y": 1.0})[(times.hour >= 8) & (times.hour < 18) & (times.day_of_week < 7)]

    (problem,) = problems_of(tmp_path, frame)

    assert problem.endswith("--time row numbers the rows that there are, and --gaps mask keeps the times")


def test_a_step_without_rows_is_a_gap_and_never_invented(tmp_path: Path) -> None:
    frame = jittered().drop(index=range(96, 108))
    assert "column 'y' of x.csv: 2 empty or NaN value(s) (row 97)" in problems_of(tmp_path, frame, resample="min")[0]
    panel = panel_of(tmp_path, frame, columns={"gaps": True}, resample="min")
    assert np.flatnonzero(np.isnan(panel.values[:, 0])).tolist() == [16, 17]


def test_a_refusal_knows_what_to_type(tmp_path: Path) -> None:
    frame = jittered().iloc[[*range(50), 49, 52, 51, *range(53, 600)]]
    fixes = {
        key: value
        for line in problems_of(tmp_path, frame)
        if isinstance(line, Problem)
        for key, value in line.fix.items()
    }
    assert fixes == {"data.repeated": "last", "data.sort": True, "data.gaps": "interpolate", "data.resample": "10s"}


def test_what_cannot_be_resampled(tmp_path: Path) -> None:
    counts = pd.DataFrame({"ds": [0, 1, 3], "y": [1, 2, 3]})
    assert problems_of(tmp_path, counts, resample="h") == [
        "data.resample: the times are whole numbers, not dates; number the rows evenly"
    ]
    far = days().assign(ds=lambda f: [*f["ds"][:-1], pd.Timestamp("2999-01-01")])
    assert "is every time right?" in problems_of(tmp_path, far, resample="D")[0]


@pytest.mark.parametrize(
    ("step", "fine"), [("10min", True), ("MS", True), ("2W", True), ("month", False), ("0h", False)]
)
def test_steps_that_may_be_asked_for(step: str, fine: bool) -> None:
    _, problems = check_config({"data": {"resample": step}})
    words = f"data.resample: must be a number of s, min, h, D, W, MS, QS or YS, such as 10min or MS, got '{step}'"
    assert problems == ([] if fine else [words])


HOURS = pd.date_range("2020-10-20", periods=300, freq="h")
SOME_DAYS = pd.date_range("2020-01-01", periods=200)


@pytest.mark.parametrize(
    ("times", "others", "words", "fix"),
    [
        (HOURS.delete(124), {}, "convert the times to UTC", {"data.gaps": "interpolate"}),
        (HOURS.insert(123, HOURS[122]), {}, "convert the times to UTC", {"data.repeated": "last"}),
        ([*HOURS, *HOURS], {"at": ["a"] * 300 + ["b"] * 300}, "--series at", {"data.series": "at"}),
        ([*HOURS] * 4, {"at": list("aabb" * 300), "n": [1, 2] * 600}, "repeated", {}),
        ([*HOURS[:50]] * 4, {"at": ["a"] * 100 + ["b"] * 100, "n": ([1] * 50 + [2] * 50) * 2}, "--series at,n", None),
        ([1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24, 31, 32, 33, 34], {}, "data.time_format", {}),
        ([*range(20), 100], {}, "are the times right", {}),
        ([f"{t:%m/%d/%Y}" if t.day < 13 else f"{t:%d/%m/%Y}" for t in SOME_DAYS], {}, "may be mixed", {}),
    ],
)
def test_no_command_is_proposed_that_would_spoil_the_data(
    times: list[object], others: dict[str, list[object]], words: str, fix: dict[str, str] | None, tmp_path: Path
) -> None:
    (problem, *more) = problems_of(tmp_path, pd.DataFrame({"ds": times, "y": np.arange(len(times)) / 7, **others}))
    assert words in problem
    assert isinstance(problem, Problem)
    assert problem.fix == ({"data.series": "at,n"} if fix is None else fix)
    assert not any(isinstance(other, Problem) and other.fix for other in more)

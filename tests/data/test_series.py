"""Series: what a good file becomes, and every problem of a bad one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from optlstm.data.frequency import following, season_of
from optlstm.data.panel import Panel
from optlstm.data.panel_reader import PanelColumns, bundled, read_panel
from optlstm.data.time_column import TimeReading
from optlstm.errors import InputError, Problem
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig

UTC_HINT = "convert the times to UTC"


def write(folder: Path, times: Iterable[object], values: Iterable[object] | None = None, name: str = "x.csv") -> Path:
    """A CSV file with the columns ds and y; y counts from 0 unless it is given."""
    times = list(times)
    rows = zip(times, range(len(times)) if values is None else values, strict=True)
    (folder / name).write_text("ds,y\n" + "".join(f"{t},{v}\n" for t, v in rows))
    return folder / name


def read(path: Path, time: str | None = None, target: list[str] | None = None) -> Panel:
    return read_panel(path, PanelColumns(time=time, target=target, plain=True))


def problems_of(path: Path, time: str | None = None, target: list[str] | None = None) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(path, time, target)
    assert all(problem.startswith("data: ") and "\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


def local_times(start: str, freq: str, *, offsets: bool) -> list[str]:
    times = pd.date_range(start, periods=40, freq=freq, tz="UTC").tz_convert("Europe/Berlin")
    return [t.isoformat() if offsets else t.strftime("%Y-%m-%d %H:%M") for t in times]


def ett_like(rows: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["HUFL", "HULL", "OT"])
    frame.insert(0, "date", pd.date_range("2016-07-01", periods=rows, freq="h"))
    return frame


def test_the_same_numbers_have_the_same_fingerprint_in_every_format(tmp_path: Path) -> None:
    frame = ett_like()
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "b.csv.gz", index=False)
    frame.to_parquet(tmp_path / "c.parquet")
    frame.set_index("date").to_parquet(tmp_path / "d.parquet")
    frame.assign(date=frame["date"].astype("datetime64[ns]")).to_parquet(tmp_path / "e.parquet")
    found = [read(p, "date", ["OT", "HUFL"]) for p in sorted(tmp_path.iterdir())]
    assert [series.name for series in found] == ["a", "b", "c", "d", "e"]
    assert len({series.fingerprint for series in found}) == 1
    for series in found:
        assert series.columns == ("OT", "HUFL")
        assert (series.freq, series.season, series.ids) == ("h", 24, ("",))
        assert series.values.flags.c_contiguous
        np.testing.assert_array_equal(series.values, frame[["OT", "HUFL"]].to_numpy())
        assert series.time.equals(pd.DatetimeIndex(frame["date"]))


@pytest.mark.parametrize("column", ["date", "HUFL", "columns"])
def test_other_numbers_have_another_fingerprint(column: str, tmp_path: Path) -> None:
    frame = ett_like()
    frame.to_csv(tmp_path / "a.csv", index=False)
    if column == "columns":
        frame = frame.rename(columns={"HUFL": "other"})
    else:
        frame[column] += pd.Timedelta("1s") if column == "date" else 1e-9
    frame.to_csv(tmp_path / "b.csv", index=False)
    one = read(tmp_path / "a.csv", "date", ["HUFL"])
    two = read(tmp_path / "b.csv", "date", ["other" if column == "columns" else "HUFL"])
    assert one.fingerprint != two.fingerprint


@pytest.mark.parametrize(
    ("freq", "season"),
    [
        ("h", 24), ("2h", 12), ("30min", 48), ("15min", 96), ("min", 60), ("5min", 288), ("D", 7), ("B", 5), ("s", 60),
        ("W-SUN", 52), ("MS", 12), ("ME", 12), ("QS-JAN", 4), ("QE-DEC", 4), ("YS-JAN", 1), ("YE-DEC", 1), ("2MS", 6),
    ],
)  # fmt: skip
def test_frequencies_and_seasons(freq: str, season: int, tmp_path: Path) -> None:
    for rows in (40, 5 if freq == "B" else 2):  # a Friday and a Monday tell working days from days
        times = pd.date_range("2001-01-03", periods=rows + 1, freq=freq)
        series = read(write(tmp_path, times[:-1]))
        assert (series.freq, series.season) == (freq, season)
        assert following(series.time, series.freq, 1)[0] == times[-1]


@pytest.mark.parametrize(("freq", "season"), [(None, 1), ("7h", 1), ("WOM-3FRI", 12), ("2W-SAT", 26), ("BME", 12)])
def test_other_seasons(freq: str | None, season: int) -> None:
    assert season_of(freq) == season


def test_the_same_day_of_every_month_is_regular(tmp_path: Path) -> None:
    series = read(write(tmp_path, [f"2020-{month:02d}-{min(30, 29 if month == 2 else 31)}" for month in range(1, 13)]))
    assert (series.freq, series.season) == ("MS", 12)
    assert [str(t.date()) for t in following(series.time, series.freq, 3)] == ["2021-01-30", "2021-02-28", "2021-03-30"]


def test_integer_times(tmp_path: Path) -> None:
    series = read(write(tmp_path, [10, 12, 14]))
    assert (series.freq, series.season, series.time.dtype) == (None, 1, np.int64)
    assert following(series.time, series.freq, 2).tolist() == [16, 18]


@pytest.mark.parametrize(
    "times",
    [
        ["20200130", "20200131", "20200201"],
        ["30/01/2020", "31/01/2020", "01/02/2020"],
        ["1/30/2020 0:00", "1/31/2020 0:00", "2/1/2020 0:00"],
        ["2020-01-30T00:00:00Z", "2020-01-31T00:00:00Z", "2020-02-01T00:00:00Z"],
        ["2020-01-30 01:00+01:00", "2020-01-31 02:00+02:00", "2020-01-31 23:00-01:00"],
    ],
    ids=["digits", "day first", "month first", "utc", "mixed zones"],
)
def test_ways_to_write_a_time(times: list[str], tmp_path: Path) -> None:
    series = read(write(tmp_path, times))
    assert series.freq == "D"
    assert [str(t.date()) for t in series.time] == ["2020-01-30", "2020-01-31", "2020-02-01"]


@pytest.mark.parametrize("start", ["2021-03-27 20:00", "2021-10-30 20:00"])
def test_offsets_carry_over_a_clock_change(start: str, tmp_path: Path) -> None:
    series = read(write(tmp_path, local_times(start, "h", offsets=True)))
    assert (series.freq, str(series.time.tz), series.time[0]) == ("h", "UTC", pd.Timestamp(start, tz="UTC"))


def test_a_zone_in_parquet_is_converted(tmp_path: Path) -> None:
    times = pd.date_range("2021-03-27 20:00", periods=40, freq="h", tz="UTC")
    pd.DataFrame({"ds": times.tz_convert("Europe/Berlin"), "y": range(40)}).to_parquet(tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet").time.equals(times)


def test_a_constant_series_is_worth_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path, range(20), [5] * 20)
    (warning,) = Forecast.read(DataConfig(path=str(path), horizon=2)).warnings
    assert "column 'y' of x.csv is constant (5 in every row)" in warning


def test_fingerprints_of_one_series_are_those_of_older_studies(tmp_path: Path) -> None:
    assert read(bundled()).fingerprint == "8c8e22b2e4d98624cbc03ce315705c023074d4a68119ef78f79f91a7adaf2eb5"
    filled = read_panel(bundled(), PanelColumns(gaps=True))
    assert filled.fingerprint == "1162006db3bcbfe290185eafafa220f4d82093d030dac7d05403eba89fe74f69"


@pytest.mark.parametrize("ids", [["a"] * 6, list("abcdef")])
def test_a_column_that_names_one_series_or_every_row_names_none(ids: list[str], tmp_path: Path) -> None:
    frame = pd.DataFrame({"unique_id": ids, "ds": range(6), "y": range(6)})
    frame.to_csv(tmp_path / "x.csv", index=False)
    panel = read(tmp_path / "x.csv")
    assert (panel.series, panel.ids, panel.known.tolist()) == (None, ("",), [6])


def test_the_bundled_series() -> None:
    series = read(bundled())
    assert (series.values.shape, series.freq, series.season) == ((2284, 1), "W-SAT", 52)
    with pytest.raises(InputError, match="there are: co2"):
        bundled("co3")


HOURS = pd.date_range("2020-01-01", periods=6, freq="h")
MONTHS = [str(t.date()) for t in pd.date_range("2020-01-31", periods=12, freq="ME")]
BUSINESS = [str(t.date()) for t in pd.date_range("2021-01-01", periods=40, freq="B")]

BAD_VALUES: dict[str, tuple[list[str], list[str]]] = {
    "text": (["1", "abc", "3", "4", "5", "6"], ["1 cell(s) are not numbers (row 3: 'abc')"]),
    "thousands": (["1", '"1,234"', "3", "4", "5", "6"], ["'1,234' may be 1234 or 1.234", 'data.thousands=","']),
    "decimal comma": (["1", '"1,5"', "3", "4", "5", "6"], ["row 3: '1,5'", "decimal commas"]),
    "empty": (["1", "", "NaN", "4", "", "6"], ["3 empty or NaN value(s) (row 3, row 4, row 6)", "data.gaps"]),
    "too large": (["1", "1e400", "3", "-inf", "5", "6"], ["2 infinite value(s) (row 3, row 5)"]),
}


@pytest.mark.parametrize("kind", BAD_VALUES)
def test_bad_values(kind: str, tmp_path: Path) -> None:
    values, words = BAD_VALUES[kind]
    (problem,) = problems_of(write(tmp_path, HOURS, values))
    for word in ["column 'y' of x.csv", *words]:
        assert word in problem


BAD_TIMES: dict[str, tuple[list[object], list[str]]] = {
    "unreadable": (["2020-01-01", "2020-13-01", "soon", "2020-01-04"], ["2 cell(s)", "row 3: '2020-13-01'"]),
    "empty": (["2020-01-01", "", "2020-01-03"], ["1 empty time(s) (row 3)"]),
    "time of day": (["12:00", "13:00"], ["2 cell(s) are not times (row 2"]),
    "ambiguous": (["01/01/2020", "01/02/2020", "01/03/2020"], ["'01/02/2020'", "YYYY-MM-DD"]),
    "half zoned": (["2020-01-01T00:00Z", "2020-01-01T01:00"], ["'2020-01-01T01:00'", "have none"]),
    "repeated": (
        ["2020-01-01", "2020-01-02", "2020-01-02", "2020-01-03"],
        ["1 repeated", "4: 2020-01-02", "--series"],
    ),
    "unordered": (["2020-01-01", "2020-01-03", "2020-01-02"], ["row 4: 2020-01-02", "sort the rows by 'ds'"]),
    "gap": (
        ["2020-01-01", "2020-01-02", "2020-01-05", "2020-01-06"],
        ["2 missing row(s) in 1 gap(s)", "row 4", "fill", "--gaps interpolate (data.gaps = 'interpolate'"],
    ),
    "uneven": (["2020-01-01", "2020-01-02", "2020-01-03 01:07"], ["1 uneven step(s)", "row 4", "resample"]),
    "month missing": (MONTHS[:5] + MONTHS[6:], ["1 missing row(s)", "step of ME (1 month)", "row 7"]),
    "business day missing": (BUSINESS[:7] + BUSINESS[8:], ["1 missing row(s)", "step of B (1 business day)", "row 9"]),
    "integers with a gap": ([0, 1, 3, 4], ["1 missing row(s)", "row 4: 3 after 1"]),
    "integers going back": ([0, 2, 1, 3], ["earlier than the one before (row 4: 1 after 2)"]),
    "fractions": ([0.5, 1.5], ["2 cell(s) are not times (row 2: '0.5'"]),
    "spring": (local_times("2021-03-27 20:00", "h", offsets=False), ["1 missing row(s)", "data.gaps", UTC_HINT]),
    "autumn": (local_times("2021-10-30 20:00", "h", offsets=False), ["1 repeated time(s) (row 7", UTC_HINT]),
    "days of a zone": (
        [t.isoformat() for t in pd.date_range("2021-03-20", periods=20, tz="Europe/Berlin")],
        ["1 uneven step(s)", "write dates without times"],
    ),
}


@pytest.mark.parametrize("kind", BAD_TIMES)
def test_bad_times(kind: str, tmp_path: Path) -> None:
    times, words = BAD_TIMES[kind]
    (problem,) = problems_of(write(tmp_path, times))
    for word in ["time column 'ds' of x.csv", *words]:
        assert word in problem


def test_half_hours_that_repeat_in_autumn(tmp_path: Path) -> None:
    found = problems_of(write(tmp_path, local_times("2021-10-30 20:00", "30min", offsets=False)))
    assert len(found) == 2
    assert all(UTC_HINT in problem for problem in found)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    times = [f"2020-01-{day:02}" for day in (1, 2, 4, 3, 3, 5, 12)]
    found = problems_of(write(tmp_path, times, [1, "", "1e400", 4, 5, 6, 7]))
    words = ["infinite", "repeated", "earlier", "missing row", "empty or NaN"]
    assert [word in problem for word, problem in zip(words, found, strict=True)] == [True] * 5


@pytest.mark.parametrize("first", ["0,1", "-1,0", "2020-01-01,2020-01-02", "1.1.2020,2.1.2020", "2001Q1,2001Q2"])
@pytest.mark.parametrize(
    ("end", "shown"),
    [("Total,9", "'Total'"), (",9", "no time"), ("Summe,9\nQuelle: Amt,", "'Summe' and 'Quelle: Amt'")],
)
def test_totals_and_notes_at_the_end_are_left_out(tmp_path: Path, first: str, end: str, shown: str) -> None:
    times = first.split(",")
    (tmp_path / "x.csv").write_text(f"ds,y\n{times[0]},1\n{times[1]},2\n{end}\n")

    panel = read_panel(tmp_path / "x.csv", PanelColumns(times=TimeReading(day_first=True)))

    assert panel.values[:, 0].tolist() == [1, 2]
    assert isinstance(panel.time, pd.DatetimeIndex) == (first not in ("0,1", "-1,0"))
    rows = "the last row" if "\n" not in end else "the last 2 rows"
    assert f"data: {rows} of x.csv left out, with {shown} in the column 'ds'" in panel.notes


def test_a_total_of_many_series_is_no_series(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("unique_id,ds,y\na,0,1\na,1,2\nb,0,3\nb,1,4\nTotal,,10\n")
    assert read_panel(tmp_path / "x.csv", PanelColumns()).ids == ("a", "b")


@pytest.mark.parametrize("many", [False, True])
def test_rows_at_the_end_without_a_target_are_to_be_forecast(tmp_path: Path, many: bool) -> None:
    rows = [f"{name},{i},{i if i < 7 else ''}" for name in ("ab" if many else "a") for i in range(9)]
    (tmp_path / "x.csv").write_text("\n".join(["unique_id,ds,y", *rows]))

    panel = read_panel(tmp_path / "x.csv", PanelColumns(plain=True))

    assert panel.values[:, 0].tolist() == [*range(7)] * (2 if many else 1)
    assert panel.known.tolist() == np.diff(panel.starts).tolist()
    (note,) = panel.notes
    assert note.startswith(f"data: {4 if many else 2} rows at the end of ")
    assert note.endswith(" without a target: to be forecast")


def test_totals_between_the_rows_are_named(tmp_path: Path) -> None:
    times = [*(f"2010-{month:02}" for month in range(1, 13)), "2010 Total", "2011-01"]
    (problem, *_) = problems_of(write(tmp_path, times, range(14)))
    assert "1 cell(s) are not times (row 14: '2010 Total')" in problem
    assert problem.endswith("leave these rows out, if they are totals, notes or the header again")
    (tmp_path / "x.csv").write_text("\n".join(["month,sold", *(f"{time},{i}.5" for i, time in enumerate(times))]))
    assert "'month' looks like the time column" in problems_of(tmp_path / "x.csv")[0]


def test_finer_than_a_microsecond(tmp_path: Path) -> None:
    times = pd.DatetimeIndex(np.array([0, 1], dtype="datetime64[ns]"))
    pd.DataFrame({"ds": times, "y": [1, 2]}).to_parquet(tmp_path / "x.parquet")
    assert "round them to microseconds" in problems_of(tmp_path / "x.parquet")[0]


def test_columns_that_were_not_named(tmp_path: Path) -> None:
    ett_like(30).to_csv(tmp_path / "e.csv", index=False)
    ett_like(30).to_parquet(tmp_path / "e.parquet")
    for name in ("e.csv", "e.parquet"):
        no_time, no_target = problems_of(tmp_path / name)
        assert "'date' looks like the time column: --time date" in no_time
        assert "choose from HUFL, HULL, OT with --target" in no_target
    pd.DataFrame({"unique_id": [1] * 9, "ds": range(9), "sold": [2.5, 1, 3] * 3}).to_csv(
        tmp_path / "p.csv", index=False
    )
    assert "name it: --target sold" in problems_of(tmp_path / "p.csv")[0]


def test_two_columns_of_times_are_proposed_one_after_the_other_and_marked_numbers_as_targets(tmp_path: Path) -> None:
    rows = [f"{day}.01.2020;{day + 1}.01.2020;2.00{day % 9},00" for day in range(13, 30)]
    (tmp_path / "x.csv").write_text("\n".join(["von;bis;Umsatz", *rows]))
    no_time, no_target = problems_of(tmp_path / "x.csv")
    assert isinstance(no_time, Problem)
    assert isinstance(no_target, Problem)
    assert (no_time.fix, no_time.otherwise) == ({"data.time": "von"}, {"data.time": "bis"})
    assert no_target.fix == {"data.target": "Umsatz"}


def test_columns_that_do_not_exist_or_do_not_fit(tmp_path: Path) -> None:
    ett_like(30).to_csv(tmp_path / "e.csv", index=False)
    found = problems_of(tmp_path / "e.csv", "dat", ["OTT", "HULL"])
    assert ["did you mean 'date'?" in found[0], "did you mean 'OT'?" in found[1], len(found)] == [True, True, 2]
    assert "asked for more than once" in problems_of(tmp_path / "e.csv", "date", ["OT", "OT"])[0]
    assert "target columns is empty" in problems_of(tmp_path / "e.csv", "date", [])[0]
    assert "'date' is asked for more than once" in problems_of(tmp_path / "e.csv", "date", ["OT", "date"])[0]
    problems = problems_of(tmp_path / "e.csv", "HUFL", ["date", "OT"])
    assert ["30 cell(s) are not times" in problems[0], "holds times, not numbers" in problems[1]] == [True, True]


@pytest.mark.parametrize(
    ("table", "time", "target", "fix"),
    [
        ({"month": ["2020-01", "2020-02", "2020-03"], "n": [3, 1, 2]}, "n", "month", {"time": "month", "target": "n"}),
        ({"label": [1, 2], "t0": [0.5, 0.1], "t1": [1.5, 1.1]}, None, None, {"task": "sequence"}),
        ({"label": [1, 2], "text": ["so", "not so"]}, None, None, {"task": "text"}),
        ({"label": [1, 2], "t0": ["2020", "2021"], "place": ["a", "b"]}, None, None, None),
    ],
)
def test_what_was_meant_is_proposed(
    table: dict[str, list[Any]], time: str | None, target: str | None, fix: dict[str, str] | None, tmp_path: Path
) -> None:
    pd.DataFrame(table).to_csv(tmp_path / "x.csv", index=False)

    with pytest.raises(InputError) as error:
        read_panel(tmp_path / "x.csv", PanelColumns(time=time, target=target and [target]))

    fixes = [problem.fix for problem in error.value.problems if isinstance(problem, Problem)]
    wanted = {key if key == "task" else f"data.{key}": value for key, value in (fix or {}).items()}
    assert (fixes == [wanted]) == (fix is not None)

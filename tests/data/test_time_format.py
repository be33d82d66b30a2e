"""What texts and numbers of a time column stand for: told from all of them, said in a line, and written again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optlstm.data.frequency import following
from optlstm.data.panel import Panel
from optlstm.data.panel_reader import PanelColumns, read_panel
from optlstm.data.time_column import TimeReading
from optlstm.data.time_format import read_texts, written
from optlstm.errors import InputError, Problem
from optlstm.util.time_formats import is_format

HOUR = 3600
MONTHS = [year * 100 + month for year in range(2000, 2020) for month in range(1, 13)]
HOURS = pd.date_range("2019-02-27", periods=100, freq="h")


def read(folder: Path, times: Sequence[object], header: str = "ds,y", **reading: object) -> Panel:
    (folder / "x.csv").write_text(f"{header}\n" + "".join(f"{time},{i}\n" for i, time in enumerate(times)))
    return read_panel(folder / "x.csv", PanelColumns(plain=True, times=TimeReading(**reading)))  # type: ignore[arg-type]


def problem_of(folder: Path, times: Sequence[object], **reading: object) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, times, **reading)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("times", "advice"),
    [
        (["04-Jan", "04-Feb"], "or name their form: --set data.time_format='%y-%b'"),
        (["2020-001", "2020-002"], "or name their form: --set data.time_format='%Y-%j'"),
        ([f"{week}/2019" for week in range(10, 52)], "or name their form: --set data.time_format='%V/%G'"),
        (["FY2019", "FY2020"], "or name their form: --set data.time_format='FY%Y'"),
        (
            ["1.1.2020 00:00 - 1.1.2020 01:00"] * 2,
            "keep one of the two times of each cell, and write them as YYYY-MM-DD",
        ),
        (["Mär 2004", "Mai 2004"], "in strptime's codes (month names in English): --set data.time_format=FORMAT"),
        (
            ["1950/51", "1951/52"],
            "or name their form in strptime's codes (month names in English): --set data.time_format=FORMAT",
        ),
    ],
)
def test_the_advice_fits_the_cells(times: list[str], advice: str, tmp_path: Path) -> None:
    problem = problem_of(tmp_path, times)
    assert advice in problem
    if isinstance(problem, Problem) and problem.fix:
        assert read(tmp_path, times, format=problem.fix["data.time_format"]).time.name == "ds"


def test_a_two_digit_year_that_may_be_another_part_is_asked_for(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, ["1/1/20", "2/1/20", "3/1/20"])
    assert "day and month cannot be told apart" in problem
    assert read(tmp_path, ["1/1/20", "2/1/20", "3/1/20"], day_first=False).freq == "MS"
    assert "not times" in problem_of(tmp_path, ["Jan-01", "Jan-02", "Jan-03"])  # days, perhaps


def test_years_and_months_of_two_digits_are_asked_for(tmp_path: Path) -> None:
    months = [f"{year:02}{month:02}" for year in (4, 5, 6) for month in range(1, 13)]
    problem = problem_of(tmp_path, months)
    assert "--set data.time_format=%y%m (YYMM)" in problem
    assert read(tmp_path, months, format="%y%m").freq == "MS"
    assert read(tmp_path, list(range(1, 13))).freq is None


def test_counts_that_may_be_dates_of_excel_are_pointed_out(tmp_path: Path) -> None:
    days = list(range(43831, 43861))
    panel = read(tmp_path, days)
    assert panel.notes == ("times: 'ds' holds counts; if they are Excel's dates, --set data.time_format=excel",)
    assert panel.freq is None
    dates = read(tmp_path, days, format="excel")
    assert (str(dates.time[0].date()), dates.freq) == ("2020-01-01", "D")
    assert read(tmp_path, days, format="integer").notes == ()
    assert "not times" in problem_of(tmp_path, ["43831.5", "x"])


@pytest.mark.parametrize("first", [20000, 58849.25])
def test_counts_with_decimals_are_not_taken_for_dates_of_excel(first: float, tmp_path: Path) -> None:
    """Seconds of half a second each, and Modified Julian Dates."""
    times = [first + i / (2 if first == 20000 else 24) for i in range(40)]
    problem = problem_of(tmp_path, times)
    assert problem.endswith("of dates as Excel numbers them, --set data.time_format=excel") == (first == 20000)
    assert read(tmp_path, [20000.5, 20001.0, 20001.5], format="excel").freq == "12h"
    assert "not times" in problem_of(tmp_path, [43831 + i / 24 for i in range(1, 9)], format="integer")


def test_days_of_months_are_no_years(tmp_path: Path) -> None:
    weeks = pd.date_range("2003-01-03", periods=30, freq="W").strftime("%b-%d")
    assert "cell(s) are not times" in problem_of(tmp_path, [*weeks])


@pytest.mark.parametrize(
    ("times", "first", "freq", "season", "note"),
    [
        (MONTHS, "2000-01-01", "MS", 12, "YYYYMM, read as months"),
        ([20191230, 20191231, 20200101], "2019-12-30", "D", 7, "YYYYMMDD, read as days"),
        (list(HOURS.strftime("%Y%m%d%H")), "2019-02-27", "h", 24, "YYYYMMDDHH, read as hours"),
        ([2019022723, 2019022724, 2019022801], "2019-02-27 23:00", "h", 24, "YYYYMMDDHH, read as hours"),
        (list(HOURS.strftime("%Y%m%d%H%M")), "2019-02-27", "h", 24, "YYYYMMDDHHMM, read as minutes"),
        (
            [1546300800 + HOUR * i for i in range(50)],
            "2019-01-01T00Z",
            "h",
            24,
            "Unix seconds, read as times in UTC",
        ),
        (
            [1000 * (1546300800 + HOUR * i) for i in range(50)],
            "2019-01-01T00Z",
            "h",
            24,
            "Unix milliseconds, read as times in UTC",
        ),
        ([10**9 * (1546300800 + i) for i in range(9)], "2019-01-01T00Z", "s", 60, "Unix nanoseconds"),
        (["1991 Jul", "1991 Aug", "1991 Sep"], "1991-07-01", "MS", 12, "'1991 Jul', read as 1991-07-01 (%Y %b)"),
        (["May 1991", "June 1991"], "1991-05-01", "MS", 12, "'May 1991', read as 1991-05-01 (%B %Y)"),
        (["1970Q1", "1970Q2", "1970Q3"], "1970-01-01", "QS-JAN", 4, "(%YQ%q)"),
        (["1970-Q3", "1970-Q4", "1971-Q1"], "1970-07-01", "QS-JAN", 4, "(%Y-Q%q)"),
        (["11/2000", "12/2000", "01/2001"], "2000-11-01", "MS", 12, "(%m/%Y)"),
        (["2000M11", "2000M12", "2001M01"], "2000-11-01", "MS", 12, "(%YM%m)"),
        (["2020-W52", "2020-W53", "2021-W01"], "2020-12-21", "W-MON", 52, "(%G-W%V)"),
        (["30-Jan-20", "31-Jan-20", "01-Feb-20"], "2020-01-30", "D", 7, "'30-Jan-20', read as 2020-01-30 (%d-%b-%y)"),
        (["30 Jun 98 22:00", "30 Jun 98 23:00"], "1998-06-30 22:00", "h", 24, "(%d %b %y %H:%M)"),
        (["30/01/2020", "31/01/2020", "01/02/2020"], "2020-01-30", "D", 7, "(day first, %d/%m/%Y)"),
        (["01/30/20", "01/31/20", "02/01/20"], "2020-01-30", "D", 7, "(month first, %m/%d/%y)"),
        (["30.01.20", "31.01.20", "01.02.20"], "2020-01-30", "D", 7, "(day first, %d.%m.%y)"),
        (["20/01/30", "20/01/31", "20/02/01"], "2020-01-30", "D", 7, "(%y/%m/%d)"),
        (["1/31/20 0:00", "1/31/20 1:00"], "2020-01-31", "h", 24, "(month first, %m/%d/%y %H:%M)"),
        (["01/31/20 11:00 AM", "01/31/20 12:00 PM"], "2020-01-31 11:00", "h", 24, "%I:%M %p)"),
        (["Dec-04", "Jan-05", "Feb-05"], "2004-12-01", "MS", 12, "'Dec-04', read as 2004-12-01 (%b-%y)"),
        (["11.2004", "12.2004", "01.2005"], "2004-11-01", "MS", 12, "'11.2004', read as 2004-11-01 (%m.%Y)"),
        (["2004年11月", "2004年12月", "2005年01月"], "2004-11-01", "MS", 12, "(%Y年%m月)"),
        (["2020年01月31日", "2020年02月01日"], "2020-01-31", "D", 7, "(%Y年%m月%d日)"),
        (["KW 52 2020", "KW 53 2020", "KW 01 2021"], "2020-12-21", "W-MON", 52, "(KW %V %G)"),
        ([37987, 38018, 38047, 38078], "2004-01-01", "MS", 12, "dates as Excel numbers them (37987 is 2004-01-01)"),
        ([44166.0, "44166.0416666667", "44166.0833333333"], "2020-12-01", "h", 24, "dates as Excel numbers them"),
        (["1/30/2020 0:00", "1/31/2020 0:00", "2/1/2020 0:00"], "2020-01-30", "D", 7, "(month first, %m/%d/%Y"),
        (["30.01.2020 23:00", "30.01.2020 24:00"], "2020-01-30 23:00", "h", 24, "(day first, %d.%m.%Y %H:%M)"),
    ],
)
def test_what_is_understood_is_said_and_the_next_time_is_written_alike(
    times: list[object], first: str, freq: str, season: int, note: str, tmp_path: Path
) -> None:
    panel = read(tmp_path, times)

    assert isinstance(panel.time, pd.DatetimeIndex)
    assert (panel.time[0], panel.freq, panel.season) == (pd.Timestamp(first), freq, season)
    (line,) = panel.notes
    assert line.startswith("times: 'ds' holds ")
    assert note in line
    form = panel.time_format or ""
    again = written(panel.time, form)
    assert read(tmp_path, [*again, *written(following(panel.time, panel.freq, 2), form)]).freq == freq
    if "24" not in str(times[1]) and "0:00" not in str(times[0]):
        assert [str(cell) for cell in again] == [str(cell) for cell in times]


def test_digits_in_texts_are_read_as_numbers_are(tmp_path: Path) -> None:
    pd.DataFrame({"ds": [str(month) for month in MONTHS], "y": range(240)}).to_parquet(tmp_path / "x.parquet")
    panel = read_panel(tmp_path / "x.parquet", PanelColumns(plain=True))
    assert (panel.freq, panel.time_format) == ("MS", "%Y%m")


def test_a_column_of_months_is_proposed_as_the_time_column(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'Month' looks like the time column: --time Month"):
        read(tmp_path, MONTHS, header="Month,y")


def test_a_panel_of_months(tmp_path: Path) -> None:
    rows = [f"{name},{month}" for name in "abc" for month in MONTHS[:60]]
    panel = read(tmp_path, rows, header="unique_id,ds,y")
    assert (panel.ids, panel.freq, len(panel.time)) == (("a", "b", "c"), "MS", 180)


@pytest.mark.parametrize(
    "times",
    [
        range(190001, 190014),  # there is no 13th month
        range(0, 300, 100),
        range(1990, 2020),  # a year a row: the same steps
        range(100_000_001, 100_000_100),
        [202001],
        [0, 3600, 7200],
    ],
)
def test_whole_numbers_that_are_counts(times: Sequence[int], tmp_path: Path) -> None:
    panel = read(tmp_path, times)
    assert (panel.time.tolist(), panel.freq, panel.season, panel.notes) == (list(times), None, 1, ())


def test_whole_numbers_most_of_which_are_dates_are_refused_with_what_settles_it(tmp_path: Path) -> None:
    times = [*MONTHS[:30], 200213, *MONTHS[30:]]
    problem = problem_of(tmp_path, times)
    assert "1 cell(s) are not times (row 32: '200213'); correct them, for the others are dates" in problem
    assert problem.endswith("--set data.time_format=integer")
    assert read(tmp_path, MONTHS[:12], format="integer").time.tolist() == MONTHS[:12]


def test_day_and_month_that_cannot_be_told_apart(tmp_path: Path) -> None:
    times = ["01/02/2020", "01/03/2020", "01/04/2020"]
    assert "--set data.dayfirst=true" in problem_of(tmp_path, times)
    assert read(tmp_path, times, day_first=True).freq == "MS"
    assert read(tmp_path, times, day_first=False).freq == "D"
    assert "2 cell(s) are not times" in problem_of(tmp_path, ["30/01/2020", "31/01/2020"], day_first=False)
    assert read(tmp_path, times, usual="%d/%m/%Y").notes == ()  # a model's order
    assert read(tmp_path, times, usual="%d/%m/%Y", day_first=False).freq == "D"


@pytest.mark.parametrize("form", ["%Y-%d-%m", "%d/%m/%Y", "%Y%m%d", "unix_s"])
def test_a_format_that_is_given_is_kept_to(form: str, tmp_path: Path) -> None:
    times = pd.date_range("2020-02-01", periods=10)
    panel = read(tmp_path, list(written(times, form)), format=form)
    assert panel.time.tz_localize(None).equals(times)
    assert f"1 cell(s) are not times (row 2: '{'202013' if form == '%Y%m%d' else 'x'}')" in problem_of(
        tmp_path, ["202013" if form == "%Y%m%d" else "x"], format=form
    )


def test_a_models_format_is_tried_first_and_others_are_read_too(tmp_path: Path) -> None:
    for times, usual in (
        (MONTHS[:12], "%d/%m/%Y"),
        (["1991 Jul", "1991 Aug"], "%Y%m"),
        (["2020-01", "2020-02"], "%Y%m"),
    ):
        assert read(tmp_path, times, usual=usual).freq == "MS"
    assert read(tmp_path, [200001, 200002], usual="integer").freq is None


def test_the_end_of_a_day(tmp_path: Path) -> None:
    times = ["2020-02-28 22:00", "2020-02-28 23:00", "2020-02-28 24:00", "2020-02-29 01:00"]
    assert str(read(tmp_path, times).time[2]) == "2020-02-29 00:00:00"
    assert "row 4: '2020-02-28 24:30'" in problem_of(tmp_path, [*times[:2], "2020-02-28 24:30"])


def test_each_text_of_many_is_parsed_once_and_stands_where_it_stood() -> None:
    days = pd.date_range("2020-01-20", periods=30)
    order = np.random.default_rng(0).integers(0, 30, 30_000)
    texts = pd.Series(days.strftime("%d/%m/%Y").to_numpy()[order], dtype="str")
    texts[17] = None
    times = read_texts(texts, "%d/%m/%Y")
    assert times[17] is pd.NaT
    assert times.delete(17).equals(days[order].delete(17))


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        *(
            (form, True)
            for form in ("integer", "unix_ms", "%Y%m", "%d/%m/%Y %H:%M", "%Y-Q%q", "%G-W%V", "%b %Y", "%y%m")
        ),
        *((form, False) for form in ("", "epoch", "%Q", "%d/%m", "%Y%Y", "%m-Q%q", "%Y %")),
    ],
)
def test_formats(text: str, fine: bool) -> None:
    assert is_format(text) is fine


@pytest.mark.parametrize("freq", ["7h", "D"])  # days: every time is midnight, as far as is looked
@pytest.mark.parametrize("form", ["%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y %I:%M %p", "%Y-%m-%d %I:%M:%S%p", "%G W%V"])
def test_hours_to_twelve_and_spaced_weeks_are_read_and_written_alike(form: str, freq: str, tmp_path: Path) -> None:
    times = pd.date_range("2020-01-06", periods=40, freq="W-MON" if "W" in form else freq)
    panel = read(tmp_path, list(written(times, form)))
    assert (panel.time.equals(times.as_unit("us")), panel.time_format) == (True, form)


def test_an_order_that_the_cells_show_goes_before_the_models(tmp_path: Path) -> None:
    times = pd.date_range("2020-01-01", periods=40)
    for form, usual in (("%m/%d/%Y", "%d/%m/%Y"), ("%d/%m/%Y", "%m/%d/%Y")):
        assert read(tmp_path, list(times.strftime(form)), usual=usual).time.equals(times.as_unit("us"))


def test_cells_that_are_no_times_name_the_key_of_their_form(tmp_path: Path) -> None:
    assert "--set data.time_format=" in problem_of(tmp_path, ["1 of May", "2 of May"])


WEEKS = pd.date_range("2015-01-05", periods=150, freq="W-MON")
DAYS = pd.date_range("2020-01-01", periods=200)


@pytest.mark.parametrize(
    ("times", "form", "after"),
    [
        (WEEKS.strftime("%G%V").tolist(), "%G%V", 201747),
        ([10 * year + quarter for year in range(1960, 2010) for quarter in range(1, 5)], "%Y%q", 20101),
    ],
)
def test_whole_numbers_of_weeks_and_quarters(times: Sequence[object], form: str, after: int, tmp_path: Path) -> None:
    panel = read(tmp_path, times)
    assert panel.time_format == form
    assert written(panel.time, form).tolist() == list(map(int, map(str, times)))
    assert written(pd.DatetimeIndex(following(panel.time, panel.freq, 1)), form).tolist() == [after]
    assert read(tmp_path, times[:3], usual=form).time_format == form


@pytest.mark.parametrize(
    ("times", "form"),
    [
        (DAYS.strftime("%d%m%Y").tolist(), "%d%m%Y"),
        (DAYS.strftime("%m%d%Y").tolist(), "%m%d%Y"),
        (DAYS.strftime("%y%m%d").tolist(), "%y%m%d"),
        (WEEKS.delete(20).strftime("%G%V").tolist(), "%G%V"),
    ],
)
def test_whole_numbers_that_may_be_dates_are_refused_with_their_form(
    times: Sequence[str], form: str, tmp_path: Path
) -> None:
    problem = problem_of(tmp_path, times)
    assert f"--set data.time_format={form} " in problem
    assert isinstance(problem, Problem)
    assert problem.fix == {"data.time_format": form}
    if form != "%G%V":
        assert read(tmp_path, times, format=form).time.equals(pd.DatetimeIndex(DAYS))

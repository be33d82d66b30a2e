"""Times that stand in several columns or in none, and series that several columns name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optlstm.data.key_columns import split_id
from optlstm.data.panel import Panel
from optlstm.data.panel_reader import PanelColumns, read_panel
from optlstm.errors import InputError, Problem

HOURS = pd.date_range("2010-02-27 20:00", periods=60, freq="h")


def read(folder: Path, text: str, **columns: object) -> Panel:
    (folder / "x.csv").write_text(text)
    return read_panel(folder / "x.csv", PanelColumns(**columns))  # type: ignore[arg-type]


def lines(header: str, *rows: str) -> str:
    return "\n".join([header, *(f"{row},{i}" for i, row in enumerate(rows))]) + "\n"


@pytest.mark.parametrize(
    ("header", "form", "time", "read_as"),
    [
        ("year,month,day,hour", "%Y,%m,%d,%H", "year,month,day,hour", ""),
        ("Day,Mon,Year,hr", "%d,%b,%Y,%H", "Year,Mon,Day,hr", ""),
        ("Date,Time", "%d/%m/%Y,%H:%M:%S", "Date,Time", "day first, %d/%m/%Y"),
        ("Date,Time", "%Y-%m-%d,%H.%M", "Date,Time", ""),
        ("Date,Time", "%Y-%m-%d,%I:%M %p", "Date,Time", ""),
        ("date,hr", "%Y%m%d,%H", "date,hr", "YYYYMMDD, read as days"),
        ("date,hhmm", "%Y-%m-%d,%H%M", "date,hhmm", ""),
    ],
)
def test_times_in_several_columns(header: str, form: str, time: str, read_as: str, tmp_path: Path) -> None:
    panel = read(tmp_path, lines(f"{header},y", *HOURS.strftime(form)), time=time)
    assert (panel.freq, panel.season, panel.time.name) == ("h", 24, time)
    assert panel.time.equals(HOURS.as_unit("us"))
    (note,) = panel.notes
    assert note.startswith("times: ")
    assert f"are read together, the first row as {HOURS[0]}" in note
    assert read_as in note


def test_hour_24_and_months_alone(tmp_path: Path) -> None:
    days = [f"2010,12,31,{hour}" for hour in (22, 23, 24)]
    panel = read(tmp_path, lines("year,month,day,hour,y", *days), time="year,month,day,hour")
    assert str(panel.time[-1]) == "2011-01-01 00:00:00"
    panel = read(tmp_path, lines("year,month,y", "2010,11", "2010,12", "2011,1"), time="year,month")
    assert panel.freq == "MS"


@pytest.mark.parametrize(
    ("header", "cells", "first", "freq"),
    [
        ("year,week", "2020,52 2020,53 2021,1", "2020-12-21", "W-MON"),
        ("KW,Jahr", "W52,2020 W53,2020 W1,2021", "2020-12-21", "W-MON"),
        ("Year,Quarter", "1990,Q3 1990,Q4 1991,Q1", "1990-07-01", "QS-JAN"),
        ("year,qtr", "1990,3 1990,4 1991,1", "1990-07-01", "QS-JAN"),
        ("Jahr,Monat,Tag", "2020,2,28 2020,2,29 2020,3,1", "2020-02-28", "D"),
    ],
)
def test_weeks_quarters_and_other_languages(header: str, cells: str, first: str, freq: str, tmp_path: Path) -> None:
    text = lines(f"{header},y", *cells.split())
    panel = read(tmp_path, text, time=header)
    assert (str(panel.time[0].date()), panel.freq) == (first, freq)
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    (problem,) = caught.value.problems
    assert isinstance(problem, Problem)
    assert sorted(problem.fix["data.time"].split(",")) == sorted(header.split(","))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "time", "problem"),
    [
        (
            lines("year,month,day,y", "2011,2,29", "2011,3,1"),
            "year,month,day",
            "1 row(s) are not times (row 2: 2011 2 29)",
        ),
        (lines("year,month,day,y", "2011,2,", "2011,3,1"), "year,month,day", "1 empty cell(s) (row 2); fill them in"),
        (lines("year,day,y", "2011,2", "2011,3"), "year,day", "--time: year, day are not year, month, day, hour"),
        (lines("d,t,y", "2011-01-01,1", "2011-01-01,2"), "d,t", "hours are those of a column named hour"),
        (lines("d,t,y", "01/02/2011,1:00", "01/02/2011,2:00"), "d,t", "--set data.dayfirst=true"),
        (lines("year,month,day,y", "2011,2,1"), "", "looks like the time column: --time year,month,day"),
        (lines("year,month,y", "2011,2"), "year,mnth", "column 'mnth' not found"),
        (lines("a,y", "u"), "", "or --time row where there is none and the rows are in order"),
    ],
)
def test_columns_that_are_no_times(text: str, time: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text, time=time or None)
    assert len(caught.value.problems) == 1
    assert problem in caught.value.problems[0]


@pytest.mark.parametrize(
    ("text", "time", "target"),
    [
        (lines("No,year,month,day,hour,y1", *(f"{i + 1},2010,1,1,{i}" for i in range(9))), "year,month,day,hour", "y1"),
        (lines("Date,Time,load", *("16/12/2006,17:24:00", "16/12/2006,17:25:00")), "Date,Time", "load"),
        (lines("Date,Time,CO", *("10/03/2004,18.00.00", "10/03/2004,19.00.00")), "Date,Time", "CO"),
        (lines("instant,dteday,hr,cnt", *(f"{i},2011-01-01,{i}" for i in range(9))), "dteday,hr", "cnt"),
        (lines("date,close", "01/02/2020", "01/03/2020"), "date", "close"),
        (lines("date,T", *(f"2020-01-0{i}" for i in range(1, 9))), "date", "T"),
    ],
)
def test_columns_that_look_like_the_time_are_proposed(text: str, time: str, target: str, tmp_path: Path) -> None:
    header, *rows = [line.rsplit(",", 1) for line in text.splitlines()]
    text = "\n".join([",".join(header), *(f"{cells},{i * i % 7}" for i, (cells, _) in enumerate(rows))])
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    fixes = [line.fix for line in caught.value.problems if isinstance(line, Problem)]
    assert fixes == [{"data.time": time}, {"data.target": target}]


def test_no_time_column_at_all(tmp_path: Path) -> None:
    panel = read(tmp_path, "y\n5\n7\n6\n", time="row", plain=True)
    assert (panel.time.tolist(), panel.time.name, panel.freq) == ([0, 1, 2], "row", None)
    assert panel.notes == ("times: none; the rows are in order, numbered from 0",)
    mixed = read(tmp_path, "unique_id,y\na,5\nb,7\na,6\nb,8\na,9\n", time="row")
    assert (mixed.time.tolist(), mixed.values[:, 0].tolist()) == ([0, 1, 2, 0, 1], [5, 6, 9, 7, 8])
    assert read(tmp_path, "row,y\n5,1\n7,2\n", time="row").time.tolist() == [5, 7]  # a column of this name


def test_series_in_several_columns(tmp_path: Path) -> None:
    names = [("1", "a"), ("1", 'b,"c'), ("2", "a")]
    rows = [(*name, day) for day in ("2020-01-01", "2020-01-02") for name in names]
    frame = pd.DataFrame(rows, columns=["store", "item", "ds"]).assign(y=range(6))
    frame.to_csv(tmp_path / "x.csv", index=False)
    panel = read_panel(tmp_path / "x.csv", PanelColumns(series="store,item", static=["store"]))
    assert [tuple(split_id(name)) for name in panel.ids] == names
    assert panel.ids[0] == "1,a"
    assert np.diff(panel.starts).tolist() == [2, 2, 2]
    assert panel.values[:, 0].tolist() == [0, 3, 1, 4, 2, 5]
    frame.to_parquet(tmp_path / "x.parquet")
    assert read_panel(tmp_path / "x.parquet", PanelColumns(series="store,item")).ids == panel.ids
    frame.assign(item=frame["item"].where(frame["y"] != 4)).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(InputError, match=r"column 'store,item' of x.csv: 1 row\(s\) name no series \(row 6\)"):
        read_panel(tmp_path / "x.csv", PanelColumns(series="store,item"))


def test_what_keys_have_of_a_column_no_covariate_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column 'hour' is asked for more than once"):
        read(tmp_path, lines("year,month,day,hour,y", "2011,2,1,0"), time="year,month,day,hour", past=["hour"])


def test_totals_of_series_of_several_columns_are_series(tmp_path: Path) -> None:
    rows = [f"{land},{region},{i},{i}" for land, region in (("DE", ""), ("DE", "BY"), ("FR", "")) for i in range(3)]
    text = "\n".join(["land,region,ds,y", *rows])
    panel = read(tmp_path, text, series="land,region")
    assert panel.ids == ("DE,", "DE,BY", "FR,")
    assert panel.notes == ("data: 6 rows of x.csv with an empty 'region': series of their own",)
    assert split_id(panel.ids[0]) == ["DE", ""]
    with pytest.raises(InputError, match=r"3 row\(s\) name no series"):
        read(tmp_path, text.replace("FR", ""), series="land,region")
    with pytest.raises(InputError, match=r"6 row\(s\) name no series .* by more columns: --series COL,COL"):
        read(tmp_path, text, series="region")

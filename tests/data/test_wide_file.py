"""Files with a column for each time: named as such, with lines that make them what is read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optlstm.data.panel_reader import PanelColumns, read_panel
from optlstm.data.panel_time import RowRules
from optlstm.errors import InputError, Problem

ROWS = np.arange(36).reshape(3, 12) + 0.5


def wide(names: list[str], **others: object) -> pd.DataFrame:
    return pd.concat([pd.DataFrame(others, index=range(3)), pd.DataFrame(ROWS[:, : len(names)], columns=names)], axis=1)


def refusal(path: Path, **columns: object) -> Problem:
    with pytest.raises(InputError) as caught:
        read_panel(path, PanelColumns(**columns))  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    assert isinstance(problem, Problem)
    return problem


MONTHS = [f"{month:%b}" for month in pd.date_range("2020-01-01", periods=12, freq="MS")]
FILES = {
    "days": (wide([f"2020-01-{day:02}" for day in range(1, 11)], shop=list("abc")), 3, "D"),
    "American days": (wide([f"1/{day}/20" for day in range(4, 15)], shop=list("abc"), lat=[1.5, 2.5, 3.5]), 3, "D"),
    "months": (wide([f"2020-{month:02}" for month in range(1, 13)], land=list("aab"), region=list("xyx")), 3, "MS"),
    "named months": (wide([f"{month}-20" for month in MONTHS], shop=list("abc")), 3, "MS"),
    "years": (wide([str(year) for year in range(1990, 2002)], code=list("abc")), 3, None),
    "years of a bank": (wide([f"{y} [YR{y}]" for y in range(1990, 2002)], code=list("abc")), 3, None),
    "months of years": (wide(MONTHS, Year=[2001, 2002, 2003]), 1, "MS"),
    "hours of days": (
        wide([f"{hour:02}:00" for hour in range(0, 24, 2)], date=["2020-01-01", "2020-01-02", "2020-01-03"]),
        *(1, "2h"),
    ),
    "numbered": (pd.DataFrame({"V1": list("ab"), **{f"V{i}": [1.5 * i, 2.5] for i in range(2, 40)}}), 2, None),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_line_makes_a_file_that_the_command_reads(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, series, freq = FILES[kind]
    monkeypatch.chdir(tmp_path)
    frame.to_csv("x.csv", index=False)

    problem = refusal(Path("x.csv"))

    assert "x.csv has a column for each time (" in problem
    code = re.search('python -c "(.*)"$', problem)
    assert code is not None
    exec(code[1], {})
    given = dict(zip(problem.instead[1::2], problem.instead[2::2], strict=True))
    panel = read_panel(
        Path(given["--data"]),
        PanelColumns(given.get("--time"), None, given.get("--series"), rules=RowRules(sort="--set" in given)),
    )
    assert (len(panel.ids), panel.freq, panel.values.size) == (
        series,
        freq,
        frame.select_dtypes(float).size - 3 * ("lat" in frame),
    )


def test_a_title_above_and_an_empty_column_behind_are_left_out(tmp_path: Path) -> None:
    header = ",".join(["Country", *map(str, range(1990, 2002)), ""])
    rows = [",".join([f"C{i}", *["1.5"] * 12, ""]) for i in range(4)]
    (tmp_path / "x.csv").write_text("\n".join(['"Source",', "", header, *rows]))
    assert "skiprows=2).drop(columns=['Unnamed: 13']).melt(['Country']" in refusal(tmp_path / "x.csv")


@pytest.mark.parametrize(
    "names", [["a-01", "a-02", "a-03", "a-04", "a-05", "a-06"], ["1.5", "2.5", "3.5", "4.5", "5.5"]]
)
def test_other_names_with_numbers_are_no_times(names: list[str], tmp_path: Path) -> None:
    wide(names, date=["2020-01-01", "2020-01-02", "2020-01-03"]).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(InputError, match="no time column"):
        read_panel(tmp_path / "x.csv", PanelColumns())


def test_all_columns_alike_are_targets_by_a_pattern(tmp_path: Path) -> None:
    frame = pd.DataFrame({"ds": range(9), "shop 1": range(9), "shop 2": range(9), "x": range(9), "a, b": range(9)})
    frame.to_csv(tmp_path / "x.csv", index=False)

    def targets(*names: str, **more: object) -> tuple[str, ...]:
        return read_panel(tmp_path / "x.csv", PanelColumns(target=names, **more)).columns  # type: ignore[arg-type]

    assert targets("shop*") == ("shop 1", "shop 2")
    assert targets("*", past=["x"]) == ("shop 1", "shop 2", "a, b")
    assert targets("x", "a", "b") == ("x", "a, b")  # as the command line cuts `x,a, b`
    with pytest.raises(InputError, match=r"column 'z\*' not found"):
        targets("z*")
    with pytest.raises(InputError, match="no target column") as caught:
        read_panel(tmp_path / "x.csv", PanelColumns())
    assert "choose from" in str(caught.value)

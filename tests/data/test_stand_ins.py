"""Values that stand for a gap: named, or pointed out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optlstm.data.file_format import TOLD, FileOptions
from optlstm.data.panel import Panel
from optlstm.data.panel_reader import PanelColumns, read_panel
from optlstm.data.sequence_columns import SequenceColumns
from optlstm.data.sequence_reader import read_sequences
from optlstm.errors import InputError, Problem

AIR = [2.5, -200, 3.5, -200, 4.5, -200, 5]


def panel(folder: Path, cells: list[object], options: FileOptions = TOLD) -> Panel:
    path = folder / "air.csv"
    path.write_text("ds,y\n" + "".join(f"2020-01-{i + 1:02},{cell}\n" for i, cell in enumerate(cells)))
    return read_panel(path, PanelColumns(gaps=True, options=options))


def pointed_out(read: Panel) -> list[str]:
    return [note for note in read.notes if "stands" in note]


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        (AIR, "-200"),
        ([*range(20), 999, 999, 999], "999"),
        ([1, -99.9, 2, -99.9, -99.9, ""], "-99.9"),
        ([*range(-3, 4), -200, -200], None),  # not often
        ([-150, -200, -180, -200, -200], None),  # not far from all else
        ([*range(90, 100), 99, 99], None),
        ([-5, -5, -5, 1, 2], None),
        ([-200, -200, -200], None),
        (["", "", ""], None),
    ],
)
def test_a_value_that_may_stand_for_a_gap_is_pointed_out_and_kept(
    cells: list[object], value: str | None, tmp_path: Path
) -> None:
    read = panel(tmp_path, cells)
    assert [str(cell) for cell in cells if cell != ""] == [f"{v:g}" for v in read.values[:, 0] if not np.isnan(v)]
    note = f"data: {value} stands 3 times in column 'y' of air.csv, far from all else; if it stands for a missing value"
    assert pointed_out(read) == ([] if value is None else [f"{note}, --set data.missing={value}"])


@pytest.mark.parametrize("cells", [AIR, [cell if cell != -200 else "?" for cell in AIR]])
def test_named_values_are_gaps(cells: list[object], tmp_path: Path) -> None:
    read = panel(tmp_path, cells, FileOptions(missing=(-200, "?")))
    np.testing.assert_array_equal(read.values[:, 0], [2.5, np.nan, 3.5, np.nan, 4.5, np.nan, 5.0])
    assert pointed_out(read) == []


def test_whole_numbered_times_are_no_gaps(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("ds,y\n0,0\n1,5\n2,6\n")
    read = read_panel(path, PanelColumns(gaps=True, options=FileOptions(missing=(0,))))
    assert read.time.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(read.values[:, 0], [np.nan, 5, 6])


def test_a_named_value_ends_a_sequence(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("label,t0,t1,t2\na,1,2,3\nb,4,-999,-999\nb,5,-999,-999\n")
    sequences = read_sequences(path, SequenceColumns(options=FileOptions(missing=(-999,))))
    assert sequences.values[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert sequences.starts.tolist() == [0, 3, 4, 5]
    (note,) = read_sequences(path, SequenceColumns()).notes
    assert note.startswith("data: -999 stands 4 times in 3 columns of s.csv")


@pytest.mark.parametrize(("mark", "typed"), [("?", "'?'"), (".", "."), ("n.v.", "n.v.")])
def test_a_text_in_place_of_several_numbers_is_proposed(mark: str, typed: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        panel(tmp_path, [1.5, mark, 2, mark])
    (problem,) = caught.value.problems
    rows = f"(row 3: '{mark}', row 5: '{mark}'); if it stands for a missing value, --set data.missing={typed}"
    assert problem == f"data: column 'y' of air.csv: 2 cell(s) are not numbers {rows}"
    assert isinstance(problem, Problem)
    assert problem.fix == {"data.missing": mark}
    assert np.isnan(panel(tmp_path, [1.5, mark, 2, mark, 3], FileOptions(missing=(mark,))).values[:, 0]).sum() == 2

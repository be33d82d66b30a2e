"""docs/tutorial.ipynb runs in a Jupyter kernel, and each cell shows what it is to show."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "docs-notebook"))


def test_it_runs_and_the_stored_outputs_are_of_its_cells(tmp_path: Path) -> None:
    stored = outputs(SCRIPT["nbformat"].read(SCRIPT["NOTEBOOK"], as_version=4))
    made = outputs(SCRIPT["run"](str(tmp_path)))

    assert {cell: [kinds for kinds, _ in shown] for cell, shown in made.items()} == {
        cell: [kinds for kinds, _ in shown] for cell, shown in stored.items()
    }
    ((_, progress),) = made["result = optlstm.tune("]  # all lines in one output, which was updated in place
    assert re.findall(r"^trial +\d", progress, re.MULTILINE) == [f"trial   {number}" for number in range(6)]
    assert "the DataFrame, 730 rows" in progress
    assert "calendar=True" in progress
    assert [kinds for kinds, _ in made['result.plot("history");']] == [{"image/png", "text/plain"}]
    assert "baseline" in made["model = result.refit(top=1)"][-1][1]


def outputs(notebook: Any) -> dict[str, list[tuple[set[str], str]]]:
    """The first line of each cell of code -> of each output its forms, and its text."""
    return {
        cell.source.split("\n")[0]: [
            (set(o.get("data", {})), o.get("data", {}).get("text/plain", "")) for o in cell.outputs
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    }

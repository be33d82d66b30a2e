"""Series of many that are too short: refused, or left out of the study with a note."""

from __future__ import annotations

from pathlib import Path

import pytest

from optlstm.errors import InputError
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig


def write(path: Path, *lengths: int) -> str:
    rows = [f"s{i},{at},{(at * 7) % 5}.5" for i, n in enumerate(lengths) for at in range(n)]
    path.write_text("\n".join(["unique_id,ds,y", *rows]))
    return str(path)


def read(path: str, short: str = "omit", **more: object) -> Forecast:
    return Forecast.read(DataConfig.model_validate({"path": path, "horizon": 4, "short": short, **more}))


@pytest.mark.parametrize(
    ("more", "kept"),
    [({}, ("s0", "s2", "s3")), ({"splits": (20, 6, 6)}, ("s0", "s2", "s3")), ({"splits": (20, 10, 10)}, ("s0", "s2"))],
)
def test_short_series_are_left_out_and_named(tmp_path: Path, more: dict[str, object], kept: tuple[str, ...]) -> None:
    path = write(tmp_path / "p.csv", 60, 3, 50, 22)

    task = read(path, **more)

    assert task.panel.ids == kept
    assert f"data: {4 - len(kept)} of 4 series" in task.warnings[0]
    assert "too short: 's1' (3 rows)" in task.warnings[0]
    assert task.record()["short"] == "omit"
    assert task.record()["series"] == len(kept)
    task.check_space(NoSpace())
    with pytest.raises(InputError, match=r"too short.*--short omit"):
        read(path, "refuse", **more)


class NoSpace:
    """The smallest window, and nothing else."""

    def largest(self, name: str) -> int:
        return 1

    def allows(self, **values: object) -> bool:
        return False


def test_where_none_is_short_all_is_as_before(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", 60, 50)

    asked, usual = read(path), read(path, "refuse")

    assert (asked.panel.ids, asked.cuts.tolist()) == (usual.panel.ids, usual.cuts.tolist())
    assert asked.warnings == usual.warnings
    assert asked.record() == {**usual.record(), "short": "omit"}


def test_where_all_are_short_they_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="validation gets none of the 5 rows"):
        read(write(tmp_path / "p.csv", 5, 5))

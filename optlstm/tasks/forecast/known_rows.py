"""Whether a file holds the series that a model was made from: the model's card has some of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optlstm.data.frequency import ticks_of
from optlstm.data.panel import Panel
from optlstm.tasks.base import CardPart, Text
from optlstm.tasks.forecast.errors import finite
from optlstm.util.arrays import Floats, row_ranges
from optlstm.util.format import many

_ROWS, _COLUMNS = 64, 8  # of a model's data that are kept
_CHANGED, _OTHER = 1e-3, 0.1  # deviations: of a value that is another one; of half the values of another series


class KnownRow(CardPart):
    """A row of the data.

    Args:
        time: as `ticks_of`.
        values: of the first columns.
    """

    series: Text
    time: int
    values: list[float | None]


def known_rows(panel: Panel) -> list[KnownRow]:
    """Rows of all series together, the denser the nearer they are to the end: a newer file may have lost the older."""
    rows, series = row_ranges(panel.starts[:-1], panel.known)
    by_age = rows[np.argsort((panel.starts[:-1] + panel.known)[series] - rows, kind="stable")]
    kept = np.unique(np.geomspace(1, max(1, len(rows)), _ROWS).astype(np.int64)) - 1
    ticks = ticks_of(panel.time)
    return [
        KnownRow(
            series=panel.ids[int(np.searchsorted(panel.starts, row, side="right")) - 1],
            time=int(ticks[row]),
            values=[finite(value) for value in panel.values[row, :_COLUMNS].tolist()],
        )
        for row in by_age[kept].tolist()
    ]


@dataclass(frozen=True)
class Likeness:
    """A file beside the rows that a model knows.

    Args:
        distances: of its values from those, in the deviations that the model scales by; of rows that both have.
    """

    file: str
    distances: Floats

    @classmethod
    def of(cls, panel: Panel, known: Sequence[KnownRow], std: Floats) -> Likeness:
        """Args: std: of the panel's series and columns."""
        position, ticks = {name: i for i, name in enumerate(panel.ids)}, ticks_of(panel.time)
        distances = []
        for row in known:
            i = position.get(row.series)
            if i is None:
                continue
            rows = panel.rows(i)
            at = rows.start + int(np.searchsorted(ticks[rows], row.time))
            if at < rows.stop and ticks[at] == row.time:
                before = np.array(row.values, dtype=np.float64)  # None becomes NaN
                distances.append(np.abs(panel.values[at, :_COLUMNS] - before) / std[i, :_COLUMNS])
        joined = np.concatenate(distances) if distances else np.empty(0)
        return cls(panel.file, joined[~np.isnan(joined)])

    @property
    def changed(self) -> int:
        """How many values are others."""
        return int((self.distances > _CHANGED).sum())

    @property
    def is_other(self) -> bool:
        """Whether it is another series, and not one of which values were corrected."""
        return bool(len(self.distances)) and float(np.median(self.distances)) > _OTHER

    @property
    def as_other(self) -> str:
        return (
            f"data: {self.file} is another series than the model was made from: {self.changed} of"
            f" {many(len(self.distances), 'value')} compared differ, by {np.median(self.distances):.2g} standard"
            " deviations (median)"
        )

"""Series of one table with their covariates, as the rest of the program sees them. One series is a panel too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.table import SHOWN, dataset_name
from optlstm.util.arrays import Floats, Integers, row_ranges
from optlstm.util.format import first_few, quoted


@dataclass(frozen=True, eq=False)
class Categories:
    """A column of categories. codes: int32, one a row (or series), of `names`; -1: none."""

    codes: npt.NDArray[np.int32]
    names: tuple[str, ...]


Column = Floats | Categories


@dataclass(frozen=True, eq=False)
class Panel:
    """Series one after the other: series i is rows starts[i] to starts[i + 1], in order of time, none missing.

    Its first known[i] rows have targets; those behind them are the future, of which the known covariates are given.
    Missing numbers are NaN, where gaps are allowed: `values` are the truth, and `filled` what is read in their place.
    """

    file: str  # its name
    series: str | None  # column of the series' names; None: the file is one series
    ids: tuple[str, ...]  # "" where the file is one series
    starts: Integers  # [n + 1]
    known: Integers  # [n]
    time: pd.DatetimeIndex | pd.Index  # [rows]; microseconds, in UTC where the file gave zones; or int64
    columns: tuple[str, ...]
    values: Floats  # [rows, columns], in the file's units
    covariates: Mapping[str, Column]  # by row
    static: Mapping[str, Column]  # by series
    freq: str | None  # pandas alias; None for integer time, and where every series is a single row
    season: int
    fingerprint: str  # the same for the same numbers in any format
    plain: bool  # one series, and nothing but its times and targets: see PanelColumns
    time_format: str | None = None  # of the file's cells: see `time_format`
    time_columns: tuple[str, ...] = ()  # of the file, that are the time together; none: its rows are in order
    series_columns: tuple[str, ...] = ()  # whose cells are a series' name together, as a row of a CSV file
    decimal: str | None = None  # decimal mark of the file, where it was told by its numbers
    notes: tuple[str, ...] = ()  # what was understood of the file, in a line each
    filled: Floats | None = None  # as `values`, with numbers in the gaps; None: there is no gap
    interpolated: bool = False  # whether those are made from later values, too

    @property
    def inputs(self) -> Floats:
        """The values that a forecast reads, [rows, columns]."""
        return self.values if self.filled is None else self.filled

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return dataset_name(self.file)

    def rows(self, i: int) -> slice:
        """A series' rows that have targets."""
        return slice(int(self.starts[i]), int(self.starts[i] + self.known[i]))

    def truth(self, first: Integers, horizon: int) -> Floats:
        """What forecasts from the rows `first` [n] on are scored by, [n, columns, horizon]; NaN where it is missing.

        A forecast whose last input was interpolated has none: it has read from what it forecasts.
        """
        ahead = np.lib.stride_tricks.sliding_window_view(self.values, horizon, axis=0)[first]
        if self.filled is not None and self.interpolated:
            ahead = np.where(np.isnan(self.values[first - 1])[:, :, None], np.nan, ahead)
        return ahead

    def named(self, which: Sequence[int] | Integers, notes: Sequence[object] = ()) -> str:
        """The first three of these series, each with its note: `'A' (12), 'B' (7), ...`."""
        return named([self.ids[i] for i in which[: SHOWN + 1]], notes)

    def counted(self, which: Sequence[int] | Integers) -> str:
        """`2 of 9 series of x.csv ('A', 'B')`, or `x.csv` where that is one series."""
        return (
            f"{len(which)} of {len(self.ids)} series of {self.file} ({self.named(which)})" if self.series else self.file
        )


def only(panel: Panel, which: Integers) -> Panel:
    """The panel with these series alone, in order."""
    if len(which) == len(panel.ids):
        return panel
    lengths = np.diff(panel.starts)[which]
    rows, _ = row_ranges(panel.starts[which], lengths)
    return replace(
        panel,
        ids=tuple(panel.ids[i] for i in which),
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        known=panel.known[which],
        time=panel.time[rows],
        values=panel.values[rows],
        filled=None if panel.filled is None else panel.filled[rows],
        covariates={name: taken(column, rows) for name, column in panel.covariates.items()},
        static={name: taken(column, which) for name, column in panel.static.items()},
    )


def named(ids: Sequence[str], notes: Sequence[object] = ()) -> str:
    """`'A', 'B', 'C', ...`: the first three, with their notes in brackets."""
    names = [quoted(name) for name in ids[: SHOWN + 1]]
    for i, note in enumerate(notes[: len(names)]):
        names[i] += f" ({note})"
    return first_few(names, SHOWN)


def taken(column: Column, order: Integers) -> Column:
    """Its rows (or series) in this order."""
    if isinstance(column, Categories):
        return Categories(column.codes[order], column.names)
    return column[order]

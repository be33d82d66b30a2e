"""One table in many forms: the same numbers are read back, or the file is refused; never other numbers."""

from __future__ import annotations

import csv
import datetime
import io
import itertools
import random
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from optlstm.data.panel_reader import PanelColumns, read_panel
from optlstm.data.panel_time import RowRules
from optlstm.errors import InputError

Times = Callable[[int], str]
START = datetime.datetime(2020, 1, 8)


def _month(i: int) -> tuple[int, int]:
    return 2015 + i // 12, i % 12 + 1


TIMES: dict[str, Times] = {
    "day": lambda i: f"{START + datetime.timedelta(days=i):%Y-%m-%d}",
    "hour": lambda i: f"{START + datetime.timedelta(hours=i):%Y-%m-%dT%H:%M:%S}",
    "day first": lambda i: f"{START + datetime.timedelta(days=i):%d.%m.%Y}",
    "month": lambda i: "{}{:02}".format(*_month(i)),
    "named month": lambda i: f"{datetime.date(*_month(i), 1):%Y %b}",
    "quarter": lambda i: f"{2000 + i // 4}Q{i % 4 + 1}",
    "number": str,
}


FREQUENCIES = dict(zip(TIMES, ["D", "h", "D", "MS", "MS", "QS", "None"], strict=True))


class Form(NamedTuple):
    separator: str
    decimal: str
    thousands: str
    encoding: str
    times: str
    backwards: bool
    index: str
    above: str
    units: bool
    quoting: Literal[0, 1]
    newline: str


_CHOICES: list[Sequence[Any]] = [
    [",", ";", "\t", "|", " "],
    [".", ","],
    ["", "other", "\u00a0"],
    ["utf-8", "utf-8-sig", "utf-16", "windows-1252"],
    [*TIMES],
    [False, True],
    ["first", "last", "unnamed", "no header", "beside an unnamed one"],
    ["", "\n\n", "# station 7, Ödön\n", "Station: 7\nHeight: 53\n\n"],
    [False, True],
    [csv.QUOTE_MINIMAL, csv.QUOTE_ALL],
    ["\n", "\r\n"],
]
_UNREADABLE = (",", ",", "other")  # a point in a file with commas between columns is a decimal one


_ALL = [Form(*parts) for parts in itertools.product(*_CHOICES) if parts[:3] != _UNREADABLE]
FORMS = random.Random(0).sample(_ALL, 224)
_GROUP = 7  # forms that a table is written in


# Of 0 to 3 decimals, so that columns may hold only what can be read in two ways.
VALUES = st.integers(0, 3).flatmap(
    lambda digits: st.lists(
        st.integers(-3_000_000, 3_000_000).map(lambda n: f"{n / 10**digits:.{digits}f}"), min_size=8, max_size=10
    )
)


def _written(number: str, form: Form) -> str:
    whole, _, decimals = number.removeprefix("-").partition(".")
    groups = {"": "", "other": ",.".replace(form.decimal, "")}.get(form.thousands, form.thousands)
    written = f"{int(whole):,}".replace(",", groups) + (decimals and form.decimal + decimals)
    return f"-{written}" if number.startswith("-") else written


def _file(form: Form, y: Sequence[str], z: Sequence[str]) -> bytes:
    rows = [
        [TIMES[form.times](i), _written(a, form), _written(b, form)] for i, (a, b) in enumerate(zip(y, z, strict=False))
    ]
    rows = rows[::-1] if form.backwards else rows
    header, units = ["ds", "y", "größe"], ["", "°C", "m/s"]
    table = [header, *([units] if form.units and form.index != "no header" else []), *rows]
    if form.index == "unnamed":
        table[0] = ["", *header[1:]]
    elif form.index == "last":
        table = [[*row[1:], row[0]] for row in table]
    elif form.index == "beside an unnamed one":
        table = [[str(i) if row in rows else "", *row] for i, row in enumerate(table)]
    elif form.index == "no header":
        table = table[1:]
    text = io.StringIO()
    if form.separator == " ":
        text.writelines("   ".join(re.sub(r"\s", "", cell) or "-" for cell in row) + " \n" for row in table)
    else:
        csv.writer(text, delimiter=form.separator, quoting=form.quoting, lineterminator="\n").writerows(table)
    return (form.above + text.getvalue()).replace("\n", form.newline).encode(form.encoding)


def _columns(form: Form) -> tuple[str, str]:
    """What the columns of the times and of the numbers are called."""
    if form.index == "unnamed":
        return "-" if form.separator == " " else "Unnamed: 0", "y"
    return ("c1", "c2") if form.index == "no header" else ("ds", "y")


@pytest.mark.parametrize("first", range(0, len(FORMS), _GROUP))
def test_a_table_is_read_as_it_was_meant_or_refused(first: int, tmp_path: Path) -> None:
    path, read = tmp_path / "x.csv", []

    @settings(max_examples=2, deadline=None, derandomize=True, database=None, phases=(Phase.generate, Phase.shrink))
    @given(VALUES, VALUES)
    def check(y: list[str], z: list[str]) -> None:
        for form in FORMS[first : first + _GROUP]:
            path.write_bytes(_file(form, y, z))
            time, target = _columns(form)
            with suppress(InputError):
                panel = read_panel(path, PanelColumns(time=time, target=[target], rules=RowRules(sort=True)))
                read.append(form)
                np.testing.assert_array_equal(panel.values[:, 0], [float(cell) for cell in y[: len(z)]], str(form))
                assert str(panel.freq).removesuffix("-JAN") == FREQUENCIES[form.times]

    check()
    assert len(read) > _GROUP / 2

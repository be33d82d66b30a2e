"""Columns that are a part of a time, known by their names or their cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_NAMES = {
    "year": ("year", "yr", "yyyy"),
    "month": ("month", "mon", "mnth", "mo", "mm"),
    "day": ("day", "dd", "mday", "day_of_month", "dayofmonth"),
    "hour": ("hour", "hr", "hh"),
    "minute": ("minute", "min", "mi"),
    "second": ("second", "sec", "ss"),
}
PARTS = tuple(_NAMES)
OF_DAY = PARTS[3:]
_CLOCK = r"\s*\d{1,2}(:\d\d(:\d\d(\.\d+)?)?|\.\d\d\.\d\d)(\s*[AaPp][Mm])?\s*"


def part_of(name: str) -> str | None:
    """Which part of a date a column of this name is: `year`, `month`, ..."""
    plain = name.strip().lower()
    return next((part for part, others in _NAMES.items() if plain in others), None)


def date_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The file's columns of year, month, and what follows them; () where there are none."""
    parts = _in_a_row(names, PARTS)
    return parts if len(parts) > 1 else ()


def columns_of_day(cells: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The columns that say when on a day it is: one of cells such as 17:24:00, or hour, minute, second by their names.

    Args:
        cells: the first ones of each column.
    """
    given = {name: [text for text in texts if text.strip()] for name, texts in cells.items()}
    clocks = [name for name, texts in given.items() if texts and all(re.fullmatch(_CLOCK, text) for text in texts)]
    return tuple(clocks[:1]) or _in_a_row(list(cells), OF_DAY)


def _in_a_row(names: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
    """The columns of the first parts, up to one that there is no column of."""
    by_part = {part: name for name in reversed(names) if (part := part_of(name))}
    given = [by_part.get(part) for part in parts]
    return tuple(str(name) for name in (given[: given.index(None)] if None in given else given))

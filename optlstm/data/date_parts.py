"""Columns that are a part of a date, known by their names."""

from __future__ import annotations

from collections.abc import Sequence

_NAMES = {
    "year": ("year", "yr", "yyyy"),
    "month": ("month", "mon", "mnth", "mo", "mm"),
    "day": ("day", "dd", "mday", "day_of_month", "dayofmonth"),
    "hour": ("hour", "hr", "hh"),
    "minute": ("minute", "min", "mi"),
    "second": ("second", "sec", "ss"),
}
PARTS = tuple(_NAMES)


def part_of(name: str) -> str | None:
    """Which part of a date a column of this name is: `year`, `month`, ..."""
    plain = name.strip().lower()
    return next((part for part, others in _NAMES.items() if plain in others), None)


def date_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The file's columns of year, month, and what follows them; () where there are none."""
    by_part = {part: name for name in reversed(names) if (part := part_of(name))}
    given = [by_part.get(part) for part in PARTS]
    parts = given[: given.index(None)] if None in given else given
    return tuple(str(part) for part in parts) if len(parts) > 1 else ()

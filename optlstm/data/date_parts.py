"""Columns that are a part of a time, known by their names or their cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_NAMES = {
    "year": ("year", "yr", "yyyy", "jahr", "année", "annee", "año", "anno", "ano"),
    "month": ("month", "mon", "mnth", "mo", "mm", "monat", "mois", "mes", "mese"),
    "day": ("day", "dd", "mday", "day_of_month", "dayofmonth", "tag", "jour", "día", "dia", "giorno"),
    "hour": ("hour", "hr", "hh", "stunde", "heure", "hora", "ora"),
    "minute": ("minute", "min", "mi", "minuto"),
    "second": ("second", "sec", "ss", "sekunde", "seconde", "segundo", "secondo"),
    "quarter": ("quarter", "qtr", "quartal", "trimestre"),
    "week": ("week", "wk", "isoweek", "iso_week", "week_of_year", "weekofyear", "kw", "woche", "semaine", "semana"),
}
PARTS = ("year", "month", "day", "hour", "minute", "second")
OF_DAY = PARTS[3:]
OF_YEAR = {"quarter": "%Y%q", "week": "%G%V"}  # beside a year, and the form of both as digits
_CLOCK = r"\s*\d{1,2}(:\d\d(:\d\d(\.\d+)?)?|\.\d\d\.\d\d)(\s*[AaPp][Mm])?\s*"


def part_of(name: str) -> str | None:
    """Which part of a date a column of this name is: `year`, `month`, ..."""
    plain = name.strip().lower()
    return next((part for part, others in _NAMES.items() if plain in others), None)


def date_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The file's columns of year, month, and what follows, or of year and quarter, or week; () if there are none."""
    rows = (_in_a_row(names, parts) for parts in (PARTS, *(("year", part) for part in OF_YEAR)))
    return next((columns for columns in rows if len(columns) > 1), ())


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

"""Calendar features of times: hour, weekday, ... as points on a circle, so that 23:00 is next to 0:00."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.errors import did_you_mean

_DAY_US = 24 * 3600 * 10**6
PERIODS = {"minute": 60, "hour": 24, "day_of_week": 7, "day_of_month": 31, "day_of_year": 366, "month": 12}


def _usual(freq: str | None) -> tuple[str, ...]:
    """The features that vary from step to step of a pandas alias, and over the year."""
    unit = (freq or "").lstrip("0123456789").partition("-")[0]
    if unit in ("s", "min"):
        return ("minute", "hour", "day_of_week")
    if unit == "h":
        return ("hour", "day_of_week", "day_of_year")
    if unit in ("D", "B"):
        return ("day_of_week", "day_of_year")
    return ("day_of_year",) if unit == "W" else ("month",)


def chosen(wanted: bool | Sequence[str], freq: str | None) -> tuple[tuple[str, ...], list[str]]:
    """(the features asked for, problems)."""
    if isinstance(wanted, bool):
        return (_usual(freq) if wanted else ()), []
    known = ", ".join(PERIODS)
    problems = [
        f"data.calendar: there is no '{name}'{did_you_mean(name, PERIODS)} (there are: {known})"
        for name in dict.fromkeys(wanted)
        if name not in PERIODS
    ]
    return tuple(dict.fromkeys(wanted)), problems


def features(time: pd.DatetimeIndex, names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Sine and cosine of each feature's place in its period: [rows, 2 * names]."""
    out = np.empty((len(time), 2 * len(names)), dtype=np.float32)
    for i, name in enumerate(names):
        angle = _place(time, name) * np.float32(2 * np.pi / PERIODS[name])
        np.sin(angle, out=out[:, 2 * i])
        np.cos(angle, out=out[:, 2 * i + 1])
    return out


def _place(time: pd.DatetimeIndex, name: str) -> npt.NDArray[np.float32]:
    """From 0 to the period; parts of an hour and of a minute count."""
    ticks = time.as_unit("us").asi8
    if name == "minute":
        return (ticks % (3600 * 10**6) / (60 * 10**6)).astype(np.float32)
    if name == "hour":
        return (ticks % _DAY_US / (3600 * 10**6)).astype(np.float32)
    field = {"day_of_month": "day", "day_of_week": "day_of_week"}.get(name, name)
    first = 0 if name == "day_of_week" else 1
    return np.asarray(getattr(time, field), dtype=np.float32) - np.float32(first)

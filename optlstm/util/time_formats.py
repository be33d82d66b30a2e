"""The formats of times that a config or a model may name. No pandas: the command line checks them too."""

from __future__ import annotations

import datetime
import re

INTEGER = "integer"  # plain counts
UNIX = {"unix_s": 1, "unix_ms": 10**3, "unix_us": 10**6, "unix_ns": 10**9}  # since 1970 in UTC; ticks a second
EXCEL = "excel"  # days since December 30, 1899, with fractions
STEP = r"([1-9]\d{0,4})?(s|min|h|D|W|MS|QS|YS)"  # of equal length, or months: pandas aliases
FORMATS = f"a strptime format with the year (%Y%m, %d/%m/%Y, %Y-Q%q), or one of {INTEGER}, {EXCEL}, {', '.join(UNIX)}"


def is_format(text: str) -> bool:
    """Whether it is one of these. `%q` is the quarter, as pandas has it; a week needs no day."""
    if text in (INTEGER, EXCEL, *UNIX):
        return True
    form = text.replace("%q", "%m") + (" %u" if "%V" in text and "%u" not in text else "")
    if not re.search("%[YyGc]", form) or ("%q" in text and set(re.findall("%.", text)) != {"%Y", "%q"}):
        return False
    try:
        datetime.datetime.strptime(datetime.datetime(2001, 2, 3).strftime(form), form)
    except (ValueError, re.error):
        return False
    return True

"""Names, numbers and times for display; a name may hold any characters."""

from __future__ import annotations

import csv
import datetime
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST_NAME = 512  # of a study, of an attribute: the limit of Optuna's tables
MIDNIGHT = " 00:00:00"
MAX_NAME = 60  # characters of a name in a figure
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001  (full-width ones, as spreadsheets take them too)
_TIMES = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)


def visible(text: object) -> str:
    """Text without hidden characters, in a line: control characters, line ends, direction marks are escapes."""
    return visible_lines(text).replace("\n", "\\n")


def visible_lines(text: object) -> str:
    """As `visible`, where line ends are no part of what a file or database says."""
    plain = str(text)
    if plain.replace("\n", "").isprintable():
        return plain
    return "".join(
        c if unicodedata.category(c)[0] != "C" or c == "\n" else c.encode("unicode_escape").decode() for c in plain
    )


def csv_cell(value: object) -> object:
    """A cell for a CSV file that a spreadsheet or a terminal may open; numbers stay as they are.

    Text that begins as a formula does (OWASP, "CSV injection") gets an apostrophe before it, unless it is a number;
    hidden characters are written as escapes.
    """
    if not isinstance(value, str):
        return value
    formula = _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{visible_lines(value)}" if formula else visible_lines(value)


def csv_row(cells: Iterable[object]) -> str:
    """A line of a CSV file, of `csv_cell`s."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([csv_cell(cell) for cell in cells])
    return out.getvalue()


def short(text: object, most: int = MAX_NAME) -> str:
    shown = visible(text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def quoted(text: object) -> str:
    """A cell or a name out of a file, for a message: nobody has looked at the file."""
    return f"'{short(text)}'"


def in_a_line(text: object, most: int) -> str:
    """As `short`, in one line."""
    return short(" ".join(str(text).split()), most)


def number(value: Any, digits: int = 4) -> str:
    """A number in few digits, thousands apart; anything else as `short`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return short(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def rounded(value: float, digits: int = 4) -> float:
    """To so many digits: of scores that are shown alike none is better."""
    return float(f"{value:.{digits}g}")


def told_apart(*values: float, digits: int = 4, form: str = "#.{}g") -> list[str]:
    """Numbers that are compared, each in so many digits, or in as many more as tell unequal ones apart.

    form: of a format specification, with the place of the digits.
    """
    for count in range(digits, 18):
        texts = [format(value, form.format(count)).rstrip(".") for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def decimals(value: float, digits: int) -> str:
    """So many decimals; from a million on (a loss that diverged) `1.2e+29`."""
    return f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:g}"


def share(part: float, total: float) -> str:
    return f"{100 * part / total:.0f} %" if total else "0 %"


def many(count: int, noun: str, plural: str | None = None) -> str:
    """`1 trial`, `1,200 trials`; plural: where an s does not make it."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def listed(items: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    parts = list(items)
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def first_few(items: Sequence[str], most: int = 3) -> str:
    """`a, b, c, ...`"""
    return ", ".join([*items[:most], *(["..."] if len(items) > most else [])])


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as `0, 3-7, 9`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def nodes_in_words(nodes: Mapping[str, Sequence[int]]) -> str:
    """On how many nodes of a cluster which trials ran: `2 nodes: 10.0.0.4 (trials 0, 3-7), 10.0.0.5 (trials 1-2)`."""
    parts = [f"{visible(node)} ({'trial' if len(n) == 1 else 'trials'} {ranges(n)})" for node, n in nodes.items()]
    return f"{many(len(nodes), 'node')}: {', '.join(parts)}"


def duration(seconds: float) -> str:
    """`0.4 s`, `48 s`, `3 min 20 s`, `2 h 5 min`."""
    rounded = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600:,} h {rounded % 3600 // 60} min"


def seconds(text: str) -> float:
    """`90`, `90s`, `10m`, `1.5h`, `1h30m` as seconds. Raises ValueError for anything else."""
    if not (parts := _TIMES.fullmatch(text.strip())) or not any(parts.groups()):
        return float(text)
    hours, minutes, rest = (float(part or 0) for part in parts.groups())
    return 3600 * hours + 60 * minutes + rest


def as_timeout(seconds: float) -> str:
    """As `seconds` reads it: `90`, `10m`, `2h`."""
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def moment(when: datetime.datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S}"


def without_midnight(times: Sequence[str]) -> list[str]:
    """Times as they are stored; without the clock where all are days."""
    days = all(time.endswith(MIDNIGHT) for time in times)
    return [time.removesuffix(MIDNIGHT) for time in times] if days else [*times]


def as_stored(value: object) -> str:
    """A value of a study's record, in a message: a day without its midnight."""
    return repr(value.removesuffix(MIDNIGHT) if isinstance(value, str) and value.endswith(MIDNIGHT) else value)


def model_folder(study: str) -> str:
    """A folder's name for the model of a study."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', study).lstrip('-')}-model"

"""Files of two public archives: `.ts` (UCR and UEA: labelled sequences) and `.tsf` (Monash: series to forecast).

A line of theirs is a whole sequence or series; its values become the rows of a table. The formats are described at
https://www.aeon-toolkit.org/en/stable/api_reference/file_specifications/ts.html and in R. Godahewa et al., "Monash Time
Series Forecasting Archive", NeurIPS 2021.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa

from optlstm.data.encoding import told_encoding
from optlstm.data.file_format import UTF8, FileOptions
from optlstm.data.text_stream import open_bytes
from optlstm.errors import InputError
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import quoted, short

SUFFIXES = (".ts", ".tsf")
_MEMORY_SHARE = 64  # of the free memory, what a file may have: a digit and a comma make a text of 50 bytes
_LONGEST = 8000 * 365 * 86_400  # seconds of a series, up to the year 10,000 or so
_LONGEST_NUMBER = 400  # characters
_MOST_STEPS = 20_000  # that are columns; a table of more is slow
_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600}
_STEPS = {  # (months, seconds)
    **{"minutely": (0, 60), "half_hourly": (0, 1800), "hourly": (0, 3600), "daily": (0, 86_400)},
    **{"weekly": (0, 7 * 86_400), "monthly": (1, 0), "quarterly": (3, 0), "yearly": (12, 0)},
}


@dataclass(frozen=True)
class ArchiveTable:
    """table: an Arrow table; lines: of the file that its rows come from, [rows]."""

    table: Any
    lines: Integers


def read_archive(path: Path, options: FileOptions) -> ArchiveTable:
    """The table of a file.

    Sequences of one channel and one length, up to 20,000 steps, are a row each: `label`, `t0`, `t1`, ...; others a row
    a step: `series_id`, `t`, `dim_0`, ..., `label`. Series are a row a step: `unique_id`, `ds`, `y`, and a column for
    every other attribute.

    Raises:
        InputError: It is too large for the memory, or does not hold to its format.
    """
    if path.stat().st_size * _MEMORY_SHARE > psutil.virtual_memory().available:
        raise InputError(f"data: {path.name} is too large for the memory; read it on a larger machine")
    encoding = options.encoding or told_encoding(path, b"") or UTF8
    try:
        with io.TextIOWrapper(open_bytes(path), encoding) as text:
            header, rows = _Header(path.name), _rows(text)
            first = header.read(rows)
            return _sequences(header, rows) if path.suffix.lower() == ".ts" else _series(header, rows, first)
    except UnicodeError as error:
        raise InputError(f"data: {path.name} is not {encoding} text; --set data.encoding=NAME names another") from error


@dataclass
class _Header:
    """The lines before `@data`, their words in lower case by the first of them."""

    file: str
    words: dict[str, list[str]] = field(default_factory=dict)
    attributes: list[tuple[str, str]] = field(default_factory=list)  # (name, type)

    def read(self, rows: Iterator[tuple[int, str]]) -> int:
        """The line of `@data`."""
        for line, text in rows:
            key, *words = text.split()
            if key.lower() == "@data":
                return line
            if not key.startswith("@"):
                break
            if key.lower() == "@attribute" and len(words) == 2:
                self.attributes.append((words[0], words[1].lower()))
            self.words[key.lower()[1:]] = [word.lower() for word in words]
        raise InputError(f"data: {self.file} has no line @data, behind lines that begin with @")

    def says(self, key: str) -> bool:
        return self.words.get(key, [""])[:1] == ["true"]

    def problem(self, line: int, problem: str) -> InputError:
        return InputError(f"data: {self.file}, row {line}: {problem}")


def _rows(text: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    """(line, text) of all lines that are neither blank nor comments."""
    for line, content in enumerate(text, 1):
        stripped = content.strip()
        if stripped and not stripped.startswith(("#", "%")):
            yield line, stripped


def _numbers(header: _Header, line: int, text: str) -> Floats:
    cells = text.replace("?", "nan").split(",")
    try:
        if "_" in text or max(map(len, cells)) > _LONGEST_NUMBER:  # Python's numbers may have some, or take minutes
            raise ValueError
        return np.fromiter(map(float, cells), dtype=np.float64)
    except ValueError as error:
        raise header.problem(line, "not all of its values are numbers") from error


def _sequences(header: _Header, rows: Iterator[tuple[int, str]]) -> ArchiveTable:
    if header.says("timestamps"):
        raise InputError(f"data: {header.file} has a time with every value, which is not read; write values alone")
    labelled = header.says("classlabel") or header.says("targetlabel")
    cases: list[npt.NDArray[np.float64]] = []  # [steps, channels] each
    labels, lines = [], []
    for line, text in rows:
        parts = text.split(":")
        labels += [parts.pop().strip()] if labelled else []
        channels = [_numbers(header, line, part) for part in parts]
        if len({len(channel) for channel in channels}) != 1:
            raise header.problem(line, "its channels are not of one length")
        if cases and len(channels) != cases[0].shape[1]:
            raise header.problem(line, f"it has {len(channels)} channels, and the first {cases[0].shape[1]}")
        cases.append(np.column_stack(channels))
        lines.append(line)
    if not cases:
        raise InputError(f"data: {header.file} has a header and no rows")
    lengths = np.array([len(case) for case in cases])
    if cases[0].shape[1] == 1 and (lengths == lengths[0]).all() and lengths[0] <= _MOST_STEPS:
        table = np.column_stack(cases)  # [steps, n]
        columns: dict[str, Any] = {f"t{i}": pa.array(step, from_pandas=True) for i, step in enumerate(table)}
        columns = {"label": labels, **columns} if labelled else columns
        return ArchiveTable(pa.table(columns), np.array(lines))
    values = np.concatenate(cases)  # [rows, channels]
    names = np.repeat(np.arange(1, len(cases) + 1), lengths)
    columns = {"series_id": names, "t": np.concatenate([np.arange(length) for length in lengths])}
    columns |= {f"dim_{i}": pa.array(channel, from_pandas=True) for i, channel in enumerate(values.T)}
    columns |= {"label": np.repeat(np.array(labels, dtype=object), lengths)} if labelled else {}
    return ArchiveTable(pa.table(columns), np.repeat(np.array(lines), lengths))


def _series(header: _Header, rows: Iterator[tuple[int, str]], data_line: int) -> ArchiveTable:
    attributes = [name for name, _ in header.attributes]
    step = _step(header, data_line)
    cells: list[Sequence[str]] = []
    values, times, lines = [], [], []
    for line, text in rows:
        *given, numbers = text.split(":")
        if len(given) != len(attributes):
            raise header.problem(line, f"it has {len(given)} attributes, and the header {len(attributes)}")
        named = dict(zip(attributes, given, strict=True))
        values.append(_numbers(header, line, numbers))
        start = _start(header, line, named.pop("start_timestamp", None)) if step else None
        if step and len(values[-1]) * (step[0] * 30 * 86_400 + step[1]) > _LONGEST:
            raise header.problem(line, "its times go beyond the calendar")
        times.append(_times(start, step, len(values[-1])))
        cells.append([named.pop("series_name", f"T{len(cells) + 1}"), *named.values()])
        lines.append(line)
    if not cells:
        raise InputError(f"data: {header.file} has a header and no rows")
    lengths = [len(series) for series in values]
    others = [name for name in attributes if name not in ("series_name", "start_timestamp")]
    table = {
        "unique_id": _repeated(pa.array([row[0].strip() for row in cells]), lengths),
        "ds": pa.array(np.concatenate(times)),
        "y": pa.array(np.concatenate(values), from_pandas=True),
    }
    static = [_static([row[i + 1].strip() for row in cells]) for i in range(len(others))]
    arrays = [*table.values(), *(_repeated(column, lengths) for column in static)]
    return ArchiveTable(pa.Table.from_arrays(arrays, names=[*table, *others]), np.repeat(np.array(lines), lengths))


def _static(cells: Sequence[str]) -> Any:
    """An attribute of every series: numbers, where all of them are."""
    try:
        return pa.array([float(cell) for cell in cells])
    except ValueError:
        return pa.array(cells)


def _repeated(column: Any, lengths: Sequence[int]) -> Any:
    """Each cell as often as its series is long."""
    return column.take(pa.array(np.repeat(np.arange(len(column)), lengths)))


def _step(header: _Header, line: int) -> tuple[int, int] | None:
    """(months, seconds) between two values; None where the series have no times."""
    if not any(name == "start_timestamp" for name, _ in header.attributes):
        return None
    word = "".join(header.words.get("frequency", [])[:1])
    match = re.fullmatch(r"(\d{1,6})_(seconds|minutes|hours)", word)
    step = (0, int(match[1]) * _SECONDS[match[2]]) if match else _STEPS.get(word)
    if step is None or step == (0, 0):
        known = ", ".join(_STEPS)
        raise header.problem(line, f"@frequency is {quoted(word)}, which is none of {known}, 10_minutes, 4_seconds")
    return step


def _start(header: _Header, line: int, text: str | None) -> np.datetime64:
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)(?: (\d\d)-(\d\d)-(\d\d))?", (text or "").strip())
    try:
        if match is None:
            raise ValueError
        year, month, day, *clock = (part or "00" for part in match.groups())
        return np.datetime64(f"{year}-{month}-{day}T{':'.join(clock)}", "us")
    except ValueError:
        raise header.problem(line, f"start_timestamp is '{short(text or '')}', not as 2020-01-31 13-00-00") from None


def _times(start: np.datetime64 | None, step: tuple[int, int] | None, count: int) -> npt.NDArray[Any]:
    """The times of a series' values, in microseconds; 0, 1, 2, ... where it has none."""
    steps = np.arange(count)
    if start is None or step is None:
        return steps
    months, seconds = step
    if not months:
        return start + steps * np.timedelta64(seconds * 10**6, "us")
    first = start.astype("M8[M]")
    month = first + months * steps
    length = (month + 1).astype("M8[D]") - month.astype("M8[D]")
    day, clock = start.astype("M8[D]") - first.astype("M8[D]"), start - start.astype("M8[D]")
    last = day + np.timedelta64(1, "D") == (first + 1).astype("M8[D]") - first.astype("M8[D]")
    one = np.timedelta64(1, "D")
    times: npt.NDArray[Any] = month.astype("M8[us]") + (length - one if last else np.minimum(day, length - one)) + clock
    return times

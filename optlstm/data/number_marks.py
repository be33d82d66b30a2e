"""Numbers in text with decimal commas or thousands apart: read where the column leaves no doubt, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import compute

from optlstm.data.detect import MISSING
from optlstm.data.file_format import FileOptions
from optlstm.errors import InputError, Problem
from optlstm.util.format import quoted

_OTHER = {".": ",", ",": "."}
_GAP = "[ '\u2019\u00a0\u202f]"  # between groups of digits, and never a decimal mark
_EXPONENT = r"([eE][-+]?\d+)?"
_WHOLE = r"^[-+]?\d+$"


def _decimal(mark: str) -> str:
    """Numbers that can only have been written with this decimal mark, or with a group of three digits behind it."""
    return rf"^[-+]?(\d+[{mark}]\d*|\d*[{mark}]\d+){_EXPONENT}$"


def _open(mark: str) -> str:
    """Numbers in which this mark may be a decimal one or part thousands: 1,234."""
    return rf"^[-+]?[1-9]\d{{0,2}}[{mark}]\d{{3}}$"


def _grouped(mark: str) -> str:
    """Numbers in which this mark can only part thousands: 1,234,567 and 1,234.5."""
    groups = rf"[1-9]\d{{0,2}}([{mark}]\d{{3}})"
    return rf"^[-+]?({groups}{{2,}}([{_OTHER[mark]}]\d*)?|{groups}+[{_OTHER[mark]}]\d*)$"


def _apart(mark: str) -> str:
    """Numbers whose thousands have gaps between them, with this decimal mark: 1 234,5."""
    return rf"^[-+]?[1-9]\d{{0,2}}({_GAP}\d{{3}})+[{mark}]\d*$"


_GAPS_ALONE = rf"^[-+]?[1-9]\d{{0,2}}({_GAP}\d{{3}})+$"


@dataclass(frozen=True)
class Marks:
    """The decimal marks of a column: those that some cell is proof of, and those in cells that leave it open."""

    proven: frozenset[str]
    open: frozenset[str]
    gaps: bool
    example: str  # of an open cell


def read_marked(
    file: str, columns: Mapping[str, Any], options: FileOptions, *, points: bool
) -> tuple[dict[str, Any], str, str | None]:
    """Those columns of text that are numbers with marks, as numbers; what was understood, in words; the mark.

    A mark that is proven by one column decides for those that leave it open.

    Args:
        columns: By their names.
        points: Commas are between the columns: then none is a decimal mark.

    Raises:
        InputError: Nothing tells decimal commas from thousands.
    """
    columns = {name: _trimmed(column, (*MISSING, *options.missing_texts)) for name, column in columns.items()}
    marks = {name: shown for name, column in columns.items() if (shown := _marks(column)) is not None}
    given = options.decimal or _OTHER.get(options.thousands or "")
    proven = {mark for shown in marks.values() for mark in shown.proven}
    decided = next(iter(proven)) if len(proven) == 1 else None if proven or points else options.usual_decimal
    problems, understood, numbers = [], set(), {}
    for name, shown in marks.items():
        if given is None and (len(shown.proven) > 1 or (points and "," in shown.proven)):
            continue  # both marks: nobody can tell
        mark = given or next(iter(shown.proven), decided)
        if mark is None and shown.open:
            problems.append(_question(file, name, shown))
            continue
        column, grouped = _numbers(columns[name], mark or ".")
        if column is not None:
            numbers[name] = column
            understood |= {"decimal commas"} if mark == "," and shown.proven | shown.open else set()
            understood |= {"thousands separators"} if grouped else set()
    if problems:
        raise InputError(problems)
    return numbers, ", ".join(sorted(understood)), given or decided


def _question(file: str, name: str, shown: Marks) -> str:
    mark = next(iter(shown.open))
    whole, decimal = shown.example.replace(mark, ""), shown.example.replace(mark, ".")
    line = (
        f"data: column {quoted(name)} of {file}: {quoted(shown.example)} may be {whole} or {decimal}; "
        f'--set data.thousands="{mark}" or --set data.decimal="{mark}" says which'
    )
    return Problem(line, {"data.thousands": f'"{mark}"'}, otherwise={"data.decimal": f'"{mark}"'})


def _trimmed(column: Any, missing: Sequence[str]) -> Any:
    trimmed = compute.utf8_trim_whitespace(column.cast(pa.string()))
    return compute.if_else(compute.is_in(trimmed, pa.array(missing)), pa.scalar(None, pa.string()), trimmed)


def _has(column: Any, pattern: str) -> bool:
    return bool(compute.any(compute.match_substring_regex(column, pattern)).as_py())


def looks_marked(column: Any) -> bool:
    """Whether some cell of a column of text may be a number with thousands apart."""
    return _has(column, rf"^\s*[-+]?\d{{1,3}}([,.]|{_GAP})\d")


def _marks(column: Any) -> Marks | None:
    """None where the column holds other text than numbers for the most part, or has no marks in it."""
    proven, unsure, example = set(), set(), ""
    like = rf"^[-+]?(\d[\d.,]*|[.,]\d+|\d{{1,3}}({_GAP}\d{{3}})+([.,]\d*)?){_EXPONENT}$"
    hits = compute.sum(compute.match_substring_regex(column, like)).as_py() or 0
    if hits * 2 < len(column) - column.null_count or not hits:
        return None
    for mark in ".,":
        is_open = compute.match_substring_regex(column, _open(mark))
        sure = compute.and_not(compute.match_substring_regex(column, _decimal(mark)), is_open)
        if compute.any(sure).as_py() or _has(column, _grouped(_OTHER[mark])) or _has(column, _apart(mark)):
            proven.add(mark)
        if compute.any(is_open).as_py():
            unsure.add(mark)
            example = example or column.filter(is_open)[0].as_py()
    return Marks(frozenset(proven), frozenset(unsure), _has(column, _GAPS_ALONE), example)


def _numbers(column: Any, decimal: str) -> tuple[Any, bool]:
    """The numbers of a column (None: it has none), or its text where a cell is none; and were thousands apart?"""
    thousands = rf"(?:{_GAP}|[{_OTHER[decimal]}])"
    grouping = "|".join(rf"[1-9]\d{{0,2}}({mark}\d{{3}})+" for mark in (_GAP, f"[{_OTHER[decimal]}]"))
    number = rf"^[-+]?(\d+|{grouping})?([{decimal}]\d*)?{_EXPONENT}$"
    fits = compute.and_(compute.match_substring_regex(column, number), compute.match_substring_regex(column, r"\d"))
    if not compute.any(fits).as_py():
        return None, False
    plain = compute.replace_substring_regex(column, thousands, "")
    grouped = bool(compute.any(compute.and_(fits, compute.not_equal(plain, column))).as_py())
    plain = compute.replace_substring_regex(compute.replace_substring(plain, decimal, "."), r"^\+", "")
    cells = compute.if_else(fits, plain, column)
    if not compute.all(fits, min_count=0).as_py():
        return cells, grouped
    whole = compute.all(compute.match_substring_regex(cells, _WHOLE), min_count=0).as_py()
    try:
        return cells.cast(pa.int64() if whole else pa.float64()), grouped
    except pa.ArrowInvalid:  # a whole number beyond 64 bits
        return cells.cast(pa.float64()), grouped

"""Numbers in text with decimal commas, thousands apart or units: read where the column leaves no doubt, or refused."""

from __future__ import annotations

import re
import unicodedata
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
_PAIRS = {",": "2,", ".": ""}  # digits of a group that is not the last, beside three
_GAP = "[ '\u2019\u00a0\u202f]"  # between groups of digits, and never a decimal mark
_EXPONENT = r"([eE][-+]?\d+)?"
_WHOLE = r"^[-+]?\d+$"
_NUMBER = rf"\d(?:[\d.,]|{_GAP}\d)*(?:[eE][-+]?\d+)?"
_WITH_UNIT = re.compile(
    rf"[-+]?(?P<before>[^\d\s.,()+-]{{0,3}})\s*[-+]?{_NUMBER}\s*(?P<after>[^\d\s.,:()+-][^\d\s.,:()]{{0,7}})?"
)
# Signs as typesetters write them, as accountants do, and as SAP does: each becomes a hyphen in front.
_SIGNS = (
    (r"^[\x{2212}\x{2013}]\s*(\S*\d)", r"-\1"),
    (rf"^\(\s*-?([^\d\s]{{0,3}}\s*{_NUMBER}\s*[^\d\s]{{0,8}})\s*\)$", r"-\1"),
    (r"^(\d[\d.,]*)-$", r"-\1"),
)
_SIGNED = "|".join(pattern for pattern, _ in _SIGNS)
_UNIT_MARKS = "%‰°²³/·"  # of units, beside letters and currencies
_PLAIN = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
MOSTLY = 0.9  # of texts that differ: where more are numbers, the others are mistakes
_HEAD = 1000  # cells that show a unit


def _decimal(mark: str) -> str:
    """Numbers that can only have been written with this decimal mark, or with a group of three digits behind it."""
    return rf"^[-+]?(\d+[{mark}]\d*|\d*[{mark}]\d+){_EXPONENT}$"


def _open(mark: str) -> str:
    """Numbers in which this mark may be a decimal one or part thousands: 1,234."""
    return rf"^[-+]?[1-9]\d{{0,2}}[{mark}]\d{{3}}$"


def _grouped(mark: str) -> str:
    """Numbers in which this mark can only part thousands: 1,234,567 and 1,234.5, and in India 12,34,567."""
    groups = rf"[1-9]\d{{0,2}}([{mark}]\d{{{_PAIRS[mark]}3}})"
    return rf"^[-+]?({groups}+[{mark}]\d{{3}}([{_OTHER[mark]}]\d*)?|{groups}*[{mark}]\d{{3}}[{_OTHER[mark]}]\d*)$"


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
    bare = {name: _bare(column) for name, column in columns.items()}
    columns = {name: column for name, (column, _) in bare.items()}
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
        if column is not None and (not pa.types.is_string(column.type) or _are_mostly_numbers(column)):
            numbers[name] = column
            understood |= {"decimal commas"} if mark == "," and shown.proven | shown.open else set()
            understood |= {"thousands separators"} if grouped else set()
            understood |= set(bare[name][1])
    if problems:
        raise InputError(problems)
    return numbers, ", ".join(sorted(understood)), given or decided


def _are_mostly_numbers(column: Any) -> bool:
    """Whether the texts that differ are, all but a few mistakes: categories are to keep their texts."""
    distinct = column.unique().drop_null()
    numbers = compute.sum(compute.match_substring_regex(distinct, _PLAIN)).as_py() or 0
    return bool(numbers > MOSTLY * len(distinct))


def _question(file: str, name: str, shown: Marks) -> str:
    mark = next(mark for mark in shown.open if mark in shown.example)
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
    """Whether some cell of a column of text may be a number with thousands apart, a unit or an unusual sign."""
    head = column.slice(0, _HEAD)
    return _has(column, rf"^\s*[-+]?\d{{1,3}}([,.]|{_GAP})\d") or any(_bare(_trimmed(head, MISSING))[1])


def _bare(column: Any) -> tuple[Any, list[str]]:
    """Cells with the sign in front and without the unit that all numbers have; what was changed, in words."""
    understood: list[str] = []
    if _has(column, _SIGNED):
        for pattern, sign in _SIGNS:
            column = compute.replace_substring_regex(column, pattern, sign)
        understood.append("minus signs of all kinds")
    unit = _unit(column)
    if unit is None:
        return column, understood
    before, after = (re.escape(mark) for mark in unit)
    whole = rf"^([-+]?)\s*{before}\s*([-+]?{_NUMBER})\s*{after}$"
    have = compute.sum(compute.match_substring_regex(column, whole)).as_py() or 0
    alike = compute.sum(compute.match_substring_regex(column, f"^(?:{_WITH_UNIT.pattern})$")).as_py() or 0
    if have < alike or 2 * have < len(column) - column.null_count:
        return column, understood  # nobody can tell what 5 is among 5 %, or 1M among 900K
    understood.append(f"{quoted(''.join(unit))} of numbers left out")
    return compute.replace_substring_regex(column, whole, r"\1\2"), understood


def _unit(column: Any) -> tuple[str, str] | None:
    """What the first number has before it and behind it: a currency's sign, or that, `%`, `kWh`."""
    first = column.slice(0, _HEAD).drop_null()[:1].to_pylist()
    match = _WITH_UNIT.fullmatch(first[0]) if first else None
    before, after = (match["before"] or "", match["after"] or "") if match else ("", "")
    money = any(unicodedata.category(sign) == "Sc" for sign in before)
    fits = all(sign.isalpha() or sign in _UNIT_MARKS or unicodedata.category(sign) == "Sc" for sign in before + after)
    return (before, after) if (money or (after and not before)) and fits else None


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
    other = _OTHER[decimal]
    marked = rf"[1-9]\d{{0,2}}([{other}]\d{{{_PAIRS[other]}3}})*[{other}]\d{{3}}"
    grouping = rf"[1-9]\d{{0,2}}({_GAP}\d{{3}})+|{marked}"
    number = rf"^[-+]?(\d+|{grouping})?([{decimal}]\d*)?{_EXPONENT}$"
    fits = compute.and_(compute.match_substring_regex(column, number), compute.match_substring_regex(column, r"\d"))
    if not compute.any(fits).as_py():
        return None, False
    plain = compute.replace_substring_regex(column, rf"(?:{_GAP}|[{other}])", "")
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

"""How many rows train, validate and test: three consecutive parts of a series or a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optlstm.errors import InputError

_PARTS = ("train", "validation", "test")
_TOLERANCE = 1e-9
_FORMS = "give three fractions that sum to 1, like [0.7, 0.1, 0.2], or three row counts, like [8640, 2880, 2880]"


def split_rows(n_rows: int, splits: Sequence[float] | Sequence[int], least: int = 0) -> tuple[int, int, int]:
    """The numbers of rows that train, validate and test, in order: three fractions that sum to 1, or three counts.

    The cuts of fractions fall on the nearest row; rows after the sum of counts are unused. Only the test part may be 0:
    test rows are a separate file, or a model is not tested.

    Args:
        least: rows that a fraction's validation and test part get at the cost of the training part, where that keeps
            more than half of the rows.

    Raises:
        InputError: the numbers are neither, ask for more rows than there are, or leave a part without rows.
    """
    problems = _form_problems(splits)
    if problems:
        raise InputError(problems)
    counts = _counts(n_rows, splits, least)
    if sum(counts) > n_rows:
        total = f"{' + '.join(map(str, counts))} = {sum(counts)}"
        raise InputError(f"data.splits: {total} rows asked for, and the data has {n_rows}; lower the counts")
    empty = [
        f"data.splits: {part} gets none of the {n_rows} rows; give it a larger share, or give more data"
        for part, share, count in zip(_PARTS, splits, counts, strict=True)
        if count == 0 and (part != "test" or share > 0)
    ]
    if empty:
        raise InputError(empty)
    return counts


def are_counts(splits: Sequence[float] | Sequence[int]) -> bool:
    """Whether they are numbers of rows, not fractions."""
    return all(isinstance(share, int) for share in splits)


def _form_problems(splits: Sequence[float] | Sequence[int]) -> list[str]:
    shown = f"data.splits: {list(splits)}"
    if len(splits) != len(_PARTS):
        return [f"{shown} has {len(splits)} numbers, not three; {_FORMS}"]
    if any(isinstance(share, bool) or not isinstance(share, int | float) for share in splits):
        return [f"{shown} holds something other than numbers; {_FORMS}"]
    problems = [
        f"data.splits: {part} is {share}; it must be a number of 0 or more"
        for part, share in zip(_PARTS, splits, strict=True)
        if not (math.isfinite(share) and share >= 0)
    ]
    if not problems and not are_counts(splits) and abs(math.fsum(splits) - 1) > _TOLERANCE:
        problems.append(f"{shown} sums to {math.fsum(splits):g}, not to 1; {_FORMS}")
    return problems


def _counts(n_rows: int, splits: Sequence[float] | Sequence[int], least: int) -> tuple[int, int, int]:
    if are_counts(splits):
        train, validation, test = (int(share) for share in splits)
        return train, validation, test
    first, second = round(n_rows * splits[0]), round(n_rows * math.fsum(splits[:2]))
    validation, test = second - first, n_rows - second
    wanted = [max(rows, least) if share else 0 for rows, share in zip((validation, test), splits[1:], strict=True)]
    if 2 * sum(wanted) < n_rows:
        validation, test = wanted
    return n_rows - validation - test, validation, test

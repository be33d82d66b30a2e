"""Which rows train, which choose, which test: three consecutive parts of a series, or a table, in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optlstm.errors import InputError

_PARTS = ("train", "validation", "test")
_TOLERANCE = 1e-9
_FORMS = "give three fractions that sum to 1, like [0.7, 0.1, 0.2], or three row counts, like [8640, 2880, 2880]"


@dataclass(frozen=True)
class Splits:
    """Rows of the three parts, from 0; each begins where the one before it ends."""

    train: range
    validation: range
    test: range


def split_rows(n_rows: int, splits: Sequence[float] | Sequence[int]) -> Splits:
    """Cut `n_rows` rows by three fractions that sum to 1, or by three row counts (rows after their sum are unused).

    The cuts of fractions fall on the nearest row. Only the test part may be 0, where test rows are a file of their own.

    Raises:
        InputError: the numbers are neither, ask for more rows than there are, or leave a part without rows.
    """
    problems = _form_problems(splits)
    if problems:
        raise InputError(problems)
    counts = _counts(n_rows, splits)
    if sum(counts) > n_rows:
        raise InputError(f"data.splits: {_sum(counts)} rows asked for, and the data has {n_rows}; lower the counts")
    empty = [
        f"data.splits: {part} gets none of the {n_rows} rows; give it a larger share, or give more data"
        for part, share, count in zip(_PARTS, splits, counts, strict=True)
        if count == 0 and (part != "test" or share > 0)
    ]
    if empty:
        raise InputError(empty)
    train, validation, test = counts
    return Splits(range(train), range(train, train + validation), range(train + validation, train + validation + test))


def rolling_origin(splits: Splits, folds: int) -> tuple[Splits, ...]:
    """`folds` splits whose validation parts follow one another up to the test, each as long as that of `splits`.

    Each trains on all rows before its validation part, as in a forecast that is made again and again; the test rows are
    in none of them.

    Raises:
        InputError: so many validation parts leave the first of them nothing to train on.
    """
    length, test = len(splits.validation), splits.test
    ends = [splits.validation.stop - i * length for i in reversed(range(folds))]
    if folds < 2 or ends[0] - length <= splits.train.start:
        most = (splits.validation.stop - splits.train.start - 1) // max(1, length)
        raise InputError(f"data.folds: {folds} folds of {length} validation rows do not fit; give 0, or 2 to {most}")
    return tuple(
        Splits(range(splits.train.start, end - length), range(end - length, end), range(end, test.stop)) for end in ends
    )


def check_windows(splits: Splits, window: int, horizon: int, window_name: str = "space.window") -> None:
    """See that `window` input rows and `horizon` target rows fit; inputs may reach back into the part before.

    Raises:
        InputError: a part is too short, or a length is below 1; every problem at once.
    """
    problems = [
        f"{name}: {value} is too short; it must be at least 1"
        for name, value in ((window_name, window), ("horizon", horizon))
        if value < 1
    ]
    if problems:
        raise InputError(problems)
    if len(splits.train) < window + horizon:
        problems.append(
            f"data.splits: train has {len(splits.train)} rows and needs at least {window + horizon} "
            f"({window_name} {window} + horizon {horizon}); lower {window_name} or the horizon, or give train more rows"
        )
    for part, rows in (("validation", splits.validation), ("test", splits.test)):
        if len(rows) < horizon:
            remedy = f"lower the horizon, or give {part} more rows" if len(rows) else "its share is 0, give it one"
            problems.append(
                f"data.splits: {part} has {len(rows)} rows and needs at least {horizon} (one horizon); {remedy}"
            )
    if problems:
        raise InputError(problems)


def _form_problems(splits: Sequence[float] | Sequence[int]) -> list[str]:
    shown = f"data.splits: {list(splits)}"
    if len(splits) != len(_PARTS):
        return [f"{shown} has {len(splits)} numbers, not three; {_FORMS}"]
    if any(isinstance(share, bool) or not isinstance(share, int | float) for share in splits):
        return [f"{shown} holds something else than numbers; {_FORMS}"]
    problems = [
        f"data.splits: {part} is {share}; it must be a number of 0 or more"
        for part, share in zip(_PARTS, splits, strict=True)
        if not (math.isfinite(share) and share >= 0)
    ]
    if not problems and not _are_counts(splits) and abs(math.fsum(splits) - 1) > _TOLERANCE:
        problems.append(f"{shown} sums to {math.fsum(splits):g}, not to 1; {_FORMS}")
    return problems


def _are_counts(splits: Sequence[float] | Sequence[int]) -> bool:
    return all(isinstance(share, int) for share in splits)


def _counts(n_rows: int, splits: Sequence[float] | Sequence[int]) -> list[int]:
    if _are_counts(splits):
        return [int(share) for share in splits]
    first, second = round(n_rows * splits[0]), round(n_rows * math.fsum(splits[:2]))
    return [first, second - first, n_rows - second]


def _sum(counts: Sequence[int]) -> str:
    return f"{' + '.join(map(str, counts))} = {sum(counts)}"

"""Calls of a function with a job's objective: in this process, and side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from optlstm.backends.local.calls import calls
from optlstm.backends.trial import Job
from optlstm.errors import InputError, OptlstmError


def doubled(data: int) -> Any:
    """An objective."""
    return 2 * data


def broken(data: int) -> Any:
    raise InputError("this task cannot be set up")


def times(objective: int, factor: int, report: Callable[..., None]) -> tuple[int, int]:
    report(factor, "half of it")
    if factor < 0:
        raise ValueError("below 0")
    return objective * factor, os.getpid()


@pytest.mark.parametrize("at_once", [1, 2])
def test_results_are_in_order_and_reports_say_whose_they_are(at_once: int) -> None:
    reports: list[tuple[object, ...]] = []
    with calls(Job(doubled, 5), at_once) as run:
        results = [*run(times, [(2,), (3,), (4,)], lambda *report: reports.append(report)), *run(times, [(1,)], print)]

    assert [number for number, _ in results] == [20, 30, 40, 10]
    assert sorted(reports) == [(0, 2, "half of it"), (1, 3, "half of it"), (2, 4, "half of it")]
    assert (os.getpid() in {pid for _, pid in results}) == (at_once == 1)


@pytest.mark.parametrize(
    ("make", "problem"),
    [(doubled, "^ValueError: below 0$"), (broken, "^a worker could not set up its task: .*cannot be set up")],
)
def test_a_failure_is_a_line_and_ends_the_others(make: Callable[[Any], Any], problem: str) -> None:
    before = psutil.Process().children()  # of other tests
    with pytest.raises(OptlstmError, match=problem), calls(Job(make, 5), 2) as run:
        run(times, [(2,), (-1,)], lambda *_: None)

    ours = [child for child in psutil.Process().children() if child not in before]
    assert [child for child in ours if child.status() != psutil.STATUS_ZOMBIE] == []

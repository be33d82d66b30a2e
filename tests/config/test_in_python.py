"""Messages of the command line as they are in Python."""

from __future__ import annotations

import logging

import pytest

from optlstm.config.in_python import errors_in_python, in_python


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("give --gaps interpolate: it", 'give gaps="interpolate": it'),
        ("column: --time 'the day'; --time t", 'column: time="the day"; time="t"'),
        ("--set data.dayfirst=true, or =false", "dayfirst=True, or False"),
        ("such as --data FILE (or", 'such as data="FILE" (or'),
        ("--series recording --time t; if", 'series="recording", time="t"; if'),
        ("many series: --series item,store", 'many series: series="item,store"'),
        ("the time column: --time Year,Month (columns: a, b)", 'the time column: time="Year,Month" (columns: a, b)'),
        ("choose from a, b with --target COL (columns: a, b)", 'choose from a, b with target="COL" (columns: a, b)'),
        ("to learn labels: --task text", 'to learn labels: task="text"'),
        ("give --gaps interpolate, or leave", 'give gaps="interpolate", or leave'),
        ("--set data.missing=-200", "missing=-200"),
        ("--set data.missing='-'", 'missing="-"'),
        ("--set space.window=8", 'space={"window": 8}'),
        ("--set data.time_format='%d.%m.%Y %H:%M', for example", 'time_format="%d.%m.%Y %H:%M", for example'),
        ("none of --past, --future and --static", "none of --past, --future and --static"),
        ("features of the calendar are off: --calendar", "features of the calendar are off: calendar=True"),
        ("--calendar features need none", "--calendar features need none"),
        ("--target and --past are", "--target and --past are"),
        ("--level: must be", "levels: must be"),
        ("--anomalies: looks at every row; leave out --backtest", "anomalies: looks at every row; leave out backtest"),
        ("leave out --no-refit to train it", "leave out retrain=False to train it"),
    ],
)
def test_what_to_type(line: str, expected: str) -> None:
    assert in_python(line) == expected


def test_what_is_logged_of_the_data_names_arguments(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("optlstm.tasks.forecast.predictor")

    with errors_in_python():
        log.warning("%d series are left out; --short refuse makes that an error", 2)
    log.warning("--short refuse")

    assert caplog.messages == ['2 series are left out; short="refuse" makes that an error', "--short refuse"]

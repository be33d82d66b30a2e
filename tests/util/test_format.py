"""Text out of files and databases, for people: cells of CSV files, messages, terminals."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from optlstm.console.progress import make_console
from optlstm.errors import InputError
from optlstm.util.format import (
    as_stored,
    as_timeout,
    csv_cell,
    csv_row,
    nodes_in_words,
    quoted,
    seconds,
    told_apart,
    visible,
    without_midnight,
)

PLAIN = ["", "a", "a=b", "-5", "+3.2e5", "-.5", "-inf", "1-2", "'quoted", -5, 2.5, None]
RTL = "\u202egnp.exe"


@pytest.mark.parametrize("text", ["=1+1", "@SUM(1)", "+A1", "-A1", "-2+3", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_a_cell_never_begins_as_a_formula_does(text: str) -> None:
    assert str(csv_cell(text)).startswith("'")


@pytest.mark.parametrize(
    ("text", "length", "shortest"),
    [("90", 90, "90s"), ("90s", 90, "90s"), ("10m", 600, "10m"), ("1.5h", 5400, "90m"), ("1h30m", 5400, "90m")],
)
def test_a_length_of_time_has_a_unit(text: str, length: float, shortest: str) -> None:
    assert seconds(text) == length
    assert as_timeout(length) == shortest


@pytest.mark.parametrize("text", ["", "s", "10d", "m10", "ten"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        seconds(text)


@pytest.mark.parametrize("value", PLAIN)
def test_numbers_and_plain_text_stay_as_they_are(value: object) -> None:
    assert csv_cell(value) == value


def test_hidden_characters_are_shown_and_commas_quoted() -> None:
    assert csv_row(["\x1b]0;x\x07", RTL, "a,b", 1]) == '\\x1b]0;x\\x07,\\u202egnp.exe,"a,b",1\n'


def test_what_a_file_holds_is_cut_in_messages_and_moves_no_cursor() -> None:
    line = "SECRET=" + "x" * 5000

    assert len(quoted(line)) < 70
    (problem,) = InputError(f"data: \x1b[2J{RTL} {line}").problems
    assert problem.startswith("data: \\x1b[2J\\u202egnp.exe SECRET=")
    assert len(problem) == 1500


@pytest.mark.parametrize("show", [visible, quoted])
def test_a_name_has_no_second_line(show: Callable[[str], str]) -> None:
    """It would pass for a line of ours."""
    assert show("s\nok     all is well").strip("'") == r"s\nok     all is well"


def test_a_terminal_obeys_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    make_console(results=True).print(f"\x1b[2J{RTL}", "[bold]ours[/bold]")

    assert capsys.readouterr().out == "\\x1b[2J\\u202egnp.exe ours\n"


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["2024-01-01 00:00:00", "2024-01-02 00:00:00"], ["2024-01-01", "2024-01-02"]),
        (["2024-01-01 00:00:00", "2024-01-02 17:00:00"], ["2024-01-01 00:00:00", "2024-01-02 17:00:00"]),
        (["3", "40"], ["3", "40"]),
    ],
)
def test_days_are_shown_without_a_clock(times: list[str], expected: list[str]) -> None:
    assert without_midnight(times) == expected


@pytest.mark.parametrize(
    ("value", "shown"), [("2024-01-31 00:00:00", "'2024-01-31'"), ("y", "'y'"), ([1, 2], "[1, 2]")]
)
def test_a_stored_day_is_shown_without_a_clock(value: object, shown: str) -> None:
    assert as_stored(value) == shown


def test_nodes_and_their_trials_in_words() -> None:
    nodes = {"10.0.0.4/3f2a91": [0, 3, 4, 5, 9], "10.0.0.5/77ab10": [1]}
    assert nodes_in_words(nodes) == "2 nodes: 10.0.0.4/3f2a91 (trials 0, 3-5, 9), 10.0.0.5/77ab10 (trial 1)"


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((0.0330041, 0.0330039), ["0.0330041", "0.0330039"]),
        ((0.5, 2.0), ["0.5000", "2.000"]),
        ((1.0, 1.0), ["1.000", "1.000"]),
        ((0.1 + 0.2, 0.3), ["0.30000000000000004", "0.29999999999999999"]),
    ],
)
def test_what_is_compared_is_shown_in_digits_that_tell(values: tuple[float, ...], shown: list[str]) -> None:
    assert told_apart(*values) == shown

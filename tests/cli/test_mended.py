"""The command that a refusal proposes: what was typed, with what would mend it."""

from __future__ import annotations

import pickle
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from optlstm.cli.mended import mended, proposals
from optlstm.errors import InputError, Problem
from tests.conftest import Cli, series

OPTIONS = {"--data", "--time", "--target", "--sampler", "--name", "--import", "--promote", "--set", "--calendar"}


@pytest.mark.parametrize(
    ("typed", "problem", "expected"),
    [
        ("study --data x.csv", Problem("", {"data.time": "a day"}), "study --data x.csv --time 'a day'"),
        ("study --time t --data x.csv", Problem("", {"data.time": "day"}), "study --time day --data x.csv"),
        ("study --time=t", Problem("", {"data.time": "day"}), "study --time=day"),
        ("study -- -x.toml", Problem("", {"data.time": "day"}), "study --time day -- -x.toml"),
        ("study", Problem("", {"data.level": "character"}), "study --set data.level=character"),
        ("study --set data.level=word", Problem("", {"data.level": "character"}), "study --set data.level=character"),
        ("study", Problem("", {"data.level": True}), "study --set data.level=true"),
        ("study --set 'patience = 3'", Problem("", rename=("patience", "training.patience")), None),
        ("study x.toml", Problem("", rename=("patience", "training.patience")), None),  # the file has it
        ("study x.csv --name n", Problem("", {"data.path": "x.csv"}, without="x.csv"), "study --name n --data x.csv"),
        ("study --import a --name n", Problem("", {"--name": "m"}, without="--import"), "study --name m"),
        ("study --name=a", Problem("", {"--name": "b"}), "study --name=b --import a"),
        ("study --name a", Problem("", {"--name": "b"}), "study --name b --import a"),
        ("study --name a", Problem("", {"--promote": "a", "--name": "b"}), "study --name b --promote a"),
        ("study --name a", Problem("", {"--unknown": "a", "--name": "b"}), "study --name b"),  # not its flag
        ("study x.toml --name a", Problem("", {"--name": "b"}), "study x.toml --name b"),
        ("study --import=a", Problem("", {"--name": "m"}, without="--import"), "study --name m"),
        ("study", Problem("", {"--calendar": True}), "study --calendar"),
        ("study --calendar", Problem("", {"--calendar": True}), None),
        ("study", "a line that knows no remedy", None),
        ("study", Problem("", {"--name": "\x1b[2J"}), None),
    ],
)
def test_what_is_typed_instead(typed: str, problem: str, expected: str | None) -> None:
    if "'patience = 3'" in typed:
        expected = "study --set 'training.patience= 3'"
    assert mended(shlex.split(typed), OPTIONS, [problem]) == expected


def test_a_command_without_the_flag_gets_none() -> None:
    assert mended(["predict", "m"], {"--data"}, [Problem("", {"data.time": "day"})]) is None


@pytest.mark.parametrize("flag", ["--storage", "--storage=", "--set storage="])
def test_a_url_that_can_hold_a_password_is_not_shown(flag: str) -> None:
    for url in (
        "postgresql://u:sentinel@h/d",
        "s3://b?secret_key=sentinel",
        '"mysql+pymysql://u:sentinel@h/d"',
        "a://u:a sentinel@h",
    ):
        typed = [*flag.split(), url] if not flag.endswith("=") else [*flag.split()[:-1], flag.split()[-1] + url]

        shown = mended(["study", *typed], OPTIONS, [Problem("", {"--name": "n"})])

        assert shown is not None
        assert "sentinel" not in shown
        assert "URL" in shown


def test_where_two_ways_are_open_both_are_shown() -> None:
    problems = [
        Problem("", {"data.dayfirst": "true"}, otherwise={"data.dayfirst": "false"}),
        Problem("", {"data.sort": True}),
    ]

    assert proposals(["study"], OPTIONS, problems) == [
        f"study --set data.dayfirst={day_first} --set data.sort=true" for day_first in ("true", "false")
    ]


@pytest.mark.parametrize(
    ("head", "cell", "ways"),
    [
        ("ds,y", lambda i: f"0{i % 2 + 1}/0{i % 3 + 1}/{2000 + i},1", ("data.dayfirst=true", "data.dayfirst=false")),
        ("ds;y", lambda i: f"{i};{i % 9 + 1},000", ('data.thousands=","', 'data.decimal=","')),
        ("0,1", lambda i: f"{i},{i % 9}", ("data.header=false", "data.header=true")),
    ],
)
def test_what_the_file_cannot_tell_is_asked_for_with_both_commands(
    cli: Cli, head: str, cell: Callable[[int], str], ways: tuple[str, ...]
) -> None:
    Path("open.csv").write_text("\n".join([head, *map(cell, range(120))]))

    refused = cli("study", "--data", "open.csv", "--horizon", "4", "--dry-run")

    expected = [f"study --data open.csv --horizon 4 --dry-run --set {shlex.quote(way)}" for way in ways]
    assert [
        line.removeprefix("try: python -m optlstm ") for line in refused.lines if line.startswith("try: ")
    ] == expected


def test_predict_is_proposed_no_key_that_it_does_not_take() -> None:
    keys = ({"data.dayfirst": "true"}, {"data.sort": "true"})
    proposed = [mended(["predict", "m"], {"--set"}, [Problem("", fix)]) for fix in keys]
    assert proposed == ["predict m --set data.dayfirst=true", None]


def test_another_command_follows() -> None:
    problems = [
        "a line",
        Problem("", {"--name": "n"}, instead=("refit", "a study", "--storage", "postgresql://u:sentinel@h/d")),
    ]

    assert proposals(["study"], OPTIONS, problems) == ["study --name n", "refit 'a study' --storage URL"]


def test_a_problem_keeps_its_remedy_through_an_error_and_a_pickle() -> None:
    error = InputError([Problem("a line", {"data.time": "day"}, without="x", rename=("a", "b"))])

    (problem,) = pickle.loads(pickle.dumps(error)).problems

    assert (problem, problem.fix, problem.without, problem.rename) == ("a line", {"data.time": "day"}, "x", ("a", "b"))


def last_line_mends(cli: Cli, *arguments: str, dry: bool = True) -> str:
    """Run a command that is refused, and the one it proposes, which must be accepted; gives the latter."""
    refused = cli(*arguments)
    assert refused.code == 2, refused.err
    assert refused.lines[-1].startswith("try: python -m optlstm study ")
    command = refused.lines[-1].removeprefix("try: python -m optlstm ")
    accepted = cli(*shlex.split(command), *(("--dry-run",) if dry else ()))
    assert accepted.code == 0, accepted.err
    return command


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--data other.csv --horizon 4", "--data other.csv --horizon 4 --time 'the day' --target a"),
        (
            "other.csv --time 'the day' --target=a --horizon 4",
            "--time 'the day' --target=a --horizon 4 --data other.csv",
        ),
        (
            "--data other.csv --time 'the day' --target a,bb --horizon 4",
            "--data other.csv --time 'the day' --target a,b --horizon 4",
        ),
        (
            "tiny.toml --set patience=3 --set hidden_size=8",
            "tiny.toml --set training.patience=3 --set space.hidden_size=8",
        ),
        ("tiny.toml --sampler tpee", "tiny.toml --sampler tpe"),
        ("tiny.toml --set sampler.name=tpee", "tiny.toml --set sampler.name=tpe"),
        ("tiny.toml --objectives mse,parameters --pruner asha", "tiny.toml --objectives mse,parameters --pruner none"),
        ("--data gap.csv --horizon 4", "--data gap.csv --horizon 4 --gaps interpolate"),
        ("--data back.csv --horizon 4", "--data back.csv --horizon 4 --set data.sort=true"),
        ("--data shop.csv --series shop", "--data shop.csv --series shop,item"),
        ("--data plain.csv --horizon 4", "--data plain.csv --horizon 4 --time row --target value"),
        ("--data commas.csv --horizon 4", "--data commas.csv --horizon 4 --set data.decimal=,"),
        ("--data panel.csv", "--data panel.csv --short omit"),
        ("--task sequence --data steps.csv", "--task sequence --data steps.csv --series id --time t"),
    ],
)
def test_a_refusal_ends_with_the_command_that_is_accepted(cli: Cli, arguments: str, expected: str) -> None:
    days = [f"{2000 + i // 12}-{i % 12 + 1:02}-01,{i % 12},{i % 7}" for i in range(120)]
    Path("other.csv").write_text("\n".join(["the day,a,b", *days]))
    lines = series().splitlines()
    Path("gap.csv").write_text("\n".join([*lines[:50], *lines[52:]]))
    Path("back.csv").write_text("\n".join([*lines[:50], *lines[52:], *lines[50:52]]))
    items = [f"{shop},{item},{i},{i % 5}" for shop in (1, 2) for item in "ab" for i in range(60)]
    Path("shop.csv").write_text("\n".join(["shop,item,ds,y", *items]))
    Path("plain.csv").write_text("value\n" + "".join(f"{i % 7}\n" for i in range(60)))
    Path("commas.csv").write_text("ds,y\n" + "".join(f'{i},"{i % 7},{i % 10}"\n' for i in range(60)))
    months = [
        f"{name},{2000 + i // 12}-{i % 12 + 1:02}-01,{i % 7}" for name, n in (("a", 60), ("b", 9)) for i in range(n)
    ]
    Path("panel.csv").write_text("\n".join(["unique_id,ds,y", *months]))
    rows = [f"{i},{t},{t * (i % 2)},{'ud'[i % 2]}" for i in range(40) for t in range(6)]
    Path("steps.csv").write_text("\n".join(["id,t,x,label", *rows]))

    assert last_line_mends(cli, "study", *shlex.split(arguments)) == f"study {expected}"


def test_another_search_is_proposed_under_a_free_name(cli: Cli, cached_cli: Cli) -> None:
    cached_cli("study", "tiny.toml")

    assert last_line_mends(cli, "study", "tiny.toml", "--seed", "4") == "study tiny.toml --seed 4 --name tiny-2"
    narrower = ("--name", "tiny", "--set", "space.learning_rate=0.01")  # what is tried first does not fit it
    assert cli("study", *narrower).lines[:-1] == [
        "study 'tiny' exists and is another search; give another --name, or keep what it was made with:",
        '  space.learning_rate: the study has {type = "float", low = 0.001, high = 0.01, log = true, default = 0.003},'
        " this asks for 0.01",
    ]
    proposed = "study --name tiny-2 --set space.learning_rate=0.01 --import tiny"
    assert last_line_mends(cli, "study", *narrower) == proposed

"""Bad input: exit code 2, one line per problem, all of them at once, no traceback, and nothing is created."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from optlstm.run import worker_server
from tests.conftest import Cli, series

STUDY = ("study", "tiny.toml")
Lines = list[list[str]]  # for each expected line, what it must contain


def refuses(cli: Cli, arguments: tuple[str, ...], expected: Lines) -> list[str]:
    """Run a command that must be refused with exactly these lines, beside the command to try; gives all lines."""
    before = files()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_server, "FORKS", False)  # none is started for trials that never run
        outcome = cli(*arguments)

    assert outcome.code == 2, outcome.err
    assert outcome.out == ""
    lines = [line for line in outcome.lines if not line.startswith("try: ")]
    for fragments in expected:
        matching = [line for line in lines if all(fragment in line for fragment in fragments)]
        assert len(matching) == 1, f"{fragments} not in exactly one line of:\n{outcome.err}"
    assert len(lines) == len(expected), outcome.err
    assert files() == before
    return outcome.lines


def files() -> list[Path]:
    """All below this folder, but those that SQLite has beside a database as long as it is open."""
    return sorted(path for path in Path.cwd().rglob("*") if not path.name.endswith(("-shm", "-wal")))


@pytest.mark.parametrize("by", ["file", "--set"])
@pytest.mark.parametrize(
    ("section", "key", "near"),
    [
        ("", "trails", "trials"),
        ("data", "targt", "target"),
        ("training", "epoch", "epochs"),
        ("sampler", "n_startup", "n_startup_trials"),
        ("pruner", "n_warmup", "n_warmup_steps"),
        ("space", "hiden_size", "hidden_size"),
    ],
)
def test_an_unknown_key_names_the_nearest(cli: Cli, by: str, section: str, key: str, near: str) -> None:
    file = Path("study.toml")
    file.write_text("" if by == "--set" else f"[{section}]\n{key} = 3\n" if section else f"{key} = 3\n")
    path = f"{section}.{key}" if section else key
    arguments = ("--set", f"{path}=3") if by == "--set" else ()

    refuses(cli, ("study", str(file), *arguments), [[f"{path}: ", f"did you mean '{near}'?"]])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trials=true", "trials: must be a whole number, got True"),
        ("trials=2.5", "trials: must be a whole number, got 2.5"),
        ("trials='3'", "trials: must be a whole number, got '3'"),
        ("timeout=soon", "timeout: must be seconds, or with a unit as 90s, 10m, 1.5h, got 'soon'"),
        ("timeout=nan", "timeout: must be above 0, got nan"),
        ("name=[1]", "name: must be text, got [1]"),
        ("storage_path=3", "storage_path: must be text, got 3"),
        ("training=4", "training: must be a table, got 4"),
        ("data=4", "data: must be a table, got 4"),
        ("space=4", "space: must be a table, got 4"),
        ("sampler=tpe", "sampler: write sampler.name = 'tpe'"),
        ("pruner=3", "pruner: must be a table, got 3"),
        ("data.target=3", "data.target: must be a list, got 3"),
        ("data.target=[]", "data.target: must be a list of at least 1"),
        ("data.splits=half", "data.splits: must be three fractions or three numbers of rows, got 'half'"),
        ("data.splits=[0.5, 0.5]", "data.splits: must be three fractions or three numbers of rows, got [0.5, 0.5]"),
        ("data.horizon=0", "data.horizon: must be at least 1, got 0"),
        ("training.device=gpu", "training.device: 'gpu' is not a device; use auto, cpu, cuda"),
        ("training.device=cuda:99", "training.device: cuda:99 asked for, and torch sees"),
        ("training.patience=-1", "training.patience: must be at least 0, got -1"),
        ("seed=4294967296", "seed: must be at most 4294967295, got 4294967296"),
        ("sampler.n_startup_trials=ten", "sampler.n_startup_trials: must be a whole number, got 'ten'"),
        ("epochs", "--set epochs: use section.key=VALUE, for example --set training.epochs=20"),
        ("=3", "--set =3: use section.key=VALUE"),
    ],
)
def test_a_wrong_value_says_what_it_must_be(cli: Cli, override: str, expected: str) -> None:
    refuses(cli, (*STUDY, "--set", override), [[expected]])


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--trials", "0", "trials: must be at least 1, got 0"),
        ("--trials", "-1", "trials: must be at least 1, got -1"),
        ("--trials", "x", "trials: must be a whole number, got 'x'"),
        ("--timeout", "0", "timeout: must be above 0, got 0"),
        ("--epochs", "0", "training.epochs: must be at least 1, got 0"),
        ("--workers", "0", "workers: must be at least 1 or 'auto', got 0"),
        ("--workers", "two", "workers: must be a whole number or 'auto', got 'two'"),
        ("--seed", "-1", "seed: must be at least 0, got -1"),
        ("--horizon", "-3", "data.horizon: must be at least 1, got -3"),
        ("--sampler", "tpee", "sampler.name: no sampler 'tpee'; did you mean 'tpe'?"),
        ("--pruner", "medain", "pruner.name: no pruner 'medain'; did you mean 'median'?"),
        ("--backend", "locl", "backend: must be 'local'"),
        ("--task", "forcast", "task: must be one of forecast, sequence, text, got 'forcast'; did you mean 'forecast'?"),
        ("--storage", "runs.db", "storage: not a database URL; use sqlite:///FILE.db"),
        ("--storage", "oracle://host/db", "storage: "),
        ("--storage", "sqlite:///:memory:", "storage: an in-memory SQLite database would be lost"),
        ("--name", "x" * 513, "name: must be 1 to 512 printable characters"),
        ("--name", "a\x1b[31mb\nc", r"name: must be 1 to 512 printable characters, got 'a\x1b[31mb\nc'"),
        ("--name", " ", "name: must be 1 to 512 printable characters"),
        ("--pruner", "threshold", "pruner: threshold needs pruner.upper or pruner.lower"),
        ("--data", "tinny.csv", "data: file 'tinny.csv' not found; did you mean 'tiny.csv'?"),
        ("--target", "yy", "data: column 'yy' not found in tiny.csv; did you mean 'y'?"),
    ],
)
def test_a_wrong_flag_says_what_it_must_be(cli: Cli, flag: str, value: str, expected: str) -> None:
    refuses(cli, (*STUDY, flag, value), [[expected]])


def test_of_an_unknown_task_nothing_else_is_judged(cli: Cli) -> None:
    command = ("study", "--data", "nowhere.csv", "--task", "txt", "--set", "space.label_smoothing=0.1")
    refuses(cli, command, [["task: must be one of forecast, sequence, text, got 'txt'"]])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("dropout={low=0.5, high=0.1}", "space.dropout: low = 0.5 is above high = 0.1"),
        ("learning_rate={low=0, high=1, log=true}", "space.learning_rate: log needs low > 0, got low = 0"),
        ("learning_rate={low=1e-3, high=1, log=true, step=0.1}", "space.learning_rate: step and log cannot be"),
        ("window={choices=[]}", "space.window: choices is empty"),
        ("window=[24, 48]", "space.window: must be a whole number, got [24, 48]; several to search: {choices = [...]}"),
        ("window={choices=8}", "space.window: choices must be a list, got 8"),
        ("dropout={low=nan, high=0.5}", "space.dropout: low is nan; bounds must be finite"),
        ("dropout={low=0, high=inf}", "space.dropout: high is inf; bounds must be finite"),
        ("dropout={low=0.1, hgh=0.5}", "space.dropout: unknown key 'hgh'; did you mean 'high'?"),
        ("hidden_size=many", "space.hidden_size: must be a whole number, got 'many'"),
        ("optimizer=adamm", "did you mean 'adam'?"),
        ("learning_rate=nan", "space.learning_rate: must be finite, got nan"),
        ("window=0", "space.window: must be an integer of at least 1, not 0"),
    ],
)
def test_a_wrong_search_space_is_refused(cli: Cli, override: str, expected: str) -> None:
    refuses(cli, (*STUDY, "--set", f"space.{override}"), [[expected]])


def test_options_that_do_not_fit_together_are_refused(cli: Cli) -> None:
    refuses(
        cli,
        (*STUDY, "--pruner", "asha", "--set", "pruner.grace_period=3"),
        [["pruner.grace_period: 3 epochs is more than training.epochs = 2"]],
    )
    refuses(cli, (*STUDY, "--sampler", "grid"), [["space.learning_rate: is continuous", "give it a step or choices"]])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["space.window=90"], [["train has 84 rows and needs at least 94", "space.window 90 + horizon 4"]]),
        (
            ["data.horizon=30"],
            [["validation has 12 rows and needs at least 30"], ["test has 24 rows and needs at least 30"]],
        ),
        (["data.splits=[0.9, 0.2, 0.1]"], [["data.splits: [0.9, 0.2, 0.1] sums to 1.2, not to 1"]]),
        (["data.splits=[100, 20, 20]"], [["100 + 20 + 20 = 140 rows asked for, and the data has 120"]]),
        (["data.splits=[0.8, 0.0, 0.2]"], [["data.splits: validation gets none of the 120 rows"]]),
        (["data.splits=[-0.5, 0.5, 1.0]"], [["data.splits: train is -0.5; it must be a number of 0 or more"]]),
        (["data.splits=[nan, 0.5, 0.5]"], [["data.splits: train is nan"]]),
    ],
)
def test_windows_and_splits_must_fit_the_data(cli: Cli, overrides: list[str], expected: Lines) -> None:
    refuses(cli, (*STUDY, *(part for override in overrides for part in ("--set", override))), expected)


ROWS = series().splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["is empty"]),
        ("ds,y\n", ["has a header and no rows"]),
        ("\n".join(["ds,value", *ROWS[1:]]), ["no target column 'y'", "name it: --target value"]),
        (series().replace("\n5,", "\n5,1,"), ["1 row(s) without the 2 fields of the header (row 7 has 3)"]),
        ("\n".join([*ROWS[:9], "8,oops", *ROWS[10:]]), ["column 'y'", "1 cell(s) are not numbers", "row 10: 'oops'"]),
        ("\n".join([*ROWS[:9], "8,nan", *ROWS[10:]]), ["column 'y'", "1 empty or NaN value(s)", "row 10"]),
        ("\n".join([*ROWS[:9], "8,inf", *ROWS[10:]]), ["column 'y'", "1 infinite value(s)", "row 10"]),
        ("\n".join([*ROWS[:9], ROWS[8], *ROWS[9:]]), ["column 'ds'", "1 repeated time(s)", "row 10: 7"]),
        ("\n".join([*ROWS[:8], ROWS[9], ROWS[8], *ROWS[10:]]), ["1 time(s) earlier than the one before", "row 10"]),
        ("\n".join([*ROWS[:8], *ROWS[9:]]), ["1 missing row(s) in 1 gap(s)", "row 9: 8 after 6"]),
    ],
    ids=["empty", "header-only", "no-target", "ragged", "text", "nan", "inf", "repeated", "unordered", "gap"],
)
def test_a_data_file_with_a_flaw_is_refused_where_it_is_flawed(cli: Cli, text: str, expected: list[str]) -> None:
    Path("tiny.csv").write_text(text)

    refuses(cli, STUDY, [["tiny.csv", *expected]])


def test_all_problems_of_config_data_and_space_come_at_once(cli: Cli) -> None:
    Path("tiny.csv").write_text("\n".join([*ROWS[:9], "8,oops", *ROWS[10:]]))
    overrides = ("training.epochs=0", "space.dropout.low=0.9", "nonsense")
    sets = tuple(part for override in overrides for part in ("--set", override))

    refuses(
        cli,
        (*STUDY, *sets, "--trials", "x", "--storage", "nowhere", "--pruner", "none", "--sampler", "best", "--seed=-1"),
        [
            ["--set nonsense"],
            ["storage: not a database URL"],
            ["trials: must be a whole number"],
            ["seed: must be at least 0"],
            ["training.epochs: must be at least 1"],
            ["sampler.name: no sampler 'best'"],
            ["data: column 'y' of tiny.csv", "row 10: 'oops'"],
            ["space.dropout: low = 0.9 is above high = 0.5"],
        ],
    )


def test_a_study_file_that_cannot_be_read_is_refused(cli: Cli) -> None:
    Path("broken.toml").write_text("trials = = 3\n")
    Path("bytes.toml").write_bytes(b"name = '\xff'\n")
    Path("folder.toml").mkdir()

    refuses(cli, ("study", "tinny.toml"), [["study file: tinny.toml does not exist; did you mean 'tiny.toml'?"]])
    refuses(cli, ("study", "sales-fit"), [["study file: sales-fit does not exist; a study's name is --name sales-fit"]])
    refuses(cli, ("study", "broken.toml"), [["study file: broken.toml is not TOML", "line 1"]])
    refuses(cli, ("study", "bytes.toml"), [["study file: bytes.toml is not TOML"]])
    refuses(cli, ("study", "folder.toml"), [["study file: folder.toml cannot be read"]])
    refuses(cli, ("study", "tiny.csv"), [["tiny.csv looks like a data file; give it with --data tiny.csv"]])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("study", "--trails", "3"), ["No such option: --trails", "--trials", "python -m optlstm study --help"]),
        (("study", "--trials"), ["'--trials' requires an argument"]),
        (("study", "tiny.toml", "more.toml"), ["unexpected extra argument", "more.toml"]),
        (("stduy",), ["No such command 'stduy'", "'study'"]),
        (("show",), ["Missing argument"]),
        (("show", "x", "--format", "xml"), ["--format: must be table, json or csv, got 'xml'"]),
        (("show", "x"), ["storage: no study database at runs/optlstm.db; run a study first"]),
        (("studies",), ["storage: no study database at runs/optlstm.db"]),
        (("dashboard",), ["storage: no study database at runs/optlstm.db"]),
        (("studies", "--storage", "nowhere"), ["storage: not a database URL"]),
    ],
)
def test_a_command_that_cannot_be_is_refused_in_one_line(
    cli: Cli, arguments: tuple[str, ...], expected: list[str]
) -> None:
    refuses(cli, arguments, [expected])


def test_control_characters_of_a_file_do_not_reach_the_terminal(cli: Cli) -> None:
    Path("tiny.csv").write_text(series(header='"d\x1b[2Js",y'))

    (line,) = refuses(cli, STUDY, [["no time column 'ds'"]])
    assert r"d\x1b[2Js" in line


def test_a_password_appears_in_no_output(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "hunter2sentinel"
    urls = [
        f"postgresql://u:{secret}@127.0.0.1:1/db",
        f"postgresql://u:{secret}@host:port/db",
        f"oracle://u:{secret}@h/d",
    ]
    for url in urls:
        monkeypatch.setenv("OPTLSTM_STORAGE", url)
        for arguments in (STUDY, (*STUDY, "--trials", "0"), ("show", "x"), ("studies",)):
            outcome = cli(*arguments)

            assert outcome.code in (1, 2)
            assert outcome.lines
            assert secret not in outcome.out + outcome.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", [("predict", "model", "--data", "tiny.csv"), ("export", "model")])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(cli: Cli, command: tuple[str, ...]) -> None:
    refuses(cli, (*command, "-o", "tiny.csv/out.csv"), [["-o: cannot write below tiny.csv: Not a directory"]])


def test_a_terminal_breaks_no_word_of_an_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = cli("study", "--data", "tiny.csv", "--time", "nothing", "--set", "data.splits=[1,2]").err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")

    shown = cli("study", "--data", "tiny.csv", "--time", "nothing", "--set", "data.splits=[1,2]").err

    assert max(map(len, plain.splitlines())) > 60 >= max(map(len, shown.splitlines()))
    assert shown.split() == plain.split()

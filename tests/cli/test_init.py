"""`init`: a study file for a data file, which the study then reads; `completion`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from optlstm.cli import main
from optlstm.config.schema import StudyConfig
from tests.cli.test_bad_input import refuses
from tests.conftest import Cli, series


def test_a_file_of_any_columns_gets_a_study_file_that_runs(cli: Cli) -> None:
    rows = [f"2020-01-{day:02d},{day % 7},{'' if day == 9 else day % 5}" for day in range(1, 32)]
    Path("sales.csv").write_text("\n".join(["When,Left,Sold", *rows]))

    outcome = cli("init", "sales.csv", "--target", "Sold", "--horizon", 2)
    text = Path("sales.toml").read_text()

    assert (outcome.code, outcome.err) == (0, "")
    assert "sales.toml: sales, 31 rows" in outcome.out
    assert "data.gaps: proposed: column 'Sold' of sales.csv: 1 empty or NaN value(s) (row 10)" in outcome.out
    assert outcome.out.endswith("next\n  python -m optlstm study sales.toml\n")
    data = {
        "time": "When",
        "target": "Sold",
        "horizon": 2,
        "gaps": "interpolate",
        "path": str(Path("sales.csv").absolute()),
    }
    assert tomllib.loads(text)["data"] == data
    assert "# steps to forecast (default: one season)\nhorizon = 2\n" in text
    assert "#sort = false\n" in text
    assert "label" not in text
    assert cli("study", "sales.toml", "--dry-run").code == 0
    refuses(cli, ("init", "sales.csv"), [["-o: sales.toml exists; name another file"]])


def test_a_default_in_it_is_the_default(cli: Cli) -> None:
    cli("init", "tiny.csv", "-o", "new.toml")

    written = tomllib.loads(re.sub(r"^#(\w+ = )", r"\1", Path("new.toml").read_text(), flags=re.MULTILINE))
    space = written.pop("space")
    del written["data"]["path"]

    assert (written.pop("name"), written["data"].pop("horizon")) == ("new", 12)
    assert StudyConfig.model_validate(written) == StudyConfig()
    assert space["hidden_size"].keys() == {"low", "high", "step", "default"}


def test_a_study_of_its_name_is_not_continued_with_another_horizon(cli: Cli) -> None:
    assert cli("study", "tiny.toml", "--trials", 1).code == 0  # of horizon 4

    Path("elsewhere").mkdir()
    made = cli("init", "tiny.csv", "-o", "elsewhere/tiny.toml")

    assert "name: there is a study 'tiny' in the database already" in made.out.splitlines()
    planned = cli("study", "elsewhere/tiny.toml", "--dry-run")
    assert re.search(r"^study +tiny-2\n.* horizon 12$", planned.out, re.MULTILINE)


def test_a_file_is_written_where_no_database_can_be_reached(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTLSTM_STORAGE", "postgresql://nobody@127.0.0.1:1/studies")

    assert cli("init", "tiny.csv", "-o", "new.toml").code == 0


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("t.csv", "text,label\n" + "good one,a\nbad one,b\n" * 20, "text"),
        (
            "s.csv",
            "label," + ",".join(f"t{i}" for i in range(8)) + "\n" + "a,1,2,3,4,5,6,7,8\nb,2,3,4,5,6,7,8,9\n" * 20,
            "sequence",
        ),
        ("f.csv", series(60, "ds,y"), "forecast"),
    ],
)
def test_the_task_is_told_by_the_columns(cli: Cli, name: str, text: str, expected: str) -> None:
    Path(name).write_text(text)

    outcome = cli("init", name, "-o", "new.toml")

    assert outcome.code == 0, outcome.err
    assert tomllib.loads(Path("new.toml").read_text())["task"] == expected


def test_what_only_a_person_knows_is_asked_for(cli: Cli) -> None:
    Path("d.csv").write_text("ds,y\n" + "".join(f"0{1 + i % 9}/0{1 + i // 9}/2020,{i}\n" for i in range(50)))

    outcome = cli("init", "d.csv")

    assert outcome.code == 2
    assert outcome.lines[-2:] == [
        "try: python -m optlstm init d.csv --set data.dayfirst=true",
        "try: python -m optlstm init d.csv --set data.dayfirst=false",
    ]
    assert not Path("d.toml").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [("optlstm stu", "study\nstudies\n"), ("optlstm study --sa", "--sampler\n"), ("optlstm init --o", "--out\n")],
)
def test_a_shell_is_told_commands_and_flags(
    words: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/optlstm"])
    for name, value in {"_OPTLSTM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "2"}.items():
        monkeypatch.setenv(name, value if name != "COMP_CWORD" else str(words.count(" ")))

    with pytest.raises(SystemExit) as ended:
        main([])

    assert (ended.value.code, capsys.readouterr().out) == (0, expected)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script_that_asks(cli: Cli, shell: str) -> None:
    assert f"_OPTLSTM_COMPLETE=complete_{shell}" in cli("completion", shell).out

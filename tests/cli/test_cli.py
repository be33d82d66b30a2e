"""The command line as a person or a program uses it: runs, continues, shows, and refuses another search."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import optuna
import pandas as pd
import pytest

import optlstm.__main__
from optlstm.backends.driver import Run
from optlstm.backends.trial import Decision
from optlstm.config.flags import FLAGS
from optlstm.config.schema import StudyConfig
from optlstm.util.extras import install
from tests.conftest import URL, Cli, rows, series

STUDY = ("study", "tiny.toml")
COMMON = ("--set", "--quiet", "--json", "--help")  # beside the flags that set a key of the config


def test_a_study_runs_says_what_it_does_and_what_to_type_next(cli: Cli) -> None:
    outcome = cli(*STUDY)

    assert outcome.code == 0
    assert outcome.lines[0] == ("study tiny: tiny, 120 rows (84 train, 12 validation, 24 test), target y, horizon 4")
    assert outcome.lines[1] == "3 trials of up to 2 epochs, sampler tpe, pruner median, seed 0, workers 1"
    assert [re.sub(r" {2,}", " ", line)[:16] for line in outcome.lines[2:]] == [f"trial {n} complete" for n in range(3)]
    assert "3 trials: 3 complete" in outcome.out
    for command in ("show tiny", "dashboard tiny", "study --name tiny --trials 6"):
        assert f"python -m optlstm {command}" in outcome.out
    assert "\x1b" not in outcome.out + outcome.err


def test_the_same_command_again_has_nothing_to_do_and_says_so(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY)
    before = rows()

    outcome = cli(*STUDY)

    assert outcome.code == 0
    assert outcome.lines[2] == (
        "nothing to do: the study has 3 trials: 3 complete; to continue the search, give a higher --trials"
    )
    assert rows() == before


def test_the_name_alone_continues_with_the_stored_config(
    cli: Cli, cached_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_cli(*STUDY, "--trials", 2, "--sampler", "random", "--seed", 5)
    Path("tiny.toml").unlink()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")

    outcome = cli(
        "study", "--name", "tiny", "--trials", "3", "--storage", f"sqlite:///{Path('../runs').resolve()}/optlstm.db"
    )

    assert outcome.code == 0
    assert "sampler random, pruner median, seed 5" in outcome.lines[1]
    assert outcome.lines[2] == "continuing: 2 of 3 trials have ended"
    assert "3 trials: 3 complete" in outcome.out
    assert "study --name tiny --trials 6 --storage sqlite:///" in outcome.out


def test_two_commands_find_what_one_finds(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY, "--trials", 2)
    cli(*STUDY, "--trials", 4)
    in_two = rows()

    cli(*STUDY, "--trials", 4, "--name", "whole")

    assert rows("whole") == in_two


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--seed", "1"], "seed: the study has 0, this asks for 1"),
        (["--horizon", "3"], "data.horizon: the study has 4, this asks for 3"),
        (["--epochs", "3"], "training.epochs: the study has 2, this asks for 3"),
        (["--sampler", "random"], "sampler.name: the study has 'tpe', this asks for 'random'"),
        (["--set", "pruner.n_warmup_steps=1"], "pruner.n_warmup_steps: the study has 0, this asks for 1"),
        (["--set", "space.hidden_size=5"], "space.hidden_size: the study has 4, this asks for 5"),
        (["--set", "data.splits=[80,20,20]"], "data.splits: the study has [84, 12, 24], this asks for [80, 20, 20]"),
        (["--data", "other.csv", "--name", "tiny"], "data: another file, or another content: the study has 120 rows"),
    ],
)
def test_another_search_under_the_name_is_refused_with_both_values(
    cli: Cli, cached_cli: Cli, arguments: list[str], expected: str
) -> None:
    cached_cli(*STUDY)
    Path("other.csv").write_text(series(130))
    before, files = rows(), sorted(Path.cwd().rglob("*"))

    outcome = cli(*STUDY, *arguments, "--trials", "5")

    assert outcome.code == 2
    assert outcome.lines[0].startswith("study 'tiny' exists and is another search")
    assert any(line.startswith(f"  {expected}") for line in outcome.lines)
    assert [line for line in outcome.lines[:-1] if "sampler" in line] == [f"  {expected}"] * ("--sampler" in arguments)
    assert outcome.out == ""
    assert (rows(), sorted(Path.cwd().rglob("*"))) == (before, files)


def test_a_study_of_plain_optuna_is_refused_and_shown(cli: Cli) -> None:
    Path("runs").mkdir()
    study = optuna.create_study(study_name="plain", storage=URL, directions=["minimize", "maximize"])
    study.enqueue_trial({"x": 1.0})
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 2), 1.0), n_trials=1)

    refused = cli(*STUDY, "--name", "plain")

    assert refused.code == 2
    assert refused.lines == ["study: 'plain' in this database was not made by optlstm; choose another --name"]
    assert json.loads(cli("show", "plain", "--format", "json").out)["trials"][0]["value"] == [1.0, 1.0]
    assert "plain" in cli("studies").out
    assert "1 complete" in cli("show", "plain").out


def test_flags_beat_the_file_and_flags_left_out_do_not(cli: Cli) -> None:
    def counts(*arguments: object) -> tuple[int, int]:
        outcome = cli(*STUDY, *arguments, "--json", "--quiet")
        table = json.loads(cli("show", arguments[1], "--format", "json").out)["trials"]
        return sum(json.loads(outcome.out)["counts"].values()), max(trial["epochs"] for trial in table)

    assert counts("--name", "file") == (3, 2)
    assert counts("--name", "set", "--set", "trials=2", "--set", "training.epochs=1") == (2, 1)
    assert counts("--name", "flag", "--set", "trials=2", "--trials", 1, "--epochs", 3) == (1, 3)
    assert StudyConfig().trials not in (1, 2, 3)


def test_json_is_one_object_on_standard_output_and_quiet_says_nothing_else(cli: Cli) -> None:
    loud, quiet = cli(*STUDY, "--json"), cli(*STUDY, "--json", "--quiet")
    result = json.loads(loud.out)

    assert loud.out.count("\n") == 1
    assert "best trial" in loud.err
    assert (quiet.out, quiet.err) == (loud.out, "")
    assert result.keys() == {"name", "direction", "best", "counts", "at_work"}
    assert result["counts"] == {"COMPLETE": 3}
    assert result["best"].keys() == {"number", "value", "params"}
    assert "best trial" in cli(*STUDY, "--quiet").out


def test_show_in_every_form_tells_the_same(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY, "--set", "space.dropout={low=0.0,high=0.4}", "--set", "pruner.n_startup_trials=1", "--trials", 6)
    shown = json.loads(cli("show", "tiny", "--format", "json").out)
    table = pd.read_csv(io.StringIO(cli("show", "tiny", "--format", "csv").out))
    text = cli("show", "tiny").out

    assert shown.keys() == {"name", "direction", "best", "counts", "at_work", "trials"}
    assert (shown["name"], shown["direction"]) == ("tiny", "minimize")
    best = min((t for t in shown["trials"] if t["state"] == "COMPLETE"), key=lambda t: t["value"])
    assert shown["best"] == {key: best[key] for key in ("number", "value", "params")}
    assert list(table["number"]) == [trial["number"] for trial in shown["trials"]]
    assert list(table["state"]) == [trial["state"] for trial in shown["trials"]]
    assert list(table["dropout"]) == [trial["params"]["dropout"] for trial in shown["trials"]]
    assert all(f"{trial['value']:.5f}" in text for trial in shown["trials"])
    assert "median at epoch" in text
    assert [line.split()[0] for line in cli("show", "tiny", "--top", 2).out.splitlines()[-2:]] == [
        str(trial["number"]) for trial in sorted(shown["trials"], key=lambda t: (t["state"], t["value"]))[:2]
    ]


def test_studies_are_listed_and_a_near_name_is_suggested(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY)
    cli(*STUDY, "--name", "[b] 'two'")

    listed = json.loads(cli("studies", "--json").out)
    unknown = cli("show", "tinny")

    assert [row["name"] for row in listed] == ["[b] 'two'", "tiny"]
    assert all(row["optlstm"] and row["counts"] == {"COMPLETE": 3} for row in listed)
    assert {(row["metric"], row["direction"], Path(row["data"]).name) for row in listed} == {
        ("mse", "minimize", "tiny.csv")
    }
    text = cli("studies").out
    assert re.search(r"^\[b\] 'two' +\d{4}-\d\d-\d\d +tiny.csv +3 of 3 +[\d.]+ +mse \(min\) +[\d.]+ kB$", text, re.M)
    assert unknown.code == 2
    assert unknown.lines[0].startswith("study 'tinny' is not in this database; did you mean 'tiny'?")


def test_the_storage_variable_is_used_and_never_repeated(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTLSTM_STORAGE", "sqlite:///mine.db")

    outcome = cli(*STUDY)

    assert Path("mine.db").exists()
    assert not Path("runs/optlstm.db").exists()
    assert "mine.db" not in outcome.out + outcome.err
    assert cli("show", "tiny").code == 0
    assert cli(*STUDY, "--storage", "sqlite:///other.db").code == 0
    assert Path("other.db").exists()


def test_without_a_complete_trial_the_reasons_are_shown(cli: Cli) -> None:
    diverging = ("--set", "space.learning_rate=1e30", "--set", "space.optimizer=sgd", "--set", "space.grad_clip=0.0")

    outcome = cli(*STUDY, *diverging, "--quiet")

    assert outcome.code == 1
    assert outcome.lines[0] == "no trial is complete (3 trials: 3 failed)"
    assert [line.split(":")[0] for line in outcome.lines[1:]] == [f"  trial {n}" for n in range(3)]
    assert outcome.out == ""
    assert "failed" in cli("show", "tiny").out


def test_help_lists_the_commands_and_each_has_its_own(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    overview = cli("--help")
    listed = re.findall(r"^  (\w[\w-]*)  ", overview.out, re.MULTILINE)

    assert overview.code == 0
    assert cli().out == cli("-h").out == overview.out
    assert listed[:4] == ["study", "fit", "refit", "predict"]
    for command in listed:
        outcome = cli(command, "-h")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith(f"Usage: python -m optlstm {command} [OPTIONS]")
        assert max(map(len, outcome.out.splitlines())) <= 80
    assert re.fullmatch(r"optlstm [\d.]+ \(Python [\d.]+, torch .+, optuna .+, ray .+\)\n", cli("--version").out)


def test_without_ray_a_line_says_what_installs_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)

    refused = cli("study", "tiny.toml", "--backend", "ray")

    assert (refused.code, refused.lines) == (2, [f"backend: ray is not installed: {install('ray')}"])
    assert cli("study", "tiny.toml", "--trials", 1).code == 0
    checked = cli("doctor", "--address", "auto")
    assert (checked.code, install("ray") in checked.out) == (1, True)


def test_windows_is_sent_to_wsl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    assert optlstm.__main__.main() == 1
    assert capsys.readouterr().err == "optlstm: runs on Linux and macOS; on Windows use it in WSL 2\n"


def test_help_and_version_load_no_command() -> None:
    code = (
        "import sys; from optlstm.cli import main; main(['--help']); main(['--version'])\n"
        "slow = {'rich', 'torch', 'optuna', 'ray', 'optlstm.config', 'optlstm.tasks'} & {*sys.modules}\n"
        "sys.exit(', '.join(slow) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_a_command_is_shown_as_this_one_was_called(cli: Cli, cached_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/local/bin/optlstm"])

    outcome = cli(*STUDY)

    assert "  optlstm show tiny  " in outcome.out
    assert cli("study", "tiny.csv").lines[-1] == "try: optlstm study --data tiny.csv"


@pytest.mark.parametrize("command", ["study", "lr-search", "fit"])
def test_help_shows_the_flags_of_the_table_and_no_type_of_a_switch(
    cli: Cli, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    text = cli(command, "--help").out

    assert "<bool>" not in text
    options = re.findall(r"^  (?:-\w, )?(--[\w-]+)(?= |$)", text, re.MULTILINE)
    wanted = [flag.name for flag in FLAGS if flag.is_of(command)]
    of_study = ["--dry-run", "--in-process", "--verbose"]
    more = {"study": of_study, "lr-search": ["--out"], "fit": ["--minutes", "--out"]}[command]
    assert sorted(options) == sorted([*wanted, *more, *COMMON])
    assert re.search(r"--workers N\|auto +trials at a time; [^()]*\(default: auto\)", text)


def test_a_flags_text_is_read_as_the_config_reads_it() -> None:
    by_name = {flag.name: flag for flag in FLAGS if "study" in flag.commands}
    typed = {"--seed": "3", "--timeout": "1.5", "--workers": "auto", "--name": "3", "--time": "2020", "--target": "1,2"}

    assert {name: by_name[name].value(text) for name, text in typed.items()} == {
        "--seed": 3,
        "--timeout": 1.5,
        "--workers": "auto",
        "--name": "3",
        "--time": "2020",
        "--target": "1,2",
    }
    assert by_name["--seed"].value("three") == "three"


def test_the_earlier_name_of_out_is_still_understood(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY)

    outcome = cli("report", "tiny", "--output=page.html")

    assert outcome.code == 0, outcome.err
    assert Path("page.html").is_file()
    assert "--output" not in cli("report", "--help").out


def test_a_study_may_be_called_like_an_option(cli: Cli) -> None:
    outcome = cli("study", "tiny.toml", "--trials", 1, "--name", "--trials", "--storage", "sqlite:///a.db")
    commands = [line.split("   ")[0].split() for line in outcome.out.splitlines() if "python -m optlstm" in line]
    (show,) = [command[3:] for command in commands if command[3] == "show"]

    assert show == ["show", "--storage", "sqlite:///a.db", "--", "--trials"]
    assert cli(*show).code == 0


def test_a_trial_that_the_timeout_paused_can_be_refitted(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout alone is no total of 20 trials; where no trial is complete, the paused one is what there is."""
    clock = SimpleNamespace(monotonic=lambda: 0.0)
    monkeypatch.setattr("optlstm.backends.driver.time", clock)
    report = Run.report

    def slowly(run: Run, number: int, epoch: int, value: float) -> Decision:
        clock.monotonic = lambda: 1000.0
        return report(run, number, epoch, value)

    monkeypatch.setattr(Run, "report", slowly)
    Path("tiny.toml").write_text(Path("tiny.toml").read_text().replace("trials = 3\n", ""))
    stopped = cli("study", "tiny.toml", "--timeout", "10m")

    assert stopped.code == 0
    assert "as many trials as fit into 10 min 0 s, of up to 2 epochs" in stopped.lines[1]
    assert "  python -m optlstm study --name tiny --timeout 10m" in stopped.lines
    assert "no trial is complete (1 trial: 1 paused)" in stopped.lines
    assert "trial 0 is paused after epoch 1 of 2, validation mse" in stopped.err
    assert "python -m optlstm refit tiny -o tiny-model" in stopped.out
    assert " paused " in cli("show", "tiny").out
    trial = json.loads(cli("show", "tiny", "--format", "json").out)["trials"][0]
    assert trial["paused"]
    assert 0 < trial["seconds"] < 3600
    refitted = cli("refit", "tiny", "-o", "m", "--no-ensemble")
    assert "trial 0 of study tiny: 1 epoch on" in refitted.out
    clock.monotonic = lambda: 0.0
    assert cli("study", "--name", "tiny", "--timeout", "10m").code == 0
    assert rows()[0][1] == "COMPLETE"

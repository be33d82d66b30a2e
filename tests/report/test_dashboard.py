"""optuna-dashboard with optlstm's pictures and note, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna_dashboard import get_note

from tests.browser import Browser
from tests.conftest import URL, Cli
from tests.study.processes import command, start
from tests.waiting import wait_until

STUDY = ("study", "tiny.toml", "--quiet", "--trials", 3, "--set", "artifacts=2")


def artifacts(study: optuna.Study) -> dict[str, dict[str, Any]]:
    """What the dashboard is told, by the artifact's id."""
    attrs = study._storage.get_study_system_attrs(study._study_id)
    found = [json.loads(value) for key, value in attrs.items() if key.startswith("dashboard:artifacts:")]
    return {each["artifact_id"]: each for each in found}


@contextmanager
def dashboard(*arguments: str) -> Iterator[str]:
    process, said = start(command, Path.cwd(), ("dashboard", *arguments)), Path("said")
    try:
        address = r"http://127\.0\.0\.1:\d+\S*"
        yield wait_until(lambda: said.exists() and re.search(address, said.read_text()))[0]
    finally:
        process.kill()
        process.join()


@pytest.mark.browser
def test_the_dashboard_shows_pictures_and_the_note(cli: Cli, browser: Browser, postgresql_url: str) -> None:
    assert cli(*STUDY, "--storage", postgresql_url, "--name", "seen").code == 0
    best = json.loads(cli("show", "seen", "--storage", postgresql_url, "--format", "json").out)["best"]["number"]

    with dashboard("seen", "--storage", postgresql_url) as address:
        browser.open(f"{address}/trials?numbers={best}")
        picture = "[...document.images].filter(i => i.src.includes('/artifacts/') && i.naturalWidth > 300)"
        assert browser.wait_for(f"{picture}.length") == 1
        browser.open(f"{address}/note")
        browser.wait_for(f"document.body.innerText.includes('Trial {best} is best')")


def test_artifacts_are_pictures_and_params_and_come_once(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY)
    study = optuna.load_study(study_name="tiny", storage=URL)
    told = artifacts(study)
    (folder,) = Path("runs").glob("tiny-*/artifacts")

    assert sorted((a["filename"], a["mimetype"]) for a in told.values()) == [
        ("forecasts.png", "image/png"), ("forecasts.png", "image/png"),
        ("params.json", "application/json"), ("params.json", "application/json"),
    ]  # fmt: skip
    assert {path.name for path in folder.iterdir()} == set(told)
    stored = [json.loads((folder / key).read_text()) for key, a in told.items() if a["filename"] == "params.json"]
    by_rank = sorted(study.trials, key=lambda t: t.value or 0.0)[:2]
    assert sorted(each["trial"] for each in stored) == sorted(t.number for t in by_rank)
    assert all(study.trials[each["trial"]].params.items() <= each["params"].items() for each in stored)
    note = get_note(study)
    assert f"Trial {study.best_trial.number} is best" in note
    assert "learning\\_rate" in note

    cli(*STUDY)  # nothing to do
    assert artifacts(optuna.load_study(study_name="tiny", storage=URL)) == told
    cli(*STUDY, "--trials", 4)
    again = optuna.load_study(study_name="tiny", storage=URL)
    assert set(told) <= set(artifacts(again))
    assert "4 trials" in get_note(again)


def test_a_note_of_ones_own_is_left_alone(cli: Cli, cached_cli: Cli) -> None:
    from optuna_dashboard import save_note

    cached_cli(*STUDY)
    save_note(optuna.load_study(study_name="tiny", storage=URL), "mine")

    cli(*STUDY, "--trials", 4)

    assert get_note(optuna.load_study(study_name="tiny", storage=URL)) == "mine"


def test_no_picture_fails_no_study(cli: Cli, caplog: pytest.LogCaptureFixture) -> None:
    cli(*STUDY, "--set", "artifacts=0")
    (folder,) = Path("runs").glob("tiny-*")
    (folder / "artifacts").write_text("in the way")

    outcome = cli(*STUDY, "--trials", 4)

    assert outcome.code == 0
    assert [r.message[:34] for r in caplog.records if r.name == "optlstm.report.dashboard_artifacts"] == [
        "no pictures for the dashboard: Not"
    ]
    assert artifacts(optuna.load_study(study_name="tiny", storage=URL)) == {}

"""A short, fixed piece of scripts/chaos: two drivers of one study, and what is done to them."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.round import Calm, Round, Settings

# Quick ones. The others take as long as a lease, a server's start or a cluster's.
ATTACKS = ("kill a driver", "Ctrl-C", "SIGTERM", "stop a driver", "step the clock")


def test_two_drivers_of_a_study_are_attacked_and_nothing_is_lost(tmp_path: Path) -> None:
    settings = Settings(seed=245, kind="walk", events=5, workers=(1,), only=ATTACKS)
    print(f"to do the same again, and more: {settings.command}")

    report = Round(settings, Calm(tmp_path)).play()

    assert report.problems == []
    assert report.events.total() > 2

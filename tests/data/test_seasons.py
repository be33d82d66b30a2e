"""Seasons in the values of series: those that are there are found, and none in noise and random walks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from optlstm.data.seasons import find_season, shows

ROWS = (30, 100, 400, 1500)


def autoregressive(rows: int, share: float, noise: np.ndarray) -> np.ndarray:
    values = np.zeros(rows)
    for i in range(1, rows):
        values[i] = share * values[i - 1] + noise[i]
    return values


UNSEASONAL: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "noise": lambda random, rows: random.normal(size=rows),
    "heavy tails": lambda random, rows: random.standard_t(2, size=rows),
    "random walk": lambda random, rows: np.cumsum(random.normal(size=rows)),
    "walk of walks": lambda random, rows: np.cumsum(np.cumsum(random.normal(size=rows))),
    "alternating": lambda random, rows: autoregressive(rows, -0.7, random.normal(size=rows)),
    "slow": lambda random, rows: autoregressive(rows, 0.95, random.normal(size=rows)),
    "curved trend": lambda random, rows: np.exp(np.linspace(0, 3, rows)) + 0.1 * random.normal(size=rows),
    "spikes": lambda random, rows: (random.random(rows) < 0.02) * random.gamma(2, 5, rows),
    "constant": lambda random, rows: np.full(rows, 3.7),
    "steps": lambda random, rows: np.repeat(random.normal(size=rows // 10 + 1), 10)[:rows],
}


@pytest.mark.parametrize("kind", UNSEASONAL)
def test_what_does_not_repeat_has_no_season(kind: str) -> None:
    random = np.random.default_rng(1)

    seasons = [find_season([UNSEASONAL[kind](random, rows)]) for rows in ROWS for _ in range(10)]

    assert seasons == [1] * len(seasons)


@pytest.mark.parametrize(("season", "rows"), [(3, 60), (4, 60), (7, 90), (12, 72), (24, 500), (37, 400), (168, 1500)])
@pytest.mark.parametrize("of", ["sine", "pattern", "walk", "trend"])
def test_a_season_is_found_in_noise_and_beside_trends(season: int, rows: int, of: str) -> None:
    random, row = np.random.default_rng(season), np.arange(rows)
    values = np.sin(2 * np.pi * row / season) if of == "sine" else random.normal(size=season)[row % season]
    values = values + 0.2 * random.normal(size=rows)
    values += {"walk": 0.1 * np.cumsum(random.normal(size=rows)), "trend": np.exp(3 * row / rows)}.get(of, 0.0)

    assert find_season([values]) == season
    assert find_season([1e9 + 1e-3 * values]) == season


def test_of_a_day_and_a_week_the_day_is_the_season_and_the_week_shows_beside_it() -> None:
    random, row = np.random.default_rng(0), np.arange(168 * 6)
    day, week = (random.normal(size=length)[row % length] for length in (24, 168))
    noise = 0.3 * random.normal(size=len(row))

    assert find_season([2 * day + 0.5 * week + noise]) == 24
    assert shows([2 * day + 0.5 * week + noise], 168, within=24)
    assert not shows([2 * day + noise], 168, within=24)


def test_half_of_the_series_decide() -> None:
    random, row = np.random.default_rng(0), np.arange(200)
    seasonal, noise = (np.sin(2 * np.pi * row / 10) for _ in range(2)), (random.normal(size=200) for _ in range(3))
    a, b, *others = *seasonal, *noise

    assert find_season([a, b, *others[:2]]) == 10
    assert find_season([a, b, *others]) == 1
    assert find_season([np.zeros(0), np.zeros(1), a]) == 1
    assert find_season([]) == 1

"""`explain`: which inputs and which lags a model's forecasts follow from; scripts/bench/explain.py has 20 seeds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import optlstm
from optlstm.models.explain import _lag_blocks
from tests.conftest import Cli


def test_what_drives_the_series_is_ahead_of_what_does_not(cli: Cli, folder: Path) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(400, 3)), columns=["y", "a", "b"])
    frame["y"] = 3 * frame["a"] + 0.1 * frame["y"]
    frame.insert(0, "ds", range(400))
    frame.to_csv("driven.csv", index=False)
    space = {"window": 8, "patch": 4, "hidden_size": 8, "num_layers": 1, "learning_rate": 0.02, "dropout": 0.0}
    result = optlstm.tune(
        "driven.csv", future=["a", "b"], horizon=1, n_trials=1, epochs=4, workers=1, folds=0, space=space, name="d",
        progress=False,
    )  # fmt: skip
    result.refit(ensemble=False).save("m")

    told = cli("explain", "m", "--data", "driven.csv", "-o", "e.html", "--json")

    assert told.code == 0, told.err
    found = json.loads(told.out)
    shares = {share["name"]: share for share in found["inputs"]}
    assert found["inputs"][0]["name"] == "a"
    assert shares["a"]["increase"] > 10 * abs(shares["b"]["increase"])
    assert shares["a"]["increase"] > 5 * shares["a"]["spread"] > 0
    assert shares["a"]["gradient"] > shares["b"]["gradient"]
    assert sum(share["gradient"] for share in found["inputs"]) == pytest.approx(1)
    assert json.loads(cli("explain", "m", "--data", "driven.csv", "-o", "e.html", "--json").out) == found
    page = Path("e.html").read_text()
    assert "What the forecasts follow from" in page
    assert "Which rows of its own past" in page
    frame.head(12).to_csv("short.csv", index=False)
    refused = cli("explain", "m", "--data", "short.csv", "-o", "e.html")
    assert refused.lines == ["data: short.csv has too few rows to explain forecasts of; 24 are enough"]


def test_the_word_that_decides_is_first(cli: Cli, folder: Path) -> None:
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(list("abcdef"), size=6)) for _ in range(120)]
    labels = ["yes" if "c" in text else "no" for text in texts]
    pd.DataFrame({"text": texts, "label": labels}).to_csv("words.csv", index=False)
    _tuned("words.csv", "text", {"hidden_size": 8, "embedding_dim": 8, "learning_rate": 0.02})

    told = cli("explain", "m", "--data", "words.csv", "-o", "e.html")

    assert told.code == 0, told.err
    assert re.match(r"log loss 0\.\d+ over 120 samples\n", told.out)
    words = json.loads(cli("explain", "m", "--data", "words.csv", "-o", "e.html", "--json").out)["parts"]["words"]
    assert sorted(share["name"] for share in words) == list("abcdef")
    assert words[0]["name"] == "c"
    assert words[0]["increase"] > 3 * max(words[1]["increase"], words[0]["spread"])
    assert 0 < words[0]["gradient"] < 1


def test_the_channel_and_the_steps_that_decide_are_first(cli: Cli, folder: Path) -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(size=(80, 9, 3)).astype(np.float32)
    labels = np.where(values[:, 7:, 1].mean(axis=1) > 0, "up", "down")
    rows = [[i, t, *values[i, t], labels[i]] for i in range(80) for t in range(9 - i % 2)]
    pd.DataFrame(rows, columns=["series_id", "t", "a", "b", "c", "label"]).to_csv("steps.csv", index=False)
    _tuned("steps.csv", "sequence", {"hidden_size": 8, "learning_rate": 0.02, "num_layers": 1})

    parts = json.loads(cli("explain", "m", "--data", "steps.csv", "-o", "e.html", "--json").out)["parts"]

    assert parts["channels"][0]["name"] == "b"
    assert parts["channels"][0]["increase"] > 3 * parts["channels"][1]["increase"]
    assert {share["name"] for share in parts["steps"][:2]} == {"75 to 87 % of the steps", "87 to 100 % of the steps"}
    assert sum(share["gradient"] for share in parts["steps"]) == pytest.approx(1)


def _tuned(file: str, task: str, space: dict[str, float]) -> None:
    """A model in m/."""
    result = optlstm.tune(
        file, task=task, n_trials=1, epochs=10, workers=1, folds=0, space={**space, "dropout": 0.0}, name="d",
        progress=False,
    )  # fmt: skip
    result.refit(seeds=1).save("m")


@pytest.mark.parametrize(
    ("window", "season", "blocks"),
    [
        (12, 1, ["lag 1", "lags 2 to 3", "lags 4 to 7", "lags 8 to 12"]),
        (30, 12, ["lag 1", "lags 2 to 11", "lag 12", "lags 13 to 23", "lag 24", "lags 25 to 30"]),
        (1, 1, ["lag 1"]),
    ],
)
def test_lags_are_looked_at_by_season(window: int, season: int, blocks: list[str]) -> None:
    named = _lag_blocks(window, season)

    assert [name for name, _ in named] == blocks
    assert [lag for _, (first, last) in named for lag in range(first, last + 1)] == list(range(1, window + 1))

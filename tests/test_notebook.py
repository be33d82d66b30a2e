"""What a notebook shows: tables, pictures, and errors in a line."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import optlstm
from optlstm.api import StudyInterrupted
from optlstm.errors import InputError
from tests.conftest import rows

SMALL = {"window": 8, "patch": 4, "hidden_size": 4, "num_layers": 1}
TINY: dict[str, object] = {"n_trials": 2, "epochs": 1, "workers": 1, "space": SMALL, "folds": 0, "progress": False}


def frame(days: int = 120) -> pd.DataFrame:
    time = pd.date_range("2024-01-01", periods=days, freq="D")
    wave = np.sin(np.arange(days) * 2 * np.pi / 7)
    parts = [pd.DataFrame({"unique_id": name, "ds": time, "y": wave + shift}) for name, shift in (("a", 0), ("b", 5))]
    return pd.concat(parts, ignore_index=True)


def test_a_result_and_its_model_show_themselves(folder: Path) -> None:
    import matplotlib.axes

    result = optlstm.tune(frame(), horizon=3, name="waves", **TINY)  # type: ignore[arg-type]

    assert result.trials["state"].tolist() == ["COMPLETE", "COMPLETE"]
    assert {"number", "value", "learning_rate"} <= {*result.trials.columns}
    assert "the best of them" in result._repr_html_()
    assert isinstance(result.plot(), matplotlib.axes.Axes)
    with pytest.raises(InputError, match="there is no figure 'histroy'; did you mean 'history'"):
        result.plot("histroy")
    with pytest.raises(
        InputError, match=r"^plot: no importance is known of 2 complete trials; 6 are needed \(figures: "
    ):
        result.plot("importance")
    assert b"waves" in result.report("r.html").read_bytes()
    model = result.refit(ensemble=False)
    beaten = model.card.test.beaten_by
    assert ("better than this model: in mse" in repr(model)) is ("mse" in beaten)
    shown = model._repr_html_()
    assert all(name in shown for name in ("this model", "seasonal naive", "nlinear"))
    axes = model.plot(frame(), series=["b"])
    assert axes.get_title(loc="left") == "b y"
    ahead = model.forecast(frame(), level=[50])
    assert list(ahead.columns) == ["unique_id", "ds", "optlstm", "optlstm-lo-50", "optlstm-hi-50"]
    assert ahead["unique_id"].tolist() == ["a"] * 3 + ["b"] * 3
    predicted = model.predict(frame(), levels=[50])
    assert ahead["optlstm"].tolist() == predicted["y"].tolist()
    assert model.forecast(frame(), level=50).equals(ahead)
    assert model.predict(frame(), levels=50).equals(predicted)
    assert len(model.plot(frame(), levels=50, series="b").collections) == 1  # a band
    for made in (model.plot, model.forecast, model.predict):
        level = "level" if made == model.forecast else "levels"
        with pytest.raises(InputError, match=r"^levels: this model has no 99 % interval; the highest is \d\d$"):
            made(frame(), **{level: [99]})
    with pytest.raises(InputError, match=r"^levels: must be a list of whole percent"):
        model.forecast(frame(), level="80")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^top: must be at least 1, got 0$"):
        result.refit(top=0)
    model.save("m")
    assert isinstance(optlstm.load("m"), optlstm.Model)


def test_a_changed_cell_is_a_study_of_another_name_and_the_same_cell_the_same_study(folder: Path) -> None:
    one = optlstm.tune("tiny.csv", horizon=4, **TINY)  # type: ignore[arg-type]
    other = optlstm.tune("tiny.csv", horizon=5, **TINY)  # type: ignore[arg-type]
    again = optlstm.tune("tiny.csv", horizon=5, **TINY)  # type: ignore[arg-type]

    assert [result.study.study_name for result in (one, other, again)] == ["tiny", "tiny-2", "tiny-2"]
    assert len(rows("tiny-2")) == 2


def test_help_names_the_keys_and_errors_are_a_line() -> None:
    for function in (optlstm.tune, optlstm.fit):
        keys = inspect.signature(function).parameters
        assert {"data", "progress", "target", "horizon", "epochs", "sampler", "name"} <= keys.keys()
    assert {"tune", "fit", "load", "Model", "Result"} <= {*dir(optlstm)}
    error = InputError(["data: no", "name: neither"])
    assert error._render_traceback_() == ["InputError: data: no\nname: neither"]
    (line,) = StudyInterrupted()._render_traceback_()
    assert line == "KeyboardInterrupt: stopped after the epoch; what was reported is saved, and the same call continues"

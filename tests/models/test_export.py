"""Exported files give the numbers that `predict` gives, for any number of samples, without optlstm."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import optlstm
from optlstm.models import export
from optlstm.tasks.base import ExportModule
from tests.conftest import Cli


def windows_and_forecasts(model: str = "model", data: str = "tiny.csv") -> tuple[np.ndarray, np.ndarray]:
    """float64 [30, 8, 1] and what the model says after each, [30, 4, 1]."""
    values = pd.read_csv(data)["y"].to_numpy()
    table = optlstm.load(model).predict(data, backtest=30)
    firsts = table["cutoff"].to_numpy()[::4] + 1
    inputs = np.stack([values[first - 8 : first] for first in firsts])[..., None]
    return inputs, table["y"].to_numpy().reshape(30, 4, 1)


def test_onnx_in_onnxruntime_gives_the_same_numbers(cli: Cli, ensemble: Path) -> None:
    import onnxruntime

    outcome = cli("export", "ensemble", "--format", "onnx", "-o", "out/model.onnx")

    assert outcome.code == 0
    assert outcome.lines[-1] == "out/model.onnx: window [batch, 8, 1] -> forecast [batch, 4, 1], float64"
    session = onnxruntime.InferenceSession("out/model.onnx")
    inputs, expected = windows_and_forecasts("ensemble", "chaos.csv")
    for count in (1, 7, 30):
        (found,) = session.run(None, {"window": inputs[:count]})
        np.testing.assert_allclose(found, expected[:count], rtol=1e-5, atol=1e-6)


def test_quantiles_are_an_output_of_their_own(cli: Cli, folder: Path) -> None:
    """Those of networks and linear forecasts, averaged level by level; they do not cross."""
    import onnxruntime

    assert cli("study", "tiny.toml", "--trials", "1", "--loss", "student_t", "--name", "t", "--quiet").code == 0
    assert cli("refit", "t", "-o", "model", "--quiet").code == 0
    outcome = cli("export", "model", "--format", "onnx", "-o", "model.onnx")

    assert outcome.lines[-1].endswith("-> forecast [batch, 4, 1], quantiles [batch, 4, 1, 7], float64")
    reads = pd.read_csv("tiny.csv")["y"].to_numpy()
    window = optlstm.load("model").predictor.forecaster.window
    inputs = np.stack([reads[at - window : at] for at in (60, 70, len(reads))])[..., None]
    forecast, quantiles = onnxruntime.InferenceSession("model.onnx").run(None, {"window": inputs})
    assert (np.diff(quantiles) >= 0).all()
    np.testing.assert_allclose(forecast[-1, :, 0], optlstm.load("model").predict("tiny.csv")["y"], rtol=1e-5)
    np.testing.assert_allclose(quantiles[..., 3], forecast, rtol=1e-5, atol=1e-6)


def test_a_series_with_gaps_and_a_panel_on_one_scale_are_exported(cli: Cli, folder: Path) -> None:
    import onnxruntime

    frame = pd.read_csv("tiny.csv")
    frame.drop(index=[30, 31, 70]).to_csv("gaps.csv", index=False)
    pd.concat([frame.assign(unique_id="a"), frame.assign(unique_id="b", y=2 * frame["y"])]).to_csv(
        "two.csv", index=False
    )
    for data, setting in (("gaps", "data.gaps=interpolate"), ("two", "data.scaling=global")):
        study = ("study", "tiny.toml", "--data", f"{data}.csv", "--set", setting, "--trials", "1", "--name", data)
        assert cli(*study, "--quiet").code == 0
        assert cli("refit", data, "-o", f"model-{data}", "--quiet").code == 0
        assert cli("export", f"model-{data}", "--format", "onnx", "-o", f"{data}.onnx").code == 0

        values = frame["y"].to_numpy()[-8:]
        expected = optlstm.load(f"model-{data}").predict(f"{data}.csv")
        (found,) = onnxruntime.InferenceSession(f"{data}.onnx").run(None, {"window": values[None, :, None]})
        np.testing.assert_allclose(found[0, :, 0], expected["y"][:4], rtol=1e-5, atol=1e-6)


def test_nothing_is_written_through_a_link_that_came_with_the_model(cli: Cli, ensemble: Path) -> None:
    Path("mine").write_text("precious")
    Path("ensemble/model.onnx").symlink_to(Path("mine").absolute())

    refused = cli("export", "ensemble")

    assert (refused.code, refused.lines) == (2, ["-o: ensemble/model.onnx is a link; name the file to write"])
    assert Path("mine").read_text() == "precious"


def test_the_compiler_s_folder_has_no_name_that_others_can_foresee(
    cli: Cli, ensemble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Path] = []

    def write(exported: ExportModule) -> bytes:
        used.append(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]))
        assert used[-1].stat().st_mode & 0o777 == 0o700
        return b""

    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setitem(export._WRITERS, "pt2", write)
    for _ in range(2):
        assert cli("export", "ensemble", "--format", "pt2", "-o", "model.pt2").code == 0

    assert used[0] != used[1]
    assert not any(path.exists() for path in used)
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript_and_pt2_give_the_same_numbers(cli: Cli, ensemble: Path) -> None:
    for form, name, model in (("torchscript", "model.torchscript.pt", "ensemble"), ("pt2", "model.pt2", "model")):
        inputs, expected = windows_and_forecasts(model, "chaos.csv")
        assert cli("export", model, "--format", form).code == 0
        content = io.BytesIO(Path(model, name).read_bytes())
        loaded = torch.jit.load(content) if form == "torchscript" else torch.export.load(content).module()
        with torch.no_grad():
            for count in (1, 30):
                found = loaded(torch.from_numpy(inputs[:count]))
                np.testing.assert_allclose(found.numpy(), expected[:count], rtol=1e-5, atol=1e-6)
    assert optlstm.load("model").card.members == 2  # what lies beside the model does no harm


def test_what_cannot_be_exported_is_refused(cli: Cli, mixed: Path) -> None:
    assert cli("export", "model", "--format", "onx").lines == [
        "--format: must be onnx or torchscript or pt2, got 'onx'"
    ]
    assert cli("export", "model", "-o", "runs").lines == ["-o: runs is a folder; name a file in it"]
    for own in ("model.json", "model.safetensors"):
        itself = f"model/../model/{own}"
        assert cli("export", "model", "-o", itself).lines == [f"-o: {itself} is the model itself; name another file"]
    assert cli("export", "nowhere").lines == [
        "model nowhere: there is no such folder; of a study: python -m optlstm refit nowhere -o nowhere-model"
    ]
    shutil.copytree("model", "tiny-model")
    assert cli("export", "tiny").lines == ["model tiny: there is no such folder; did you mean 'tiny-model'?"]
    assert cli("export", "modle").lines == ["model modle: there is no such folder; did you mean 'model'?"]

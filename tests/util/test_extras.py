"""What a message says to type where packages of an extra are missing."""

from __future__ import annotations

import pytest

from optlstm.util import extras

REQUIRES = [
    "pandas>=3.0",
    'ray[tune]<2.61,>=2.60; extra == "ray"',
    "onnx>=1.20; extra == 'onnx'",
    'onnxscript>=0.7 ; extra == "onnx"',
    "skorch>=1.4; extra == 'skorch'",
]


@pytest.mark.parametrize(
    ("extra", "line"),
    [("ray", "pip install 'ray[tune]<2.61,>=2.60'"), ("onnx", "pip install 'onnx>=1.20' 'onnxscript>=0.7'")],
)
def test_the_packages_are_named_for_optlstm_is_on_no_index(
    extra: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "requires", lambda name: REQUIRES)
    assert extras.install(extra) == line


def test_a_clone_that_is_not_installed_is_installed_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise extras.PackageNotFoundError(name)

    monkeypatch.setattr(extras, "requires", requires)
    assert extras.install("ray") == "pip install '.[ray]'"

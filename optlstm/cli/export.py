"""`export`: a model for programs without optlstm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optlstm.cli.common import FactoryOption, VerifyOption
from optlstm.errors import InputError
from optlstm.util.output_file import OutputFile


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="a model's folder")],
    form: Annotated[str, typer.Option("--format", metavar="onnx|torchscript|pt2", help="what to write")] = "onnx",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="default: in the model's folder")
    ] = None,
    factory: FactoryOption = None,
    verify: VerifyOption = None,
) -> int:
    """Write the model as one file: raw input to raw output, any number of samples at a time."""
    from optlstm.console.progress import make_console
    from optlstm.models.card import CARD_FILE, WEIGHT_FILE
    from optlstm.models.export import FORMATS, export_model
    from optlstm.models.model import Model

    if form not in FORMATS:
        raise InputError(f"--format: must be {' or '.join(FORMATS)}, got {form!r}")
    file = OutputFile(out or model / f"model{FORMATS[form]}")
    if out is None and file.path.is_symlink():  # the folder may be somebody else's work, and the link lead anywhere
        raise InputError(f"-o: {file.path} is a link; name the file to write")
    file.check({model / CARD_FILE: "the model", model / WEIGHT_FILE: "the model"})
    signature = export_model(Model.load(model, factory, verify=verify), form, file)
    make_console().print(f"{file.path}: {signature}", soft_wrap=True, markup=False)
    return 0

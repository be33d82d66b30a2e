"""`completion`: what a shell needs to complete commands and flags."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from optlstm.errors import InputError
from optlstm.util.program import COMPLETION_VARIABLE, SCRIPT

SHELLS = ("bash", "zsh", "fish")


def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="the shell")],
) -> int:
    """Print what makes a shell complete commands and flags.

    bash, zsh: eval "$(optlstm completion bash)" at the end of ~/.bashrc, or zsh in ~/.zshrc. fish: optlstm completion
    fish > ~/.config/fish/completions/optlstm.fish. It completes `optlstm`, not `python -m optlstm`.
    """
    if shell not in SHELLS:
        raise InputError(f"shell: must be {', '.join(SHELLS)}, got {shell!r}")
    print(get_completion_script(prog_name=SCRIPT, complete_var=COMPLETION_VARIABLE, shell=shell))
    return 0

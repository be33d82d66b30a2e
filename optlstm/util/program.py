"""How the program was called: the beginning of every command that a message says to type."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPT, MODULE = "optlstm", "python -m optlstm"
COMPLETION_VARIABLE = "_OPTLSTM_COMPLETE"  # by which a shell asks the script, as typer names it


def program() -> str:
    """`optlstm` where the installed script runs; `python -m optlstm` else, in a program of the user's too."""
    return SCRIPT if Path(*sys.argv[:1]).name.removesuffix(".exe") == SCRIPT else MODULE

"""What installs the packages of an extra, whatever optlstm itself was installed from: it is on no index."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import PackageNotFoundError, requires


def install(extra: str) -> str:
    """The command that installs an extra's packages, in the versions that the installed optlstm asks for."""
    marker = re.compile(rf"\s*extra == ['\"]{extra}['\"]\s*")
    try:
        lines = [line.partition(";") for line in requires("optlstm") or ()]
    except PackageNotFoundError:  # run from a clone that is not installed
        lines = []
    packages = [shlex.quote(package.strip()) for package, _, condition in lines if marker.fullmatch(condition)]
    return f"pip install {' '.join(packages) or shlex.quote(f'.[{extra}]')}"

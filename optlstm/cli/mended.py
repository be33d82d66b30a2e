"""The command that was typed, with what its problems say would mend it, or another one: ready to be pasted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from itertools import pairwise

from optlstm.config.flags import FLAGS
from optlstm.errors import Problem
from optlstm.tasks.options import READING

# A URL that can hold a password, as it may stand in any argument.
_SECRET = re.compile(r"[\w.+-]+://.*[@?].*", re.DOTALL)


def proposals(arguments: Sequence[str], options: Collection[str], problems: Sequence[str]) -> list[str]:
    """The commands that problems say to type: the one that was typed, mended in one or two ways; then others."""
    lines = [problem for problem in problems if isinstance(problem, Problem)]
    ways = [mended(arguments, options, problems)]
    if any(line.otherwise for line in lines):
        ways.append(mended(arguments, options, [Problem(line, line.otherwise or line.fix) for line in lines]))
    others = [_shown(line.instead) for line in lines if line.instead]
    return [command for command in (*ways, *others) if command is not None]


def mended(arguments: Sequence[str], options: Collection[str], problems: Sequence[str]) -> str | None:
    """The arguments, quoted for a shell; None where no problem says what to type, or the command has no such flag.

    A URL that can hold a password is named, not shown.

    Args:
        arguments: Those that were typed.
        options: The flags that the command has.
    """
    typed, lines = list(arguments), [problem for problem in problems if isinstance(problem, Problem)]
    for line in lines:
        if line.without is not None:
            _leave_out(typed, line.without)
        if line.rename is not None:
            _rename(typed, *line.rename)
        if (
            line.without is None
            and [*line.fix] == ["--name"]
            and "--import" in options
            and (known := _named_alone(typed))
        ):
            _append(typed, ["--import", known])  # its data, and all else that the command does not say
        for key, value in line.fix.items():
            flag = next((flag.name for flag in FLAGS if flag.key == key and flag.name in options), key)
            if flag in options and not _settings(typed, key):
                _put(typed, flag, value)
            elif key.startswith("--"):  # a flag of another command: `fit` has no --promote
                continue
            elif "--set" in options and (typed[0] != "predict" or key.removeprefix("data.") in READING):
                _set(typed, key, value)
            else:
                return None
    return _shown(typed) if typed != list(arguments) else None


def _named_alone(typed: Sequence[str]) -> str | None:
    """The study of a command that says nothing else of what it learns from."""
    flags = {argument.partition("=")[0] for argument in typed}
    if not typed[1:] or not typed[1].startswith("-") or flags & {"--data", "--import"}:
        return None
    names = [value for flag, value in pairwise(typed) if flag == "--name"]
    names += [argument.partition("=")[2] for argument in typed if argument.startswith("--name=")]
    return next(iter(names), None)


def _shown(arguments: Sequence[str]) -> str | None:
    shown = shlex.join(_SECRET.sub("URL", argument) for argument in arguments)
    return shown if shown.isprintable() else None


def _put(typed: list[str], flag: str, value: str | bool) -> None:
    """The flag with this value, in place of another value of it."""
    for i, argument in enumerate(typed):
        if argument == flag:
            typed[i + 1 : i + 2] = [str(value)] if value is not True else typed[i + 1 : i + 2]
            return
        if argument.startswith(f"{flag}="):
            typed[i] = f"{flag}={value}"
            return
    _append(typed, [flag] if value is True else [flag, str(value)])


def _set(typed: list[str], key: str, value: str | bool) -> None:
    setting = f"{key}={'true' if value is True else value}"
    for i in _settings(typed, key):
        typed[i] = setting
        return
    _append(typed, ["--set", setting])


def _rename(typed: list[str], old: str, new: str) -> None:
    for i in _settings(typed, old):
        typed[i] = f"{new}={typed[i].partition('=')[2]}"


def _settings(typed: Sequence[str], key: str) -> list[int]:
    """Where `--set` is given this key."""
    behind = [i + 1 for i, argument in enumerate(typed[:-1]) if argument == "--set"]
    return [i for i in behind if typed[i].partition("=")[0].strip() == key]


def _leave_out(typed: list[str], argument: str) -> None:
    if argument in typed:
        at = typed.index(argument)
        del typed[at : at + (2 if argument.startswith("--") else 1)]
    typed[:] = [other for other in typed if not other.startswith(f"{argument}=")]


def _append(typed: list[str], more: list[str]) -> None:
    at = typed.index("--") if "--" in typed else len(typed)
    typed[at:at] = more

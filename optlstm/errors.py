"""One family of errors. Each message says what is wrong, where, and what to type instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

_MAX_LINE = 1500  # characters


class OptlstmError(Exception):
    """Base of every error optlstm raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the message says what is wrong, and our frames say nothing more."""
        return [f"{type(self).__name__}: {self}"]


class Problem(str):
    """The line of a problem that knows what to type: the command line prints the whole command with it.

    Args:
        fix: Values of config keys (`data.time`) or of flags (`--name`) that mend it; True: of a switch.
        otherwise: Another fix, where only who asks knows which is right.
        without: An argument, or a flag with its value, to be left out.
        rename: A key that `--set` was given, and its right name.
        instead: Another command's arguments that may be what is wanted.
    """

    fix: Mapping[str, str | bool]
    otherwise: Mapping[str, str | bool]
    without: str | None
    rename: tuple[str, str] | None
    instead: Sequence[str]

    def __new__(
        cls,
        line: str,
        fix: Mapping[str, str | bool] | None = None,
        *,
        otherwise: Mapping[str, str | bool] | None = None,
        without: str | None = None,
        rename: tuple[str, str] | None = None,
        instead: Sequence[str] = (),
    ) -> Problem:
        problem = super().__new__(cls, line)
        problem.fix, problem.otherwise = fix or {}, otherwise or {}
        problem.without, problem.rename, problem.instead = without, rename, instead
        return problem


class InputError(OptlstmError):
    """The user's input is wrong. Carries every problem found, one line each, not only the first.

    What is quoted in them may come from a file that nobody has looked at: see `in_one_line`.
    """

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [in_one_line(problem) for problem in ([problems] if isinstance(problems, str) else problems)]
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[InputError], tuple[list[str]]]:
        return (type(self), (self.problems,))


class StudyConflict(InputError):
    """A study of this name exists, and the new config would change what its trials mean."""


class StorageError(OptlstmError):
    """The study database cannot be opened, read or written."""


class StorageUnopened(StorageError):
    """The study database cannot be opened; nothing has begun."""

    exit_code = 2


class ArtifactError(OptlstmError):
    """A file we wrote is missing, truncated or altered."""


class CheckpointWriteError(ArtifactError):
    """No checkpoint can be written (a full disk): no trial is to blame, and none can continue."""


class ModelFileError(OptlstmError):
    """A model folder that cannot be used: a file is missing, altered, of another format, or says what cannot be."""

    exit_code = 2


class TrialFailed(OptlstmError):
    """This trial cannot continue (a non-finite loss, for example); the study can."""


class TrialDiverged(TrialFailed):
    """The loss of this trial is not finite."""


class StopTrial(BaseException):
    """Leaves an objective whose trial is told to stop, pruned or paused; no `except Exception` may swallow it."""


def in_one_line(message: str) -> str:
    """A message for a terminal: what would move its cursor is escaped, and what no screen holds is cut."""
    plain = message if message.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    return plain if len(plain) <= _MAX_LINE else f"{plain[: _MAX_LINE - 1]}…"


def named(error: BaseException) -> str:
    """`ValueError: what it says`; its kind alone where it says nothing, or fails at saying it."""
    try:
        text = str(error)
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of `known` that is spelt most like a name; None where none is near."""
    lowered = {str(k).lower(): str(k) for k in known}
    near = get_close_matches(name.lower(), lowered, n=1, cutoff=cutoff)
    return lowered[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `known`, or an empty string where none is near."""
    near = nearest(name, known)
    return "" if near is None else f"; did you mean '{near}'?"

"""Failures of the database are retried; those that last are errors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

import tenacity
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DataError, ProgrammingError, SQLAlchemyError

from optlstm.errors import StorageError
from optlstm.study.database.connection import first_line

logger = logging.getLogger(__name__)
T = TypeVar("T")


def _is_passing(error: BaseException) -> bool:
    """Whether trying again may help: a lock, a dropped connection, a row that another driver has just written.

    Not a statement the database rejects whatever memory holds.
    """
    if isinstance(error, StorageInternalError):
        error = error.__cause__ or error
    return isinstance(error, SQLAlchemyError) and not isinstance(error, ProgrammingError | DataError)


def storage_error(error: StorageInternalError | SQLAlchemyError) -> StorageError:
    """A failure of the database as an error for people."""
    return StorageError(
        f"storage: the study database failed: {first_line(error)}; what it holds is safe: "
        "once it answers again, resume with the same command"
    )


class Retry:
    """Tries again while the database fails, until a deadline.

    One that failed for so long is tried once from then on, until it answers: a run that ends because of it need not
    wait again for every trial that it gives back.

    Args:
        deadline_s: Seconds.
    """

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self._away = threading.Event()

    def __call__(self, action: Callable[[], T]) -> T:
        """What `action` returns. Raises StorageError when the database fails for too long, or rejects it."""
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_passing),
            stop=tenacity.stop_after_delay(self.deadline_s) | tenacity.stop_when_event_set(self._away),
            wait=tenacity.wait_exponential_jitter(multiplier=0.1, max=2.0),
            before_sleep=self._warn,
            reraise=True,
        )
        try:
            done = attempts(action)
        except (StorageInternalError, SQLAlchemyError) as error:
            if _is_passing(error):
                self._away.set()
            raise storage_error(error) from error
        self._away.clear()
        if attempts.statistics["attempt_number"] > 1:
            logger.warning("storage: the study database answers again")
        return done

    def _warn(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None and state.attempt_number == 1:
            logger.warning("storage: %s; trying again for up to %g s", first_line(error), self.deadline_s)

"""A database that fails for a moment is asked again; one that fails for a minute is an error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import tenacity
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError

from optlstm.errors import StorageError
from optlstm.study.storage import first_line

logger = logging.getLogger(__name__)
T = TypeVar("T")

DEADLINE_S = 60.0


def _is_passing(error: BaseException) -> bool:
    """Whether trying again may help: a lock, a dropped connection; not a statement the database rejects."""
    if isinstance(error, StorageInternalError):
        error = error.__cause__ or error
    return isinstance(error, SQLAlchemyError) and not isinstance(error, ProgrammingError | DataError | IntegrityError)


def retrying(action: Callable[[], T]) -> T:
    """What `action` returns. Raises StorageError when the database has failed for a minute, or rejects it."""
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_passing),
        stop=tenacity.stop_after_delay(DEADLINE_S),
        wait=tenacity.wait_exponential_jitter(multiplier=0.1, max=5.0),
        before_sleep=tenacity.before_sleep_log(logger, logging.WARNING),
        reraise=True,
    )
    try:
        return attempts(action)
    except (StorageInternalError, SQLAlchemyError) as error:
        raise StorageError(f"storage: the study database failed: {first_line(error)}") from error

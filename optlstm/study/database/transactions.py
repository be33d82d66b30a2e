"""One event of a study, one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from optlstm.study.database.cached_storage import CachedStorage
from optlstm.study.database.retry import Retry

T = TypeVar("T")


class Transactions:
    """Runs actions one at a time, each as one transaction.

    When the database fails, memory is read anew and the action is tried again.

    Attributes:
        lock: Held while an action runs.
        retrying: For reads outside a transaction.
    """

    def __init__(self, storage: CachedStorage, retrying: Retry) -> None:
        self._storage, self.retrying = storage, retrying
        self.lock = threading.RLock()

    def __call__(self, action: Callable[[], T]) -> T:
        """What `action` returns. Raises StorageError when the database fails for too long."""

        def attempt() -> T:
            self._storage.refresh_if_stale()
            with self._storage.transaction():
                return action()

        with self.lock:
            return self.retrying(attempt)

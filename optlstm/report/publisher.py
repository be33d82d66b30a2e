"""Shows a study's best networks in optuna-dashboard once its trials have run: see `dashboard_artifacts`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optlstm.report.dashboard_artifacts import CollectedPlotData
    from optlstm.run.session import Session

logger = logging.getLogger(__name__)


class DashboardPublisher:
    """The `Publisher` of a session's study. It loads what draws when there is something to draw."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._collected: CollectedPlotData | None = None

    def collect(self, objective: Callable[[], Any]) -> None:
        """Ask the workers for what the pictures are made from, where there are to be any."""
        from optlstm.report.dashboard_artifacts import collect_plot_data

        config, ledger = self._session.plan.config, self._session.ledger
        if config.artifacts == 0 or config.objective is not None or ledger.best is None:
            return  # a custom objective makes no forecasts
        with _no_failure():
            self._collected = collect_plot_data(ledger, config.artifacts, objective())

    def publish(self) -> None:
        """Write pictures and a note; nothing where nothing was collected."""
        if self._collected is None:
            return
        from optlstm.report.dashboard_artifacts import publish
        from optlstm.report.figures.best_network import Trained

        plan, ledger = self._session.plan, self._session.ledger
        with _no_failure():
            publish(ledger, self._session.checkpoints, plan.config.artifacts, Trained(plan, self._collected))


@contextmanager
def _no_failure() -> Iterator[None]:
    """The study is whole without pictures."""
    try:
        yield
    except Exception as error:
        logger.warning("no pictures for the dashboard: %s: %s", type(error).__name__, error)

"""optuna-dashboard on the study database, bound to loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
import optuna_dashboard

from optlstm.errors import InputError, OptlstmError
from optlstm.report.dashboard_artifacts import StudyArtifacts, artifact_folders
from optlstm.study.database.connection import Database
from optlstm.study.results import load_study

HOST = "127.0.0.1"
PORTS_TRIED = 50
MAX_PORT = 65535


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(database: Database, name: str | None, port: int, announce: Callable[[str], None]) -> None:
    """Serve until Ctrl-C.

    Args:
        name: A study to open at; None: the list of studies.
        announce: Called once with the address, when it can be opened.

    Raises:
        InputError: There is no such study, or no such port.
        OptlstmError: No port can be had.
    """
    if not 1 <= port <= MAX_PORT:
        raise InputError(f"--port: must be 1 to {MAX_PORT}, got {port}")
    path = f"/dashboard/studies/{load_study(database, name)._study_id}" if name else "/dashboard/"
    attrs = [study.user_attrs for study in optuna.get_all_study_summaries(database.rdb)]
    artifacts: Any = StudyArtifacts(artifact_folders(attrs))
    server = _bind(port, optuna_dashboard.wsgi(database.rdb, artifact_store=artifacts))
    announce(f"http://{HOST}:{server.server_port}{path}")
    with contextlib.suppress(KeyboardInterrupt), server:
        server.serve_forever()


def _bind(first: int, app: Any) -> WSGIServer:
    last = min(first + PORTS_TRIED - 1, MAX_PORT)
    for port in range(first, last + 1):
        with contextlib.suppress(OSError):
            return make_server(HOST, port, app, handler_class=_Quiet)
    raise OptlstmError(f"--port: {first} to {last} cannot be had; give another")

"""optuna-dashboard on the study database, bound to loopback."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from wsgiref.simple_server import WSGIRequestHandler, make_server

from optlstm.errors import OptlstmError
from optlstm.results import load_study
from optlstm.study.storage import Database

HOST = "127.0.0.1"
PORTS_TRIED = 50


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(database: Database, name: str | None, port: int, announce: Callable[[str], None]) -> None:
    """Serve until Ctrl-C.

    Args:
        name: A study to open at; None: the list of studies.
        announce: Called once with the address, when it can be opened.

    Raises:
        InputError: There is no such study.
        OptlstmError: No port can be had.
    """
    import optuna_dashboard

    path = f"/dashboard/studies/{load_study(database, name)._study_id}" if name else "/dashboard/"
    free = _free_port(port)
    server = make_server(HOST, free, optuna_dashboard.wsgi(database.rdb), handler_class=_Quiet)
    announce(f"http://{HOST}:{free}{path}")
    with contextlib.suppress(KeyboardInterrupt), server:
        server.serve_forever()


def _free_port(first: int) -> int:
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise OptlstmError(f"--port: {first} to {first + PORTS_TRIED - 1} are all taken; give another")

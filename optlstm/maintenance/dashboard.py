"""optuna-dashboard on the study database: on this machine alone, unless told otherwise.

It has no users and no passwords, and it can delete. A browser that visits any page is kept from it by `Guard`: a page
whose name was made to lead to this machine (DNS rebinding) asks for its own name, a page that sends forms or scripts
here names itself as their origin.
"""

from __future__ import annotations

import contextlib
import csv
import io
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard

from optlstm.errors import InputError, OptlstmError, named
from optlstm.report.dashboard_artifacts import StudyArtifacts, artifact_folders
from optlstm.study.database.connection import Database
from optlstm.study.results import load_study
from optlstm.util.files import Location
from optlstm.util.format import csv_row, short

HOST = "127.0.0.1"
PORTS_TRIED = 50
MAX_PORT = 65535
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST_HEADER = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:@/?#,\s]+)(:\d{1,5})?", re.IGNORECASE)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # a click on a page that shows it as a frame
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_NOT_THEIRS = {*(name.lower() for name in _HEADERS), "access-control-allow-origin"}

Headers = list[tuple[str, str]]


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(
    database: Database,
    name: str | None,
    port: int,
    announce: Callable[[str], None],
    *,
    storage_path: Location,
    host: str = HOST,
    names: Sequence[str] = (),
) -> None:
    """Serve until Ctrl-C.

    Args:
        name: A study to open at; None: the list of studies.
        announce: Called once with the address, when it can be opened.
        storage_path: Where the studies' checkpoints are; artifacts are read from there, whatever the database says.
        host: Address to listen at.
        names: By which it may be asked for, besides those of this machine and `host`.

    Raises:
        InputError: There is no such study, or no such port.
        OptlstmError: No port can be had.
    """
    if not 1 <= port <= MAX_PORT:
        raise InputError(f"--port: must be 1 to {MAX_PORT}, got {port}")
    path = f"/dashboard/studies/{load_study(database, name)._study_id}" if name else "/dashboard/"
    server = _bind(host, port, make_app(database, storage_path, host, names))
    announce(f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}{path}")
    with contextlib.suppress(KeyboardInterrupt), server:
        server.serve_forever()


def make_app(database: Database, storage_path: Location, host: str = HOST, names: Sequence[str] = ()) -> Any:
    """The WSGI application. Args: as `serve`."""
    studies = [(study.study_name, study.user_attrs) for study in database.rdb.get_all_studies()]
    artifacts: Any = StudyArtifacts(artifact_folders(storage_path, studies))
    app: Any = optuna_dashboard.wsgi(database.rdb, artifact_store=artifacts)
    app.catchall = False  # its errors are answered by `Guard`, in a line
    return Guard(app, artifacts, host, names)


def _bind(host: str, first: int, app: Any) -> WSGIServer:
    class Server(WSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    last = min(first + PORTS_TRIED - 1, MAX_PORT)
    for port in range(first, last + 1):
        try:
            return make_server(host, port, app, Server, _Quiet)
        except socket.gaierror as error:
            raise InputError(f"--host: {host!r} is no address of this machine: {error.strerror}") from error
        except (OSError, UnicodeError):
            continue
    raise OptlstmError(f"--port: {first} to {last} cannot be had on {host}; give another --port or --host")


class Guard:
    """A WSGI application around the dashboard's: who may ask, and what a browser may do with the answers.

    Artifacts are served here: their type follows from their content, never from what the database says.

    Args:
        host: The address it listens at, which is a name it may be asked for by.
        names: More of them.
    """

    def __init__(self, app: Any, artifacts: StudyArtifacts, host: str = HOST, names: Iterable[str] = ()) -> None:
        self._app, self._artifacts = app, artifacts
        self._named = {name.lower() for name in names}
        self._names = {*_LOOPBACK, host.lower(), *self._named}
        # Nobody can make an address lead elsewhere: where it listens at all of them, each may be asked for.
        self._any_address = host in ("0.0.0.0", "::")

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if problem := self._problem(environ):
            return self._answer(start_response, "403 Forbidden", "text/plain", f"{problem}\n".encode())
        if path.startswith("/artifacts/") and environ.get("REQUEST_METHOD") in ("GET", "HEAD"):
            content, kind = self._artifacts.content(path.rstrip("/").rpartition("/")[2])
            if not content:
                return self._answer(start_response, "404 Not Found", "text/plain", b"there is no such artifact\n")
            return self._answer(start_response, "200 OK", kind, content, ("Content-Disposition", "attachment"))
        try:
            answer = self._csv if path.startswith("/csv/") else self._ask
            return answer(environ, start_response)
        except Exception as error:  # the dashboard's, of what the database holds
            reason = short(named(error) if not isinstance(error, InputError) else str(error), 500)
            return self._answer(start_response, "500 Internal Server Error", "text/plain", f"{reason}\n".encode())

    def _ask(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def start(status: str, headers: Headers, *more: Any) -> Any:
            return start_response(status, _with_ours(headers), *more)

        answer: Iterable[bytes] = self._app(environ, start)
        return answer

    def _problem(self, environ: Mapping[str, Any]) -> str | None:
        """Why a request is refused."""
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        if not self._known(host):
            return "this dashboard is not asked for by this name; --allow-host NAME on its command line permits it"
        if environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin") and not _follows_a_link(environ):
            return "this request comes from a page of another site"
        if origin is None or _same(urlsplit(origin).netloc, host):
            return None
        if _hostname(urlsplit(origin).netloc) in self._named:  # a proxy may ask for this machine by its address
            return None
        return "this request comes from a page of another origin"

    def _known(self, host: str) -> bool:
        name = _hostname(host)
        if name in self._names:
            return True
        with contextlib.suppress(ValueError):
            return self._any_address and bool(ipaddress.ip_address(name))
        return False

    def _csv(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        began: list[tuple[str, Headers]] = []
        body = b"".join(self._app(environ, lambda status, headers, *_: began.append((status, headers))))
        status, headers = began[-1]
        rows = csv.reader(io.StringIO(body.decode("utf-8", "replace"), newline=""))
        safe = "".join(map(csv_row, rows)).encode()
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, [*_with_ours(kept), ("Content-Length", str(len(safe)))])
        return [safe]

    @staticmethod
    def _answer(start_response: Any, status: str, kind: str, body: bytes, *more: tuple[str, str]) -> list[bytes]:
        start_response(status, _with_ours([("Content-Type", kind), ("Content-Length", str(len(body))), *more]))
        return [body]


def _follows_a_link(environ: Mapping[str, Any]) -> bool:
    """To a page of its own, of which the one that has the link learns nothing."""
    page = (environ.get("HTTP_SEC_FETCH_MODE"), environ.get("HTTP_SEC_FETCH_DEST")) == ("navigate", "document")
    return page and environ.get("REQUEST_METHOD") in ("GET", "HEAD")


def _with_ours(headers: Headers) -> Headers:
    return [*((name, value) for name, value in headers if name.lower() not in _NOT_THEIRS), *_HEADERS.items()]


def _hostname(host: str) -> str:
    """The name in a Host header, in lower case and without brackets; empty where it is none."""
    match = _HOST_HEADER.fullmatch(host)
    return match[1].strip("[]").lower() if match else ""


def _same(netloc: str, host: str) -> bool:
    return bool(netloc) and netloc.lower() == host.lower()

"""The dashboard's guard: who may ask it, by which name, and what it answers with."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest

from optlstm.maintenance.dashboard import make_app
from optlstm.study.database.connection import Database, open_database
from optlstm.study.record import FOLDER_KEY, UID_KEY

UID = "0123456789abcdef" * 2
PNG = b"\x89PNG\r\n\x1a\n..."
HERE = "127.0.0.1:8080"
LIST = "/api/studies"
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """One study `s`, of which the database says that its folder is `elsewhere`."""
    opened = open_database(f"sqlite:///{tmp_path}/s.db")
    study = optuna.create_study(storage=opened.rdb, study_name="s")
    study.set_user_attr(UID_KEY, UID)
    study.set_user_attr(FOLDER_KEY, str(tmp_path / "elsewhere"))
    trial = study.ask()
    trial.suggest_categorical("x", ["=cmd|' /C calc'!A0", "+1"])
    trial.set_user_attr("@note", "\x1b[31mred")
    study.tell(trial, 1.0)
    yield opened
    opened.close()


def ask(
    app: Any, path: str = LIST, method: str = "GET", host: str = HERE, origin: str | None = None, **more: str
) -> Answer:
    environ = {"PATH_INFO": path, "REQUEST_METHOD": method, "HTTP_HOST": host, "HTTP_ACCEPT_ENCODING": "", **more}
    environ |= {"HTTP_ORIGIN": origin} if origin is not None else {}
    setup_testing_defaults(environ)
    began: list[tuple[str, dict[str, str]]] = []
    body = b"".join(app(environ, lambda status, headers, *_: began.append((status, dict(headers)))))
    ((status, headers),) = began
    return int(status.split()[0]), headers, body


NAMES = {
    "ours": [
        (HERE, None),
        ("localhost:9000", None),  # the other end of an SSH tunnel
        ("LOCALHOST", "http://localhost"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("10.0.0.7:8080", "http://10.0.0.7:8080"),  # what --host names
        ("tune.example.org", "https://tune.example.org"),
        (HERE, "https://tune.example.org"),  # a proxy that asks for this machine by its address
    ],
    "theirs": [
        ("evil.example:8080", None),  # its name leads to 127.0.0.1 by now
        ("evil.example:8080", "http://evil.example:8080"),
        ("127.0.0.1.evil.example", None),
        ("127.0.0.1@evil.example", None),
        ("10.0.0.8:8080", None),
        (f"{HERE},evil.example", None),
        ("", None),
        (HERE, "http://evil.example"),
        (HERE, "http://127.0.0.1:3000"),  # another program's page on this machine
        (HERE, "null"),
        (HERE, ""),
    ],
}


@pytest.mark.parametrize("whose", NAMES)
def test_a_page_of_another_name_neither_reads_nor_deletes(database: Database, tmp_path: Path, whose: str) -> None:
    app = make_app(database, tmp_path, "10.0.0.7", ["tune.example.org"])
    for host, origin in NAMES[whose]:
        status, headers, body = ask(app, host=host, origin=origin)
        assert (status, b'"study_name": "s"' in body) == ((200, True) if whose == "ours" else (403, False)), host
        assert headers["X-Frame-Options"] == "DENY"
    for host, origin in NAMES[whose]:
        assert (ask(app, f"{LIST}/1", "DELETE", host, origin)[0] == 403) == (whose == "theirs")
    assert optuna.get_all_study_names(database.rdb) == ([] if whose == "ours" else ["s"])


@pytest.mark.parametrize(
    ("site", "mode", "method", "status"),
    [
        ("none", "navigate", "GET", 200),  # typed
        ("same-origin", "cors", "GET", 200),
        ("cross-site", "navigate", "GET", 200),  # a link is followed
        ("cross-site", "no-cors", "GET", 403),  # a script, a picture
        ("same-site", "no-cors", "GET", 403),  # of another program on this machine
        ("cross-site", "navigate", "DELETE", 403),
    ],
)
def test_what_a_page_of_another_site_embeds_is_refused(
    database: Database, tmp_path: Path, site: str, mode: str, method: str, status: int
) -> None:
    headers = {"HTTP_SEC_FETCH_SITE": site, "HTTP_SEC_FETCH_MODE": mode, "HTTP_SEC_FETCH_DEST": "document"}

    assert ask(make_app(database, tmp_path), method=method, **headers)[0] == status


def test_where_it_listens_at_all_addresses_each_is_a_name(database: Database, tmp_path: Path) -> None:
    app = make_app(database, tmp_path, "0.0.0.0")

    assert [ask(app, host=host)[0] for host in ("10.1.2.3:8080", "[fe80::1]:8080", "evil.example")] == [200, 200, 403]


def put_artifact(database: Database, folder: Path, content: bytes, number: int, mimetype: str = "text/html") -> str:
    """As a hostile database names it."""
    key = f"{UID[:8]}-{number:032x}"
    (study,) = optuna.get_all_study_summaries(database.rdb)
    meta = {"artifact_id": key, "filename": "a.html", "mimetype": mimetype, "encoding": None}
    database.rdb.set_study_system_attr(study._study_id, f"dashboard:artifacts:1:{key}", json.dumps(meta))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / key).write_bytes(content)
    return f"/artifacts/{study._study_id}/1/{key}"


def test_artifacts_are_pictures_and_json_of_the_studys_folder_and_never_a_page(
    database: Database, tmp_path: Path
) -> None:
    ours = tmp_path / "runs" / f"s-{UID[:8]}" / "artifacts"
    picture = put_artifact(database, ours, PNG, 1)
    params = put_artifact(database, ours, b'{"x": 1}', 2)
    page = put_artifact(database, ours, b"<script>alert(1)</script>", 3, "image/png")
    elsewhere = put_artifact(database, tmp_path / "elsewhere" / "artifacts", PNG, 4)
    link = put_artifact(database, ours, PNG, 5)
    (ours / link.rpartition("/")[2]).unlink()
    (tmp_path / "secret.json").write_text("{}")
    (ours / link.rpartition("/")[2]).symlink_to(tmp_path / "secret.json")
    app = make_app(database, tmp_path / "runs")

    for path, kind, content in ((picture, "image/png", PNG), (params, "application/json", b'{"x": 1}')):
        status, headers, body = ask(app, path)
        assert (status, headers["Content-Type"], body) == (200, kind, content)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Disposition"] == "attachment"
        assert "Access-Control-Allow-Origin" not in headers
    for path in (page, elsewhere, link, "/artifacts/1/1/../../../secret.json", "/artifacts/1/", f"{picture}x"):
        assert ask(app, path)[0] == 404, path

    ours.rename(tmp_path / "moved")
    ours.symlink_to(tmp_path / "moved")
    assert ask(app, picture)[0] == 404
    ask(app, f"/api{picture}", "DELETE")
    assert (tmp_path / "moved" / picture.rpartition("/")[2]).exists()


def test_its_csv_holds_no_formula_and_no_escape_sequence(database: Database, tmp_path: Path) -> None:
    status, headers, body = ask(make_app(database, tmp_path), "/csv/1")

    assert (status, headers["Content-Length"]) == (200, str(len(body)))
    header, row = io.StringIO(body.decode())
    assert header.strip().endswith("UserAttribute @note")
    assert row.strip().endswith(",\\x1b[31mred")
    assert ("'=cmd" in row) != (",+1," in row)

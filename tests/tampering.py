"""Studies whose database was changed by someone: one attribute at a time, and every command on what is left.

`python -m tests.tampering` takes every attribute, every value, every command; `--share N` one N-th of them, `--seed S`
which. `tests/cli/test_tampered.py` runs a few.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pickle
import random
import shutil
import socket
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

from optlstm.cli import main
from optlstm.errors import OptlstmError

DATABASE = "runs/optlstm.db"
ATTRIBUTES = {
    "study_user_attributes": "study_id",
    "study_system_attributes": "study_id",
    "trial_user_attributes": "trial_id",
    "trial_system_attributes": "trial_id",
}
OWN_KEYS = {"trial_user_attributes": ("member", "parent", "reason", "failure", "from_epoch", "infeasible")}


class _Pickle:
    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


PICKLE = pickle.dumps(_Pickle()).hex()
# Each as the text that stands in the database.
VALUES: dict[str, str] = {
    "number": "-3",
    "fraction": "1e308",
    "text": '"abc"',
    "empty text": '""',
    "list": "[1, null]",
    "table": '{"a": 1}',
    "true": "true",
    "null": "null",
    "path": '"/etc/passwd"',
    "climbing path": '"../../outside/code.py"',
    "URL": '"http://203.0.113.7/code.py"',
    "store": '"s3://203.0.113.7/bucket"',
    "pickle": json.dumps(PICKLE),
    "module": '"antigravity:x"',
    "1 MB": json.dumps("x" * (1 << 20)),
    "deep": "[" * 100 + "]" * 100,
    "endless": "[" * 100_000,
    "no JSON": "{",
    "NaN": "NaN",
}


CONSIDER = ("--set", "sampler.consider_pruned_trials=true")  # so that the sampler has learnt soon


def commands(name: str) -> list[tuple[str, ...]]:
    return [
        ("show", name),
        ("show", name, "--format", "json"),
        ("show", name, "--format", "csv"),
        ("show", name, "--lineage"),
        ("studies",),
        ("studies", "--json"),
        ("schedule", name, "1"),
        ("schedule", name, "1", "--replay"),
        ("report", name, "-o", "report.html"),
        ("refit", name, "-o", "model"),
        ("refit", name, "-o", "kept", "--no-refit"),
        ("export", "model", "--format", "torchscript"),
        ("study", "--name", name, "--dry-run"),
        ("study", "--import", name, "--name", "imported", "--trials", "1", "--dry-run"),
        ("study", "--narrow-from", name, "--name", "narrowed", "--trials", "1", "--dry-run"),
        ("study", "--promote", name, "--name", "promoted", "--top", "1", "--dry-run"),
        ("copy", name, "--to", "sqlite:///copied.db", "--to-path", "copied"),
        ("doctor", name),
        ("doctor",),
        ("dashboard", name),
        ("lr-search", "tiny.toml", "--rounds", "1", "--draws", "2", "--epochs", "1", "--quiet"),
        ("study", "--name", name, "--workers", "1", "--quiet"),
        ("doctor", "--fix"),
    ]


def prepare(folder: Path, only: str | None = None) -> None:
    """The finished study `done`, the unfinished population `half`, the rates of `tiny-lr`: a database in `folder`."""
    from tests.conftest import write_tiny

    write_tiny(folder)
    space = ("hidden_size.low=4", "hidden_size.high=8", "dropout.low=0.0", "dropout.high=0.4")
    sampler = ("--sampler", "cmaes", "--set", "sampler.popsize=4", "--pruner", "asha", *CONSIDER)
    rates = ("learning_rate.low=0.001", "learning_rate.high=0.01")
    population = ("--scheduler", "pbt", "--set", "pbt.population=3", "--set", "pbt.interval=1", "--epochs", "3")
    with inside(folder):
        run("study", "tiny.toml", "--name", "done", "--trials", "9", "--quiet", *sampler, *space_of(space))
        if only == "done":
            return
        run("study", "tiny.toml", "--name", "half", "--quiet", *population, *space_of(rates))
        run("lr-search", "tiny.toml", "--rounds", "1", "--draws", "2", "--epochs", "1", "--quiet")
    last = "SELECT trial_id FROM trials JOIN studies USING (study_id) WHERE study_name = 'half' AND state = 'COMPLETE'"
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as database, database:
        # As if its driver had been killed before the last epoch of its last trials.
        database.execute(f"DELETE FROM trial_values WHERE trial_id IN ({last})")
        database.execute(f"DELETE FROM trial_intermediate_values WHERE step = 3 AND trial_id IN ({last})")
        database.execute(f"UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE trial_id IN ({last})")


def space_of(entries: Sequence[str]) -> list[str]:
    return [part for entry in entries for part in ("--set", f"space.{entry}")]


def attributes(folder: Path) -> list[tuple[str, str, str, int]]:
    """Study, table, key and the owner's id; of trials the newest that has the key."""
    newest_owner = {}
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as database:
        for table, owner in ATTRIBUTES.items():
            joined = "" if owner == "study_id" else "JOIN trials USING (trial_id)"
            query = (
                f"SELECT study_name, key, {owner} FROM {table} {joined} JOIN studies USING (study_id) ORDER BY {owner}"
            )
            for study, key, owner_id in database.execute(query):
                newest_owner[study, table, key] = owner_id
        newest = dict(
            database.execute(
                "SELECT study_name, MAX(trial_id) FROM trials JOIN studies USING (study_id) GROUP BY study_id"
            )
        )
    for table, keys in OWN_KEYS.items():  # also where the study has none
        for study, trial in newest.items():
            newest_owner |= {(study, table, key): trial for key in keys if (study, table, key) not in newest_owner}
    return [(study, table, key, owner_id) for (study, table, key), owner_id in newest_owner.items()]


def put(folder: Path, table: str, owner_id: int, key: str, text: str) -> None:
    owner = ATTRIBUTES[table]
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as database, database:
        database.execute(f"DELETE FROM {table} WHERE {owner} = ? AND key = ?", (owner_id, key))
        database.execute(f"INSERT INTO {table} ({owner}, key, value_json) VALUES (?, ?, ?)", (owner_id, key, text))


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(*arguments: str) -> tuple[int, str]:
    """A command in this process: its exit code, and what it wrote to standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = browse() if arguments[0] == "dashboard" else main(list(arguments))
    return code, err.getvalue()


def browse() -> int:
    """What a browser asks of the dashboard."""
    from optlstm.cli.databases import databases, open_study_database
    from optlstm.maintenance.dashboard import make_app

    try:
        app = make_app(open_study_database(f"sqlite:///{DATABASE}", create=False), "runs")
        for path in (
            "/api/studies",
            *(f"/api/studies/{i}" for i in (1, 2)),
            "/csv/1",
            "/api/studies/1/param_importances",
        ):
            environ: dict[str, Any] = {"PATH_INFO": path, "HTTP_HOST": "localhost:8080"}
            setup_testing_defaults(environ)
            environ["wsgi.errors"] = sys.stderr
            b"".join(app(environ, lambda *_: None))
    except OptlstmError as error:  # `main` prints it
        return error.exit_code
    finally:
        databases.close()
    return 0


class Watch:
    """Connections by Python's sockets (those of libraries in C are not seen), and what changes in the folder beside."""

    def __init__(self, root: Path) -> None:
        self.outside, self.reached = root / "outside", list[str]()
        self.outside.mkdir(exist_ok=True)
        (self.outside / "code.py").write_text("import os\nos.mkdir('ran')\n")

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        real, resolve = socket.socket.connect, socket.getaddrinfo

        def connect(self_: socket.socket, address: Any) -> None:
            self.reached.append(f"connect {address}")
            raise OSError("no connections here")

        def getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
            self.reached.append(f"look up {host}")
            raise OSError("no connections here")

        socket.socket.connect, socket.getaddrinfo = connect, getaddrinfo  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            socket.socket.connect, socket.getaddrinfo = real, resolve  # type: ignore[method-assign]

    def problems(self, folder: Path) -> list[str]:
        """What has happened since it was last asked."""
        reached, self.reached = self.reached, []
        problems = [
            *reached,
            *(["code was run"] if any((place / "ran").exists() for place in (folder, self.outside)) else []),
        ]
        if sorted(path.name for path in self.outside.iterdir()) != ["code.py"]:
            problems.append("written outside")
        return problems


def tamper(prepared: Path, root: Path, case: tuple[str, str, str, int], value: str, watch: Watch) -> list[str]:
    """Every command on a copy of the studies with one attribute changed; a line for each thing that must not be."""
    study, table, key, owner_id = case
    folder, problems = root / "folder", []
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(prepared, folder)
    put(folder, table, owner_id, key, VALUES[value])
    with inside(folder), watch.watching():
        for command in commands(study):
            label = f"{study} {table} {key} = {value}: {' '.join(command)}"
            try:
                code, err = run(*command)
            except Exception as error:
                at = traceback.extract_tb(error.__traceback__)[-1]
                problems.append(
                    f"{label}: {type(error).__name__}: {str(error)[:150]} ({at.name}, {at.filename}:{at.lineno})"
                )
                continue
            if code not in (0, 1, 2):
                problems.append(f"{label}: exit {code}")
            if "Traceback" in err:
                problems.append(f"{label}: traceback: {err.strip().splitlines()[-1][:200]}")
            if max(map(len, err.splitlines()), default=0) > 4000:
                problems.append(f"{label}: a line of {max(map(len, err.splitlines()))} characters")
            problems += [f"{label}: {problem}" for problem in watch.problems(folder)]
    return problems


def cases(prepared: Path, share: int = 1, seed: int = 0) -> list[tuple[tuple[str, str, str, int], str]]:
    """Attributes and values, in an order that the seed draws; one of `share`."""
    every = [(case, value) for case in attributes(prepared) for value in VALUES]
    random.Random(seed).shuffle(every)
    return every[:: max(1, share)]


def every_case(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as text:
        root, runs, failed = Path(text), 0, 0
        prepared = root / "prepared"
        prepared.mkdir()
        os.environ["XDG_STATE_HOME"] = str(root / "state")
        prepare(prepared)
        watch = Watch(root)
        chosen = cases(prepared, options.share, options.seed)[options.skip :]
        print(f"{len(attributes(prepared))} attributes, {len(VALUES)} values, {len(chosen)} cases", flush=True)
        for done, (case, value) in enumerate(chosen, start=1):
            problems = tamper(prepared, root, case, value, watch)
            runs, failed = runs + len(commands(case[0])), failed + len(problems)
            for problem in problems:
                print(problem, flush=True)
            if done % 20 == 0:
                print(f"-- {done} of {len(chosen)} cases, {runs} commands, {failed} problems", flush=True)
        print(f"{len(chosen)} cases, {runs} commands, {failed} problems")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(every_case())

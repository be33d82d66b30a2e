"""The Ray that trials run on: a running cluster that is joined, or one of our own, and whether it is still alive."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import ray

from optlstm.backends.ray.guardian import MARK, Guardian
from optlstm.errors import InputError, OptlstmError, named
from optlstm.util.interrupts import blocked, held
from optlstm.util.processor import cores
from optlstm.util.temporary import keep, temporary_folder

CLUSTER_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
# Set to keep Ray's own folders after a run, to look into a trial that Ray could not run.
KEEP_VARIABLE = "OPTLSTM_KEEP_RAY_FOLDER"
PROBE_TIMEOUT_S = 5.0
SILENCE_S = 30.0  # of a cluster, before it counts as gone; Ray itself ends this process, without a word, after 60 s
SHUTDOWN_S = 10.0  # for Ray to let go of a cluster that has died
LONGEST_FOLDER = 35  # characters: Ray's sockets below it have 68 more, and Unix allows 103
LEAST_SPACE = 32 << 20  # bytes: a Ray that finds less is half a minute failing to start
PR_SET_CHILD_SUBREAPER = 36  # prctl's, from Linux's sys/prctl.h
TOKEN_HINT = "a cluster with a token needs it here too: RAY_AUTH_MODE=token, in ~/.ray/auth_token or RAY_AUTH_TOKEN"
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"  # and empty settings
HTTP2_SETTINGS = 4  # the type of the frame that any answer begins with, in its fourth byte


class Watch:
    """Tells whether the Ray that this process is connected to is alive.

    Calls into a Ray that has died do not return, and at last it ends the process that made them.

    Args:
        folder: Of a Ray of our own: its processes are ended with it.
        guardian: Speaks for this process where Ray has ended it.
    """

    def __init__(self, folder: Path | None = None, guardian: Guardian | None = None) -> None:
        node: Any = ray._private.worker._global_node  # None of Ray's client
        self._folder = folder
        self._guardian = guardian
        self._processes = {name: node and _process_of(node, name) for name in ("raylet", "gcs_server")}
        self._cluster: str | None = node and node.gcs_address
        self._answered = time.monotonic()
        self.dead = False

    def check(self) -> None:
        """Raises OptlstmError where Ray has died; of a Ray of our own no process is left then."""
        gone = [name for name, process in self._processes.items() if process is not None and not _lives(process)]
        if self._cluster is None or _listens(self._cluster):
            self._answered = time.monotonic()
        elif time.monotonic() - self._answered > SILENCE_S:
            gone.append(f"cluster at {self._cluster}")
        if gone:
            self.dead = True
            ray._private.auto_init_hook.enable_auto_connect = False  # or Ray Tune's loop would start another Ray
            if self._folder is not None:
                end_processes(self._folder)
            raise OptlstmError(
                f"--backend ray: Ray's {gone[0]} has died; every epoch that was reported is saved: "
                "resume with the same command"
            )

    def silence(self) -> None:
        """This process is about to end itself, and has said why."""
        if self._guardian is not None:
            self._guardian.silence()

    def leave(self) -> None:
        """Disconnect."""
        if not self.dead:
            ray.shutdown()
            return
        # In a thread: Ray waits for what has died, 5 s or for ever.
        leaving = threading.Thread(target=ray.shutdown, daemon=True)
        leaving.start()
        leaving.join(SHUTDOWN_S)


def _process_of(node: Any, name: str) -> psutil.Process | None:
    """A process of the node that this process is connected to; None where it runs on another machine."""
    mark = node.raylet_socket_name if name == "raylet" else node.get_session_dir_path()
    for process in psutil.process_iter(["name", "cmdline"]):
        for part in process.info["cmdline"] or () if process.info["name"] == name else ():
            # A machine may have several nodes: `raylet` is the socket of one, and `raylet.1` that of another.
            if part.endswith(f"={mark}") if name == "raylet" else mark in part:
                return process
    return None


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def connected(address: str | None, workers: int | None, cpus_per_trial: float) -> Iterator[Watch]:
    """Connect to a running cluster, or start a Ray on loopback and end it afterwards.

    A Ray that this process is connected to already is used as it is, and left running.

    Raises:
        InputError: There is no cluster at `address`.
        OptlstmError: Ray cannot start on this machine.
    """
    if ray.is_initialized():
        yield Watch()
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cpus = max(cores(), math.ceil((workers or 1) * cpus_per_trial))
    with _muted(), _own_ray(cpus) if address is None else _joined(address) as watch:
        try:
            yield watch
        finally:
            watch.leave()


class _Job(ray.job_config.JobConfig):
    """Ray has its workers import from the driver's working folder first; these do where the driver does."""

    def _serialize(self) -> str:
        here = os.path.abspath(os.path.curdir)
        if here not in sys.path and "" not in sys.path:
            self._py_driver_sys_path = [folder for folder in self._py_driver_sys_path if folder != here]
        serialized: str = super()._serialize()
        return serialized


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """Ray would print what its nodes say on standard output, where the results go."""
    worker: Any = ray._private.worker
    original, worker.print_to_stdstream = worker.print_to_stdstream, lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = original


@contextlib.contextmanager
def _own_ray(cpus: int) -> Iterator[Watch]:
    with _temporary_folder() as folder, _guarded(folder) as guardian, _adopting():
        try:
            with _on_loopback(), _starting(), _one_line(f"cannot start in {folder.parent}"):
                # "local": a new Ray even where another runs on this machine.
                ray.init(
                    "local",
                    job_config=_Job(),
                    num_cpus=cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(folder / "ray"),  # which Ray makes writable by all; its parent is not
                )
            yield Watch(folder, guardian)
        finally:
            end_processes(folder)


@contextlib.contextmanager
def _guarded(folder: Path | None) -> Iterator[Guardian]:
    """All that a Ray of our own starts inside is known to the guardian by its environment."""
    with contextlib.ExitStack() as stack:
        with held():
            guardian = Guardian(folder)
            stack.callback(guardian.dismiss)
        if folder is not None:
            os.environ[MARK] = str(folder)
            stack.callback(os.environ.pop, MARK, None)
        yield guardian


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """For the logs and sockets of a Ray."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder(LONGEST_FOLDER))
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise OptlstmError(f"--backend ray: no temporary folder can be made: {named(error)}") from None
        if free < LEAST_SPACE:
            raise OptlstmError(
                f"--backend ray: {folder.parent} has {free >> 20} MB left, and Ray needs {LEAST_SPACE >> 20} MB; "
                "free some, or give another folder in TMPDIR"
            )
        if KEEP_VARIABLE in os.environ:
            keep(folder)
        yield folder


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """What outlives its parent in here becomes this process's child, where `end_processes` finds it."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: None
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0)


def end_processes(folder: Path) -> None:
    """End all processes of the Ray whose folder it is, in whatever state it left them."""
    ended = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if command.startswith("ray::") or str(folder) in command:
                process.kill()
                ended.append(process)
    psutil.wait_procs(ended, timeout=SHUTDOWN_S)


@contextlib.contextmanager
def _one_line(problem: str) -> Iterator[None]:
    """Ray's errors have several lines and a traceback of another process."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OptlstmError(f"--backend ray: {problem} ({reason})") from None


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Ctrl-C while Ray starts processes would leave a lock of Python's locked: it waits until Ray has started.

    While Ray connects, it puts signal handlers over ours, of which one aborts the process.
    """
    worker: Any = ray._private.worker
    connect = worker.connect
    worker.connect = blocked()(connect)
    try:
        with held():
            yield
    except KeyboardInterrupt:
        ray.shutdown()
        raise
    finally:
        worker.connect = connect


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """A Ray started inside listens on 127.0.0.1 alone, and its token is readable by its owner alone.

    Ray binds to the machine's outer address on Linux, and replaces a loopback address it is given; the switch by which
    it stays on loopback on other systems is read from the environment by every process of it.
    """
    before = os.environ.get(CLUSTER_SWITCH)
    os.environ[CLUSTER_SWITCH] = "0"
    constants: Any = ray._private.ray_constants
    constants.ENABLE_RAY_CLUSTER = False
    mask = os.umask(0o077)
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    with contextlib.suppress(OSError):
        token.chmod(0o600)  # one that Ray made before, with the default mask
    try:
        yield
    finally:
        os.umask(mask)
        constants.ENABLE_RAY_CLUSTER = True
        os.environ.pop(CLUSTER_SWITCH) if before is None else os.environ.update({CLUSTER_SWITCH: before})


@contextlib.contextmanager
def _joined(address: str) -> Iterator[Watch]:
    check_address(address)
    constants: Any = ray._private.ray_constants
    tries = constants.NUM_REDIS_GET_RETRIES
    constants.NUM_REDIS_GET_RETRIES = 2  # of 40 s each, at a server that is no Ray; it would be 20
    try:
        with _starting():
            ray.init(address, job_config=_Job(), log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--address {address}: cannot join that cluster ({reason}); {TOKEN_HINT}") from None
    finally:
        constants.NUM_REDIS_GET_RETRIES = tries
    with _guarded(None) as guardian:
        yield Watch(guardian=guardian)


def check_address(address: str) -> None:
    """Raises InputError where no Ray listens at host:port; Ray itself would try for minutes."""
    if address == "auto":
        # A Ray that is gone leaves its address behind, at which "auto" would wait: look for the processes instead.
        services: Any = ray._private.services
        address = os.environ.get("RAY_ADDRESS") or next(iter(services.find_gcs_addresses()), "")
        if not address:
            raise InputError("--address auto: no Ray cluster runs on this machine; start one: ray start --head")
    if address.startswith("ray://"):
        raise InputError(
            f"--address {address}: is for Ray's client; give host:port as `ray start --head` prints it (port 6379), "
            "on a machine of the cluster"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--address {address}: must be auto or host:port, such as 10.0.0.5:6379")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_TIMEOUT_S) as connection:
            _greet(connection)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({error}); start one: ray start --head"
        ) from None


def _greet(connection: socket.socket) -> None:
    """Raises OSError where what listens does not speak HTTP/2, as every server of Ray's does."""
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return
    connection.sendall(HTTP2_GREETING)
    answer = connection.recv(9, socket.MSG_WAITALL)
    if len(answer) < 9 or answer[3] != HTTP2_SETTINGS:
        raise ConnectionError("something else listens")

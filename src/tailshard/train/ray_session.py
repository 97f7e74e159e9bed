"""Ray for the time of one training: quiet, private, and gone afterwards; and how ranks are laid over it."""

import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from ..errors import ClusterError, ConfigError
from ..learning import Training

if TYPE_CHECKING:
    import psutil

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # It prints an error line whenever a worker ends.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # It doubles whatever workers print.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Workers stay in the directory they were started in, so that relative paths keep their meaning.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A checkpoint counts only from the controller's next look on; a failure before it repeats an epoch.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Each worker imports torch first, which takes long where many do so from one file system.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "180",
    # Ray Tune writes what it is told a second time, in formats of its own.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Its newer tables cannot be silenced.
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""Set before Ray starts, unless the user has set it; as it was before, afterwards."""

_LEAST_EVENTS_FOR_A_WORKER = 256

_HEAD = ("gcs_server", "raylet")
"""Processes of a private Ray without which it cannot go on."""

_CONNECTION_TIMEOUT_SECONDS = 10

_OBJECT_STORE_BYTES = 100 * 2**20
"""Batches never pass through Ray, so the least it accepts, rounded up."""


@dataclass(frozen=True)
class Layout:
    """How ranks are laid over a cluster."""

    workers: int
    use_gpu: bool
    threads: int
    """CPU threads for the network on each worker."""
    cpus: float
    """CPUs reserved for each worker."""


def lay_out(training: Training, resources: Mapping[str, float]) -> Layout:
    """Decide how many workers train, and on what.

    With ``workers: auto`` there is one for each GPU. Without GPUs there is one for every two CPUs, but
    no more than leave each of them 256 events of a batch, for below that they wait for each other more
    than they compute; a laptop of two cores trains with one worker of two threads.

    Raises
    ------
    ConfigError
        More GPUs are asked for than there are.
    """
    cpus, gpus = max(1, int(resources.get("CPU", 1))), int(resources.get("GPU", 0))
    use_gpu = gpus > 0 if training.use_gpu == "auto" else training.use_gpu
    if training.workers != "auto":
        workers = training.workers
    elif use_gpu:
        workers = max(1, gpus)
    else:
        workers = max(1, min(cpus // 2, training.batch_size // _LEAST_EVENTS_FOR_A_WORKER))
    if use_gpu and workers > gpus:
        raise ConfigError(
            f"training.use_gpu asks for {workers} GPUs, one for each worker, but there are {gpus}; "
            "lower training.workers, or set training.use_gpu to false"
        )
    # Ray counts CPUs in steps of 1/10000.
    share = 1.0 if workers <= cpus else int(1e4 * cpus / workers) / 1e4
    return Layout(workers, use_gpu, max(1, cpus // workers), share)


def head_processes() -> list["psutil.Process"]:
    """Find the processes of a private Ray of this process without which it cannot go on."""
    import psutil

    return [process for process in psutil.Process().children() if process.name() in _HEAD]


def require_alive(head: Sequence["psutil.Process"]) -> None:
    """See that a private Ray still runs; without its head, Ray itself ends this process after a minute.

    Raises
    ------
    ClusterError
        A process of the head has died.
    """
    import psutil

    for process in head:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            raise ClusterError(
                "Ray on this machine has lost its head, most likely for want of memory; finished epochs are "
                "kept: run train again to go on"
            )


def in_thread(function: Callable[[], object], name: str) -> Future[object]:
    """Call a function in a thread, so that the caller can report progress and can be interrupted.

    A thread of an executor would not do: Python waits for it at the end of the process.
    """
    future: Future[object] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            future.set_exception(error)

    Thread(target=run, name=name, daemon=True).start()
    return future


@contextmanager
def ray_session(address: str | None = None) -> Iterator[dict[str, float]]:
    """Connect to a Ray cluster, or start a private one on this machine, and give its resources.

    A private cluster is stopped at the end, with every process it started. A Ray that the caller has
    already connected to is used as it is and left running. Meanwhile ``sys.stdout`` is stderr, because
    Ray prints there whatever it has to say of a worker that died.

    Parameters
    ----------
    address
        Of a running cluster; None starts a private one, whatever else runs on this machine.

    Yields
    ------
    dict
        Resource -> amount: ``CPU``, ``GPU``.

    Raises
    ------
    ClusterError
        There is no cluster at `address`, or none could be started.
    """
    import ray

    if ray.is_initialized():
        with _environment(ENVIRONMENT):
            yield ray.cluster_resources()
        return
    # Ray opens its own folder to everybody; the one around it stays closed.
    folder = tempfile.mkdtemp(prefix="tailshard-", dir=_short_folder())
    private = {} if address else {"RAY_AUTH_TOKEN": _token()}
    with _environment({**ENVIRONMENT, **private}), redirect_stdout(sys.stderr):
        try:
            _start(address, folder)
            yield ray.cluster_resources()
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def _start(address: str | None, folder: str) -> None:
    import ray
    from dask.system import CPU_COUNT

    private = {
        "include_dashboard": False,
        "num_cpus": CPU_COUNT,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_temp_dir": f"{folder}/ray",
    }
    try:
        if address and address != "auto":
            # Ray itself would look for the cluster for many minutes.
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=_CONNECTION_TIMEOUT_SECONDS).close()
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else private),
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        where = f"connect to the Ray cluster at {address}" if address else "start Ray on this machine"
        raise ClusterError(f"cannot {where}: {reason}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Ray's notices, and its warnings of its own deprecations, from the user."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


def _short_folder() -> str:
    """Ray's sockets lie below this folder, and a socket's path has at most 107 characters."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= 10 or not Path("/tmp").is_dir() else "/tmp"


@cache
def _token() -> str:
    """Secret of this process's private clusters; without it Ray would write one into the home directory."""
    return secrets.token_hex(32)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = set(os.environ)
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        # Ray adds some of its own.
        for name in os.environ.keys() - before:
            if name.startswith(("RAY_", "TUNE_", "PYTHONBREAKPOINT")):
                del os.environ[name]

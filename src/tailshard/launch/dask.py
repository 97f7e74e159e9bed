"""Workers for ingest, scoring and histogramming, and a client that talks to them."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ClusterError
from .profile import ClusterProfile, DaskProfile, LocalProfile, SlurmProfile

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

WORKER_SETTINGS = {
    "distributed.worker.memory.terminate": 0.98,
    "distributed.admin.log-length": 100,
    # The profiler asks for the frames of all threads every 10 ms; before Python 3.12 that may deadlock:
    # https://github.com/python/cpython/issues/106883
    "distributed.worker.profile.enabled": sys.version_info >= (3, 12),
    # One process imports what all workers need, and each is a fork of it: a start takes tenths of a second.
    "distributed.worker.multiprocessing-method": "forkserver",
}
"""Dask's configuration wherever tailshard starts workers."""


_CLOSE_SECONDS = 20


@contextmanager
def dask_client(
    profile: ClusterProfile, stage: str = "ingest", workdir: Path | None = None
) -> Iterator["Client"]:
    """Start the workers of a stage and give a client; stop them at the end.

    Workers on other machines need a `workdir` that they see, too; that is the current folder where left out.

    Raises
    ------
    ClusterError
        The workers do not start in time.
    """
    import dask
    import distributed  # noqa: F401 - imported below, its defaults would go with the settings

    if isinstance(profile, SlurmProfile):
        from .slurm_workers import slurm_workers

        place = Path.cwd() if workdir is None else workdir
        dashboard = _free_address(profile.dashboard)
        with (
            dask.config.set(WORKER_SETTINGS),
            slurm_workers(profile, stage, place, dashboard, WORKER_SETTINGS) as client,
        ):
            yield client
        return
    if not isinstance(profile, LocalProfile):
        raise ClusterError(
            f"stage '{stage}' cannot run here on a cluster of kind '{profile.kind}'; "
            "'tailshard launch' starts it there"
        )
    with dask.config.set(WORKER_SETTINGS):
        if profile.dask.address is not None:
            with _running(profile.dask.address, profile.dask) as client:
                yield client
        else:
            with _of_this_machine(profile.dask) as client:
                yield client


@contextmanager
def _of_this_machine(profile: DaskProfile) -> Iterator["Client"]:
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    workers = CPU_COUNT if profile.workers == "auto" else profile.workers
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        memory_limit=profile.memory_limit,
        dashboard_address=_free_address(profile.dashboard),
        silence_logs="CRITICAL",
        # The process that forks may be older than a variable of this one.
        env=dict(os.environ),
    )
    with _closing(cluster), Client(cluster) as client:
        try:
            client.wait_for_workers(workers, timeout=profile.start_timeout)
        except TimeoutError as error:
            raise ClusterError(
                f"only {len(client.scheduler_info()['workers'])} of {workers} Dask workers started in "
                f"{profile.start_timeout:g} s; ask for fewer with --workers"
            ) from error
        yield client


@contextmanager
def _closing(cluster: "LocalCluster") -> Iterator[None]:
    """Close a cluster at the end, and do not wait for ever for what does not close.

    The nanny of a worker that died while it started may wait for a word of it that never comes.
    """
    try:
        yield
    finally:
        workers = [nanny.pid for nanny in cluster.workers.values()]
        try:
            cluster.close(timeout=_CLOSE_SECONDS)
        except TimeoutError:
            workers += [nanny.pid for nanny in cluster.workers.values()]
            for pid in filter(None, workers):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextmanager
def _running(address: str, profile: DaskProfile) -> Iterator["Client"]:
    """Connect to a scheduler that runs already. Security is Dask's configuration (distributed.comm.tls)."""
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    # A scheduler that is lost is an error of the run, not the traceback that Dask logs.
    with silence_logging_cmgr(logging.CRITICAL):
        yield from _connected(Client, address, profile)


def _connected(client_of: "type[Client]", address: str, profile: DaskProfile) -> Iterator["Client"]:
    try:
        client = client_of(address, timeout=profile.start_timeout)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"cannot connect to the Dask scheduler at {address}: {error}; check dask.address of the profile"
        ) from error
    with client:
        wanted = 1 if profile.workers == "auto" else profile.workers
        try:
            client.wait_for_workers(wanted, timeout=profile.start_timeout)
        except TimeoutError as error:
            raise ClusterError(
                f"the Dask scheduler at {address} has {len(client.scheduler_info()['workers'])} of {wanted} "
                f"workers after {profile.start_timeout:g} s; start more, or ask for fewer with --workers"
            ) from error
        yield client


def _free_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        try:
            probe.bind((host, int(port)))
        except OSError:
            return f"{host}:0"
    return address

"""Workers for ingest, scoring and histogramming, and a client that talks to them."""

import logging
import multiprocessing
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ClusterError
from ..progress import Progress, silent
from .profile import ClusterProfile, DaskProfile, LocalProfile, SlurmProfile
from .reach import announce

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

_STOP_SECONDS = 20

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

SCHEDULER_SETTINGS = {
    # All but the proxy to pages of workers, which writes into its answer whatever address it is asked for:
    # CVE-2026-23528, see SECURITY.md.
    "distributed.scheduler.http.routes": [
        "distributed.http.scheduler.prometheus",
        "distributed.http.scheduler.info",
        "distributed.http.scheduler.json",
        "distributed.http.health",
        "distributed.http.statics",
    ],
    # The scheduler remembers as many tasks for the performance report; each is some hundred bytes of it.
    "distributed.scheduler.dashboard.tasks.task-stream-length": 20_000,
}
"""Dask's configuration wherever tailshard starts a scheduler."""


@contextmanager
def dask_client(
    profile: ClusterProfile,
    stage: str = "ingest",
    workdir: Path | None = None,
    progress: Progress = silent,
) -> Iterator["Client"]:
    """Start the workers of a stage and give a client; stop them at the end.

    Workers on other machines need a `workdir` that they see, too; that is the current folder where left out.
    `progress` is told where the dashboard is, before the workers have started.

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
            dask.config.set({**WORKER_SETTINGS, **SCHEDULER_SETTINGS}),
            slurm_workers(profile, stage, place, dashboard, WORKER_SETTINGS, progress) as client,
        ):
            yield client
        return
    if not isinstance(profile, LocalProfile):
        raise ClusterError(
            f"stage '{stage}' cannot run here on a cluster of kind '{profile.kind}'; "
            "'tailshard launch' starts it there"
        )
    with dask.config.set({**WORKER_SETTINGS, **SCHEDULER_SETTINGS}):
        if profile.dask.address is not None:
            with _running(profile.dask.address, profile.dask, progress) as client:
                yield client
        else:
            with _of_this_machine(profile.dask, progress) as client:
                yield client


@contextmanager
def _of_this_machine(profile: DaskProfile, progress: Progress) -> Iterator["Client"]:
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster, Security

    # Whoever may talk to a scheduler runs code as its user, and everybody on this machine reaches loopback.
    # The certificate lives as long as the cluster, in the memory of its processes.
    security = Security.temporary()
    workers = CPU_COUNT if profile.workers == "auto" else profile.workers
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        protocol="tls://",
        security=security,
        memory_limit=profile.memory_limit,
        dashboard_address=_free_address(profile.dashboard),
        silence_logs="CRITICAL",
        # The process that forks may be older than a variable of this one.
        env=dict(os.environ),
    )
    try:
        with Client(cluster) as client:
            announce(client.dashboard_link, progress)
            _wait_for(workers, client, profile)
            yield client
    finally:
        _stop(cluster)


def _stop(cluster: "LocalCluster") -> None:
    """End the workers. Dask itself may wait for ever for one that was killed while it was being replaced."""
    try:
        cluster.close(timeout=_STOP_SECONDS)
    except TimeoutError:
        for process in multiprocessing.active_children():
            if process.name.startswith("Dask Worker"):
                process.kill()


@contextmanager
def _running(address: str, profile: DaskProfile, progress: Progress) -> Iterator["Client"]:
    """Connect to a scheduler that runs already. Security is Dask's configuration (distributed.comm.tls)."""
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    # A scheduler that is lost is an error of the run, not the traceback that Dask logs.
    with silence_logging_cmgr(logging.CRITICAL):
        yield from _connected(Client, address, profile, progress)


def _connected(
    client_of: "type[Client]", address: str, profile: DaskProfile, progress: Progress
) -> Iterator["Client"]:
    try:
        client = client_of(address, timeout=profile.start_timeout)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"cannot connect to the Dask scheduler at {address}: {error}; check dask.address of the profile"
        ) from error
    with client:
        announce(client.dashboard_link, progress)
        _wait_for(1 if profile.workers == "auto" else profile.workers, client, profile)
        yield client


def _wait_for(workers: int, client: "Client", profile: DaskProfile) -> None:
    try:
        client.wait_for_workers(workers, timeout=profile.start_timeout)
    except TimeoutError as error:
        found = client.scheduler_info()
        raise ClusterError(
            f"the Dask scheduler at {found['address']} has {len(found['workers'])} of {workers} workers "
            f"after {profile.start_timeout:g} s; start more, or ask for fewer with --workers"
        ) from error


def _free_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        try:
            probe.bind((host, int(port)))
        except OSError:
            return f"{host}:0"
    return address

import asyncio
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from distributed import Client, LocalCluster, Security
from distributed.core import rpc

from tailshard.errors import ClusterError
from tailshard.launch import DaskProfile, LocalProfile, dask_client
from tailshard.launch.reach import NAMESPACE


def test_workers_are_processes_of_their_own_and_the_dashboard_is_on_loopback() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        profile = LocalProfile(dask=DaskProfile(workers=2, dashboard=f"127.0.0.1:{port}"))
        told: list[str] = []
        with dask_client(profile, progress=lambda what, done, total: told.append(what)) as client:
            assert told == [f"Dask dashboard: {client.dashboard_link}"]
            processes = set(client.run(os.getpid).values())
            assert len(processes) == 2
            assert os.getpid() not in processes
            assert client.dashboard_link.startswith("http://127.0.0.1:")
            assert f":{port}/" not in client.dashboard_link
            if sys.version_info < (3, 12):  # where the profiler may stop a worker for ever
                callbacks = client.run(lambda dask_worker: set(dask_worker.periodic_callbacks))
                assert not any("profile" in names for names in callbacks.values())


def test_workers_have_the_environment_of_today_and_one_thread_for_each_library(
    dask_workers: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dask_workers.run(os.getpid)  # workers were started before
    monkeypatch.setenv("TAILSHARD_TEST_OF_TODAY", "new")
    with dask_client(LocalProfile(dask=DaskProfile(workers=1, dashboard="127.0.0.1:0"))) as client:
        (found,) = client.run(lambda: dict(os.environ)).values()
    assert found["TAILSHARD_TEST_OF_TODAY"] == "new"
    assert found["OMP_NUM_THREADS"] == "1"


def test_a_running_scheduler_is_used_and_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_elsewhere() as others:
        address = others.scheduler.address
        workers = set(others.scheduler_info()["workers"])
        with dask_client(LocalProfile(dask=DaskProfile(address=address, workers=1))) as client:
            assert set(client.scheduler_info()["workers"]) == workers
        assert others.submit(abs, -1).result() == 1
        # As in a pod: the scheduler has the name of its service.
        monkeypatch.setenv(NAMESPACE, "lhc")
        port = others.dashboard_link.rpartition(":")[2].partition("/")[0]
        told: list[str] = []
        named = DaskProfile(address=f"tcp://localhost:{address.rpartition(':')[2]}", workers=1)
        with dask_client(LocalProfile(dask=named), progress=lambda what, done, total: told.append(what)):
            pass
        assert told[0].endswith(f"\n  kubectl --namespace lhc port-forward service/localhost {port}:{port}")
        profile = DaskProfile(address=address, workers=3, start_timeout=0.2)
        with pytest.raises(ClusterError, match="has 1 of 3 workers"), dask_client(LocalProfile(dask=profile)):
            pass


@contextmanager
def running_elsewhere() -> Iterator[Client]:
    """A scheduler that anybody may talk to, as others start it."""
    with (
        LocalCluster(
            n_workers=1,
            processes=False,
            protocol="tcp",
            dashboard_address="127.0.0.1:0",
            silence_logs="CRITICAL",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_nobody_else_on_this_machine_can_talk_to_the_scheduler(dask_workers: Client) -> None:
    addresses = [dask_workers.scheduler.address, *dask_workers.scheduler_info()["workers"]]
    assert len(addresses) == 3
    for address in addresses:
        assert address.startswith("tls://127.0.0.1:")
        plain = address.replace("tls://", "tcp://")
        with pytest.raises(OSError):  # noqa: PT011 - whatever the network calls it
            asyncio.run(ask(plain, Security()))
        with pytest.raises(OSError):  # noqa: PT011 - encrypted, but not with a key of this cluster
            asyncio.run(ask(address, Security.temporary()))
    assert asyncio.run(ask(addresses[0], dask_workers.security)) == addresses[0]


async def ask(address: str, security: Security) -> Any:
    """Ask a scheduler or worker who it is."""
    async with rpc(address, timeout=2, connection_args=security.get_connection_args("client")) as remote:
        return (await asyncio.wait_for(remote.identity(), 3))["address"]


def test_all_ports_of_a_run_are_on_loopback() -> None:
    def listening(*pids: int) -> set[tuple[str, int]]:
        return {
            tuple(connection.laddr)
            for pid in pids
            for connection in psutil.Process(pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }

    before = listening(os.getpid())  # servers of other tests are in this process, too
    with dask_client(LocalProfile(dask=DaskProfile(workers=1, dashboard="127.0.0.1:0"))) as client:
        opened = listening(os.getpid(), *client.run(os.getpid).values()) - before
    assert len(opened) > 2
    assert {address for address, _ in opened} == {"127.0.0.1"}


def test_no_secret_of_the_cluster_is_where_others_could_read_it(dask_workers: Client) -> None:
    secrets = [dask_workers.security.tls_client_key, dask_workers.security.tls_client_cert]
    body = next(line for secret in secrets for line in secret.splitlines() if "-" not in line)
    shown = dask_workers.run(lambda: (sys.argv, dict(os.environ)))
    assert body not in str(shown)
    commands = [psutil.Process(pid).cmdline() for pid in dask_workers.run(os.getpid).values()]
    assert body not in str(commands)


def test_the_page_that_writes_back_what_it_is_asked_for_is_not_served(dask_workers: Client) -> None:
    page = dask_workers.dashboard_link.removesuffix("/status")
    script = "<script>alert(1)</script>"
    request = f"{page}/proxy/1/{script}/status".replace("<", "%3C").replace(">", "%3E")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 404
    assert script not in refused.value.read().decode()
    for served in ("status", "info/main/workers.html", "metrics", "health"):
        with urllib.request.urlopen(f"{page}/{served}", timeout=10) as answer:
            assert answer.status == 200


def test_a_scheduler_that_is_not_there_is_an_error() -> None:
    profile = LocalProfile(dask=DaskProfile(address="tcp://127.0.0.1:1", start_timeout=0.5))
    with pytest.raises(ClusterError, match=r"cannot connect .* tcp://127\.0\.0\.1:1"), dask_client(profile):
        pass


def test_a_cluster_leaves_the_defaults_of_dask_to_the_next() -> None:
    code = """
import dask
from tailshard.errors import ClusterError
from tailshard.launch import DaskProfile, LocalProfile, dask_client
from tailshard.launch.reach import NAMESPACE
try:
    with dask_client(LocalProfile(dask=DaskProfile(address="tcp://127.0.0.1:1", start_timeout=0.1))):
        pass
except ClusterError:
    print(dask.config.get("distributed.comm.require-encryption"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
    assert "Traceback" not in done.stderr


def test_workers_that_dask_cannot_end_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    close = LocalCluster.close
    left = []

    def never(cluster: LocalCluster, timeout: float | None = None) -> None:
        left.append(cluster)
        raise TimeoutError

    with dask_client(LocalProfile(dask=DaskProfile(workers=1, dashboard="127.0.0.1:0"))) as client:
        (worker,) = client.run(os.getpid).values()
        monkeypatch.setattr(LocalCluster, "close", never)
    psutil.wait_procs([psutil.Process(worker)] if psutil.pid_exists(worker) else [], timeout=10)
    assert not psutil.pid_exists(worker)
    monkeypatch.undo()
    close(left[0])

import os
import socket
import subprocess
import sys

import pytest
from distributed import Client

from tailshard.errors import ClusterError
from tailshard.launch import DaskProfile, LocalProfile, dask_client


def test_workers_are_processes_of_their_own_and_the_dashboard_is_on_loopback() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        profile = LocalProfile(dask=DaskProfile(workers=2, dashboard=f"127.0.0.1:{port}"))
        with dask_client(profile) as client:
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


def test_a_running_scheduler_is_used_and_left_running(dask_workers: Client) -> None:
    address = dask_workers.scheduler.address
    processes = set(dask_workers.run(os.getpid).values())
    with dask_client(LocalProfile(dask=DaskProfile(address=address, workers=2))) as client:
        assert set(client.run(os.getpid).values()) == processes
    assert set(dask_workers.run(os.getpid).values()) == processes


def test_too_few_workers_of_a_running_scheduler_are_an_error(dask_workers: Client) -> None:
    profile = DaskProfile(address=dask_workers.scheduler.address, workers=3, start_timeout=0.2)
    with pytest.raises(ClusterError, match="has 2 of 3 workers"), dask_client(LocalProfile(dask=profile)):
        pass


def test_a_scheduler_that_is_not_there_is_an_error() -> None:
    profile = LocalProfile(dask=DaskProfile(address="tcp://127.0.0.1:1", start_timeout=0.5))
    with pytest.raises(ClusterError, match=r"cannot connect .* tcp://127\.0\.0\.1:1"), dask_client(profile):
        pass


def test_a_cluster_leaves_the_defaults_of_dask_to_the_next() -> None:
    code = """
import dask
from tailshard.errors import ClusterError
from tailshard.launch import DaskProfile, LocalProfile, dask_client
try:
    with dask_client(LocalProfile(dask=DaskProfile(address="tcp://127.0.0.1:1", start_timeout=0.1))):
        pass
except ClusterError:
    print(dask.config.get("distributed.comm.require-encryption"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
    assert "Traceback" not in done.stderr

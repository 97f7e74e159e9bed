import os
import socket
import sys
from pathlib import Path

import pytest

from tailshard.errors import ConfigError
from tailshard.launch import ClusterProfile, DaskProfile, dask_client, load_profile

REPOSITORY = Path(__file__).parents[1]


def test_the_shipped_profile_is_this_machine() -> None:
    assert load_profile(REPOSITORY / "cluster" / "local.yaml") == ClusterProfile()


def test_workers_of_the_command_line_win() -> None:
    assert load_profile(None, workers=3).dask.workers == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dask: {wrokers: 3}", "dask.wrokers"),
        ("kind: moon", "kind"),
        ("dask: [", "cannot read"),
        ("dask: {memory_limit: lots}", "'lots' is no amount of memory"),
        ("dask: {memory_limit: -4GB}", "'-4GB' is no amount of memory"),
        ("dask: {dashboard: foo}", "'foo' is no address"),
        ("dask: {dashboard: 'here:70000'}", "'here:70000' is no address"),
        ("dask: {start_timeout: .inf}", "finite"),
        ("[1, 2]", "cluster profile"),
    ],
)
def test_a_wrong_profile_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_profile(path)


def test_workers_are_processes_of_their_own_and_the_dashboard_is_on_loopback() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        profile = ClusterProfile(dask=DaskProfile(workers=2, dashboard=f"127.0.0.1:{port}"))
        with dask_client(profile) as client:
            processes = set(client.run(os.getpid).values())
            assert len(processes) == 2
            assert os.getpid() not in processes
            assert client.dashboard_link.startswith("http://127.0.0.1:")
            assert f":{port}/" not in client.dashboard_link
            if sys.version_info < (3, 12):  # where the profiler may stop a worker for ever
                callbacks = client.run(lambda dask_worker: set(dask_worker.periodic_callbacks))
                assert not any("profile" in names for names in callbacks.values())

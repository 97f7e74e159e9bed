import getpass
import shlex
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ports import free_port

from tailshard.launch.reach import NAMESPACE, announce, announcement, how_to_reach

LINK = "http://127.0.0.1:8787/status"


def test_whoever_sits_at_the_machine_opens_the_page_as_it_is() -> None:
    assert how_to_reach(LINK, {"USER": "ada"}) is None
    assert announcement(LINK, None) == f"Dask dashboard: {LINK}"


def test_a_page_that_is_open_to_others_needs_no_tunnel() -> None:
    assert how_to_reach("http://10.0.0.7:8787/status", {"SSH_CONNECTION": "10.0.0.1 5 10.0.0.7 22"}) is None


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        (
            {"SSH_CONNECTION": "192.0.2.1 50022 192.0.2.9 22"},
            "ssh -N -L 8787:127.0.0.1:8787 ada@192.0.2.9",
        ),
        (
            {"SSH_CONNECTION": "192.0.2.1 50022 192.0.2.9 2222"},
            "ssh -N -L 8787:127.0.0.1:8787 -p 2222 ada@192.0.2.9",
        ),
        (
            {"SLURM_JOB_ID": "17", "SLURMD_NODENAME": "n042", "SLURM_SUBMIT_HOST": "login1"},
            "ssh -N -L 8787:127.0.0.1:8787 -J ada@login1 ada@n042",
        ),
        (  # a job may have been started from a session that came by ssh: the job decides
            {
                "SLURM_JOB_ID": "17",
                "SLURMD_NODENAME": "login1",
                "SLURM_SUBMIT_HOST": "login1",
                "SSH_CONNECTION": "192.0.2.1 50022 192.0.2.9 22",
            },
            "ssh -N -L 8787:127.0.0.1:8787 ada@login1",
        ),
    ],
    ids=["ssh", "ssh_port", "job", "job_on_the_submit_host"],
)
def test_from_elsewhere_the_exact_command_is_told(
    environment: dict[str, str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert how_to_reach(LINK, {"USER": "ada", **environment}) == command
    monkeypatch.setattr("os.environ", {"USER": "ada", **environment})
    told: list[str] = []
    announce(LINK, lambda what, done, total: told.append(what))
    assert told == [f"Dask dashboard: {LINK}, once this runs on your own machine:\n  {command}"]


def test_a_service_of_kubernetes_is_forwarded() -> None:
    service = "http://demo-ingest-scheduler:8787/status"
    command = "kubectl --namespace lhc port-forward service/demo-ingest-scheduler 8787:8787"
    assert how_to_reach(service, {NAMESPACE: "lhc"}) == command
    assert announcement(service, command).startswith(f"Dask dashboard: {LINK}, once this runs")


# -- through a real server of ssh --------------------------------------------------------------------


@pytest.fixture
def ssh_port(tmp_path: Path) -> Iterator[int]:
    """Port of an ssh server of this test's own, whose keys lie in its folder."""
    server = shutil.which("sshd", path="/usr/sbin:/usr/bin")
    if server is None or shutil.which("ssh") is None:
        pytest.skip("no ssh server on this machine")
    for name in ("host", "key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(command, check=True)
    port = free_port()
    options = {
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "key.pub",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
        "ListenAddress": "127.0.0.1",
    }
    Path("/run/sshd").mkdir(exist_ok=True)  # where it locks up what it forks
    command = [server, "-D", "-f", "/dev/null", "-p", str(port)]
    command += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    with (tmp_path / "sshd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 20
            while not answers(port):
                assert process.poll() is None, (tmp_path / "sshd.log").read_text()
                assert time.monotonic() < until
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_the_command_brings_a_real_dashboard_through_ssh(ssh_port: int, tmp_path: Path, dask_workers) -> None:
    environment = {"USER": getpass.getuser(), "SSH_CONNECTION": f"127.0.0.1 50022 127.0.0.1 {ssh_port}"}
    told = how_to_reach(dask_workers.dashboard_link, environment)
    # Here both ends are one machine, so this end needs a port of its own; and keys that nobody has to type.
    port = dask_workers.dashboard_link.rpartition(":")[2].partition("/")[0]
    here = free_port()
    assert f"-L {port}:127.0.0.1:{port}" in told
    words = shlex.split(told.replace(f"-L {port}:", f"-L {here}:"))
    keys = ["-i", str(tmp_path / "key"), "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"]
    keys += ["-F", "none", "-o", f"UserKnownHostsFile={tmp_path / 'known'}", "-o", "ExitOnForwardFailure=yes"]
    tunnel = subprocess.Popen([words[0], *keys, *words[1:]], stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{here}/status", timeout=5) as page:
                    assert b"Dask" in page.read()
                break
            except OSError:
                assert tunnel.poll() is None, tunnel.stderr.read()
                assert time.monotonic() < until
                time.sleep(0.2)
    finally:
        tunnel.terminate()
        tunnel.wait(10)
        tunnel.stderr.close()

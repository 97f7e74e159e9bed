"""A real SLURM on this machine: every node is a network, host name, process table and /tmp of its own."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "ip", "nsenter", "unshare")


def why_not(shared: Path) -> str | None:
    """Say why there can be no SLURM here, or None."""
    if not (shared / "tools" / "slurm" / "slurm_up.sh").is_file():
        return f"{shared}/tools/slurm/slurm_up.sh, which starts SLURM, does not exist"
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"programs of SLURM are not installed: {', '.join(missing)} (tests/debian-packages.txt)"
    if os.geteuid() != 0:
        return "only root can make nodes of SLURM (network namespaces)"
    if REPOSITORY.is_relative_to("/tmp"):
        return f"{REPOSITORY} lies below /tmp, of which every node has its own"
    if (Path("/run/netns") / "lab-login").exists():
        return "another SLURM for tests runs on this machine (namespace lab-login)"
    probe = subprocess.run(
        ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "true"], check=False, capture_output=True
    )
    return f"no namespaces: {probe.stderr.decode().strip()}" if probe.returncode else None


@dataclass
class Slurm:
    """A cluster, as seen from its login node."""

    base: Path
    tools: Path

    @property
    def environment(self) -> dict[str, str]:
        """What finds this cluster, and the tailshard of this checkout."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM")},
            "SLURM_CONF": str(self.base / "slurm.conf"),
            "MUNGE_SOCKET": str(self.base / "munge" / "munge.sock"),
            "PYTHONPATH": str(REPOSITORY / "src"),
        }

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program on the login node."""
        done = subprocess.run(
            [str(self.base / "run" / "as"), "login", *command],
            check=False,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=300,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done

    def tailshard(self, *arguments: str) -> dict[str, Any]:
        """Run a verb on the login node and give its result."""
        done = self.run(sys.executable, "-m", "tailshard", *arguments, "--json")
        result: dict[str, Any] = json.loads(done.stdout)["result"]
        return result

    def states(self) -> dict[str, str]:
        """Tell the states of the jobs that SLURM knows, by identifier."""
        lines = self.run("squeue", "--noheader", "--states=all", "--format=%i %T").stdout.split("\n")
        return dict(line.split() for line in lines if line.strip())

    def restarts(self, job: str) -> int:
        """Tell how often a job was requeued."""
        shown = self.run("scontrol", "show", "job", job).stdout
        return int(shown.partition("Restarts=")[2].split()[0])

    def nodes_of(self, job: str) -> str:
        return self.run("squeue", "--noheader", f"--jobs={job}", "--format=%N").stdout.strip()

    def crash(self, node: str) -> None:
        """End a node with everything on it, as a power cut would."""
        pid = (self.base / "run" / f"node-{node}.pid").read_text().strip()
        subprocess.run(["kill", "-9", pid], check=True)

    def restore(self, node: str) -> None:
        """Start a node again."""
        command = f"setsid {self.base}/run/node {node} {self.base} >/dev/null 2>&1 & echo $!"
        started = subprocess.run(
            ["bash", "-c", command], env=self.environment, check=True, capture_output=True, text=True
        )
        (self.base / "run" / f"node-{node}.pid").write_text(started.stdout)

    def wait(self, what: str, until: Callable[[], object], seconds: float) -> None:
        """Wait until something is true."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, f"{what}: not in {seconds:g} s; jobs: {self.states()}"
            time.sleep(0.5)


@contextmanager
def slurm(shared: Path, nodes: int = 2, cpus: int = 2, memory: int = 9000) -> Iterator[Slurm]:
    """Start a cluster and stop it: nodes n1, n2 ..., of `cpus` and `memory` (MB); `wait` says what failed."""
    tools = shared / "tools" / "slurm"
    # Not below /tmp, of which every node has its own.
    base = Path("/var/tmp") / f"tailshard-slurm-{os.getpid()}" / "slurm"
    base.parent.mkdir(mode=0o755)
    environment = {
        **os.environ,
        "BASE": str(base),
        "NETNS": "1",
        "NODES": str(nodes),
        "CPUS": str(cpus),
        "MEM": str(memory),
    }
    cluster = Slurm(base, tools)
    try:
        subprocess.run(
            ["bash", str(tools / "slurm_up.sh")], env=environment, check=True, stdout=subprocess.DEVNULL
        )
        # It notices sooner that a node is gone.
        configuration = base / "slurm.conf"
        configuration.write_text(configuration.read_text().replace("SlurmdTimeout=20", "SlurmdTimeout=8"))
        cluster.run("scontrol", "reconfigure")
        yield cluster
    finally:
        subprocess.run(
            ["bash", str(tools / "slurm_down.sh")], env=environment, check=False, stdout=subprocess.DEVNULL
        )
        shutil.rmtree(base.parent, ignore_errors=True)

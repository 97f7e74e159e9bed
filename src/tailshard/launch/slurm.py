"""Jobs of SLURM: how they are written, handed in, looked after and cancelled.

Neighbouring stages with the same resources share a job, and each job waits for the one before it. A job of
Dask's stages is their driver: it hands in workers as jobs of their own (`slurm_workers`). That of training
is an allocation with a Ray of its own, so that no GPU waits for ingest. Accounting (sacct) is not needed.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from pathlib import Path

from ..errors import ClusterError
from .profile import Resources, SlurmProfile
from .site import Job, JobState, Order

WORKERS = "tailshard-workers-"
"""Name of the jobs of Dask workers, before the identifier of the job that they work for."""

_ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
)
_TIMEOUT_SECONDS = 120
_WARNING_SECONDS = 90
"""How long before its end a job is told, to be requeued; a quarter of a short walltime."""


class SlurmSite:
    """A SLURM cluster; see `Site` for what its methods do."""

    def __init__(self, profile: SlurmProfile) -> None:
        self.profile = profile

    def jobs(self, stages: Sequence[str]) -> list[Job]:
        """Let neighbours with the same resources share a job; training has its own."""

        def kind(stage: str) -> tuple[bool, Resources]:
            return stage == "train", self.profile.stages.of(stage)

        return [Job(tuple(its), resources) for (_, resources), its in groupby(stages, kind)]

    def text(self, job: Job, order: Order, after: Sequence[str]) -> str:
        """Give the batch script of a job."""
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        folder = Path(__file__).parent
        environment = Environment(
            loader=FileSystemLoader(folder),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters["quote"] = lambda text: shlex.quote(str(text))
        profile, resources = self.profile, job.resources
        return environment.get_template("job.sbatch").render(
            options=self._options(job, order, after),
            setup=profile.setup,
            python=sys.executable,
            pipeline=order.pipeline_file,
            profile=order.profile_file,
            workdir=order.workdir,
            folder=order.folder,
            stages=job.stages,
            strict=order.strict,
            walltime=resources.walltime,
            workers_name=WORKERS,
            trains="train" in job.stages,
            interface=profile.interface or "",
            scratch=profile.scratch,
            cpus=resources.cpus,
            gpus=resources.gpus,
            ray=(folder / "ray.sh").read_text(encoding="utf-8").rstrip(),
        )

    def _options(self, job: Job, order: Order, after: Sequence[str]) -> list[str]:
        profile, its = self.profile, job.resources
        seconds = int(its.walltime.total_seconds())
        options = [
            f"--job-name={job.name(order)}",
            f"--output={in_scripts(order.logs)}/%x-%j.log",
            "--open-mode=append",
            "--requeue",
            f"--signal=B:USR1@{min(_WARNING_SECONDS, seconds // 4)}",
            *common_options(profile, its.walltime),
        ]
        if after:
            options += [f"--dependency=afterok:{':'.join(after)}", "--kill-on-invalid-dep=yes"]
        if "train" in job.stages:
            options += [
                *partition_of(its.partition),
                f"--nodes={its.workers}",
                "--ntasks-per-node=1",
                f"--cpus-per-task={its.cpus}",
                f"--mem={mebibytes(its.memory)}M",
                *gpus_of(its),
                *its.options,
            ]
        else:
            driver = profile.driver
            options += [
                *partition_of(driver.partition or its.partition),
                "--nodes=1",
                "--ntasks=1",
                f"--cpus-per-task={driver.cpus}",
                f"--mem={mebibytes(driver.memory)}M",
            ]
        return options

    def submit(self, job: Job, order: Order, after: Sequence[str]) -> str:
        """Hand in a job with sbatch; its script is kept in the order's folder."""
        script = order.folder / f"{'-'.join(job.stages)}.sbatch"
        order.logs.mkdir(parents=True, exist_ok=True)
        script.write_text(self.text(job, order, after), encoding="utf-8")
        # With federations the cluster's name follows.
        return call("sbatch", "--parsable", str(script)).strip().partition(";")[0]

    def states(self, identifiers: Sequence[str]) -> Mapping[str, JobState]:
        """Ask squeue, which knows jobs for some minutes after their end, too."""
        known = states_of_user() if identifiers else {}
        return {each: known[each] for each in identifiers if each in known}

    def cancel(self, identifiers: Sequence[str]) -> None:
        """End jobs, and the workers that they have handed in."""
        if not identifiers:
            return
        try:
            call("scancel", *identifiers)
        except ClusterError:
            # One that has ended meanwhile is an error to scancel.
            if any(state.live for state in self.states(identifiers).values()):
                raise
        for each in identifiers:
            call("scancel", "--quiet", f"--user={os.getuid()}", f"--name={WORKERS}{each}")


def in_scripts(path: Path) -> Path:
    """Give a path that batch scripts can name as it is.

    sbatch takes ``%`` and backslashes in the name of a log for its own, and dask-jobqueue quotes nothing.

    Raises
    ------
    ClusterError
        It has a character that means something to either, such as a space.
    """
    if found := sorted(set(re.findall(r"[^\w@+=:,./~-]", str(path)))):
        raise ClusterError(
            f"jobs of SLURM cannot write to '{path}', which has {' '.join(map(repr, found))} in it; take a "
            "work directory whose path has no white space, no '%' and nothing else that a shell would change"
        )
    return path


def in_job() -> bool:
    """Tell whether this process runs in a job, and not on a login node."""
    return "SLURM_JOB_ID" in os.environ


def states_of_user() -> dict[str, JobState]:
    """Ask SLURM for all jobs of this user, by identifier."""
    found = {}
    format_ = "--format=%i|%T|%N|%r"
    for line in call("squeue", "--noheader", "--states=all", f"--user={os.getuid()}", format_).splitlines():
        identifier, word, nodes, reason = line.strip().split("|", 3)
        found[identifier] = JobState(
            word, word not in _ENDED, nodes if word == "RUNNING" or reason == "None" else reason
        )
    return found


def call(program: str, *arguments: str) -> str:
    """Run a program of SLURM and give what it prints.

    Raises
    ------
    ClusterError
        It is not here, fails, or does not answer.
    """
    # Inside a job, what SLURM has set for that one would count for the new one.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SLURM_") or name in ("SLURM_CONF", "SLURM_CLUSTERS")
    }
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
            env=environment,
        )
    except FileNotFoundError:
        raise ClusterError(
            f"there is no program '{program}' on this machine; go to a login node of the SLURM cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"SLURM did not answer '{program}' in {_TIMEOUT_SECONDS} s; try again") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise ClusterError(f"SLURM refused '{shlex.join([program, *arguments])}': {said}")
    return done.stdout


# -- options of sbatch -----------------------------------------------------------------------------


def common_options(profile: SlurmProfile, walltime: timedelta) -> list[str]:
    """Options that every job of a profile has."""
    return [
        f"--time={-(-int(walltime.total_seconds()) // 60)}",
        *([f"--account={profile.account}"] if profile.account else []),
        *([f"--qos={profile.qos}"] if profile.qos else []),
        *profile.options,
    ]


def partition_of(name: str | None) -> list[str]:
    """Option that asks for a partition; none where the cluster's default will do."""
    return [f"--partition={name}"] if name else []


def gpus_of(resources: Resources) -> list[str]:
    """Option that asks for the GPUs of a worker."""
    return [f"--gres=gpu:{resources.gpus}"] if resources.gpus else []


def mebibytes(memory: str) -> int:
    """Round an amount of memory up to what SLURM counts in."""
    from dask.utils import parse_bytes

    return int(-(-parse_bytes(memory) // 2**20))

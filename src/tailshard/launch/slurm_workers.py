"""Dask workers that are jobs of SLURM."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import ClusterError
from ..places import local
from ..progress import Progress, silent
from .interfaces import address_of
from .profile import Resources, SlurmProfile
from .reach import announce
from .site import JobState, Patience
from .slurm import (
    WORKERS,
    call,
    common_options,
    gpus_of,
    in_job,
    in_scripts,
    mebibytes,
    partition_of,
    states_of_user,
)

if TYPE_CHECKING:
    from dask_jobqueue.slurm import SLURMCluster
    from distributed import Client
    from distributed.security import Security

_LOOK_SECONDS = 15
"""Between two looks at the jobs of the workers: SLURM is asked once each time."""
_FAILURES = 3
"""Jobs of workers that end before any worker has come: more would not come either."""


@contextmanager
def slurm_workers(
    profile: SlurmProfile,
    stage: str,
    workdir: Path,
    dashboard: str,
    settings: dict[str, Any],
    progress: Progress = silent,
) -> Iterator["Client"]:
    """Hand in the workers of a stage as jobs, give a client, and end them afterwards.

    Everything is encrypted, and nobody without the cluster's keys can connect; these lie in a closed folder
    of the work directory meanwhile. A worker ends before its walltime, and is replaced; so is one whose job
    ended for any other reason.

    Parameters
    ----------
    profile, stage
        Where, and whose resources.
    workdir
        All nodes must see it; logs go to ``logs``.
    dashboard
        Address of the dashboard, which is free.
    settings
        Dask's configuration of the workers.
    progress
        Told where the dashboard is, before any worker comes: their jobs may queue for long.

    Raises
    ------
    ClusterError
        The work directory cannot be named in batch scripts. No worker comes: their jobs fail, or queue longer
        than `start_timeout`; or SLURM says nothing of them for some minutes.
    """
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise ClusterError(
            "Dask workers on SLURM need the package dask-jobqueue: pip install 'tailshard[slurm]'"
        ) from error
    from distributed import Client

    resources = profile.stages.of(stage)
    logs = in_scripts(local(workdir, "a search with Dask workers that are jobs of SLURM") / "logs")
    logs.mkdir(parents=True, exist_ok=True)
    (workdir / "jobs").mkdir(exist_ok=True)
    leader = os.environ.get("SLURM_JOB_ID", f"{os.uname().nodename}-{os.getpid()}")
    # The scheduler runs on a node where this is a job.
    interface = profile.interface if in_job() else profile.scheduler_interface
    keys = tempfile.mkdtemp(prefix="dask-", dir=workdir / "jobs")
    try:
        with (
            SLURMCluster(
                **_of_a_worker(profile, resources, settings),
                job_name=f"{WORKERS}{leader}",
                log_directory=str(logs),
                interface=profile.interface,
                security=_security(Path(keys)),
                protocol="tls://",
                scheduler_options={
                    "host": address_of(interface or profile.interface),
                    "dashboard_address": dashboard,
                },
            ) as cluster,
            Client(cluster) as client,
        ):
            # Dask's own link has the address of the scheduler, which pages are not served at.
            port = urlsplit(client.dashboard_link).port
            announce(f"http://{dashboard.rpartition(':')[0]}:{port}/status", progress)
            _check(cluster, Path(keys))
            cluster.scale(jobs=resources.workers)
            _wait(client, cluster, profile, logs)
            with _replaced(cluster, resources.workers):
                yield client
    finally:
        rmtree(keys, ignore_errors=True)


def _security(folder: Path) -> "Security":
    """Make keys that only this cluster has, in files that only this user can read."""
    from distributed.security import Security

    made = Security.temporary().get_tls_config_for_role("scheduler")
    paths = {}
    for name in ("ca_file", "cert", "key"):
        paths[name] = folder / f"{name}.pem"
        paths[name].touch(mode=0o600)
        paths[name].write_text(made[name], encoding="utf-8")
    role = {"cert": str(paths["cert"]), "key": str(paths["key"])}
    return Security(
        require_encryption=True,
        tls_ca_file=str(paths["ca_file"]),
        **{
            f"tls_{who}_{what}": path
            for who in ("scheduler", "worker", "client")
            for what, path in role.items()
        },
    )


def _of_a_worker(profile: SlurmProfile, resources: Resources, settings: dict[str, Any]) -> dict[str, Any]:
    """Say what dask-jobqueue shall ask for: one process for each CPU."""
    walltime = int(resources.walltime.total_seconds())
    spare = min(300, walltime // 5)
    exports = [f"export DASK_{_variable(name)}={value}" for name, value in settings.items()]
    return {
        "cores": resources.cpus,
        "processes": resources.cpus,
        "memory": resources.memory,
        "job_cpu": resources.cpus,
        "job_mem": f"{mebibytes(resources.memory)}M",
        # They come below; here the user's configuration of Dask would have a say.
        "job_directives_skip": ["#SBATCH -A ", "#SBATCH -p ", "#SBATCH -t "],
        "local_directory": profile.scratch,
        "job_extra_directives": [
            # One that SLURM starts again would come beside its replacement.
            "--no-requeue",
            *common_options(profile, resources.walltime),
            *partition_of(resources.partition),
            *gpus_of(resources),
            *resources.options,
        ],
        "job_script_prologue": [*profile.setup, *exports],
        "worker_extra_args": [
            *("--lifetime", f"{walltime - spare}s", "--lifetime-stagger", f"{spare // 3}s"),
            *("--dashboard-address", "127.0.0.1:0"),
        ],
        "death_timeout": 60,
        "silence_logs": "CRITICAL",
    }


def _check(cluster: "SLURMCluster", folder: Path) -> None:
    """Let SLURM look at the job of a worker: where it refuses one later, dask-jobqueue does not tell."""
    script = folder / "worker.sbatch"
    script.write_text(cluster.job_script(), encoding="utf-8")
    call("sbatch", "--test-only", str(script))


def _variable(setting: str) -> str:
    return setting.upper().replace(".", "__").replace("-", "_")


def _wait(client: "Client", cluster: "SLURMCluster", profile: SlurmProfile, logs: Path) -> None:
    """Wait for the first worker; the others join when their jobs start."""
    until = monotonic() + profile.start_timeout
    look, failed, patience = monotonic() + 1, 0, Patience()
    while True:
        with suppress(TimeoutError):
            client.wait_for_workers(1, timeout=1)
            return
        late = monotonic() >= until
        if not late and monotonic() < look:
            continue
        jobs = patience.ask(lambda: _jobs(cluster))
        if late:
            raise _none_has_come(cluster, jobs or {}, profile, logs)
        if jobs is not None:
            ended = _ended(jobs)
            failed += len(ended)
            if ended and failed >= min(_FAILURES, len(cluster.worker_spec)):
                raise ClusterError(
                    f"the jobs of the Dask workers end before any worker has come; {_last_words(logs, ended)}"
                )
            _replace(cluster, ended, len(cluster.worker_spec))
        look = monotonic() + min(_LOOK_SECONDS, 5)


def _none_has_come(
    cluster: "SLURMCluster", jobs: dict[str, tuple[Any, JobState]], profile: SlurmProfile, logs: Path
) -> ClusterError:
    states = [f"job {each} is {state.word} ({state.detail})" for each, (_, state) in jobs.items()]
    return ClusterError(
        f"no Dask worker has come in {profile.start_timeout:g} s: "
        f"{', '.join(states) or 'nothing is known of their jobs'}; where they wait, raise start_timeout of "
        "the profile; where they run, they cannot reach the scheduler at "
        f"{cluster.scheduler_address}: set 'interface'. {_last_words(logs, jobs)}"
    )


def _last_words(logs: Path, jobs: Iterable[str]) -> str:
    """Quote what the jobs of workers have printed last."""
    for each in jobs:
        for path in sorted(logs.glob(f"{WORKERS}*-{each}.err")):
            if lines := path.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]:
                return f"{path} ends with:\n  " + "\n  ".join(lines)
    return f"see {logs}"


@contextmanager
def _replaced(cluster: "SLURMCluster", jobs: int) -> Iterator[None]:
    """Hand in workers anew where their jobs end.

    Dask's own ways do not: scale() counts lost jobs, and adapt() forgets only workers that are alone in their
    job and that had come.
    """
    end = Event()

    def look() -> None:
        while not end.wait(_LOOK_SECONDS):
            try:
                _replace(cluster, _ended(_jobs(cluster)), jobs)
            except ClusterError:
                continue  # SLURM may be silent for a while

    thread = Thread(target=look, name="tailshard-workers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _jobs(cluster: "SLURMCluster") -> dict[str, tuple[Any, JobState]]:
    """Look up the jobs of workers: identifier -> name in the cluster, and state."""
    # Before SLURM is asked: it cannot tell of what is handed in later.
    jobs = {job.job_id: name for name, job in list(cluster.workers.items()) if job.job_id}
    states = states_of_user() if jobs else {}
    gone = JobState("gone", live=False, detail="SLURM has forgotten it")
    return {each: (name, states.get(each, gone)) for each, name in jobs.items()}


def _ended(jobs: dict[str, tuple[Any, JobState]]) -> dict[str, Any]:
    """Choose those that have ended: identifier -> name in the cluster."""
    return {each: name for each, (name, state) in jobs.items() if not state.live}


def _replace(cluster: "SLURMCluster", ended: dict[str, Any], jobs: int) -> None:
    """Hand in new jobs for those that have ended, and again what SLURM had refused."""
    for name in ended.values():
        cluster.worker_spec.pop(name, None)
    cluster.scale(jobs=jobs)

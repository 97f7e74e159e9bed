"""How SLURM is asked for workers and about them; `test_slurm` has them on a real one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import pytest
from dask_jobqueue.slurm import SLURMJob

from tailshard.errors import ClusterError
from tailshard.launch import SlurmProfile, dask_client, site, slurm_workers


def directives(profile: SlurmProfile, stage: str) -> list[str]:
    """Directives of the script of a worker, as dask-jobqueue writes it."""
    asked_for = slurm_workers._of_a_worker(profile, profile.stages.of(stage), {})
    asked_for.pop("silence_logs")  # of the scheduler
    script = SLURMJob(scheduler="tls://10.0.0.1:8786", name="1", **asked_for).job_script()
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


@pytest.mark.parametrize(
    ("said", "accounts"),
    [
        ({}, []),
        ({"account": "atlas"}, ["--account=atlas"]),
        ({"options": ["--account=atlas"]}, ["--account=atlas"]),
        # The last one counts.
        (
            {"account": "atlas", "stages": {"score": {"options": ["--account=cms"]}}},
            ["--account=atlas", "--account=cms"],
        ),
    ],
    ids=["none", "of_the_profile", "as_an_option", "of_the_stage"],
)
def test_workers_are_charged_to_the_account_that_the_profile_says(
    said: dict[str, Any], accounts: list[str]
) -> None:
    profile = SlurmProfile.model_validate({"kind": "slurm", **said})
    with dask.config.set({"jobqueue.slurm.account": "mine", "jobqueue.slurm.queue": "short"}):
        found = directives(profile, "score")
    assert [each for each in found if each.startswith(("-A", "--account"))] == accounts
    assert not any(each.startswith(("-p", "--partition", "-t")) for each in found)
    assert "--time=240" in found


def test_workers_are_refused_where_no_batch_script_can_name_their_logs(tmp_path: Path) -> None:
    with (
        pytest.raises(ClusterError, match="jobs of SLURM cannot write to"),
        dask_client(SlurmProfile(kind="slurm"), "ingest", tmp_path / "my work"),
    ):
        pass
    assert not (tmp_path / "my work").exists()


class Workers:
    """Stands for a cluster of dask-jobqueue whose jobs have these identifiers, and for its client."""

    scheduler_address = "tls://10.0.0.1:8786"

    def __init__(self, *identifiers: str, come_after: int = 10**6) -> None:
        self.workers = {name: SimpleNamespace(job_id=each) for name, each in enumerate(identifiers)}
        self.worker_spec = dict.fromkeys(self.workers, "spec")
        self.come_after = come_after
        self.scaled: list[int] = []

    def wait_for_workers(self, count: int, timeout: float) -> None:
        self.come_after -= 1
        if self.come_after >= 0:
            raise TimeoutError

    def scale(self, jobs: int) -> None:
        self.scaled.append(jobs)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a squeue in the way that answers what lies in `answer`, and else fails; it notes each question."""
    program = tmp_path / "squeue"
    program.write_text(
        f"#!/bin/sh\necho x >>{tmp_path}/asked\n"
        f"cat {tmp_path}/answer 2>/dev/null || {{ echo 'Unable to contact slurm controller' >&2; exit 1; }}\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(slurm_workers, "_LOOK_SECONDS", 0)
    clock = iter(range(10**6))
    for module in (site, slurm_workers):  # and not time itself, which Dask's threads ask, too
        monkeypatch.setattr(module, "monotonic", lambda: float(next(clock)))
    return tmp_path / "asked"


def wait(workers: Workers, logs: Path, **profile: Any) -> None:
    slurm_workers._wait(workers, workers, SlurmProfile(kind="slurm", **profile), logs)  # type: ignore[arg-type]


def test_workers_are_waited_for_while_slurm_is_silent(asked: Path, tmp_path: Path) -> None:
    workers = Workers("17", "18", come_after=4)
    wait(workers, tmp_path)
    assert len(asked.read_text().splitlines()) >= 2
    assert workers.scaled == []
    with pytest.raises(ClusterError, match=r"silent for 10 min: SLURM refused 'squeue .*Unable to contact"):
        wait(Workers("17"), tmp_path)


def test_all_workers_are_asked_about_at_once(asked: Path, tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(
        "17|PENDING||Priority\n18|RUNNING|n1|None\n19|FAILED|n2|NonZeroExitCode\n"
    )
    workers = Workers("17", "18", "19", "20")
    jobs = slurm_workers._jobs(workers)  # type: ignore[arg-type]
    assert asked.read_text() == "x\n"
    assert slurm_workers._ended(jobs) == {"19": 2, "20": 3}
    with pytest.raises(ClusterError, match=r"job 17 is PENDING \(Priority\), job 18 is RUNNING \(n1\)"):
        wait(Workers("17", "18"), tmp_path, start_timeout=1)
    assert asked.read_text() == "x\nx\n"

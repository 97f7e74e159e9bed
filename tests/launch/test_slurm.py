"""Jobs of SLURM: their scripts, and whole searches on a real SLURM whose nodes are killed in the middle."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.slurm import Slurm, slurm, why_not

from tailshard.errors import ClusterError
from tailshard.launch import SlurmProfile, load_profile
from tailshard.launch.site import Order
from tailshard.launch.slurm import SlurmSite, call, states_of_user
from tailshard.pipeline_files import shipped
from tailshard.stages import STAGES

REPOSITORY = Path(__file__).parents[2]


def small_order(folder: Path) -> Order:
    return Order(
        "demo", folder / "work", folder / "work" / "jobs" / "1", "name: demo", "kind: slurm", strict=True
    )


def options_in(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


def test_neighbours_with_the_same_resources_share_a_job() -> None:
    profile = load_profile(REPOSITORY / "cluster" / "slurm.yaml")
    assert isinstance(profile, SlurmProfile)
    jobs = SlurmSite(profile).jobs(STAGES)
    assert [job.stages for job in jobs] == [("ingest",), ("train",), ("score", "histogram", "report")]
    # Training is alone also where it gets what its neighbours get.
    assert [job.stages for job in SlurmSite(SlurmProfile(kind="slurm")).jobs(STAGES)] == [
        ("ingest",),
        ("train",),
        ("score", "histogram", "report"),
    ]
    assert SlurmSite(profile).jobs([]) == []


def test_the_driver_of_dask_workers_is_small_and_training_gets_what_it_asks_for(tmp_path: Path) -> None:
    profile = SlurmProfile.model_validate(
        {
            "kind": "slurm",
            "account": "atlas",
            "options": ["--reservation=school"],
            "setup": ["module load cuda"],
            "driver": {"memory": "2GiB", "partition": "small"},
            "stages": {
                "ingest": {"workers": 8, "cpus": 16, "memory": "64GB", "partition": "cpu"},
                "train": {
                    "workers": 2,
                    "cpus": 7,
                    "gpus": 4,
                    "memory": "1GB",
                    "partition": "gpu",
                    "walltime": 90,
                    "options": ["--exclusive"],
                },
            },
        }
    )
    site, order = SlurmSite(profile), small_order(tmp_path)
    ingest, train, _ = site.jobs(STAGES)
    driver, training = site.text(ingest, order, []), site.text(train, order, ["17"])
    assert {
        *("--job-name=tailshard-demo-ingest", "--requeue", "--open-mode=append", "--signal=B:USR1@90"),
        *("--time=240", "--partition=small", "--nodes=1", "--cpus-per-task=1", "--mem=2048M"),
        *("--account=atlas", "--reservation=school"),
    } < set(options_in(driver))
    assert not any("dependency" in option for option in options_in(driver))
    assert {
        *("--dependency=afterok:17", "--kill-on-invalid-dep=yes", "--partition=gpu", "--nodes=2"),
        *("--ntasks-per-node=1", "--cpus-per-task=7", "--gres=gpu:4", "--mem=954M", "--exclusive"),
        *("--time=2", "--signal=B:USR1@22", "--account=atlas"),
    } < set(options_in(training))
    assert 'ingest "${search[@]}" --strict' in driver
    assert "start_ray" not in driver
    assert training.index("module load cuda") < training.index("start_ray || exit")
    assert "ray stop" not in training.replace("Never 'ray stop'", "")
    for script in (driver, training):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("name", ["my work", "50%", "it's", "a#b", "back\\slash", "$HOME"])
def test_a_work_directory_that_no_batch_script_can_name_is_refused(name: str, tmp_path: Path) -> None:
    site, order = SlurmSite(SlurmProfile(kind="slurm")), small_order(tmp_path / name)
    with pytest.raises(ClusterError, match=r"cannot write to .*; take a work directory"):
        site.text(site.jobs(["ingest"])[0], order, [])


def test_a_work_directory_may_have_letters_of_any_language(tmp_path: Path) -> None:
    site, order = SlurmSite(SlurmProfile(kind="slurm")), small_order(tmp_path / "Zürich_2026-01@v1.0,a=b")
    options = options_in(site.text(site.jobs(["ingest"])[0], order, []))
    assert f"--output={order.logs}/%x-%j.log" in options


def test_a_machine_without_slurm_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="no program 'squeue' on this machine"):
        states_of_user()


def test_what_slurm_says_is_handed_on() -> None:
    with pytest.raises(ClusterError, match=r"SLURM refused 'ls /nowhere/at-all': .*No such file"):
        call("ls", "/nowhere/at-all")


def test_a_job_does_not_hand_on_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "64")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    printed = call("printenv").splitlines()
    assert "SLURM_CONF=/etc/slurm.conf" in printed
    assert not any(line.startswith("SLURM_CPUS") for line in printed)


# -- on a real cluster -----------------------------------------------------------------------------

SMALL = (
    *("store.slot=256", "store.chunk=128"),
    *("training.epochs=20", "training.workers=2", "training.batch_size=256", "limits=null"),
)

PROFILE = """
kind: slurm
interface: eth0
scheduler_interface: br0
driver: {memory: 1500MB}
stages:
  ingest: &few {workers: 2, cpus: 1, memory: 1500MB, walltime: "00:10:00", partition: main}
  train: {workers: 2, cpus: 1, memory: 4GB, walltime: "00:10:00", partition: main}
  score: *few
  histogram: *few
  report: *few
"""


@pytest.fixture(scope="module")
def cluster(shared: Path) -> Iterator[Slurm]:
    if reason := why_not(shared):
        pytest.skip(reason)
    with slurm(shared) as started:
        yield started


@pytest.fixture
def place(cluster: Slurm, toys: Path) -> Iterator[Path]:
    """Folder that all nodes see, with toys and a profile."""
    folder = cluster.base.parent / "shared"
    shutil.copytree(toys, folder / "toys")
    (folder / "slurm.yaml").write_text(PROFILE)
    yield folder
    # The next test must not meet jobs of this one.
    cluster.run("scancel", "--user=root", check=False)
    cluster.wait("all jobs end", lambda: not cluster.run("squeue", "--noheader").stdout.strip(), 60)
    shutil.rmtree(folder)


def search(place: Path, profile: str = "slurm.yaml") -> list[str]:
    """Arguments of every verb."""
    arguments = [str(shipped("demo")), "--workdir", str(place / "work"), "--data-root", str(place / "toys")]
    arguments += [f"--set={override}" for override in SMALL]
    return [*arguments, "--cluster", str(place / profile)] if profile else arguments


def logs(place: Path) -> str:
    return "\n".join(path.read_text() for path in sorted((place / "work" / "logs").glob("*.log")))


WORKERS = """
import json, os, sys, time
from pathlib import Path
from tailshard.launch import dask_client, load_profile
from tailshard.launch.slurm import call

def settings(dask_worker):
    server = next(iter(dask_worker.http_server._sockets.values()))
    return [*map(str, dask_worker.periodic_callbacks), server.getsockname()[0]]

def addresses(client):
    return set(client.scheduler_info()["workers"])

if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(__file__).parent}:{os.environ['PATH']}"
    with dask_client(load_profile(Path(sys.argv[1])), "ingest", Path(sys.argv[2])) as client:
        client.wait_for_workers(2, timeout=60)
        found = client.run(settings)
        before = addresses(client)
        jobs = call("squeue", "--noheader", "--format=%i").split()
        call("scancel", jobs[0])
        until = time.monotonic() + 90
        while (len(after := addresses(client)) < 2 or after == before) and time.monotonic() < until:
            time.sleep(1)
        keys = [oct(path.stat().st_mode)[-3:] for path in Path(sys.argv[2]).glob("jobs/dask-*/*.pem")]
        folders = [oct(path.stat().st_mode)[-3:] for path in Path(sys.argv[2]).glob("jobs/dask-*")]
        result = {"found": found, "before": sorted(before), "after": sorted(after)}
        result |= {"keys": keys, "folders": folders, "scheduler": client.scheduler.address}
        print(json.dumps(result))
"""


SILENT_ONCE = """#!/bin/sh
if [ ! -e "$0-asked" ]; then
  touch "$0-asked"
  echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2
  exit 1
fi
PATH=${PATH#*:} exec squeue "$@"
"""


ALONE = """
import sys
from tailshard import verbs

if __name__ == "__main__":
    pipeline, workdir, data_root, *overrides = sys.argv[1:]
    for verb in (verbs.ingest, verbs.train, verbs.score, verbs.histogram):
        verb(pipeline, workdir=workdir, data_root=data_root, overrides=overrides)
"""


@pytest.mark.slow
def test_workers_are_encrypted_quiet_and_replaced(cluster: Slurm, place: Path) -> None:
    script = place / "workers.py"
    script.write_text(WORKERS)
    (place / "squeue").write_text(SILENT_ONCE)
    (place / "squeue").chmod(0o755)
    work = place / "work"
    done = cluster.run(sys.executable, str(script), str(place / "slurm.yaml"), str(work))
    result = json.loads(done.stdout)
    assert result["scheduler"].startswith("tls://10.99.0.1:")  # of the login node
    assert all(address.startswith("tls://10.99.0.1") for address in result["found"])
    assert result["folders"] == ["700"]
    assert set(result["keys"]) == {"600"}
    for *callbacks, host in result["found"].values():
        assert host == "127.0.0.1"
        if sys.version_info < (3, 12):
            assert "profile" not in callbacks
    assert len(result["before"]) == len(result["after"]) == 2
    assert result["before"] != result["after"]
    assert (place / "squeue-asked").exists()
    assert not list(work.glob("jobs/dask-*"))
    cluster.wait("workers end", lambda: not cluster.run("squeue", "--noheader").stdout.strip(), 30)


@pytest.mark.slow
def test_workers_that_end_at_once_are_an_error_with_their_last_words(cluster: Slurm, place: Path) -> None:
    (place / "wrong.yaml").write_text(PROFILE + "setup: ['echo no such module >&2', exit 3]\n")
    done = cluster.run(sys.executable, "-m", "tailshard", "ingest", *search(place, "wrong.yaml"), check=False)
    assert done.returncode == 1
    assert "end before any worker has come" in done.stderr
    assert "no such module" in done.stderr
    assert "Dask dashboard: http://127.0.0.1:" in done.stderr  # told before any worker had come
    (place / "wrong.yaml").write_text(PROFILE.replace("partition: main", "partition: moon"))
    done = cluster.run(sys.executable, "-m", "tailshard", "ingest", *search(place, "wrong.yaml"), check=False)
    assert "SLURM refused" in done.stderr
    assert "invalid partition" in done.stderr


@pytest.mark.slow
def test_a_job_out_of_time_goes_on_unless_nothing_advances(cluster: Slurm, place: Path) -> None:
    options = search(place)
    first, *_ = cluster.tailshard("launch", *options)["submitted"]
    cluster.wait("the job begins", lambda: "ingest" in logs(place), 60)
    cluster.run("scancel", "--batch", "--signal=USR1", first["id"])
    cluster.wait("it fails", lambda: cluster.states()[first["id"]] == "FAILED", 60)
    assert "nothing was finished in the whole walltime (0:10:00)" in logs(place)
    cluster.wait(
        "the others are cancelled", lambda: len(cluster.tailshard("status", *options)["jobs"]) == 3, 5
    )
    assert {job["state"] for job in cluster.tailshard("status", *options)["jobs"]} == {"FAILED", "CANCELLED"}

    launched = cluster.tailshard("launch", *options)["submitted"]
    assert [job["stages"] for job in launched] == [["ingest"], ["train"], ["score", "histogram", "report"]]
    job = launched[0]["id"]
    pending = place / "work" / "store" / "pending.json"
    cluster.wait("slots are whole", pending.exists, 90)
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    cluster.wait("it is requeued", lambda: cluster.restarts(job) == 1, 60)
    assert "going on in the next run" in logs(place)
    again = cluster.tailshard("launch", *options)
    assert again["submitted"] == []
    assert [each["id"] for each in again["live"]] == [each["id"] for each in launched]
    other = cluster.run(
        *(sys.executable, "-m", "tailshard", "launch", *options, "--set=training.epochs=3"), check=False
    )
    assert "do the pipeline as it was before it changed" in other.stderr

    cancelled = cluster.tailshard("cancel", *search(place, ""))["cancelled"]
    assert [each["id"] for each in cancelled] == [each["id"] for each in launched]
    cluster.wait("nothing is left", lambda: not cluster.run("squeue", "--noheader").stdout.strip(), 60)
    assert cluster.tailshard("cancel", *options)["cancelled"] == []


@pytest.mark.slow
def test_a_search_survives_nodes_that_are_killed_and_ends_as_on_one_machine(
    cluster: Slurm, place: Path
) -> None:
    options, work = search(place), place / "work"
    launched = cluster.tailshard("launch", *options)["submitted"]
    ingest, train, last = (job["id"] for job in launched)

    cluster.wait("slots are whole", (work / "store" / "pending.json").exists, 120)
    leader = cluster.nodes_of(ingest)
    cluster.crash(leader)
    cluster.wait("SLURM requeues ingest", lambda: cluster.restarts(ingest) == 1, 60)
    cluster.restore(leader)
    cluster.wait("ingest ends", lambda: cluster.states()[ingest] == "COMPLETED", 180)

    # Ray has taken note of the state of an epoch when the next but one is over.
    metrics = work / "model" / "metrics.jsonl"
    cluster.wait(
        "epochs are over", lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 3, 240
    )
    assert cluster.nodes_of(train) == "n[1-2]"
    cluster.crash("n2")
    cluster.wait("SLURM requeues training", lambda: cluster.restarts(train) == 1, 60)
    cluster.restore("n2")
    cluster.wait("training ends", lambda: cluster.states()[train] == "COMPLETED", 300)
    assert "Training goes on after epoch" in logs(place), logs(place)

    cluster.wait("all ends", lambda: cluster.states()[last] in ("COMPLETED", "FAILED"), 180)
    status = cluster.tailshard("status", *options)
    assert {stage["state"] for stage in status["stages"]} == {"current"}, logs(place)
    assert {job["id"]: job["state"] for job in status["jobs"]} == dict.fromkeys(
        (ingest, train, last), "COMPLETED"
    )
    assert cluster.tailshard("launch", *options)["submitted"] == []
    assert not list((work / "jobs").glob("*/run-*")), "secrets of a job were left"

    # On the cluster, each of two ranks has one CPU.
    alone = place / "alone"
    (place / "alone.py").write_text(ALONE)
    command = ["taskset", "--cpu-list", "0,1", sys.executable, str(place / "alone.py"), str(shipped("demo"))]
    command += [str(alone), str(place / "toys"), *SMALL]
    subprocess.run(command, env=cluster.environment, check=True, capture_output=True)
    for name in ("store/catalog.json", "results/histograms.json"):
        assert (work / name).read_bytes() == (alone / name).read_bytes(), name

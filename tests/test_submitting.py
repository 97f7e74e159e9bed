"""What is handed in to a cluster, and what is not."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tailshard import submitting, verbs
from tailshard.config import Pipeline
from tailshard.errors import ClusterError, WorkdirError
from tailshard.launch import ClusterProfile, KubernetesProfile, SlurmProfile, load_profile, site
from tailshard.launch.profile import Resources
from tailshard.launch.site import Job, JobState, Order
from tailshard.pipeline import Search
from tailshard.pipeline_files import load, shipped
from tailshard.stages import STAGES
from tailshard.submitting import (
    Submitted,
    divide,
    order_of,
    pipeline_hash,
    read_jobs,
    write_jobs,
    write_order,
)


def job(identifier: str, *stages: str) -> Submitted:
    return Submitted(identifier, "slurm", f"job-{identifier}", stages, "2026-01-01", "jobs/1", "abc")


def test_stages_of_live_jobs_are_not_handed_in_again() -> None:
    ingest, train, rest = job("1", "ingest"), job("2", "train"), job("3", "score", "histogram", "report")
    assert divide(STAGES, [ingest, train, rest]) == ([ingest, train, rest, rest, rest], [], [])
    assert divide(STAGES, []) == ([], list(STAGES), [])
    assert divide([], [rest]) == ([], [], [])
    # It has scored, and is at its histograms.
    assert divide(["histogram", "report"], [rest]) == ([rest, rest], [], [])
    assert divide(STAGES, [ingest, train]) == ([ingest, train], ["score", "histogram", "report"], [])


def test_a_job_behind_a_stage_that_nobody_does_waits_in_vain() -> None:
    ingest, rest = job("1", "ingest"), job("3", "score", "histogram", "report")
    assert divide(STAGES, [ingest, rest]) == ([ingest], ["train", "score", "histogram", "report"], [rest])


def test_the_last_of_the_jobs_of_a_stage_counts() -> None:
    assert divide(["report"], [job("1", "report"), job("2", "report")])[0] == [job("2", "report")]


def test_an_order_does_not_change_with_its_files(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toys.parent)
    pipeline = load(shipped("demo"), ["training.epochs=3"], toys.name)
    profile = SlurmProfile.model_validate({"kind": "slurm", "stages": {"train": {"walltime": "01:30:00"}}})
    search = Search(pipeline, tmp_path, profile)
    order = order_of(search)
    write_order(order)
    monkeypatch.chdir("/")
    copied = load(order.pipeline_file)
    assert copied == pipeline.model_copy(update={"data_root": str(toys)})
    assert pipeline_hash(copied) == pipeline_hash(load(shipped("demo"), ["training.epochs=3"], str(toys)))
    assert load_profile(order.profile_file) == profile


@pytest.mark.parametrize("name", ["open-data", "open-data-4lep", "benchmark-2lep", "thesis-3lep"])
def test_every_pipeline_survives_being_copied(name: str, tmp_path: Path) -> None:
    pipeline = load(shipped(name), (), "/data")
    path = tmp_path / "copy.yaml"
    path.write_text(yaml.safe_dump(pipeline.model_dump(mode="json")))
    assert load(path) == pipeline


def test_the_list_of_jobs_is_kept(tmp_path: Path) -> None:
    assert read_jobs(tmp_path) == []
    write_jobs(tmp_path, [job("1", "ingest"), job("2", "train")])
    assert read_jobs(tmp_path) == [job("1", "ingest"), job("2", "train")]
    (tmp_path / "jobs.json").write_text(json.dumps({"version": 9, "jobs": []}))
    with pytest.raises(WorkdirError, match="version 9"):
        read_jobs(tmp_path)


def test_one_machine_takes_no_jobs(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"cluster/slurm\.yaml"):
        verbs.launch(shipped("demo"), workdir=tmp_path)
    assert verbs.status(shipped("demo"), workdir=tmp_path)["jobs"] == []
    assert verbs.cancel(shipped("demo"), workdir=tmp_path)["cancelled"] == []


@pytest.fixture
def slurm_profile(tmp_path: Path) -> Path:
    path = tmp_path / "slurm.yaml"
    path.write_text("kind: slurm\nstages: {train: {workers: 2, gpus: 4}}")
    return path


def test_a_dry_run_and_a_plan_touch_nothing(toys: Path, tmp_path: Path, slurm_profile: Path) -> None:
    options = {"workdir": tmp_path / "work", "data_root": str(toys), "cluster": slurm_profile}
    jobs = verbs.launch(shipped("demo"), dry_run=True, strict=True, **options)["submitted"]
    assert [each["name"] for each in jobs] == [
        "tailshard-demo-ingest",
        "tailshard-demo-train",
        "tailshard-demo-score-histogram-report",
    ]
    assert [each["after"] for each in jobs] == [[], ["<tailshard-demo-ingest>"], ["<tailshard-demo-train>"]]
    assert 'ingest "${search[@]}" --strict' in jobs[0]["text"]
    planned = verbs.plan(shipped("demo"), **options)["jobs"]
    assert [(each["name"], each["workers"]) for each in planned] == [
        (jobs[0]["name"], 1),
        (jobs[1]["name"], 2),
        (jobs[2]["name"], 1),
    ]
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("verb", ["train", "run", "tune", "update", "stress"])
def test_what_trains_is_refused_on_a_login_node_before_anything_is_read(
    verb: str, tmp_path: Path, slurm_profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    work = tmp_path / "work"
    with pytest.raises(ClusterError, match="tailshard launch"):
        getattr(verbs, verb)(shipped("demo"), workdir=work, data_root="/nowhere", cluster=slurm_profile)
    assert not work.exists()


class Queue:
    """A cluster that takes one job, lets it wait, is silent for a while, and forgets it."""

    def __init__(self) -> None:
        self.looks = iter([JobState("PENDING", True, "Priority"), None, JobState("RUNNING", True, "n1")])

    def states(self, identifiers: Sequence[str]) -> Mapping[str, JobState]:
        try:
            state = next(self.looks)
        except StopIteration:
            return {}
        if state is None:
            raise ClusterError("SLURM refused 'squeue': Unable to contact slurm controller")
        return dict.fromkeys(identifiers, state)

    def jobs(self, stages: Sequence[str]) -> list[Job]:
        raise NotImplementedError

    def text(self, job: Job, order: Order, after: Sequence[str]) -> str:
        raise NotImplementedError

    def submit(self, job: Job, order: Order, after: Sequence[str]) -> str:
        raise NotImplementedError

    def cancel(self, identifiers: Sequence[str]) -> None:
        raise NotImplementedError


def test_a_job_that_ended_without_its_stage_is_an_error(
    toy_pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue()
    monkeypatch.setattr(submitting, "site_of", lambda _: queue)
    monkeypatch.setattr(site, "_LOOK_SECONDS", 0.0)
    said: list[str] = []
    search = Search(toy_pipeline, tmp_path, progress=lambda line, *_: said.append(line))
    with pytest.raises(ClusterError, match="job 17 has ended, and has not done ingest, train"):
        submitting.follow(search, [{"id": "17", "stages": ["ingest", "train"]}])
    assert said == ["job 17: PENDING Priority", "job 17: RUNNING n1"]
    assert submitting.follow(search, []) == []


class Cluster(Queue):
    """A cluster where all jobs wait, which takes jobs and notes what it ends."""

    def __init__(self, profile: ClusterProfile, ended: list[tuple[str | None, list[str]]]) -> None:
        self.profile, self.ended = profile, ended

    def states(self, identifiers: Sequence[str]) -> Mapping[str, JobState]:
        return dict.fromkeys(identifiers, JobState("PENDING", True))

    def jobs(self, stages: Sequence[str]) -> list[Job]:
        return [Job(tuple(stages), Resources())] if stages else []

    def submit(self, job: Job, order: Order, after: Sequence[str]) -> str:
        return f"{'-'.join(job.stages)}-after-{'-'.join(after)}"

    def cancel(self, identifiers: Sequence[str]) -> None:
        self.ended.append((getattr(self.profile, "account", None), list(identifiers)))


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, list[str]]]:
    """Have a cluster that notes the account of a profile, and which jobs were ended through it."""
    noted: list[tuple[str | None, list[str]]] = []
    monkeypatch.setattr(submitting, "site_of", lambda profile: Cluster(profile, noted))
    return noted


def handed_in(search: Search, profile: ClusterProfile, *jobs: Submitted) -> None:
    write_order(replace(order_of(replace(search, profile=profile)), folder=search.workdir / jobs[0].folder))
    content = pipeline_hash(search.pipeline)
    known = read_jobs(search.workdir)
    write_jobs(search.workdir, [*known, *(replace(each, content=content) for each in jobs)])


@pytest.mark.parametrize(
    "other",
    [
        SlurmProfile(kind="slurm"),
        KubernetesProfile(kind="kubernetes", image="tailshard:1", namespace="cms"),
        KubernetesProfile(kind="kubernetes", image="tailshard:1", namespace="atlas", context="cern"),
    ],
    ids=["kind", "namespace", "context"],
)
def test_a_search_whose_jobs_are_with_another_cluster_is_not_handed_in(
    other: ClusterProfile,
    toy_pipeline: Pipeline,
    tmp_path: Path,
    ended: list[tuple[str | None, list[str]]],
) -> None:
    here = KubernetesProfile(kind="kubernetes", image="tailshard:2", namespace="atlas")
    search = Search(toy_pipeline, tmp_path, here)
    handed_in(search, other, job("17", "ingest"), job("18", "train"))
    with pytest.raises(WorkdirError, match=r"jobs 17, 18, handed in with .*cluster.yaml, are with another"):
        submitting.launch(search)
    assert [each.id for each in read_jobs(tmp_path)] == ["17", "18"]
    # Another image is not another cluster.
    submitting.cancel(search)
    write_jobs(tmp_path, [])
    handed_in(search, here.model_copy(update={"image": "tailshard:1"}), job("19", *STAGES))
    assert [each["id"] for each in submitting.launch(search)["live"]] == ["19"]
    assert ended == [(None, ["18", "17"])]


def test_what_waits_in_vain_is_ended_where_it_was_handed_in(
    toy_pipeline: Pipeline, tmp_path: Path, ended: list[tuple[str | None, list[str]]]
) -> None:
    search = Search(toy_pipeline, tmp_path, SlurmProfile(kind="slurm", account="today"))
    handed_in(search, SlurmProfile(kind="slurm", account="then"), job("1", "ingest"), job("3", "score"))
    later = replace(job("4", "histogram", "report"), folder="jobs/2")
    handed_in(search, SlurmProfile(kind="slurm", account="later"), later)
    launched = submitting.launch(search)
    assert ended == [("later", ["4"]), ("then", ["3"])]
    assert launched["cancelled"] == ["3", "4"]
    assert [each["id"] for each in launched["submitted"]] == ["train-score-histogram-report-after-1"]


def test_a_cluster_that_cannot_be_asked_is_named_with_its_jobs(
    toy_pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Search(toy_pipeline, tmp_path, SlurmProfile(kind="slurm"))
    handed_in(search, search.profile, job("17", "ingest"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"jobs 17, handed in with .*, cannot be looked up: .*'squeue'"):
        submitting.launch(search)
    (known,) = submitting.jobs_of(search)
    assert known["state"] == "unknown"

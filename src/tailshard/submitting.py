"""Hand in what is missing of a search as jobs of a cluster, look after them, and cancel them.

``jobs.json`` in the work directory lists the jobs that were handed in::

    {"version": 1, "jobs": [
      {"id": "17", "kind": "slurm", "name": "tailshard-demo-ingest", "stages": ["ingest"],
       "submitted": "2026-01-01T12:00:00+00:00", "folder": "jobs/20260101-120000-000000",
       "content": "9f..."}]}

``folder`` holds the pipeline and the profile as they were, ``content`` is a hash of the pipeline.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from .config import Pipeline, content_hash
from .errors import ClusterError, WorkdirError
from .launch import ClusterProfile, load_profile
from .launch.site import Job, JobState, Order, Site, Telling, end_of, same_cluster, site_of
from .ledger import locked, write_atomically
from .pipeline import Search
from .places import local

Json = dict[str, Any]

JOBS_FILE = "jobs.json"
JOBS_VERSION = 1


@dataclass(frozen=True)
class Submitted:
    """A job that was handed in."""

    id: str
    kind: str
    """Of the cluster: slurm, kubernetes."""
    name: str
    stages: tuple[str, ...]
    submitted: str
    """Time, UTC."""
    folder: str
    """Of its pipeline and profile, below the work directory."""
    content: str
    """Hash of the pipeline."""


def launch(search: Search, dry_run: bool = False) -> Json:
    """Submit whatever is stale and not with a live job already.

    Returns
    -------
    dict
        JSON: ``pipeline``, ``workdir``, ``current`` (stages), ``live`` (jobs that were there), ``cancelled``
        (identifiers of jobs that waited for one that has failed, or were left by it), ``submitted`` (jobs;
        with `dry_run` their texts instead of identifiers).

    Raises
    ------
    ClusterError
        The profile is no cluster's, or the cluster refuses.
    WorkdirError
        Live jobs of this work directory do another pipeline, or are with another cluster.
    """
    if dry_run:
        return _launched(search, dry_run)
    with locked(search.workdir / "jobs"):
        return _launched(search, dry_run)


def _launched(search: Search, dry_run: bool) -> Json:
    if search.profile.kind == "slurm":
        local(search.workdir, "a search whose stages are jobs of SLURM")
    site, order = site_of(search.profile), order_of(search)
    known = with_states(search, read_jobs(search.workdir))
    states = search.states(keep_model=False)
    stale = [state.stage for state in states if not state.current]
    live = [job for job, state in known if state.live]
    # Of a run that was cut short: it would go on beside the next one.
    left = [job for job, state in known if state.remains]
    content = pipeline_hash(search.pipeline)
    _refuse_others(search, live, content)
    covering, missing, vain = divide(stale, live)
    after = [covering[-1].id] if covering else []
    jobs = site.jobs(missing)
    submitted: list[Json] = []
    if dry_run:
        for job in jobs:
            text = site.text(job, order, after)
            submitted.append({"name": job.name(order), "stages": job.stages, "after": after, "text": text})
            after = [f"<{job.name(order)}>"]
    else:
        _end(search, [*left, *vain])
        if jobs:
            write_order(order)
        kept = [job for job, _ in worth_knowing(known)]
        for job in jobs:
            its = _submitted(site.submit(job, order, after), search, job, order, content)
            # At once: a job that nobody knows of could not be cancelled.
            kept.append(its)
            write_jobs(search.workdir, kept)
            submitted.append(asdict(its))
            after = [its.id]
    return {
        "pipeline": search.pipeline.name,
        "workdir": str(search.workdir),
        "current": [state.stage for state in states if state.current],
        "live": [asdict(job) for job in live if job not in vain],
        "cancelled": [job.id for job in (*left, *vain)],
        "submitted": submitted,
    }


def follow(search: Search, jobs: Sequence[Json]) -> list[str]:
    """Wait for jobs that were launched, in their order; give the files that were fetched from the cluster.

    Raises
    ------
    ClusterError
        One of them has failed, or the cluster says nothing of it for some minutes.
    """
    site = site_of(search.profile)
    for job in jobs:
        if isinstance(site, Telling):
            site.follow(job["id"], search.progress)
        else:
            _wait_for(search, site, job)
    if not jobs or not isinstance(site, Telling):
        return []
    return [str(path) for path in site.collect(jobs[-1]["id"], order_of(search))]


def _wait_for(search: Search, site: Site, job: Json) -> None:
    state = end_of(job["id"], site, search.progress)
    search.reopen()
    stale = [its.stage for its in search.states(keep_model=False) if not its.current]
    if left := [stage for stage in job["stages"] if stage in stale]:
        why = f" ({state.word} {state.detail})".replace(" )", ")") if state is not None else ""
        raise ClusterError(f"job {job['id']} has ended{why}, and has not done {', '.join(left)}")


def _submitted(its: str, search: Search, job: Job, order: Order, content: str) -> Submitted:
    return Submitted(
        id=its,
        kind=search.profile.kind,
        name=job.name(order),
        stages=job.stages,
        submitted=datetime.now(UTC).isoformat(timespec="seconds"),
        folder=str(order.folder.relative_to(search.workdir)),
        content=content,
    )


def divide(
    stale: Sequence[str], live: Sequence[Submitted]
) -> tuple[list[Submitted], list[str], list[Submitted]]:
    """Divide stale stages, in their order, into those that live jobs do and those that must be handed in.

    Returns
    -------
    covering, missing, vain
        The job of each of the first stages; the stages after them, which no job does or whose job waits
        behind such a stage; these jobs, which wait in vain.
    """
    covering: list[Submitted] = []
    for stage in stale:
        its = next((job for job in reversed(live) if stage in job.stages), None)
        if its is None:
            break
        covering.append(its)
    missing = list(stale[len(covering) :])
    return covering, missing, [job for job in live if set(job.stages) & set(missing)]


def _refuse_others(search: Search, live: Sequence[Submitted], content: str) -> None:
    for folder, its in _by_folder(live).items():
        if not same_cluster(_profile_of(search, folder), search.profile):
            raise WorkdirError(
                f"{_named(search, folder, its)} are with another cluster; wait for them, or end them with "
                "'tailshard cancel'"
            )
    if others := [job.id for job in live if job.content != content]:
        raise WorkdirError(
            f"jobs {', '.join(others)} of this work directory do the pipeline as it was before it changed; "
            "wait for them, or end them with 'tailshard cancel'"
        )


# -- jobs that are there ---------------------------------------------------------------------------


def with_states(search: Search, jobs: Sequence[Submitted]) -> list[tuple[Submitted, JobState]]:
    """Ask the clusters for the states of jobs; one that they do not know has ended.

    Raises
    ------
    ClusterError
        A cluster cannot be asked.
    """
    found: dict[str, JobState] = {}
    for folder, its in _by_folder(jobs).items():
        try:
            found |= site_of(_profile_of(search, folder)).states([job.id for job in its])
        except ClusterError as error:
            raise ClusterError(
                f"{_named(search, folder, its)} cannot be looked up: {error}. If that cluster is no more, "
                f"remove {search.workdir / JOBS_FILE}"
            ) from error
    return [(job, found.get(job.id, JobState("ended", live=False))) for job in jobs]


def jobs_of(search: Search) -> list[Json]:
    """Tell of the jobs of a search, for `tailshard status`: the last of each stage, and those that live."""
    jobs = read_jobs(search.workdir)
    try:
        states = with_states(search, jobs)
    except ClusterError as error:
        unknown = JobState("unknown", live=False, detail=str(error))
        states = [(job, unknown) for job in jobs]
    return [
        {**asdict(job), "state": state.word, "live": state.live, "detail": state.detail}
        for job, state in worth_knowing(states)
    ]


def worth_knowing(jobs: Sequence[tuple[Submitted, JobState]]) -> list[tuple[Submitted, JobState]]:
    """Keep jobs that live or have left something behind, and the last one of each stage."""
    latest = {stage: job.id for job, _ in jobs for stage in job.stages}
    return [(job, state) for job, state in jobs if state.live or state.remains or job.id in latest.values()]


def cancel(search: Search) -> Json:
    """End all live jobs of a search, and remove what others have left at a cluster.

    Returns
    -------
    dict
        JSON: ``workdir`` and ``cancelled``, the jobs that were ended or removed.
    """
    with locked(search.workdir / "jobs"):
        known = with_states(search, read_jobs(search.workdir))
        there = [job for job, state in known if state.live or state.remains]
        _end(search, there)
    return {"workdir": str(search.workdir), "cancelled": [asdict(job) for job in there]}


def _end(search: Search, jobs: Sequence[Submitted]) -> None:
    """End jobs where they were handed in."""
    # From the last: what waits for another is not to start when that one ends.
    for folder, its in _by_folder(jobs[::-1]).items():
        site_of(_profile_of(search, folder)).cancel([job.id for job in its])


def planned(search: Search) -> list[Json]:
    """Tell which jobs a launch would submit if none were there."""
    site = site_of(search.profile)
    order = order_of(search)
    stale = [state.stage for state in search.states(keep_model=False) if not state.current]
    return [
        {"name": job.name(order), "stages": job.stages, **job.resources.model_dump(mode="json")}
        for job in site.jobs(stale)
    ]


def _by_folder(jobs: Sequence[Submitted]) -> dict[str, list[Submitted]]:
    folders = dict.fromkeys(job.folder for job in jobs)
    return {folder: [job for job in jobs if job.folder == folder] for folder in folders}


def _named(search: Search, folder: str, jobs: Sequence[Submitted]) -> str:
    identifiers = ", ".join(job.id for job in jobs)
    return f"jobs {identifiers}, handed in with {search.workdir / folder / 'cluster.yaml'},"


def _profile_of(search: Search, folder: str) -> ClusterProfile:
    return load_profile(search.workdir / folder / "cluster.yaml")


# -- files -----------------------------------------------------------------------------------------


def order_of(search: Search) -> Order:
    """Make an order of a search as it is now."""
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    return Order(
        search=search.pipeline.name,
        workdir=search.workdir,
        folder=search.workdir / "jobs" / now,
        pipeline=_yaml(_resolved(search.pipeline).model_dump(mode="json")),
        profile=_yaml(search.profile.model_dump(mode="json")),
        strict=search.strict,
    )


def write_order(order: Order) -> None:
    """Write the files that the jobs of an order read."""
    write_atomically(order.pipeline_file, order.pipeline)
    write_atomically(order.profile_file, order.profile)


def read_jobs(workdir: Path) -> list[Submitted]:
    """Read the list of jobs of a work directory; empty where there is none.

    Raises
    ------
    WorkdirError
        It cannot be read.
    """
    path = workdir / JOBS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != JOBS_VERSION:
            raise WorkdirError(
                f"{path} has version {content['version']}, this tailshard writes {JOBS_VERSION}"
            )
        return [Submitted(**{**job, "stages": tuple(job["stages"])}) for job in content["jobs"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkdirError(
            f"{path} cannot be read ({error}); remove it, after you have cancelled the jobs of this search"
        ) from error


def write_jobs(workdir: Path, jobs: Sequence[Submitted]) -> None:
    """Replace the list of jobs of a work directory."""
    content = {"version": JOBS_VERSION, "jobs": [asdict(job) for job in jobs]}
    write_atomically(workdir / JOBS_FILE, json.dumps(content, indent=1))


def pipeline_hash(pipeline: Pipeline) -> str:
    """Identify what a pipeline says."""
    return content_hash(_resolved(pipeline))


def _resolved(pipeline: Pipeline) -> Pipeline:
    """Make the data root absolute: a job may start in another folder."""
    root = pipeline.data_root
    if root is None or "://" in root:
        return pipeline
    return pipeline.model_copy(update={"data_root": str(Path(root).expanduser().absolute())})


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)

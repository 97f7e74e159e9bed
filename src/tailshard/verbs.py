"""The verbs of the command line as Python functions.

    >>> from tailshard import verbs                                              # doctest: +SKIP
    >>> verbs.run("pipelines/demo.yaml", workdir="work", data_root="work/toys")  # doctest: +SKIP

Each takes the options of the command line and gives what ``--json`` prints: a dictionary of JSON values.
Errors are those of `tailshard.errors`. The options that all verbs of a pipeline share are described at
`Options`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Unpack

from . import submitting
from .errors import InputError, WorkdirError
from .launch import LocalProfile
from .ledger import locked
from .options import Json, Options, open_search, takes_options
from .pipeline import Search
from .pipeline_files import shipped
from .places import is_remote, place
from .progress import Progress, silent
from .robustness import blind, stress, unblind  # noqa: F401 - verbs, too
from .stages import StageOutcome, StageState
from .stores import export, inspect, verify  # noqa: F401 - verbs, too


@takes_options
def ingest(
    pipeline: Path | str, *, force: bool = False, strict: bool = False, **options: Unpack[Options]
) -> Json:
    """Read ntuples, select events and write the shard store.

    Inputs in quarantine are tried again. `force` makes the store anew; `strict` fails where an input
    would go into quarantine.
    """
    search = open_search(pipeline, strict=strict, **options)
    return _told(search, [search.perform("ingest", force=force, retry=True)])


@takes_options
def train(pipeline: Path | str, *, force: bool = False, **options: Unpack[Options]) -> Json:
    """Train the autoencoder on the store."""
    return _stage("train", pipeline, force, options)


@takes_options
def score(pipeline: Path | str, *, force: bool = False, **options: Unpack[Options]) -> Json:
    """Write the error of every event, and other scores."""
    return _stage("score", pipeline, force, options)


@takes_options
def histogram(pipeline: Path | str, *, force: bool = False, **options: Unpack[Options]) -> Json:
    """Reduce errors and weights to histograms, regions and significances."""
    return _stage("histogram", pipeline, force, options)


@takes_options
def report(pipeline: Path | str, *, force: bool = False, **options: Unpack[Options]) -> Json:
    """Write the page, figures and files for physicists."""
    return _stage("report", pipeline, force, options)


@takes_options
def run(pipeline: Path | str, *, strict: bool = False, **options: Unpack[Options]) -> Json:
    """Make whatever is missing or stale, from ntuples to report."""
    search = open_search(pipeline, strict=strict, **options)
    return _told(search, search.perform_all())


@takes_options
def update(
    pipeline: Path | str,
    *,
    files: Sequence[str] | None = None,
    wait: float = 0.0,
    **options: Unpack[Options],
) -> Json:
    """Take in files that have arrived, changed or gone, with the model in force unless it must be trained.

    `files` are paths and URLs to look at; all that the pipeline names where left out. `wait` is how many
    seconds to wait for another process that works on the same search. docs/updates.md says the rest.
    """
    from .updating import update

    return update(open_search(pipeline, **options), files, wait)


@takes_options
def plan(
    pipeline: Path | str,
    *,
    nodes: int | None = None,
    gpus_per_node: int = 0,
    cores_per_node: int | None = None,
    gpu_tflops: float = 312.0,
    file_system: float = 10.0,
    **options: Unpack[Options],
) -> Json:
    """Say what a run would read, write and need, and run nothing.

    With `nodes`, some seconds of the real work are measured here, and the times of a run on that many
    machines are extrapolated (``extrapolation`` of the result; docs/scaling.md says how). `gpu_tflops` is
    the peak of a GPU, `file_system` in GB/s; as many cores as here where `cores_per_node` is left out.
    Where the profile is a cluster's, ``jobs`` of the result are those that `launch` would submit.
    """
    from .ingest.plan import plan

    search = open_search(pipeline, **options)
    if nodes is None:
        result = plan(search.pipeline, search.progress)
    else:
        result = _planned_elsewhere(search, nodes, cores_per_node, gpus_per_node, gpu_tflops, file_system)
    if not isinstance(search.profile, LocalProfile):
        result["jobs"] = submitting.planned(search)
    return result


@takes_options
def launch(
    pipeline: Path | str,
    *,
    dry_run: bool = False,
    follow: bool = False,
    strict: bool = False,
    **options: Unpack[Options],
) -> Json:
    """Submit whatever is missing or stale as jobs of the cluster that the profile names.

    What live jobs of an earlier launch do already is not submitted again. With `dry_run` nothing is
    submitted, and the result has the text of every job. With `follow` it waits for the jobs, and fails
    where they do; ``collected`` are the files that were fetched from a cluster that has other disks.
    """
    search = open_search(pipeline, strict=strict, **options)
    result = submitting.launch(search, dry_run)
    if follow and not dry_run:
        result["collected"] = submitting.follow(search, [*result["live"], *result["submitted"]])
    return result


@takes_options
def cancel(pipeline: Path | str, **options: Unpack[Options]) -> Json:
    """End the jobs of a search; what they have finished stays, and the next launch goes on from there."""
    return submitting.cancel(open_search(pipeline, **options))


def _planned_elsewhere(
    search: Search,
    nodes: int,
    cores_per_node: int | None,
    gpus_per_node: int,
    gpu_tflops: float,
    file_system: float,
) -> Json:
    from dask.system import CPU_COUNT

    from .extrapolation.measure import measure, work_of
    from .extrapolation.model import Machines, told
    from .ingest.plan import plan
    from .ingest.survey import survey

    surveyed = survey(search.pipeline, progress=search.progress)
    result = plan(search.pipeline, search.progress, surveyed)
    rates = measure(search.pipeline, surveyed, progress=search.progress)
    machines = Machines(nodes, cores_per_node or CPU_COUNT, gpus_per_node, gpu_tflops, 1e9 * file_system)
    result["extrapolation"] = told(rates, work_of(search.pipeline, surveyed), machines)
    return result


@takes_options
def status(pipeline: Path | str, **options: Unpack[Options]) -> Json:
    """Say what exists, what is stale, and why; and what has become of the jobs that were launched."""
    search = open_search(pipeline, **options)
    states = search.states()
    kept = _kept_model(search, states[1])
    return {
        "workdir": str(search.workdir),
        "stages": [
            {
                "stage": state.stage,
                "state": "kept" if kept and state.stage == "train" else state.word,
                "reasons": kept if state.stage == "train" and kept else list(state.reasons),
                "made": (state.made or {}).get("time"),
            }
            for state in states
        ],
        "jobs": submitting.jobs_of(search),
        "quarantine": (states[0].result or {}).get("quarantine", []),
        "warnings": (states[0].result or {}).get("warnings", []),
    }


def _kept_model(search: Search, state: StageState) -> list[str]:
    """Say why a model is in force that has not learned from everything that is there."""
    kept = search.ledger.kept
    if kept is None or not state.current or not search.ledger.keeps(search.decision):
        return []
    why = kept["why"] or "an update has not ended"
    of = f"{kept['trained_on']:,} events of {kept['training_events']:,}"
    return [f"model in force, trained on {of}; kept because {why} ('tailshard run' would train)"]


@takes_options
def validate(pipeline: Path | str, **options: Unpack[Options]) -> Json:
    """Check a pipeline file and the inputs it names, and that the work directory is its own.

    Raises
    ------
    InputError
        The file is well-formed, but inputs that it names cannot be used.
    """
    from .ingest.plan import plan

    search = open_search(pipeline, **options)
    search.check_model()
    result = plan(search.pipeline, search.progress)
    if result["quarantine"]:
        problems = "\n".join(
            f"  {row['dataset']}: {row['url']}: {row['reason']}" for row in result["quarantine"]
        )
        raise InputError(f"{pipeline} is well-formed, but these inputs cannot be used:\n{problems}")
    return {"pipeline": search.pipeline.name, "files": len(result["files"])}


@takes_options
def tune(pipeline: Path | str, **options: Unpack[Options]) -> Json:
    """Try the settings of the pipeline's part `tune`, on background alone, and say which are best.

    No signal is read. Trials that were finished before are not trained again. Results are in
    ``results/tune`` of the work directory; the pipeline stays as it is.
    """
    from .tune.stage import tune

    search = open_search(pipeline, **options)
    where = search.ray()
    with locked(search.workdir):
        # Slots that lack something do not count: what is there can be learned from.
        if reasons := search.ledger.reasons("ingest", search.parts("ingest", search.listing())):
            raise WorkdirError(f"cannot tune: ingest {'; '.join(reasons)}. Run 'tailshard ingest' first")
        out = search.results / "tune"
        result = tune(search.pipeline, search.store, out, search.progress, where)
    return {"pipeline": search.pipeline.name, "folder": str(out), **result}


# -- toys ------------------------------------------------------------------------------------------


def demo(
    *,
    workdir: Path | str = "tailshard-demo",
    events: int = 60_000,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress = silent,
) -> Json:
    """Make toy ntuples below the work directory (``tailshard-demo`` for one on s3://) and search them."""
    from .toys import make_toys

    # ROOT files are written where there is a file system.
    folder = (Path("tailshard-demo") if is_remote(place(workdir)) else Path(workdir)) / "toys"
    make_toys(folder, events=events, progress=progress)
    return run(
        shipped("demo"),
        workdir=workdir,
        data_root=str(folder),
        overrides=overrides,
        workers=workers,
        progress=progress,
    )


def toys(
    folder: Path | str,
    *,
    events: int = 60_000,
    seed: int = 1,
    layout: str = "atlas-2025",
    progress: Progress = silent,
) -> Json:
    """Write toy ntuples with known truth."""
    from .toys import make_toys

    return asdict(make_toys(Path(folder), events=events, seed=seed, layout=layout, progress=progress))


def _stage(name: str, pipeline: Path | str, force: bool, options: Options) -> Json:
    search = open_search(pipeline, **options)
    return _told(search, [search.perform(name, force=force)])


def _told(search: Search, outcomes: Sequence[StageOutcome]) -> Json:
    stages = {outcome.stage: {"did": outcome.did, **outcome.result} for outcome in outcomes}
    if "report" in stages:
        stages["report"]["page"] = str(search.report_page)
    return {"pipeline": search.pipeline.name, "workdir": str(search.workdir), "stages": stages}

"""The verbs of the command line as Python functions.

    >>> from tailshard import verbs                                              # doctest: +SKIP
    >>> verbs.run("pipelines/demo.yaml", workdir="work", data_root="work/toys")  # doctest: +SKIP

Each takes the options of the command line and gives what ``--json`` prints: a dictionary of JSON values.
Errors are those of `tailshard.errors`. The options that all verbs of a pipeline share are described at
`Options`.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from .errors import InputError, StoreError
from .launch import ClusterProfile, dask_client, load_profile
from .ledger import locked
from .options import Json, Options, open_search, takes_options
from .pipeline import Search
from .pipeline_files import shipped
from .progress import Progress, silent
from .stages import StageOutcome, StageState

if TYPE_CHECKING:
    from distributed import Client


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
    """Write the reconstruction error of every event."""
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
    """
    from .ingest.plan import plan

    search = open_search(pipeline, **options)
    if nodes is None:
        return plan(search.pipeline, search.progress)
    return _planned_elsewhere(search, nodes, cores_per_node, gpus_per_node, gpu_tflops, file_system)


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
    """Say what exists, what is stale, and why."""
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


# -- a store by itself -----------------------------------------------------------------------------


def find_store(pipeline: Path | str, **options: Unpack[Options]) -> tuple[Path, Search | None]:
    """Find the store of a pipeline, or at a folder: that of a store or a work directory.

    Returns
    -------
    store, search
        The search is None where a folder was given.

    Raises
    ------
    ConfigError, WorkdirError
        As in `open_search`.
    StoreError
        There is no store in that folder.
    """
    place = Path(pipeline)
    if not place.is_dir():
        search = open_search(pipeline, **options)
        return search.store, search
    for store in (place, place / "store"):
        if (store / "catalog.json").is_file():
            return store.resolve(), None
    raise StoreError(
        f"{place} is neither a store nor a work directory (catalog.json is absent); "
        "name a pipeline file, or a folder that tailshard ingest has written"
    )


@takes_options
def verify(pipeline: Path | str, **options: Unpack[Options]) -> Json:
    """Read every shard of a store, and name everything that is not as the catalog says.

    `pipeline` may be the folder of a store; nobody should write to it meanwhile.
    """
    from .store.verify import verify

    store, search = find_store(pipeline, **options)
    with _workers_on(store, search, options) as client:
        result = verify(store, client, options.get("progress", silent))
    return {"store": str(store), **result.to_dict()}


@takes_options
def inspect(pipeline: Path | str, *, mixing: bool = False, **options: Unpack[Options]) -> Json:
    """Say what a store holds; with `mixing`, also how well batches of training events are mixed.

    `pipeline` may be the folder of a store. The stream is then the one that a pipeline without any
    settings of its own would train on: all backgrounds, default batches and windows.
    """
    from .learning import Training
    from .store.catalog import read_catalog
    from .store.inspection import inspect_mixing, inspect_store

    store, search = find_store(pipeline, **options)
    result = inspect_store(store, options.get("progress", silent))
    if mixing:
        if search is not None:
            training, channels = search.pipeline.training, search.pipeline.training_channels
        else:
            known = read_catalog(store).channels
            training, channels = Training(), tuple(each.name for each in known if each.kind == "background")
        result["mixing"] = inspect_mixing(
            store, channels, training.batch_size, training.shuffle_chunks, training.seed, training.sampling
        )
    return {"store": str(store), **result}


@takes_options
def export(pipeline: Path | str, *, dense: Path | str, **options: Unpack[Options]) -> Json:
    """Write a copy of a store whose matrices any Zarr reader opens, without tailshard.

    `pipeline` may be the folder of a store; `dense` is the folder of the copy, which must not be there.
    """
    from .store.export import export_dense

    store, search = find_store(pipeline, **options)
    with _workers_on(store, search, options) as client:
        result = export_dense(store, Path(dense).absolute(), client, options.get("progress", silent))
    return result.to_dict()


@contextmanager
def _workers_on(store: Path, search: Search | None, options: Options) -> Iterator["Client"]:
    """Start Dask workers for a store that is there, and let no other run change it meanwhile."""
    from .store.catalog import read_catalog

    read_catalog(store)
    profile: ClusterProfile = load_profile(options.get("cluster"), options.get("workers"))
    with ExitStack() as stack:
        if search is not None:
            stack.enter_context(locked(search.workdir))
        client = stack.enter_context(dask_client(profile))
        options.get("progress", silent)(f"Dask dashboard: {client.dashboard_link}", 0, 0)
        yield client


# -- toys ------------------------------------------------------------------------------------------


def demo(
    *,
    workdir: Path | str = "tailshard-demo",
    events: int = 60_000,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress = silent,
) -> Json:
    """Make toy ntuples below the work directory and search them."""
    from .toys import make_toys

    folder = Path(workdir) / "toys"
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

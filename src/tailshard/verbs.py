"""The verbs of the command line as Python functions.

    >>> from tailshard import verbs                                              # doctest: +SKIP
    >>> verbs.run("pipelines/demo.yaml", workdir="work", data_root="work/toys")  # doctest: +SKIP

Each takes the options of the command line and gives what ``--json`` prints: a dictionary of JSON values.
Errors are those of `tailshard.errors`. The options that all verbs of a pipeline share are described at
`Options`.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypedDict, Unpack

from .errors import InputError
from .launch import load_profile
from .pipeline import Search, StageOutcome
from .pipeline_files import load, shipped
from .progress import Progress, silent

Json = dict[str, Any]


Arguments = ParamSpec("Arguments")


class Options(TypedDict, total=False):
    """Options that all verbs of a pipeline share."""

    workdir: Path | str | None
    """Where outputs live; ``tailshard-work/<pipeline name>`` where left out."""
    data_root: str | None
    """Where relative input paths start: a folder or a URL."""
    overrides: Sequence[str]
    """``key=value`` strings, such as ``training.epochs=3``."""
    cluster: Path | None
    """A cluster profile; this machine where left out."""
    workers: int | None
    """Dask workers; overrides the profile."""
    progress: Progress


def open_search(
    pipeline: Path | str,
    *,
    workdir: Path | str | None = None,
    data_root: str | None = None,
    overrides: Sequence[str] = (),
    cluster: Path | None = None,
    workers: int | None = None,
    progress: Progress = silent,
    strict: bool = False,
) -> Search:
    """Read a pipeline file and open its work directory.

    Raises
    ------
    ConfigError
        The pipeline file, an override or the cluster profile is wrong.
    WorkdirError
        The work directory belongs to another pipeline.
    """
    loaded = load(pipeline, overrides, data_root)
    place = Path(workdir) if workdir is not None else Path("tailshard-work") / loaded.name
    return Search(loaded, place, load_profile(cluster, workers), progress, strict)


def _takes_options(verb: Callable[Arguments, Json]) -> Callable[Arguments, Json]:
    """Show the shared options in the signature of a verb, and refuse others in its name."""
    own = list(inspect.signature(verb).parameters.values())[:-1]
    names = {parameter.name for parameter in own}
    shared = [
        parameter
        for parameter in inspect.signature(open_search).parameters.values()
        if parameter.name in Options.__annotations__
    ]
    signature = inspect.Signature([*own, *shared], return_annotation=Json)

    @wraps(verb)
    def checked(*arguments: Arguments.args, **options: Arguments.kwargs) -> Json:
        if wrong := sorted(set(options) - names - set(Options.__annotations__)):
            known = ", ".join(parameter.name for parameter in signature.parameters.values())
            raise TypeError(f"{verb.__name__}() has no option {', '.join(wrong)}; it takes {known}")
        return verb(*arguments, **options)

    checked.__signature__ = signature  # type: ignore[attr-defined]
    return checked


@_takes_options
def ingest(
    pipeline: Path | str, *, force: bool = False, strict: bool = False, **options: Unpack[Options]
) -> Json:
    """Read ntuples, select events and write the shard store.

    Inputs in quarantine are tried again. `force` makes the store anew; `strict` fails where an input
    would go into quarantine.
    """
    search = open_search(pipeline, strict=strict, **options)
    return _told(search, [search.perform("ingest", force=force, retry=True)])


@_takes_options
def train(pipeline: Path | str, *, force: bool = False, **options: Unpack[Options]) -> Json:
    """Train the autoencoder on the store."""
    return _stage("train", pipeline, force, options)


@_takes_options
def score(pipeline: Path | str, *, force: bool = False, **options: Unpack[Options]) -> Json:
    """Write the reconstruction error of every event."""
    return _stage("score", pipeline, force, options)


@_takes_options
def histogram(pipeline: Path | str, *, force: bool = False, **options: Unpack[Options]) -> Json:
    """Reduce errors and weights to histograms, regions and significances."""
    return _stage("histogram", pipeline, force, options)


@_takes_options
def report(pipeline: Path | str, *, force: bool = False, **options: Unpack[Options]) -> Json:
    """Write the page, figures and files for physicists."""
    return _stage("report", pipeline, force, options)


@_takes_options
def run(pipeline: Path | str, *, strict: bool = False, **options: Unpack[Options]) -> Json:
    """Make whatever is missing or stale, from ntuples to report."""
    search = open_search(pipeline, strict=strict, **options)
    return _told(search, search.perform_all())


@_takes_options
def plan(pipeline: Path | str, **options: Unpack[Options]) -> Json:
    """Say what a run would read, write and need, and run nothing."""
    from .ingest.plan import plan

    search = open_search(pipeline, **options)
    return plan(search.pipeline, search.progress)


@_takes_options
def status(pipeline: Path | str, **options: Unpack[Options]) -> Json:
    """Say what exists, what is stale, and why."""
    search = open_search(pipeline, **options)
    states = search.states()
    return {
        "workdir": str(search.workdir),
        "stages": [
            {
                "stage": state.stage,
                "state": "current" if state.current else "stale" if state.exists else "missing",
                "reasons": list(state.reasons),
                "made": (state.made or {}).get("time"),
            }
            for state in states
        ],
        "quarantine": (states[0].result or {}).get("quarantine", []),
        "warnings": (states[0].result or {}).get("warnings", []),
    }


@_takes_options
def validate(pipeline: Path | str, **options: Unpack[Options]) -> Json:
    """Check a pipeline file and the inputs it names, and that the work directory is its own.

    Raises
    ------
    InputError
        The file is well-formed, but inputs that it names cannot be used.
    """
    from .ingest.plan import plan

    search = open_search(pipeline, **options)
    result = plan(search.pipeline, search.progress)
    if result["quarantine"]:
        problems = "\n".join(
            f"  {row['dataset']}: {row['url']}: {row['reason']}" for row in result["quarantine"]
        )
        raise InputError(f"{pipeline} is well-formed, but these inputs cannot be used:\n{problems}")
    return {"pipeline": search.pipeline.name, "files": len(result["files"])}


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

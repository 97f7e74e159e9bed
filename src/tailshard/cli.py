"""The verbs of tailshard, in the order they run.

Nothing heavy is imported at module level: ``tailshard --help`` answers at once.
"""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import TailshardError
from .terminal import print_json, print_table, progress_bars

if TYPE_CHECKING:
    from .pipeline import Search

Command = Callable[..., Any]

PIPELINE = click.argument("pipeline", type=click.Path(path_type=Path))
WORKDIR = click.option(
    "--workdir",
    type=click.Path(path_type=Path),
    help="Where outputs live.  [default: tailshard-work/<pipeline name>]",
)
DATA_ROOT = click.option("--data-root", help="Where relative input paths start: a folder or a URL.")
SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a field: training.epochs=3."
)
CLUSTER = click.option(
    "--cluster", type=click.Path(path_type=Path), help="A cluster profile.  [default: this machine]"
)
WORKERS = click.option("--workers", type=click.IntRange(min=1), help="Dask workers; overrides the profile.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one machine-readable result on stdout.")
STRICT = click.option("--strict", is_flag=True, help="Fail where an input would be put into quarantine.")
FORCE = click.option("--force", is_flag=True, help="Make the output again even if it is current.")


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _answers(command: Command) -> Command:
    """Print a user's error as one message, and exit with 1."""

    @wraps(command)
    def answered(*arguments: Any, as_json: bool = False, **options: Any) -> None:
        try:
            result, show = command(*arguments, **options)
        except TailshardError as error:
            if as_json:
                print_json({"ok": False, "error": {"type": type(error).__name__, "message": str(error)}})
            click.secho(f"error: {error}", fg="red", err=True)
            sys.exit(1)
        if as_json:
            print_json({"ok": True, "result": result})
        else:
            show(result)

    return answered


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tailshard")
def main() -> None:
    """Find the collision events that look least like the Standard Model.

    A PIPELINE is a YAML file that says what to search; 'tailshard run' makes whatever of its outputs
    is missing or stale. 'tailshard demo' shows it all on toy ntuples.
    """


def _stage(name: str, *options: Callable[[Command], Command], help: str) -> None:  # noqa: A002 - click's own word
    @_options(PIPELINE, WORKDIR, DATA_ROOT, SET, CLUSTER, WORKERS, FORCE, *options, JSON)
    @_answers
    def verb(
        pipeline: Path,
        workdir: Path | None,
        data_root: str | None,
        overrides: tuple[str, ...],
        cluster: Path | None,
        workers: int | None,
        force: bool,
        strict: bool = False,
    ) -> Any:
        with progress_bars() as progress:
            search = _search(pipeline, workdir, data_root, overrides, cluster, workers)
            search.progress = progress
            outcome = search.perform(name, force=force, strict=strict)
        return _outcomes(search, [outcome]), _show_outcomes

    main.command(name, help=help)(verb)


_stage("ingest", STRICT, help="Read ntuples, select events and write the shard store.")
_stage("train", help="Train the autoencoder on the store.")
_stage("score", help="Write the reconstruction error of every event.")
_stage("histogram", help="Reduce errors and weights to histograms, regions and significances.")
_stage("report", help="Write the page, figures and files for physicists.")


@main.command()
@_options(PIPELINE, WORKDIR, DATA_ROOT, SET, CLUSTER, WORKERS, STRICT, JSON)
@_answers
def run(
    pipeline: Path,
    workdir: Path | None,
    data_root: str | None,
    overrides: tuple[str, ...],
    cluster: Path | None,
    workers: int | None,
    strict: bool,
) -> Any:
    """Make whatever is missing or stale, from ntuples to report."""
    with progress_bars() as progress:
        search = _search(pipeline, workdir, data_root, overrides, cluster, workers)
        search.progress = progress
        outcomes = search.perform_all(strict=strict)
    return _outcomes(search, outcomes), _show_outcomes


@main.command()
@_options(PIPELINE, WORKDIR, DATA_ROOT, SET, JSON)
@_answers
def plan(pipeline: Path, workdir: Path | None, data_root: str | None, overrides: tuple[str, ...]) -> Any:
    """Show files, partitions, slots, bytes and memory, and run nothing."""
    from .ingest import plan

    search = _search(pipeline, workdir, data_root, overrides, None, None)
    return plan(search.pipeline), _show_plan


@main.command()
@_options(PIPELINE, WORKDIR, DATA_ROOT, SET, JSON)
@_answers
def status(pipeline: Path, workdir: Path | None, data_root: str | None, overrides: tuple[str, ...]) -> Any:
    """Show what exists, what is stale, and why."""
    search = _search(pipeline, workdir, data_root, overrides, None, None)
    stages = [
        {
            "stage": state.stage,
            "state": "current" if state.current else "stale" if state.exists else "missing",
            "reasons": list(state.reasons),
            "made": (state.made or {}).get("time"),
        }
        for state in search.states()
    ]
    quarantine = next((state.result["quarantine"] for state in search.states()[:1] if state.result), [])
    return {"workdir": str(search.workdir), "stages": stages, "quarantine": quarantine}, _show_status


@main.command()
@_options(PIPELINE, DATA_ROOT, SET, JSON)
@_answers
def validate(pipeline: Path, data_root: str | None, overrides: tuple[str, ...]) -> Any:
    """Check a pipeline file and the inputs it names."""
    from .config import load
    from .errors import InputError
    from .ingest import check_names, plan

    loaded = load(pipeline, overrides, data_root)
    check_names(loaded)
    result = plan(loaded)
    if result["quarantine"]:
        problems = "\n".join(
            f"  {row['dataset']}: {row['url']}: {row['reason']}" for row in result["quarantine"]
        )
        raise InputError(f"{pipeline} is well-formed, but these inputs cannot be used:\n{problems}")
    return {"pipeline": loaded.name, "files": len(result["files"])}, lambda answer: click.echo(
        f"{pipeline}: good; {answer['files']} input files can be read"
    )


@main.command()
@click.option("--workdir", type=click.Path(path_type=Path), default=Path("tailshard-demo"), show_default=True)
@click.option(
    "--events",
    type=click.IntRange(min=1000),
    default=60000,
    show_default=True,
    help="Simulated background events.",
)
@_options(SET, WORKERS, JSON)
@_answers
def demo(workdir: Path, events: int, overrides: tuple[str, ...], workers: int | None) -> Any:
    """Make toy ntuples and search them: the whole street in a few minutes."""
    from .resources import pipeline_file
    from .toys import make_toys

    with progress_bars() as progress:
        toys = workdir / "toys"
        progress(f"Toy ntuples in {toys}", 0, 0)
        make_toys(toys, events=events)
        search = _search(pipeline_file("demo"), workdir, str(toys), overrides, None, workers)
        search.progress = progress
        outcomes = search.perform_all()
    return _outcomes(search, outcomes), _show_outcomes


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--events",
    type=click.IntRange(min=1000),
    default=60000,
    show_default=True,
    help="Simulated background events.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@JSON
@_answers
def toys(folder: Path, events: int, seed: int) -> Any:
    """Write toy ntuples with known truth into FOLDER."""
    from dataclasses import asdict

    from .toys import make_toys

    truth = make_toys(folder, events=events, seed=seed)
    return asdict(truth), lambda _: click.echo(f"toy ntuples and their truth.json are in {folder}")


def _search(
    pipeline: Path,
    workdir: Path | None,
    data_root: str | None,
    overrides: tuple[str, ...],
    cluster: Path | None,
    workers: int | None,
) -> "Search":
    from .config import load
    from .launch import load_profile
    from .pipeline import Search

    loaded = load(pipeline, overrides, data_root)
    return Search(loaded, workdir or Path("tailshard-work") / loaded.name, load_profile(cluster, workers))


def _outcomes(search: "Search", outcomes: list[Any]) -> dict[str, Any]:
    return {
        "pipeline": search.pipeline.name,
        "workdir": str(search.workdir),
        "stages": {outcome.stage: {"did": outcome.did, **outcome.result} for outcome in outcomes},
    }


def _show_outcomes(result: dict[str, Any]) -> None:
    stages = result["stages"]
    for name, stage in stages.items():
        click.echo(f"{name}: {'done' if stage['did'] else 'current, nothing to do'}")
    if quarantine := stages.get("ingest", {}).get("quarantine"):
        click.secho(f"{len(quarantine)} inputs are in quarantine and were not read:", fg="yellow")
        for row in quarantine:
            click.echo(f"  {row['dataset']}: {row['url']}: {row['reason']}")
    if "report" in stages:
        click.echo(f"Open the report: {stages['report']['page']}")


def _show_plan(result: dict[str, Any]) -> None:
    print_table(
        f"Plan of {result['pipeline']}",
        ("dataset", "channel", "files", "entries", "partitions"),
        [
            (row["dataset"], row["channel"], row["files"], row["entries"], row["partitions"])
            for row in result["datasets"]
        ],
    )
    for what, text in result["estimates"].items():
        click.echo(f"{what}: {text}")
    for row in result["quarantine"]:
        click.secho(f"cannot be read: {row['dataset']}: {row['url']}: {row['reason']}", fg="yellow")


def _show_status(result: dict[str, Any]) -> None:
    print_table(
        f"Outputs in {result['workdir']}",
        ("stage", "state", "made", "why"),
        [
            (row["stage"], row["state"], row["made"] or "", "; ".join(row["reasons"]))
            for row in result["stages"]
        ],
    )
    for row in result["quarantine"]:
        click.secho(f"in quarantine: {row['dataset']}: {row['url']}: {row['reason']}", fg="yellow")

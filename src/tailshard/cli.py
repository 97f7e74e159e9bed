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
EVENTS = click.option(
    "--events",
    type=click.IntRange(min=1000),
    default=60000,
    show_default=True,
    help="Simulated background events.",
)
FORCE = click.option("--force", is_flag=True, help="Make the output again even if it is current.")


def _answers(command: Command) -> Command:
    """Print what a command returns with `show`, or as JSON; print a user's error and exit with 1."""

    @JSON
    @wraps(command)
    def answered(*arguments: Any, as_json: bool, **options: Any) -> None:
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


def _takes_search(command: Command) -> Command:
    """Turn the common options into the `Search` that a command takes first."""

    @PIPELINE
    @WORKDIR
    @DATA_ROOT
    @SET
    @CLUSTER
    @WORKERS
    @_answers
    @wraps(command)
    def with_search(
        pipeline: Path,
        workdir: Path | None,
        data_root: str | None,
        overrides: tuple[str, ...],
        cluster: Path | None,
        workers: int | None,
        strict: bool = False,
        **options: Any,
    ) -> Any:
        from .launch import load_profile
        from .pipeline import Search
        from .pipeline_files import load

        loaded = load(pipeline, overrides, data_root)
        workdir = workdir or Path("tailshard-work") / loaded.name
        with progress_bars() as progress:
            search = Search(loaded, workdir, load_profile(cluster, workers), progress, strict)
            return command(search, **options)

    return with_search


class _InOrder(click.Group):
    """Lists the verbs as they are defined: in the order they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tailshard")
def main() -> None:
    """Find the collision events that look least like the Standard Model.

    A PIPELINE is a YAML file that says what to search; 'tailshard run' makes whatever of its outputs
    is missing or stale. 'tailshard demo' shows it all on toy ntuples.
    """


def _stage(name: str, summary: str, *options: Callable[[Command], Command]) -> None:
    def verb(search: "Search", force: bool) -> Any:
        return _outcomes(search, [search.perform(name, force=force)]), _show_outcomes

    command = _takes_search(FORCE(verb))
    for option in options:
        command = option(command)
    main.command(name, help=summary)(command)


_stage("ingest", "Read ntuples, select events and write the shard store.", STRICT)
_stage("train", "Train the autoencoder on the store.")
_stage("score", "Write the reconstruction error of every event.")
_stage("histogram", "Reduce errors and weights to histograms, regions and significances.")
_stage("report", "Write the page, figures and files for physicists.")


@main.command()
@STRICT
@_takes_search
def run(search: "Search") -> Any:
    """Make whatever is missing or stale, from ntuples to report."""
    return _outcomes(search, search.perform_all()), _show_outcomes


@main.command()
@_takes_search
def plan(search: "Search") -> Any:
    """Show files, partitions, slots, bytes and memory, and run nothing."""
    from .ingest.plan import plan

    return plan(search.pipeline), _show_plan


@main.command()
@_takes_search
def status(search: "Search") -> Any:
    """Show what exists, what is stale, and why."""
    states = search.states()
    stages = [
        {
            "stage": state.stage,
            "state": "current" if state.current else "stale" if state.exists else "missing",
            "reasons": list(state.reasons),
            "made": (state.made or {}).get("time"),
        }
        for state in states
    ]
    quarantine = (states[0].result or {}).get("quarantine", [])
    return {"workdir": str(search.workdir), "stages": stages, "quarantine": quarantine}, _show_status


@main.command()
@PIPELINE
@DATA_ROOT
@SET
@_answers
def validate(pipeline: Path, data_root: str | None, overrides: tuple[str, ...]) -> Any:
    """Check a pipeline file and the inputs it names."""
    from .errors import InputError
    from .ingest.plan import plan
    from .pipeline_files import load

    loaded = load(pipeline, overrides, data_root)
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
@EVENTS
@SET
@WORKERS
@_answers
def demo(workdir: Path, events: int, overrides: tuple[str, ...], workers: int | None) -> Any:
    """Make toy ntuples and search them: the whole street in a few minutes."""
    from .launch import load_profile
    from .pipeline import Search
    from .pipeline_files import load, shipped
    from .toys import make_toys

    with progress_bars() as progress:
        folder = workdir / "toys"
        progress(f"toy ntuples in {folder}", 0, 0)
        make_toys(folder, events=events)
        loaded = load(shipped("demo"), overrides, str(folder))
        search = Search(loaded, workdir, load_profile(None, workers), progress)
        return _outcomes(search, search.perform_all()), _show_outcomes


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@EVENTS
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@_answers
def toys(folder: Path, events: int, seed: int) -> Any:
    """Write toy ntuples with known truth into FOLDER."""
    from dataclasses import asdict

    from .toys import make_toys

    truth = make_toys(folder, events=events, seed=seed)
    return asdict(truth), lambda _: click.echo(f"toy ntuples and their truth.json are in {folder}")


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

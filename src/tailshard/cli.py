"""The verbs of tailshard, in the order they run: a thin face over `verbs`.

Nothing heavy is imported at module level: ``tailshard --help`` answers at once.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from . import show
from .errors import TailshardError
from .robustness_cli import add_commands
from .terminal import print_json, progress_bars

Json = dict[str, Any]
Command = Callable[..., Any]
Option = Callable[[Command], Command]

PIPELINE = click.argument("pipeline", type=click.Path(path_type=Path))


class _FileOrUrl(click.Path):
    """A path that is there, or a URL."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if "://" in str(value) else super().convert(value, param, ctx)


PIPELINE_OR_STORE = click.argument("pipeline", metavar="PIPELINE_OR_STORE", type=_FileOrUrl(exists=True))
WORKDIR = click.option(
    "--workdir",
    type=click.Path(),
    help="Where outputs live: a folder or s3://bucket/prefix.  [default: tailshard-work/<pipeline name>]",
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
DRY_RUN = click.option("--dry-run", is_flag=True, help="Print what would be submitted, and submit nothing.")
FOLLOW = click.option("--follow", is_flag=True, help="Wait for the jobs, and fail where they do.")
FORCE = click.option("--force", is_flag=True, help="Make the output again even if it is current.")
ELSEWHERE = (
    click.option("--nodes", type=click.IntRange(min=1), help="Extrapolate to this many machines."),
    click.option("--gpus-per-node", type=click.IntRange(min=0), default=0, show_default=True),
    click.option("--cores-per-node", type=click.IntRange(min=1), help="[default: as many as here]"),
    click.option(
        "--gpu-tflops",
        type=click.FloatRange(min=0, min_open=True),
        default=312.0,
        show_default=True,
        help="Peak of a GPU; an A100's in bfloat16.",
    ),
    click.option(
        "--file-system",
        type=click.FloatRange(min=0, min_open=True),
        default=10.0,
        show_default=True,
        help="GB/s of the shared file system, over all nodes.",
    ),
)
EVENTS = click.option(
    "--events",
    type=click.IntRange(min=1000),
    default=60000,
    show_default=True,
    help="Simulated background events.",
)
_AS_JSON = "tailshard.as_json"
COMMON = (PIPELINE, WORKDIR, DATA_ROOT, SET, CLUSTER, WORKERS)
OF_A_STORE = (PIPELINE_OR_STORE, *COMMON[1:])


class _Verbs(click.Group):
    """Lists the verbs as they are defined: in the order they run. Answers wrong usage in JSON if asked to."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        as_json = "--json" in args  # before click takes the arguments apart
        with _usage_errors(as_json):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[_AS_JSON] = as_json
        return context

    def invoke(self, ctx: click.Context) -> Any:
        with _usage_errors(ctx.meta[_AS_JSON]):
            return super().invoke(ctx)


@contextmanager
def _usage_errors(as_json: bool) -> Iterator[None]:
    """Print what click is about to say on stderr as a JSON document on stdout, too."""
    try:
        yield
    except click.UsageError as error:
        if as_json:
            _print_error(error, error.format_message())
        raise


def _print_error(error: Exception, message: str) -> None:
    print_json({"ok": False, "error": {"type": type(error).__name__, "message": message}})


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tailshard")
def main() -> None:
    """Find the collision events that look least like the Standard Model.

    A PIPELINE is a YAML file that says what to search; 'tailshard run' makes whatever of its outputs
    is missing or stale. 'tailshard demo' shows it all on toy ntuples.
    """


def _verb(*options: Option) -> Callable[[Command], Command]:
    """Make a command of the verb of the same name; the decorated function shows its result.

    A result with faults ends the program with exit code 1.
    """

    def decorate(shown: Callable[[Json], None]) -> Command:
        @wraps(shown)
        def command(as_json: bool, **arguments: Any) -> None:
            try:
                with progress_bars() as bars:
                    # Imported here, and by name, to keep the start of the program light.
                    verb = getattr(importlib.import_module("tailshard.verbs"), shown.__name__)
                    result = verb(**arguments, progress=bars)
            except TailshardError as error:
                if as_json:
                    _print_error(error, str(error))
                click.secho(f"error: {error}", fg="red", err=True)
                sys.exit(1)
            faulty = bool(result.get("faults"))
            if as_json:
                print_json({"ok": not faulty, "result": result})
            else:
                shown(result)
            if faulty:
                sys.exit(1)

        every: tuple[Option, ...] = (*options, JSON)
        decorated: Command = command
        for option in reversed(every):
            decorated = option(decorated)
        return main.command()(decorated)

    return decorate


@_verb(*COMMON, STRICT, FORCE)
def ingest(result: Json) -> None:
    """Read ntuples, select events and write the shard store."""
    show.stages(result)


@_verb(*COMMON, FORCE)
def train(result: Json) -> None:
    """Train the autoencoder on the store."""
    show.stages(result)


@_verb(*COMMON, FORCE)
def score(result: Json) -> None:
    """Write the error of every event, and other scores."""
    show.stages(result)


@_verb(*COMMON, FORCE)
def histogram(result: Json) -> None:
    """Reduce errors to histograms, regions and significances."""
    show.stages(result)


@_verb(*COMMON, FORCE)
def report(result: Json) -> None:
    """Write the page, figures and files for physicists."""
    show.stages(result)


@_verb(*COMMON, STRICT)
def run(result: Json) -> None:
    """Make whatever is missing or stale, from ntuples to report."""
    show.stages(result)


def _lines(_context: click.Context, _parameter: click.Parameter, file: Any) -> list[str] | None:
    return None if file is None else [line.strip() for line in file if line.strip()]


@_verb(
    *COMMON,
    click.option(
        "--files",
        type=click.File(),
        callback=_lines,
        help="Look only at the files that this file lists, one path or URL a line; - is standard input.",
    ),
    click.option(
        "--wait",
        type=click.FloatRange(min=0),
        default=0.0,
        metavar="SECONDS",
        help="Wait for another tailshard that works on the same search.  [default: refuse at once]",
    ),
)
def update(result: Json) -> None:
    """Take in files that have arrived, changed or gone.

    Reads and scores only what is new, with the model in force; trains again where the pipeline's 'update'
    says so.
    """
    show.update(result)
    show.quarantine(result["stages"]["ingest"].get("quarantine", []), "not read")
    show.warnings(result["stages"]["ingest"].get("warnings", []))
    click.echo(f"Open the report: {result['report']}")


@_verb(*COMMON, *ELSEWHERE)
def plan(result: Json) -> None:
    """Show files, slots, bytes and memory, and run nothing.

    With --nodes, measure this machine for some seconds and extrapolate to others.
    """
    show.plan(result)


@_verb(*COMMON, STRICT, DRY_RUN, FOLLOW)
def launch(result: Json) -> None:
    """Submit whatever is missing or stale as jobs of the cluster that --cluster names.

    What jobs of an earlier launch do is not submitted again; 'tailshard status' shows them.
    """
    show.launched(result)


@_verb(*COMMON)
def cancel(result: Json) -> None:
    """End the jobs of a search; the next launch goes on from what they have finished."""
    show.cancelled(result)


@_verb(*COMMON)
def tune(result: Json) -> None:
    """Try settings of the network on background alone, and say which are best."""
    show.tuning(result)


@_verb(*COMMON)
def status(result: Json) -> None:
    """Show what exists, what is stale, and why."""
    show.status(result)


@_verb(*COMMON)
def validate(result: Json) -> None:
    """Check a pipeline file and the inputs it names."""
    click.echo(f"{result['pipeline']}: good; {result['files']} input files can be read")


@_verb(
    *OF_A_STORE,
    click.option("--mixing", is_flag=True, help="Measure how well the training stream mixes the channels."),
)
def inspect(result: Json) -> None:
    """Say what a store holds, and how well it is mixed."""
    show.store(result)
    if "mixing" in result:
        show.mixing(result["mixing"])


@_verb(*OF_A_STORE)
def verify(result: Json) -> None:
    """Read every shard and name what is wrong with the store."""
    show.verification(result)


@_verb(
    *OF_A_STORE,
    click.option(
        "--dense",
        type=click.Path(path_type=Path),
        required=True,
        metavar="OUT",
        help="Folder to write: whole matrices, compressed as every Zarr library knows.",
    ),
)
def export(result: Json) -> None:
    """Write a copy of the store that opens without tailshard."""
    click.echo(f"{result['events']:,} events, {result['bytes'] / 1e6:,.1f} MB in {result['store']}")


add_commands(_verb, COMMON)  # stress, blind and unblind


@_verb(
    click.option("--workdir", type=click.Path(), default="tailshard-demo", show_default=True),
    EVENTS,
    SET,
    WORKERS,
)
def demo(result: Json) -> None:
    """Search toy ntuples: the whole street in a few minutes."""
    show.stages(result)


@_verb(
    click.argument("folder", type=click.Path(path_type=Path)),
    EVENTS,
    click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True),
    click.option(
        "--layout",
        type=click.Choice(["atlas-2025", "susy-skim"]),
        default="atlas-2025",
        show_default=True,
        help="Whose branches the ntuples have.",
    ),
)
def toys(result: Json) -> None:
    """Write toy ntuples with known truth into FOLDER."""
    files = sum(len(sample["files"]) for sample in result["samples"].values())
    click.echo(f"{files} toy ntuples, and their truth in truth.json")

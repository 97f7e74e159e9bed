"""The command: ``python -m benchmarks``."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from . import results
from .harness import GROUPS, Settings, compete, is_wanted, prepare

QUICK = {"events": 20_000, "repeats": 2, "seconds": 1.0, "batch": 1024, "chunk": 512, "slot": 4096}


@click.command()
@click.argument("groups", nargs=-1, type=click.Choice(GROUPS))
@click.option("--events", type=click.IntRange(min=1000), help="Events; 524,288 where left out.")
@click.option("--repeats", type=click.IntRange(min=1), help="Rounds; 3 where left out.")
@click.option("--quick", is_flag=True, help="Small enough to see that all of it works; no measurement.")
@click.option("--cold", is_flag=True, help="Drop the input files from the page cache before every run.")
@click.option("--only", multiple=True, help="Contestants with this word in their names, and the limits.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON; results.json in WORK.")
@click.option(
    "--work", type=click.Path(file_okay=False, path_type=Path), default="benchmark-data", show_default=True
)
def main(
    groups: tuple[str, ...],
    events: int | None,
    repeats: int | None,
    quick: bool,
    cold: bool,
    only: tuple[str, ...],
    out: Path | None,
    work: Path,
) -> None:
    """Measure tailshard against its peers, and both against the machine; all GROUPS where none is named."""
    settings = replace(Settings(work=work.resolve()), cold=cold, only=only, **(QUICK if quick else {}))
    chosen = {"events": events, "repeats": repeats}
    settings = replace(settings, **{name: value for name, value in chosen.items() if value is not None})
    console = Console(width=None if sys.stdout.isatty() else 140)
    whole = measure(groups or GROUPS, settings, out or settings.work / "results.json", console)
    sys.exit(0 if whole else 1)


def measure(groups: tuple[str, ...], settings: Settings, out: Path, console: Console) -> bool:
    """Measure groups, print them, write them to `out` after each; say whether no contestant failed."""
    settings.work.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {**results.machine(settings), "groups": {}}
    failed = False
    for group in groups:
        tables = importlib.import_module(f"{__package__}.{group}").tables(settings)
        of_group = content["groups"][group] = []
        with console.status("") as status:
            try:
                prepare(group, settings, status.update)
            except RuntimeError as error:
                console.print(f"{group}: {error}", style="red")
                of_group.append({"title": group, "failed": str(error), "contestants": [], "goals": []})
                failed = True
                continue
            for number, table in enumerate(tables):
                if not is_wanted(table, settings):
                    continue
                outcomes = compete(group, number, table, settings, status.update)
                failed |= any(outcome.failed for outcome in outcomes)
                of_group.append(results.summarised(table, outcomes))
                console.print(results.drawn(table, of_group[-1]))
                for goal in of_group[-1]["goals"]:
                    console.print(results.told(goal))
                console.print()
        results.write(out, content)
    results.write(out, content)
    console.print(f"written to {out}")
    return not failed


if __name__ == "__main__":
    main()

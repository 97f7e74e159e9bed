"""What a person sees: progress on stderr, results on stdout."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .progress import Progress


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Draw a bar on stderr for each thing that is counted, and print messages above the bars."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = Bars(*columns, console=console)
    tasks: dict[str, Any] = {}

    def progress(what: str, done: int, total: int) -> None:
        if total == 0:
            # Whole lines, to be copied; names of files are no markup.
            console.print(what, highlight=False, markup=False, soft_wrap=True)
            return
        if what not in tasks:
            bars.start()
            tasks[what] = bars.add_task(what, total=total)
            if not console.is_terminal:
                console.print(f"{what} ...", highlight=False)
        bars.update(tasks[what], completed=done, total=total)

    try:
        yield progress
    finally:
        if tasks:
            bars.stop()


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row))
    # A pipe has no width of its own: keep paths whole there.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def print_json(content: object) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(content, indent=1, default=str) + "\n")

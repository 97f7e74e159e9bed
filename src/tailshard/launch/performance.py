"""What a stage did on its workers, as a page to look at later: Dask's performance report."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import scheduler_gone
from ..places import written_whole
from ..progress import Progress, silent

if TYPE_CHECKING:
    from distributed import Client


@contextmanager
def performance_log(client: "Client", path: Path, progress: Progress = silent) -> Iterator[None]:
    """Write Dask's report on what happens meanwhile: one HTML file that needs no network, some 2 MB.

    It is written, too, where the work fails. A report that cannot be written is a message to `progress`,
    never an error: the work matters more.
    """
    # Dask remembers the last tasks alone (SCHEDULER_SETTINGS), which bounds the file.
    report: Any = None
    with _told(progress, path):
        from distributed import performance_report

        report = performance_report(mode="inline")
        with client.as_current():
            report.__enter__()
    try:
        yield
    finally:
        if report is not None:
            with _told(progress, path), written_whole(path) as aside, client.as_current():
                if client.status != "running":  # Dask would wait for it as long as for a new one
                    raise scheduler_gone("write a report")
                report.filename = str(aside)
                report.__exit__(None, None, None)


@contextmanager
def _told(progress: Progress, path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - scheduler gone, disk full, bokeh: none of it may cost a stage
        progress(f"No performance report in {path}: {type(error).__name__}: {error}", 0, 0)

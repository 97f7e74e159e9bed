"""What a stage did on its workers, as a page to look at later: Dask's performance report."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    report: Any = None
    with _told(progress, path):
        from distributed import performance_report

        report = performance_report(filename=str(aside), mode="inline")
        with client.as_current():
            report.__enter__()
    try:
        yield
    finally:
        if report is not None:
            with _told(progress, path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with client.as_current():
                    report.__exit__(None, None, None)
                aside.replace(path)
            with suppress(OSError):
                aside.unlink(missing_ok=True)


@contextmanager
def _told(progress: Progress, path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - scheduler gone, disk full, bokeh: none of it may cost a stage
        progress(f"No performance report in {path}: {type(error).__name__}: {error}", 0, 0)

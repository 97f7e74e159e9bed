"""Metrics for those who collect them: a file that is there when no process is, and a page while one runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from ..errors import ClusterError, StorageError
from ..ledger import write_atomically
from .metrics import Metrics

TEXTFILE = "metrics.prom"
"""In the work directory: for the textfile collector of node_exporter."""

PERIOD = 5.0
"""Seconds at least between two replacements of the file while a stage goes on."""


@contextmanager
def published(metrics: Metrics, address: str | None = None) -> Iterator[Callable[[], None]]:
    """Write metrics to the work directory's file, at the beginning, at the end, and when asked between.

    Parameters
    ----------
    metrics
        Of a search whose work directory this process holds.
    address
        ``host:port`` where they are served meanwhile, at ``/metrics``; not at all where left out.

    Yields
    ------
    function
        Writes the file anew, unless that was less than `PERIOD` seconds ago.

    Raises
    ------
    ClusterError
        The address cannot be listened at.
    """
    path = metrics.workdir / TEXTFILE
    registry = metrics.registry
    with suppress(OSError, StorageError, ValueError):  # there is none yet, or it is damaged
        metrics.take_over(path.read_text(encoding="utf-8"))
    written = -PERIOD

    def write() -> None:
        nonlocal written
        if time.monotonic() - written >= PERIOD:
            _write(path, registry)
            written = time.monotonic()

    with _served(registry, address):
        try:
            with metrics.running():
                write()
                yield write
        finally:
            _write(path, registry)


def _write(path: Path, registry: CollectorRegistry) -> None:
    # A full disk: who reads the file sees its age, and the stage will say why.
    with suppress(OSError, StorageError):
        write_atomically(path, generate_latest(registry).decode())


@contextmanager
def _served(registry: CollectorRegistry, address: str | None) -> Iterator[None]:
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host, registry)
    except OSError as error:
        raise ClusterError(
            f"metrics cannot be served at {address}: {error.strerror}; change 'metrics' of the profile"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

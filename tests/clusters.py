"""Dask clusters inside the process of the tests: started at once, and a debugger sees into them."""

from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, LocalCluster


@contextmanager
def threads_of_this_process(threads: int = 2) -> Iterator[Client]:
    """Give a client of one worker with some threads."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=threads,
            processes=False,
            dashboard_address="127.0.0.1:0",
            silence_logs="CRITICAL",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client

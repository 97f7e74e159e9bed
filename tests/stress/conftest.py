"""A small search to disturb."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.collisions import make_model, make_pipeline, make_store

from tailshard.config import Pipeline
from tailshard.store.catalog import Catalog


class Small(NamedTuple):
    """A search whose network is there."""

    pipeline: Pipeline
    catalog: Catalog
    store: Path
    model: Path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Two backgrounds, signals and data; tests must not change it."""
    folder = tmp_path_factory.mktemp("small")
    pipeline = make_pipeline()
    catalog = make_store(folder / "store", pipeline)
    model = make_model(folder / "model", pipeline, folder / "store", catalog)
    return Small(pipeline, catalog, folder / "store", model)


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """Workers in this process: two threads."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            dashboard_address="127.0.0.1:0",
            silence_logs="CRITICAL",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client

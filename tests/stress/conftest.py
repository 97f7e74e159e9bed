"""A small search to disturb."""

from collections.abc import Iterator

import pytest
from distributed import Client
from tests.clusters import threads_of_this_process
from tests.collisions import Small, make_small


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Two backgrounds, signals and data; tests must not change it."""
    return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """Workers in this process: two threads."""
    with threads_of_this_process() as client:
        yield client

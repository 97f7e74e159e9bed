"""A small search to hide signals in."""

import pytest
from tests.collisions import Small, make_small


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Two backgrounds, signals and data; tests must not change it."""
    return make_small(tmp_path_factory.mktemp("small"))

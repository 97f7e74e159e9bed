"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real ntuples and reference numbers; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("TAILSHARD_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real ntuples: {folder}/data does not exist (set TAILSHARD_SHARED)")
    return folder


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    """Folder with real ntuples."""
    return shared / "data"


@pytest.fixture(scope="session")
def reference(shared: Path) -> Path:
    """Folder with published numbers to reproduce."""
    return shared / "reference"

"""Descriptions of arrays that cannot be read: what Zarr raises in plain words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StoreError


@contextmanager
def readable(store: Path) -> Iterator[None]:
    """Open groups and arrays of a store, and change what they say of themselves.

    Raises
    ------
    StoreError
        A ``zarr.json`` is damaged.
    """
    try:
        yield
    except FileNotFoundError:  # to Zarr a ValueError, too: there is no such array
        raise
    # Text that is no JSON is a ValueError; what lacks a name, or has a strange one, is one of the others.
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"the metadata of an array in {store} cannot be read ({type(error).__name__}: {error}); "
            "run tailshard verify to see of which, remove the store and run tailshard ingest"
        ) from error

"""Groups and arrays as Zarr opens them, and descriptions that cannot be read, in plain words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import zarr

from ..errors import StoreError
from ..places import zarr_store
from .layout import events_group

Mode = Literal["r", "r+", "a"]
"""Zarr's: read; change what is there; make what is not there, too."""


def open_group(store: Path, channel: str = "", mode: Mode = "r") -> zarr.Group:
    """Open the group of a channel, or of all channels.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    return zarr.open_group(zarr_store(events_group(store)), path=channel, mode=mode, zarr_format=3)


def open_array(store: Path, channel: str, name: str, mode: Mode = "r") -> "zarr.Array[Any]":
    """Open an array of a channel.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    path = f"{channel}/{name}"
    return zarr.open_array(zarr_store(events_group(store)), path=path, mode=mode, zarr_format=3)


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

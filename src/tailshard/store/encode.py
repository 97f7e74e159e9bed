"""The arrays of a slot as shards, byte for byte as Zarr would write them."""

from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import Zstd
from numpy.typing import NDArray

from ..features.islands import Islands, expand
from .codec import encode_islands
from .layout import Column, Geometry, shard_file
from .shard import shard_bytes, write_whole

ZSTD = Zstd(level=1, checksum=True)
"""Compresses everything that is not islands."""


def write_matrices(folder: Path, index: int, geometry: Geometry, islands: Islands) -> None:
    """Write the matrices of a slot as one shard, with the codec of the geometry."""
    chunks = []
    for start in range(0, len(islands), geometry.chunk):
        part = islands[start : start + geometry.chunk]
        if geometry.codec == "islands":
            chunks.append(encode_islands(_filled_up(part, geometry.chunk)))
        else:
            matrices = np.zeros((geometry.chunk, geometry.size, geometry.size), "<f4")
            expand(part, out=matrices)
            chunks.append(ZSTD.encode(matrices))
    write_whole(shard_file(folder / "rmm", index, 3), shard_bytes(chunks, geometry.slot // geometry.chunk))


def _filled_up(islands: Islands, rows: int) -> Islands:
    """Add rows without objects, which read as zeros, until there are as many as asked for."""
    missing = rows - len(islands)
    if not missing:
        return islands
    nothing = np.zeros((missing, len(islands.counts)), np.uint8)
    return Islands.concatenated([islands, Islands(islands.counts, nothing, np.zeros(missing, np.float32))])


def write_values(
    folder: Path, name: str, index: int, geometry: Geometry, column: Column, values: NDArray[Any]
) -> None:
    """Write a slot of an array as Zarr would: chunks of little-endian numbers, compressed."""
    rows = geometry.chunk if column.streamed else geometry.slot
    dtype = np.dtype(column.dtype).newbyteorder("<")
    chunks = []
    for start in range(0, len(values), rows):
        part = values[start : start + rows]
        if len(part) < rows:
            whole = np.full((rows, *column.shape), column.fill, dtype)
            whole[: len(part)] = part
        else:
            whole = np.ascontiguousarray(part, dtype)
        chunks.append(ZSTD.encode(whole))
    content = shard_bytes(chunks, geometry.slot // rows) if column.streamed else chunks[0]
    write_whole(shard_file(folder / name, index, 1 + len(column.shape)), content)

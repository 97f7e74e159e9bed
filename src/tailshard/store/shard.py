"""One file of a sharded array: chunks, and where they are. Bytes in, bytes out.

The layout is Zarr's (sharding-indexed codec, version 1.0): chunks one after another, then the index, an
offset and a length of eight bytes for each chunk of the shard, then the CRC32C of the index. Straight
byte ranges of it are what makes reading fast; `ZarrReader` reads the same bytes through Zarr. In an object
store every range is a request, so what is read chunk after chunk is asked for some megabytes ahead.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from uuid import uuid4

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..places import is_remote, put, read_range
from .memory import Scratch

_ABSENT = np.uint64(2**64 - 1)

_AHEAD = 4_000_000
"""Bytes that are asked for at once of an object whose chunks are read one after another."""


def shard_bytes(chunks: Sequence[bytes], chunks_in_shard: int) -> bytes:
    """Join the first chunks of a shard; the rest of it stays empty."""
    index = np.full((chunks_in_shard, 2), _ABSENT, "<u8")
    lengths = np.array([len(chunk) for chunk in chunks], np.uint64)
    index[: len(chunks), 0] = np.cumsum(lengths) - lengths
    index[: len(chunks), 1] = lengths
    table = index.tobytes()
    return b"".join([*chunks, table, np.dtype("<u4").type(google_crc32c.value(table)).tobytes()])


def write_whole(path: Path, content: bytes) -> None:
    """Write a file aside and rename it, or an object at once: it is whole or absent."""
    if is_remote(path):
        put(path, content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{uuid4().hex[:12]}.partial")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def open_shard(path: Path, chunks_in_shard: int) -> "Shard":
    """Open a shard for reading, wherever it is; see `Shard`."""
    return RemoteShard(path, chunks_in_shard) if is_remote(path) else Shard(path, chunks_in_shard)


class Shard:
    """A shard that is open for reading; safe to use from several threads.

    Raises
    ------
    StoreError
        The file is absent, too short, or its index is damaged.
    """

    def __init__(self, path: Path, chunks_in_shard: int) -> None:
        self._path = path
        self._descriptor = -1
        length = 16 * chunks_in_shard + 4
        try:
            table = self._end(length)
        except OSError as error:
            why = error.strerror or "there is none"
            raise StoreError(f"{path} cannot be read ({why}): the slot was not written") from None
        checksum = np.frombuffer(table[-4:].rjust(4), "<u4")[0]
        if len(table) < length or google_crc32c.value(table[:-4]) != checksum:
            raise StoreError(f"{path} is damaged: the checksum of its index is wrong")
        self._index = np.frombuffer(table[:-4], "<u8").reshape(chunks_in_shard, 2)

    def _end(self, length: int) -> bytes:
        """Open the file, and read as many bytes at its end, or all where there are fewer."""
        self._descriptor = os.open(self._path, os.O_RDONLY)
        size = os.fstat(self._descriptor).st_size
        return os.pread(self._descriptor, length, max(size - length, 0))

    @property
    def stored(self) -> NDArray[np.bool_]:
        """Say of each chunk of the shard whether it was written: (chunks,)."""
        stored: NDArray[np.bool_] = self._index[:, 0] != _ABSENT
        return stored

    def chunk(self, number: int, room: Scratch) -> NDArray[np.uint8]:
        """Read the bytes of a chunk, as they are, into `room`.

        Raises
        ------
        StoreError
            The chunk was never written, or the file ends before it does.
        """
        offset, length = self._index[number]
        if offset == _ABSENT:
            raise StoreError(f"{self._path} has no chunk {number}: its rows were not written")
        content = room.bytes(int(length))
        if os.preadv(self._descriptor, [content.data], int(offset)) != length:
            raise StoreError(f"{self._path} is damaged: it ends in the middle of chunk {number}")
        return content

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class RemoteShard(Shard):
    """A shard in an object store."""

    def __init__(self, path: Path, chunks_in_shard: int) -> None:
        self._next, self._ahead = -1, (0, b"")
        super().__init__(path, chunks_in_shard)

    def _end(self, length: int) -> bytes:
        return read_range(self._path, -length)

    def chunk(self, number: int, room: Scratch) -> NDArray[np.uint8]:  # noqa: ARG002 - as in Shard
        """Read the bytes of a chunk, as they are; after its neighbour, those of others that follow, too.

        Raises
        ------
        StoreError
            The chunk was never written, or the object ends before it does.
        """
        offset, length = (int(each) for each in self._index[number])
        if offset == _ABSENT:
            raise StoreError(f"{self._path} has no chunk {number}: its rows were not written")
        first, content = self._ahead
        if not first <= offset <= offset + length <= first + len(content):
            stop = offset + length
            if number == self._next:
                end = max(int(sum(each)) for each in self._index[self.stored])
                stop = min(max(stop, offset + _AHEAD), end)
            first, content = offset, read_range(self._path, offset, stop)
        # One thread may replace what another has put here: each has its own in hand.
        self._ahead = (first, content) if first + len(content) > offset + length else (0, b"")
        self._next = number + 1
        begin = offset - first
        if len(content) < begin + length:
            raise StoreError(f"{self._path} is damaged: it ends in the middle of chunk {number}")
        return np.frombuffer(content, np.uint8, length, begin)

"""The codec ``islands``: matrices without their empty cells, as bytes.

An array-to-bytes codec of Zarr v3 for float32 arrays (events, size, size). Its configuration is
``counts``, the rows of the matrix by object type; `tailshard.features.islands` says which cells an event
has. A chunk of N events, T types and M cells is, in little-endian order:

==========  ====================================================================================
bytes       content
==========  ====================================================================================
4           C, unsigned: length of the compressed part
C           one Zstandard frame with N x T multiplicities, type after type (all events of the first
            type, then of the second ...), one byte each; then the most significant byte of each cell
M           the second most significant byte of each cell
2 M         the lower half of each cell
4           CRC32C of all bytes before
==========  ====================================================================================

Cells are IEEE 754 singles, kept bit for bit, in the order of the events, row by row. Signs, exponents and
multiplicities compress well; the rest is noise to a compressor and is left alone, which makes decoding
three times as fast.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import google_crc32c
import numpy as np
from numcodecs import Zstd
from numpy.typing import NDArray
from zarr.abc.codec import ArrayBytesCodec
from zarr.registry import register_codec

from ..features.compilation import compiled
from ..features.islands import Islands, expand, island_starts, pack, smallest_multiplicity
from .memory import Scratch

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

_ZSTD = Zstd(level=1)
_NUMBER = np.dtype("<u4")
_SCRATCH = Scratch()

Memory = Callable[[int], NDArray[np.float32]]
"""Gives room for a number of cells, which is not cleared."""


def fresh(cells: int) -> NDArray[np.float32]:
    """Give room of its own."""
    return np.empty(cells, np.float32)


def encode_islands(islands: Islands) -> bytes:
    """Give the bytes of a chunk."""
    cells = len(islands.cells)
    types = np.ascontiguousarray(islands.multiplicity.T).reshape(-1)
    compressible = np.empty(len(types) + cells, np.uint8)
    compressible[: len(types)] = types
    middle, low = np.empty(cells, np.uint8), np.empty(cells, "<u2")
    _split(islands.cells.view(np.uint32), compressible[len(types) :], middle, low)
    compressed = _ZSTD.encode(compressible)
    content = b"".join([_NUMBER.type(len(compressed)).tobytes(), compressed, middle.tobytes(), low.tobytes()])
    return content + _NUMBER.type(google_crc32c.value(content)).tobytes()


def decode_islands(
    content: NDArray[np.uint8], events: int, counts: Sequence[int], memory: Memory = fresh
) -> Islands:
    """Undo `encode_islands`.

    Parameters
    ----------
    content
        (bytes,) of the chunk, which are not kept.
    events
        In the chunk.
    counts
        Rows by object type.
    memory
        Gives room for a number of cells.

    Raises
    ------
    ValueError
        The bytes are damaged, or are a chunk of another number of events or types.
    """
    if len(content) < 2 * _NUMBER.itemsize:
        raise ValueError(f"a chunk of islands has at least 8 bytes, found {len(content)}")
    body = content[:-4]
    expected, found = content[-4:].view(_NUMBER)[0], google_crc32c.value(body)
    if expected != found:
        raise ValueError(f"the checksum of the chunk is {expected:08x}, its bytes have {found:08x}")
    length = int(body[:4].view(_NUMBER)[0])
    rest = len(body) - 4 - length
    if rest < 0 or rest % 3:
        raise ValueError(f"a compressed part of {length} bytes does not fit a chunk of {len(content)}")
    cells, types = rest // 3, len(counts)
    compressible = _SCRATCH.bytes(events * types + cells)
    if len(_ZSTD.decode(body[4 : 4 + length], compressible)) != len(compressible):
        raise ValueError(f"the chunk does not hold {cells} cells of {events} events with {types} types")
    by_type = compressible[: events * types].reshape(types, events)
    if (by_type.max(axis=1, initial=0) > np.asarray(counts)).any():
        raise ValueError(f"an event has more objects than the rows {tuple(counts)}")
    multiplicity = np.stack(list(by_type), axis=1)
    starts = island_starts(multiplicity)
    if starts[-1] != cells:
        raise ValueError(f"the multiplicities of the chunk do not account for its {cells} cells")
    middle, low = np.split(body[4 + length :], [cells])
    joined = memory(cells)
    _join(compressible[events * types :], middle, low, joined.view(np.uint32))
    return Islands(tuple(counts), multiplicity, joined, starts)


@compiled
def _split(
    cells: NDArray[np.uint32], top: NDArray[np.uint8], middle: NDArray[np.uint8], low: NDArray[np.uint16]
) -> None:
    for k in range(len(cells)):
        cell = cells[k]
        top[k] = cell >> np.uint32(24)
        middle[k] = (cell >> np.uint32(16)) & np.uint32(255)
        low[k] = cell & np.uint32(65535)


@compiled
def _join(
    top: NDArray[np.uint8], middle: NDArray[np.uint8], low: NDArray[np.uint8], cells: NDArray[np.uint32]
) -> None:
    for k in range(len(cells)):
        cells[k] = (
            (np.uint32(top[k]) << np.uint32(24))
            | (np.uint32(middle[k]) << np.uint32(16))
            | (np.uint32(low[2 * k + 1]) << np.uint32(8))
            | np.uint32(low[2 * k])
        )


@dataclass(frozen=True)
class IslandsCodec(ArrayBytesCodec):
    """The codec as Zarr knows it; found by its name wherever tailshard is installed.

    tailshard writes chunks with `encode_islands`, which is told the multiplicities. An array that is
    written through Zarr comes without them, and takes the smallest that leave no cell out.
    """

    counts: tuple[int, ...]
    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the codec from the metadata of an array."""
        configuration = data.get("configuration") or {}
        counts = configuration.get("counts")
        if not counts or not all(isinstance(count, int) and 1 <= count <= 255 for count in counts):
            raise ValueError(
                f"the codec 'islands' needs counts, rows from 1 to 255 by type; found {counts!r}"
            )
        return cls(tuple(counts))

    def to_dict(self) -> dict[str, Any]:
        """Give what the metadata of an array says of it."""
        return {"name": "islands", "configuration": {"counts": list(self.counts)}}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:  # noqa: ARG002 - zarr's signature
        """Refuse arrays that are not matrices of these counts.

        Raises
        ------
        ValueError
            The array has another shape or type.
        """
        size = 1 + sum(self.counts)
        if tuple(shape[1:]) != (size, size) or dtype.to_native_dtype() != np.float32:
            raise ValueError(
                f"the codec 'islands' with counts {self.counts} is for float32 arrays (events, {size}, "
                f"{size}), not for {dtype.to_native_dtype()} {tuple(shape)}"
            )

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: "ArraySpec") -> int:
        """Not known beforehand."""
        raise NotImplementedError

    async def _decode_single(self, chunk_data: "Buffer", chunk_spec: "ArraySpec") -> "NDBuffer":
        islands = decode_islands(chunk_data.as_numpy_array(), chunk_spec.shape[0], self.counts)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(expand(islands))

    async def _encode_single(self, chunk_data: "NDBuffer", chunk_spec: "ArraySpec") -> "Buffer":
        matrices = np.ascontiguousarray(chunk_data.as_numpy_array(), np.float32)
        islands = pack(matrices, smallest_multiplicity(matrices, self.counts), self.counts)
        return chunk_spec.prototype.buffer.from_bytes(encode_islands(islands))


register_codec("islands", IslandsCodec)

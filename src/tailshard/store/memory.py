"""Memory that is used again: fresh memory costs more than reading and decoding what goes into it."""

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..features.islands import Islands


class Scratch(threading.local):
    """Bytes that each thread uses again and again."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def bytes(self, length: int) -> NDArray[np.uint8]:
        """Give that many bytes, valid until this thread asks again."""
        if len(self._memory) < length:
            self._memory = np.empty(length + length // 4, np.uint8)
        return self._memory[:length]


class Arena:
    """Cells of all blocks of a window, used again for the next window; safe to use from several threads."""

    def __init__(self) -> None:
        self._memory, self._asked, self._lock = np.empty(0, np.float32), 0, threading.Lock()

    def reset(self) -> None:
        """Forget what was handed out, and make room for as much."""
        if self._asked > len(self._memory):
            self._memory = np.empty(self._asked + self._asked // 8, np.float32)
        self._asked = 0

    def cells(self, number: int) -> NDArray[np.float32]:
        """Give memory for some cells, valid until the next reset."""
        with self._lock:
            start, self._asked = self._asked, self._asked + number
        room = self._memory[start : start + number]
        return room if len(room) == number else np.empty(number, np.float32)


class Block(NamedTuple):
    """Rows of one channel that lie together."""

    islands: Islands
    weight: NDArray[np.float64]
    """As stored, unscaled."""


class Cache:
    """Blocks that stay in memory, as many as fit; what came first stays.

    Safe to use from several threads.
    """

    def __init__(self, capacity: int) -> None:
        self._left, self._lock = capacity, threading.Lock()
        self._blocks: dict[tuple[str, int, int], Block] = {}

    def get(self, key: tuple[str, int, int]) -> Block | None:
        """Give a block that is kept, by channel and rows."""
        return self._blocks.get(key)

    def keep(self, key: tuple[str, int, int], block: Block) -> Block:
        """Keep a copy of a block if it fits, and give the block back."""
        size = block.islands.nbytes + block.weight.nbytes
        with self._lock:
            if size > self._left or key in self._blocks:
                return block
            self._left -= size
        islands = block.islands
        own = Islands(islands.counts, islands.multiplicity, islands.cells.copy(), islands.starts)
        self._blocks[key] = Block(own, block.weight)
        return block

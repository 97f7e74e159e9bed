"""Blocks kept in memory from one epoch to the next."""

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..features.islands import Islands


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
        """Keep a block if it fits, and give it back."""
        size = block.islands.nbytes + block.weight.nbytes
        with self._lock:
            if size <= self._left and key not in self._blocks:
                self._left -= size
                self._blocks[key] = block
        return block

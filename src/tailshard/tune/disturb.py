"""Anomalies made out of background events, from their stored matrices alone.

=========  ==============================================================================================
name       what becomes of an event
=========  ==============================================================================================
energetic  every momentum and MET 1.5 times as large: energies and masses (MET, mT, ET, m) are, and the
           other cells stay, exactly
shuffled   every cell is that of some other event of the same objects: each cell alone looks like background,
           and nothing fits together
=========  ==============================================================================================

The first is what most new heavy particles do to an event; the second needs a network that knows how cells
belong together. Neither knows any signal.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..features.islands import Islands, expand, pack
from ..features.names import PHYSICS_BLOCKS, physics_blocks
from ..train.scores import ENERGIES

FACTOR = np.float32(1.5)
"""Of momenta in energetic events: enough to see, and far below what a cut on MET alone would catch whole."""


class Disturbed(NamedTuple):
    """Events after a disturbance."""

    rows: NDArray[np.intp]
    """Which of the events they were."""
    islands: Islands


Disturbance = Callable[[Islands, np.random.Generator], Disturbed]


def energetic(islands: Islands, generator: np.random.Generator) -> Disturbed:  # noqa: ARG001 - a Disturbance
    """Scale every momentum."""
    block = physics_blocks(islands.counts).reshape(-1)
    is_energy = np.isin(block, [PHYSICS_BLOCKS.index(name) for name in ENERGIES])
    factor = np.where(is_energy, FACTOR, np.float32(1)).astype(np.float32)
    matrices = expand(islands, np.zeros_like(factor), factor)
    return Disturbed(np.arange(len(islands)), pack(matrices, islands.multiplicity, islands.counts))


def shuffled(islands: Islands, generator: np.random.Generator) -> Disturbed:
    """Exchange cells between events of the same objects; events that are alone with theirs are left out."""
    rows, parts = [], []
    _, kind = np.unique(islands.multiplicity, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    for number in range(int(kind.max(initial=-1)) + 1):
        same = np.flatnonzero(kind == number)
        if len(same) < 2:
            continue
        alike = islands.take(same)
        cells = generator.permuted(alike.cells.reshape(len(same), -1), axis=0)
        rows.append(same)
        parts.append(Islands(islands.counts, alike.multiplicity, cells.reshape(-1)))
    if not parts:
        return Disturbed(np.zeros(0, np.intp), Islands.empty(islands.counts))
    return Disturbed(np.concatenate(rows), Islands.concatenated(parts))


DISTURBANCES: Mapping[str, Disturbance] = {"energetic": energetic, "shuffled": shuffled}

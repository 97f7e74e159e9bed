"""Objects of many events as plain arrays: ragged (`Block`) and padded (the `objects` array of the store)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, ProcessingError

MAXIMUM_ROWS = 2047
"""Of objects, over all types; such a matrix takes 16 MiB."""


class Block(NamedTuple):
    """All objects of one type, in falling order of pT within an event.

    Objects ``offsets[k]`` to ``offsets[k + 1]`` of the flat components belong to event k.
    """

    offsets: NDArray[np.int64]
    """(events + 1,)"""
    pt: NDArray[Any]
    """(objects,) float64 or float32; GeV."""
    eta: NDArray[Any]
    phi: NDArray[Any]
    """rad"""
    mass: NDArray[Any]
    """GeV; signed as in ROOT, sign(m^2) sqrt(abs(m^2)) with m^2 = E^2 - p^2."""


def block_from_awkward(objects: ak.Array) -> Block:
    """Give records of pt, eta, phi and mass as a block, without a copy where they lie in one piece.

    Parameters
    ----------
    objects
        events * var * {pt, eta, phi, mass}.
    """
    packed = ak.to_packed(objects)
    content = ak.flatten(packed)
    pt, eta, phi, mass = (ak.to_numpy(content[field]) for field in ("pt", "eta", "phi", "mass"))
    return Block(np.asarray(packed.layout.offsets.data, np.int64), pt, eta, phi, mass)


def first_rows(counts: Sequence[int]) -> tuple[int, ...]:
    """Row of the leading object of each type; row 0 is the missing transverse momentum."""
    return tuple(1 + sum(counts[:k]) for k in range(len(counts)))


def check_counts(counts: Sequence[int]) -> None:
    """Refuse numbers of rows that cannot be.

    Raises
    ------
    ConfigError
        There is no type, a type has fewer than 1 or more than 255 rows, or all have too many.
    """
    if not counts or not all(1 <= count <= 255 for count in counts) or sum(counts) > MAXIMUM_ROWS:
        raise ConfigError(
            f"the multiplicities of the RMM must be 1 to 255 rows for each type, at most {MAXIMUM_ROWS} in "
            f"all, found {tuple(counts)}"
        )


def check_blocks(events: int, blocks: Sequence[Block], counts: Sequence[int]) -> None:
    """Refuse blocks that do not describe these events.

    Raises
    ------
    ConfigError
        As `check_counts`.
    ProcessingError
        The blocks, their offsets or components do not fit together.
    """
    check_counts(counts)
    if len(blocks) != len(counts):
        raise ProcessingError(f"{len(blocks)} blocks of objects, but rows for {len(counts)} types")
    for number, block in enumerate(blocks):
        if len(block.offsets) != events + 1:
            raise ProcessingError(
                f"block {number} has {len(block.offsets)} offsets; {events} events need {events + 1}"
            )
        lengths = {len(component) for component in block[1:]}
        if len(lengths) != 1:
            raise ProcessingError(f"the components of block {number} have different lengths: {lengths}")
        if block.offsets[0] < 0 or block.offsets[-1] > min(lengths) or np.any(np.diff(block.offsets) < 0):
            raise ProcessingError(
                f"the offsets of block {number} must rise from 0 to at most its {min(lengths)} objects"
            )


def pad_objects(
    met: NDArray[Any], met_phi: NDArray[Any], blocks: Sequence[Block], counts: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Give every object a row of its own, as the store keeps them.

    Parameters
    ----------
    met, met_phi
        (events,) GeV and rad.
    blocks
        Objects by type.
    counts
        Rows by type; objects beyond are left out.

    Returns
    -------
    objects
        (events, size, 4) float32: pt, eta, phi, signed mass by row. Row 0 is (met, 0, met_phi, 0); rows
        without an object are zero.
    multiplicity
        (events, types) uint8: how many rows of each type hold an object.

    Raises
    ------
    ConfigError, ProcessingError
        As `check_blocks`.
    """
    events = len(met)
    check_blocks(events, blocks, counts)
    objects = np.zeros((events, 1 + sum(counts), 4), np.float32)
    multiplicity = np.empty((events, len(counts)), np.uint8)
    objects[:, 0, 0] = met
    objects[:, 0, 2] = met_phi
    for number, (block, first_row, count) in enumerate(zip(blocks, first_rows(counts), counts, strict=True)):
        stored = np.minimum(np.diff(block.offsets), count)
        multiplicity[:, number] = stored
        occupied = np.arange(count) < stored[:, np.newaxis]
        event, rank = np.nonzero(occupied)
        source = block.offsets[event] + rank
        for component in range(4):
            objects[event, first_row + rank, component] = block[1 + component][source]
    return objects, multiplicity


def check_objects(
    objects: NDArray[np.float32], multiplicity: NDArray[np.uint8], counts: Sequence[int]
) -> None:
    """Refuse padded objects that have another shape than `counts` says.

    Raises
    ------
    ConfigError
        As `check_counts`.
    ProcessingError
        The shapes do not fit, or more objects are said to be stored than there are rows.
    """
    check_counts(counts)
    shapes = ((len(objects), 1 + sum(counts), 4), (len(objects), len(counts)))
    if (objects.shape, multiplicity.shape) != shapes:
        raise ProcessingError(
            f"objects and multiplicity have the shapes {objects.shape} and {multiplicity.shape}; "
            f"rows {tuple(counts)} by type need {shapes[0]} and {shapes[1]}"
        )
    if np.any(multiplicity > np.asarray(counts)):
        raise ProcessingError(f"an event has more stored objects than the rows {tuple(counts)} of its types")


def blocks_from_objects(
    objects: NDArray[np.float32], multiplicity: NDArray[np.uint8], counts: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[Block]]:
    """Undo `pad_objects`.

    Parameters
    ----------
    objects, multiplicity
        (events, size, 4) and (events, types), as `pad_objects` gives them.
    counts
        Rows by type.

    Returns
    -------
    met, met_phi, blocks
        As `pad_objects` takes them; components are float32.

    Raises
    ------
    ConfigError, ProcessingError
        As `check_objects`.
    """
    check_objects(objects, multiplicity, counts)
    blocks = []
    for number, (first_row, count) in enumerate(zip(first_rows(counts), counts, strict=True)):
        stored = multiplicity[:, number]
        occupied = np.arange(count) < stored[:, np.newaxis]
        offsets = np.concatenate(([0], np.cumsum(stored, dtype=np.int64)))
        components = objects[:, first_row : first_row + count][occupied]
        blocks.append(Block(offsets, *np.ascontiguousarray(components.T)))
    return objects[:, 0, 0].copy(), objects[:, 0, 2].copy(), blocks

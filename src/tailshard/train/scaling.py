"""Scaling of the matrices' cells, from the statistics the catalog already has: never another pass."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ConfigError, StateError
from ..features.islands import Islands, expand

if TYPE_CHECKING:
    from ..store.cells import Statistics

Cells = NDArray[np.float64]
Events = Islands | NDArray[np.float32] | torch.Tensor


@dataclass(frozen=True, eq=False)
class Scaler:
    """``scaled = (value - offset) * factor``, cell by cell; nothing is clipped.

    A cell that never varies in the training events, most often because no event has so many objects,
    takes the median factor of the cells of its kind: above the diagonal of the matrix (masses), below
    it (angles) or on it. An event that fills such a cell is what a search looks for, and its error
    says so.
    """

    name: str
    """minmax or standard."""
    offset: NDArray[np.float32]
    """(cells,): the minimum, or the mean."""
    factor: NDArray[np.float32]
    """(cells,): 1 / (maximum - minimum), or 1 / standard deviation."""

    def on(self, device: torch.device | str) -> Callable[[Events], torch.Tensor]:
        """Give a function that makes scaled and flattened matrices on a device: (n, cells) float32.

        It takes whole matrices (n, R, R), or `Islands`, which are expanded where the network lives: a
        GPU is sent the cells that exist and nothing else. Its result is valid until the same
        thread calls again.
        """
        where = torch.device(device)
        offset = torch.from_numpy(self.offset).to(where)
        factor = torch.from_numpy(self.factor).to(where)
        room = threading.local()

        def scale(events: Events) -> torch.Tensor:
            if not isinstance(events, Islands):
                matrices = events if isinstance(events, torch.Tensor) else torch.tensor(events)
                matrices = matrices.to(where, torch.float32)
                return (matrices.reshape(len(matrices), len(offset)) - offset) * factor
            if where.type == "cpu":
                # Fresh memory costs more than the expansion, so it is used again.
                if len(getattr(room, "matrices", ())) < len(events):
                    room.matrices = np.empty((len(events), events.size, events.size), np.float32)
                matrices = torch.from_numpy(expand(events, self.offset, self.factor, room.matrices))
                return matrices.reshape(len(matrices), len(offset))
            multiplicity, cells = (
                torch.from_numpy(each).pin_memory().to(where, non_blocking=True)
                for each in (events.multiplicity, events.cells)
            )
            matrices = expand_on_device(multiplicity, cells, events.counts)
            return matrices.reshape(len(matrices), len(offset)).sub_(offset).mul_(factor)

        return scale

    def to_dict(self) -> dict[str, Any]:
        """Give plain numbers, exact."""
        return {"name": self.name, "offset": self.offset.tolist(), "factor": self.factor.tolist()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Scaler":
        """Undo `to_dict`.

        Raises
        ------
        StateError
            The content is not a scaler's.
        """
        try:
            offset, factor = (np.asarray(content[name], np.float32) for name in ("offset", "factor"))
            name = str(content["name"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"this is not a saved scaler: {error}") from error
        if offset.ndim != 1 or offset.shape != factor.shape:
            raise StateError(
                f"a saved scaler has shapes {offset.shape} and {factor.shape}; expected one row each"
            )
        return cls(name, offset, factor)


def expand_on_device(multiplicity: torch.Tensor, cells: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Expand islands on the device that they are on.

    Parameters
    ----------
    multiplicity
        (n, types) uint8: objects that exist.
    cells
        Cells of all events, one island after another, float32.
    counts
        Rows by type.

    Returns
    -------
    (n, R, R) float32
        Whole matrices, with the zeros of absent objects.
    """
    device, types = multiplicity.device, torch.arange(len(counts))
    kind = torch.repeat_interleave(types, torch.tensor(counts)).to(device)
    rank = torch.cat([torch.arange(count) for count in counts]).to(device)
    objects = multiplicity[:, kind] > rank
    present = torch.cat([torch.ones_like(objects[:, :1]), objects], dim=1)
    # A mask is filled in the order of the matrix, which is the order of an island's cells.
    mask = present[:, :, None] & present[:, None, :]
    return torch.zeros(mask.shape, dtype=torch.float32, device=device).masked_scatter_(mask, cells)


def _minmax(statistics: "Statistics") -> tuple[Cells, Cells]:
    return statistics.minimum, statistics.maximum - statistics.minimum


def _standard(statistics: "Statistics") -> tuple[Cells, Cells]:
    return statistics.mean, np.sqrt(statistics.variance)


SCALERS: dict[str, Callable[["Statistics"], tuple[Cells, Cells]]] = {"minmax": _minmax, "standard": _standard}
"""Name -> offset and width of every cell."""


def varying(statistics: "Statistics") -> NDArray[np.bool_]:
    """(R, R): cells that differ between training events, by more than float32 can lose."""
    # Rounding may leave a tiny variance in a cell that never varies, so the extremes decide.
    spread = statistics.maximum - statistics.minimum
    return np.asarray(np.minimum(spread, np.sqrt(statistics.variance)) > np.finfo(np.float32).tiny)


def fit(statistics: "Statistics", name: str) -> Scaler:
    """Make the scaler for events with these statistics.

    Parameters
    ----------
    statistics
        Of the training events of the training channels, from `tailshard.store.read.statistics`:
        (R, R) float64 each.
    name
        ``minmax`` maps the training events onto [0, 1]; ``standard`` to mean 0 and variance 1.

    Raises
    ------
    ConfigError
        There is no such scaler.
    """
    if name not in SCALERS:
        raise ConfigError(f"there is no scaler called '{name}'; use one of {', '.join(SCALERS)}")
    offset, width = SCALERS[name](statistics)
    varies = varying(statistics)
    factor = np.divide(1, width, out=np.ones_like(width), where=varies)
    side = np.sign(np.subtract.outer(np.arange(len(width)), np.arange(len(width))))
    for kind in (side < 0, side > 0, side == 0):
        known = factor[kind & varies] if (kind & varies).any() else factor[varies]
        if known.size:
            factor[kind & ~varies] = np.median(known)
    return Scaler(name, offset.reshape(-1).astype(np.float32), factor.reshape(-1).astype(np.float32))

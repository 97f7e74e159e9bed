"""Scaling of the matrices' cells, from the statistics the store already has: never another pass.

========  =======================================================  =====================================
name      scaled cell                                              cell of an absent object
========  =======================================================  =====================================
minmax    onto [0, 1] in the training events                       what it makes of zero
standard  mean 0 and variance 1 in the training events             what it makes of zero
occupied  mean 0 and variance 1 where the cell is not zero         0: the mean of those that have it
robust    median 0 and quartiles 1.349 apart where it is not zero  0: the median of those that have it
log       sign(x) log(1 + abs(x) / median), then mean 0 and        0: the mean of those that have it
          variance 1 where it is not zero
========  =======================================================  =====================================

1.349 is the distance of the quartiles of a normal distribution of variance 1. The first two scalers count
the zeros of absent objects as values, so that a cell which few events have is small in most of them and far
out in the rest; the others ask what the cell is like when there is one. Quantiles, and moments of the
logarithm, come from the histogram of magnitudes (`Statistics.magnitudes`), whose bins are at most 25 % wide.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ConfigError, StateError
from ..features.islands import Islands, expand, logarithmic
from ..store.cells import Statistics, magnitude_edges

Cells = NDArray[np.float64]
Events = Islands | NDArray[np.float32] | torch.Tensor


def _nothing() -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False)
class Scaler:
    """``scaled = (value - offset) * factor``, cell by cell; nothing is clipped.

    A cell that never varies in the training events, most often because no event has so many objects,
    takes the median factor of the cells of its kind: above the diagonal of the matrix (masses), below
    it (angles) or on it. An event that fills such a cell is what a search looks for, and its error
    says so.
    """

    name: str
    """A key of `SCALERS`."""
    offset: NDArray[np.float32]
    """(cells,): the minimum, the mean or the median."""
    factor: NDArray[np.float32]
    """(cells,): 1 / width."""
    absent: NDArray[np.float32] = field(default_factory=_nothing)
    """(cells,): the scaled cells of absent objects; empty for what the scaling makes of their zeros."""
    unit: NDArray[np.float32] = field(default_factory=_nothing)
    """(cells,): units of the logarithm that is taken first; empty for none."""

    def on(self, device: torch.device | str) -> Callable[[Events], torch.Tensor]:
        """Give a function that makes scaled and flattened matrices on a device: (n, cells) float32.

        It takes whole matrices (n, R, R), or `Islands`, which are expanded where the network lives: a
        GPU is sent the cells that exist and nothing else. Its result is valid until the same thread calls
        again. In whole matrices an object is absent where its row and column hold nothing but zeros.
        """
        where = torch.device(device)
        offset, factor, absent, unit = (
            torch.from_numpy(each).to(where) for each in (self.offset, self.factor, self.absent, self.unit)
        )
        room = threading.local()

        def scaled(matrices: torch.Tensor, present: Callable[[], torch.Tensor]) -> torch.Tensor:
            cells = matrices.reshape(len(matrices), len(offset))
            if len(unit):
                cells = cells.sign() * (cells.abs() / unit).log1p()
            cells = (cells - offset) * factor
            return torch.where(present(), cells, absent) if len(absent) else cells

        def scale(events: Events) -> torch.Tensor:
            if not isinstance(events, Islands):
                matrices = events if isinstance(events, torch.Tensor) else torch.tensor(events)
                matrices = matrices.to(where, torch.float32)
                return scaled(matrices, lambda: presence(matrices))
            if where.type == "cpu":
                # Fresh memory costs more than the expansion, so it is used again.
                if not hasattr(room, "matrices") or len(room.matrices) < len(events):
                    room.matrices = np.empty((len(events), events.size, events.size), np.float32)
                if len(self.unit):
                    events = logarithmic(events, self.unit)
                empty = self.absent if len(self.absent) else None
                matrices = torch.from_numpy(expand(events, self.offset, self.factor, room.matrices, empty))
                return matrices.reshape(len(matrices), len(offset))
            multiplicity, cells = (
                torch.from_numpy(each).pin_memory().to(where, non_blocking=True)
                for each in (events.multiplicity, events.cells)
            )
            matrices = expand_on_device(multiplicity, cells, events.counts)
            return scaled(matrices, lambda: presence_of(multiplicity, events.counts))

        return scale

    def unscaled(self, cells: torch.Tensor) -> torch.Tensor:
        """Undo the scaling of cells of objects that exist: (n, cells), on the CPU."""
        offset, factor, unit = (torch.from_numpy(each) for each in (self.offset, self.factor, self.unit))
        plain = torch.where(factor != 0, cells / factor, 0) + offset
        return plain.sign() * plain.abs().expm1() * unit if len(unit) else plain

    def to_dict(self) -> dict[str, Any]:
        """Give plain numbers, exact."""
        return {"name": self.name, **{name: getattr(self, name).tolist() for name in _ARRAYS}}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Scaler":
        """Undo `to_dict`.

        Raises
        ------
        StateError
            The content is not a scaler's.
        """
        try:
            arrays = {name: np.asarray(content[name], np.float32) for name in _ARRAYS}
            name = str(content["name"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"this is not a saved scaler: {error}") from error
        shape = arrays["offset"].shape
        if len(shape) != 1 or any(
            each.shape != shape and (each.size or name in ("offset", "factor"))
            for name, each in arrays.items()
        ):
            shapes = ", ".join(f"{name} {each.shape}" for name, each in arrays.items())
            raise StateError(f"a saved scaler has the shapes {shapes}; expected one row each")
        return cls(name, **arrays)


_ARRAYS = ("offset", "factor", "absent", "unit")


def presence(events: Events, device: torch.device | str = "cpu") -> torch.Tensor:
    """Tell which cells belong to objects that exist, on a device: (n, cells) bool.

    Islands know; of whole matrices (n, R, R), rows and columns of nothing but zeros are taken for absent.
    """
    if isinstance(events, Islands):
        return presence_of(torch.from_numpy(events.multiplicity).to(device), events.counts)
    matrices = events if isinstance(events, torch.Tensor) else torch.tensor(events)
    filled = matrices != 0
    rows = filled.any(dim=1) | filled.any(dim=2)
    rows[:, 0] = True
    return (rows[:, :, None] & rows[:, None, :]).flatten(1).to(device)


def presence_of(multiplicity: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Tell which cells belong to objects that exist, where the multiplicities (n, types) are: (n, cells)."""
    device, types = multiplicity.device, torch.arange(len(counts))
    kind = torch.repeat_interleave(types, torch.tensor(counts)).to(device)
    rank = torch.cat([torch.arange(count) for count in counts]).to(device)
    objects = multiplicity[:, kind] > rank
    rows = torch.cat([torch.ones_like(objects[:, :1]), objects], dim=1)
    return (rows[:, :, None] & rows[:, None, :]).flatten(1)


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
    # A mask is filled in the order of the matrix, which is the order of an island's cells.
    mask = presence_of(multiplicity, counts)
    matrices = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device).masked_scatter_(mask, cells)
    size = 1 + sum(counts)
    return matrices.reshape(len(matrices), size, size)


class _Fitted(NamedTuple):
    """What a scaler does to every cell, (R, R) each."""

    offset: Cells
    width: Cells
    """0 where there is none."""
    unit: Cells | None = None
    has_own_zero: bool = False
    """Absent objects' cells are 0 after the scaling."""


def _minmax(statistics: Statistics) -> _Fitted:
    return _Fitted(statistics.minimum, statistics.maximum - statistics.minimum)


def _standard(statistics: Statistics) -> _Fitted:
    return _Fitted(statistics.mean, np.sqrt(statistics.variance))


def _occupied(statistics: Statistics) -> _Fitted:
    filled = np.maximum(statistics.occupancy, 1)
    mean = statistics.mean * statistics.events / filled
    mean_of_squares = (statistics.variance + statistics.mean**2) * statistics.events / filled
    return _Fitted(mean, np.sqrt(np.maximum(mean_of_squares - mean**2, 0)), has_own_zero=True)


def _robust(statistics: Statistics) -> _Fitted:
    lower, median, upper = (quantile(statistics, share) for share in (0.25, 0.5, 0.75))
    return _Fitted(median, (upper - lower) / QUARTILES_OF_NORMAL, has_own_zero=True)


def _log(statistics: Statistics) -> _Fitted:
    unit = quantile(statistics, 0.5)
    known = unit[unit > 0]
    unit = np.where(unit > 0, unit, np.median(known) if known.size else 1.0)
    edges = magnitude_edges()
    logarithm = np.log1p(((edges[:-1] + edges[1:]) / 2)[:, None, None] / unit)
    filled = np.maximum(statistics.magnitudes.sum(axis=0), 1)
    mean = (logarithm * statistics.magnitudes).sum(axis=0) / filled
    variance = ((logarithm - mean) ** 2 * statistics.magnitudes).sum(axis=0) / filled
    return _Fitted(mean, np.sqrt(variance), unit, has_own_zero=True)


QUARTILES_OF_NORMAL = 1.3489795003921634

SCALERS: dict[str, Callable[[Statistics], _Fitted]] = {
    "minmax": _minmax,
    "standard": _standard,
    "occupied": _occupied,
    "robust": _robust,
    "log": _log,
}


def quantile(statistics: Statistics, share: float) -> Cells:
    """Find the value below which a share of the cells that are not zero lie: (R, R), 0 where all are zero.

    Of absolute values (only rounding makes a cell negative), and interpolated within a bin.
    """
    edges = magnitude_edges()
    below = np.cumsum(statistics.magnitudes, axis=0)
    wanted = share * below[-1]
    place = np.minimum((below < wanted).sum(axis=0), len(edges) - 2)
    inside = np.take_along_axis(statistics.magnitudes, place[None], axis=0)[0]
    before = np.take_along_axis(below, place[None], axis=0)[0] - inside
    part = np.divide(wanted - before, inside, out=np.zeros_like(wanted), where=inside > 0)
    value = edges[place] + part * (edges[place + 1] - edges[place])
    return np.asarray(np.where(below[-1] > 0, value, 0.0))


def varying(statistics: Statistics) -> NDArray[np.bool_]:
    """(R, R): cells that differ between training events, by more than float32 can lose."""
    # Rounding may leave a tiny variance in a cell that never varies, so the extremes decide.
    spread = statistics.maximum - statistics.minimum
    return np.asarray(np.minimum(spread, np.sqrt(statistics.variance)) > np.finfo(np.float32).tiny)


def fit(statistics: Statistics, name: str) -> Scaler:
    """Make the scaler for events with these statistics.

    Parameters
    ----------
    statistics
        Of the training events of the training channels, from `tailshard.store.read.statistics`:
        (R, R) float64 each.
    name
        A key of `SCALERS`; the head of this module says what they do.

    Raises
    ------
    ConfigError
        There is no such scaler.
    """
    if name not in SCALERS:
        raise ConfigError(f"there is no scaler called '{name}'; use one of {', '.join(SCALERS)}")
    fitted = SCALERS[name](statistics)
    width = fitted.width
    # A width of a cell that few events have, all alike, is rounding.
    varies = (
        varying(statistics) & (width > 1e-6 * np.abs(fitted.offset)) & (width > np.finfo(np.float32).tiny)
    )
    factor = np.divide(1, width, out=np.ones_like(width), where=varies)
    side = np.sign(np.subtract.outer(np.arange(len(width)), np.arange(len(width))))
    for kind in (side < 0, side > 0, side == 0):
        known = factor[kind & varies] if (kind & varies).any() else factor[varies]
        if known.size:
            factor[kind & ~varies] = np.median(known)

    def flat(cells: Cells) -> NDArray[np.float32]:
        return cells.reshape(-1).astype(np.float32)

    return Scaler(
        name,
        flat(fitted.offset),
        flat(factor),
        flat(np.zeros_like(width)) if fitted.has_own_zero else _nothing(),
        _nothing() if fitted.unit is None else flat(fitted.unit),
    )

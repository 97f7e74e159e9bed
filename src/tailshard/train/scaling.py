"""Scaling of the matrices' cells, from the statistics the catalog already has: never another pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ConfigError, StateError

if TYPE_CHECKING:
    from ..store.cells import Statistics

Cells = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scaler:
    """``scaled = (value - offset) * factor``, cell by cell; nothing is clipped.

    A cell that never varies in the training events has factor 0: it is 0 in every scaled event, of
    simulation and data alike, and adds nothing to an error. `constant` says which cells these are.
    """

    name: str
    """minmax or standard."""
    offset: NDArray[np.float32]
    """(cells,): the minimum, or the mean."""
    factor: NDArray[np.float32]
    """(cells,): 1 / (maximum - minimum), or 1 / standard deviation; 0 for a constant cell."""

    @property
    def constant(self) -> NDArray[np.bool_]:
        """(cells,): cells that do not vary in the training events, and are therefore not seen."""
        return np.equal(self.factor, 0)

    def on(self, device: torch.device | str) -> Callable[[torch.Tensor], torch.Tensor]:
        """Give a function that flattens and scales matrices on a device: (n, R, R) to (n, cells) float32."""
        offset = torch.from_numpy(self.offset).to(device)
        factor = torch.from_numpy(self.factor).to(device)

        def scale(features: torch.Tensor) -> torch.Tensor:
            return (features.reshape(len(features), len(offset)) - offset) * factor

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


def _minmax(statistics: "Statistics") -> tuple[Cells, Cells]:
    return statistics.minimum, statistics.maximum - statistics.minimum


def _standard(statistics: "Statistics") -> tuple[Cells, Cells]:
    return statistics.mean, np.sqrt(statistics.variance)


SCALERS: dict[str, Callable[["Statistics"], tuple[Cells, Cells]]] = {"minmax": _minmax, "standard": _standard}
"""Name -> offset and width of every cell."""


def fit(statistics: "Statistics", name: str) -> Scaler:
    """Make the scaler for events with these statistics.

    Parameters
    ----------
    statistics
        Of the training events of the training channels, from `tailshard.store.read.statistics`:
        (R, R) or (cells,) float64 each.
    name
        ``minmax`` maps the training events onto [0, 1]; ``standard`` to mean 0 and variance 1.

    Raises
    ------
    ConfigError
        There is no such scaler.
    """
    if name not in SCALERS:
        raise ConfigError(f"there is no scaler called '{name}'; use one of {', '.join(SCALERS)}")
    offset, width = (np.asarray(cells, np.float64).reshape(-1) for cells in SCALERS[name](statistics))
    # Rounding may leave a tiny variance in a cell that never varies, so the extremes decide.
    varies = np.asarray(statistics.maximum > statistics.minimum).reshape(-1)
    varies &= width > np.finfo(np.float32).tiny
    factor = np.divide(1, width, out=np.zeros_like(width), where=varies)
    return Scaler(name, offset.astype(np.float32), factor.astype(np.float32))

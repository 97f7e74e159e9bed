"""What the finished network makes of the background it learned from: the yardstick of scores.

One more pass over the training events with the best network, weighted with abs(w), on all ranks; its sums
need no memory beyond a batch. No event of another split and no other channel has a say in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import StateError
from ..features.names import PHYSICS_BLOCKS, physics_blocks
from ..store.stream import Batch
from .ranks import sum_over_ranks
from .scaling import Scaler, presence

PRIOR = 0.002
"""Share of the events that the mean of a cell's kind counts for in the cell's own: a cell that hardly any
event has does not get a yardstick of its own."""


@dataclass(frozen=True, eq=False)
class Background:
    """How large differences, and where latent variables, usually are."""

    counts: tuple[int, ...]
    """Rows of the matrix by type."""
    mean_squares: NDArray[np.float32]
    """(cells,): weighted mean squared difference between scaled cell and reconstruction, where the cell's
    objects exist."""
    filled: NDArray[np.float32]
    """(blocks,): weighted mean number of an event's cells that exist, by kind of cell."""
    latent_mean: NDArray[np.float32]
    """(k,); empty for a network without latent variables."""
    latent_precision: NDArray[np.float32]
    """(k, k): inverse of the weighted covariance."""

    def to_dict(self) -> dict[str, Any]:
        """Give plain numbers, exact."""
        content = {name: np.asarray(value).tolist() for name, value in asdict(self).items()}
        return {**content, "counts": list(self.counts)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Background":
        """Undo `to_dict`.

        Raises
        ------
        StateError
            The content is not a background's.
        """
        try:
            counts = tuple(int(count) for count in content["counts"])
            arrays = {
                name: np.asarray(content[name], np.float32)
                for name in ("mean_squares", "filled", "latent_mean", "latent_precision")
            }
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"this is not a saved background: {error}") from error
        latent = arrays["latent_mean"].size
        arrays["latent_precision"] = arrays["latent_precision"].reshape(-1)
        if (
            arrays["mean_squares"].shape != ((1 + sum(counts)) ** 2,)
            or arrays["filled"].shape != (len(PHYSICS_BLOCKS),)
            or arrays["latent_precision"].size != latent**2
        ):
            raise StateError(f"a saved background does not fit matrices with rows {counts} by type")
        arrays["latent_precision"] = arrays["latent_precision"].reshape(latent, latent)
        return cls(counts, **arrays)


def describe_background(
    network: nn.Module,
    scaler: Scaler,
    batches: Iterable[Batch],
    counts: Sequence[int],
    device: torch.device,
) -> Background:
    """Sum up what a network makes of events, over all ranks.

    Parameters
    ----------
    network
        On the device; left in evaluation mode.
    scaler
        As in training.
    batches
        This rank's part of the training events, once each.
    counts
        Rows of the matrix by type.
    device
        Where the network lives.
    """
    cells, scale = (1 + sum(counts)) ** 2, scaler.on(device)
    latent_of = getattr(network, "latent", None)
    sums: dict[str, Tensor] = {}

    def add(**terms: Tensor) -> None:
        for name, term in terms.items():
            sums[name] = sums[name] + term.double() if name in sums else term.double()

    network.eval()
    with torch.inference_mode():
        add(squares=torch.zeros(cells, device=device), present=torch.zeros(cells, device=device))
        if latent_of is not None:
            width = latent_of(torch.zeros(1, cells, device=device)).shape[1]
            add(mean=torch.zeros(width, device=device), square=torch.zeros(width, width, device=device))
        add(weight=torch.zeros((), device=device))
        for batch in batches:
            if not len(batch.weight):
                continue
            events = scale(batch.islands)
            weight = torch.from_numpy(np.abs(batch.weight)).to(device).float()
            present = presence(batch.islands, device).float()
            squares = (network(events).float() - events).square() * present
            add(squares=weight @ squares, present=weight @ present, weight=weight.double().sum())
            if latent_of is not None:
                latent = latent_of(events).double()
                weighted = latent * weight.double()[:, None]
                add(mean=weighted.sum(dim=0), square=weighted.T @ latent)
    found = {name: sum_over_ranks(total).cpu().numpy() for name, total in sums.items()}
    return _background(found, tuple(counts))


def _background(sums: Mapping[str, NDArray[np.float64]], counts: tuple[int, ...]) -> Background:
    weight = max(float(sums["weight"]), float(np.finfo(float).tiny))
    block = physics_blocks(counts).reshape(-1)
    squares, present = (
        np.bincount(block, sums[name], len(PHYSICS_BLOCKS)) for name in ("squares", "present")
    )
    everywhere = sums["squares"].sum() / max(sums["present"].sum(), np.finfo(float).tiny)
    of_kind = np.divide(squares, present, out=np.full_like(squares, everywhere), where=present > 0)
    prior = PRIOR * weight
    mean_squares = (sums["squares"] + prior * of_kind[block]) / (sums["present"] + prior)
    smallest = max(float(np.finfo(np.float32).tiny), 1e-6 * float(mean_squares.mean()))
    mean: NDArray[np.float64] = np.zeros(0)
    precision: NDArray[np.float64] = np.zeros((0, 0))
    if "mean" in sums:
        mean = sums["mean"] / weight
        covariance = sums["square"] / weight - np.outer(mean, mean)
        # A latent variable that never moves has no spread of its own; this bounds its share.
        floor = 1e-6 * max(float(np.trace(covariance)) / len(mean), float(np.finfo(np.float32).tiny))
        precision = np.asarray(np.linalg.inv(covariance + floor * np.eye(len(mean))), np.float64)
    return Background(
        counts,
        np.maximum(mean_squares, smallest).astype(np.float32),
        (present / weight).astype(np.float32),
        mean.astype(np.float32),
        precision.astype(np.float32),
    )

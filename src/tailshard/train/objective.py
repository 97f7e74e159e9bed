"""What training minimises.

The loss of a batch is the weighted mean of its events' losses l_i,

    sum_i w_i l_i  /  sum_i abs(w_i),      l_i = sum_c k_c m_ic (x_ic - network(x_i)_c)^2 / sum_c k_c m_ic

plus what the network itself adds to l_i (`Learner`). k_c are the weights of the cells
(`training.cell_weights`), m_ic is 1, or with `training.mask: objects` 0 for a cell of an absent object.
Sums over events run over the *global* batch, whatever part of it a rank holds, so that the gradient does
not depend on the number of ranks. The weights w_i are the events' own after a treatment, because
generator weights may be negative:

========  =========  ===============================================================================
name      w          consequence
========  =========  ===============================================================================
absolute  abs(w)     stable; processes with many negative weights count for more than their yield
clip      max(w, 0)  stable; events with negative weights teach nothing
signed    w          unbiased; the loss has no lower bound and training may diverge
uniform   1          every event alike: large samples count for more than their cross-section
========  =========  ===============================================================================
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..features.islands import Islands
from ..features.names import PHYSICS_BLOCKS, physics_blocks
from ..learning import Training
from ..store.cells import Statistics
from ..store.stream import Batch
from .scaling import Scaler, presence

LearnedFunction = Callable[[Tensor], tuple[Tensor, Tensor | None]]

WeightTreatment = Callable[[NDArray[np.float64]], NDArray[np.float64]]

WEIGHT_TREATMENTS: Mapping[str, WeightTreatment] = {
    "absolute": np.abs,
    "clip": lambda weight: np.maximum(weight, 0),
    "signed": np.asarray,
    "uniform": np.ones_like,
}


class Part(NamedTuple):
    """Events that are computed at once."""

    islands: Islands
    weight: Tensor


def parts_of(
    batch: Batch, weight: Tensor, size: int | None, replica: LearnedFunction
) -> Iterator[tuple[Part, AbstractContextManager[None]]]:
    """Cut a rank's events into parts; gradients of all but the last stay on their rank until it is done."""
    step = size or max(len(weight), 1)
    for start in range(0, max(len(weight), 1), step):
        is_last = start + step >= len(weight)
        wait = (
            replica.no_sync()
            if isinstance(replica, DistributedDataParallel) and not is_last
            else nullcontext()
        )
        yield Part(batch.islands[start : start + step], weight[start : start + step]), wait


def weights_for(training: Training, device: torch.device) -> Callable[[Batch], Tensor]:
    """Make the function from a batch to the treated weights of its events, (n,) float64."""
    treat = WEIGHT_TREATMENTS[training.weights]
    return lambda batch: torch.as_tensor(treat(batch.weight)).to(device)


class Learner(nn.Module):
    """What is replicated over ranks: a network, asked for reconstructions and penalties at once."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, events: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give reconstructions (n, cells), and what is added to the loss of each event (n,) if anything."""
        learn: Any = getattr(self.network, "learn", None)
        if learn is not None:
            learned: tuple[Tensor, Tensor] = learn(events)
            return learned
        return self.network(events), None


def cell_weights(statistics: Statistics, counts: Sequence[int], name: str) -> NDArray[np.float32]:
    """Give the weight of every cell in the loss: (cells,), mean 1.

    Parameters
    ----------
    statistics
        Of the training events.
    counts
        Rows of the matrix by type.
    name
        uniform: 1. occupancy: as the share of events in which the cell is not zero. block: such that every
        kind of cell (`features.names.PHYSICS_BLOCKS`) has the same sum of weight times that share.
    """
    share = statistics.occupancy / max(statistics.events, 1)
    weights = np.ones_like(share)
    if name == "occupancy":
        weights = share
    elif name == "block":
        block = physics_blocks(counts)
        for number in range(len(PHYSICS_BLOCKS)):
            inside = block == number
            weights[inside] = 1 / max(share[inside].sum(), 1e-3)
    return np.asarray(weights / weights.mean(), np.float32).reshape(-1)


def event_losses(
    network: LearnedFunction,
    scaler: Scaler,
    training: Training,
    device: torch.device,
    weights: NDArray[np.float32] | None = None,
) -> Callable[[Islands], Tensor]:
    """Make the function from events to their losses.

    Parameters
    ----------
    network
        A `Learner`, or what is made of one.
    scaler, training, device
        How events become numbers, and where.
    weights
        (cells,) of the cells; all alike where left out.
    """
    scale = scaler.on(device)
    precision = _autocast(training.precision, device)
    of_cells = None if weights is None or np.ptp(weights) == 0 else torch.from_numpy(weights).to(device)

    def losses_of(islands: Islands) -> Tensor:
        events = scale(islands)
        with precision:
            reconstruction, penalty = network(events)
        squares = (reconstruction.float() - events).square()
        counted = of_cells
        if training.mask == "objects":
            present = presence(islands, device)
            counted = present.float() if counted is None else present * counted
        if counted is None:
            losses = squares.mean(dim=1)
        else:
            norm = counted.sum(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
            losses = (squares * counted).sum(dim=1) / norm
        return losses if penalty is None else losses + penalty.float()

    return losses_of


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    use_bfloat16 = precision == "bfloat16" or (
        precision == "auto"
        and device.type == "cuda"
        and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16)

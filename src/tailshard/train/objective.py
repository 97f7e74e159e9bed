"""What training minimises.

The loss of a batch is the weighted mean of its events' mean squared errors,

    sum_i w_i mean_cells (x_i - network(x_i))^2  /  sum_i abs(w_i),

where both sums run over the *global* batch, whatever part of it a rank holds, so that the gradient
does not depend on the number of ranks. The weights w_i are the events' own after a treatment, because
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

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..features.islands import Islands
from ..learning import Training
from ..store.stream import Batch
from .scaling import Scaler

Network = Callable[[Tensor], Tensor]

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
    batch: Batch, weight: Tensor, size: int | None, replica: Network
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


def reconstruction_errors(
    network: Network, scaler: Scaler, training: Training, device: torch.device
) -> Callable[[Islands], Tensor]:
    """Make the function from events to their mean squared errors."""
    scale = scaler.on(device)
    precision = _autocast(training.precision, device)

    def errors_of(islands: Islands) -> Tensor:
        events = scale(islands)
        with precision:
            reconstruction = network(events)
        return (reconstruction.float() - events).square().mean(dim=1)

    return errors_of


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    use_bfloat16 = precision == "bfloat16" or (
        precision == "auto"
        and device.type == "cuda"
        and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16)

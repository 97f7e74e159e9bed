"""What one rank does: epochs, validation, and the state to continue from. Knows no Ray.

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

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..config import Model, Training
from ..errors import ConfigError
from ..models import build
from ..store.state import StreamState
from ..store.stream import Batch, Stream
from .checkpoint import Best, TrainingState, weights_of
from .metrics import EpochMetrics
from .scaling import Scaler

WeightTreatment = Callable[[NDArray[np.float64]], NDArray[np.float64]]

WEIGHT_TREATMENTS: Mapping[str, WeightTreatment] = {
    "absolute": np.abs,
    "clip": lambda weight: np.maximum(weight, 0),
    "signed": np.asarray,
    "uniform": np.ones_like,
}


class Source(Protocol):
    """Where batches come from; `Stream` is the one that reads a store."""

    @property
    def events(self) -> int:
        """Events in an epoch, over all ranks."""

    @property
    def waited(self) -> float:
        """Seconds without a batch, since the epoch began."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Give this rank's part of every batch of an epoch, also where that part is empty."""

    def state(self, epoch: int, batch: int) -> StreamState:
        """Say where a batch is."""

    def resume(self, state: StreamState) -> tuple[int, int]:
        """Give epoch and batch of a state, or refuse it."""


@dataclass(frozen=True)
class Task:
    """What every rank needs to know to train; small enough to be sent to it."""

    store: Path
    """Absolute."""
    channels: tuple[str, ...]
    """Channels to learn from."""
    size: int
    """Rows of the matrices."""
    model: Model
    training: Training
    scaler: Scaler


Report = Callable[[TrainingState], None]
"""Called by every rank after every epoch."""


def train_rank(
    task: Task,
    rank: int,
    ranks: int,
    device: torch.device,
    report: Report,
    state: TrainingState | None = None,
) -> TrainingState:
    """Train on this rank's share of the store; every rank of the job runs this with the same task.

    Where there are several ranks, ``torch.distributed`` must have been initialised.

    Parameters
    ----------
    task
        What to train on.
    rank, ranks
        Which share of every global batch is this rank's.
    device
        Where the network lives.
    report
        Takes the state after every epoch, on every rank.
    state
        Where an earlier run stopped.

    Returns
    -------
    TrainingState
        After the last epoch; `best` is the result.

    Raises
    ------
    StateError
        `state` belongs to another store, seed or version.
    StoreError
        The store cannot be read.
    ConfigError
        The loss is no longer a number.
    """
    training = task.training

    def source(split: str) -> Stream:
        return Stream(
            task.store,
            task.channels,
            split,
            training.batch_size,
            training.seed,
            rank=rank,
            ranks=ranks,
            window_chunks=training.shuffle_chunks,
            shuffle=split == "training",
            threads=training.reader_threads,
            sampling=training.sampling if split == "training" else {},
            cache=training.cache // 2,
        )

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(training.seed)
        network = build(task.model, task.size**2)
        return fit(
            network, task.scaler, training, source("training"), source("validation"), device, report, state
        )


def fit(
    network: nn.Module,
    scaler: Scaler,
    training: Training,
    training_events: Source,
    validation_events: Source,
    device: torch.device,
    report: Report,
    state: TrainingState | None = None,
) -> TrainingState:
    """Train a network on batches from anywhere. See `train_rank` for the meaning of the rest."""
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    network = network.to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    epoch, first_batch = 0, 0
    if state is not None:
        network.load_state_dict(state.network)
        optimizer.load_state_dict(state.optimizer)
        epoch, first_batch = training_events.resume(StreamState.from_dict(state.position))
    # The replica shares the network's parameters; its gradients are the mean over the ranks.
    replica = DistributedDataParallel(network) if ranks > 1 else network
    evaluate = _evaluation(replica, scaler, training, device)

    while epoch < training.epochs and not _is_patience_over(state, training):
        # Layers that draw random numbers draw the same ones when the epoch is trained again.
        torch.manual_seed(int(np.random.SeedSequence((training.seed, epoch, rank)).generate_state(1)[0]))
        started = time.perf_counter()
        replica.train()
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        for batch in training_events.epoch(epoch, first_batch):
            partial_sums = evaluate(batch)
            sums += partial_sums.detach()
            weight = _sum_over_ranks(partial_sums[1].detach())
            optimizer.zero_grad()
            # The replica divides by the number of ranks. A batch of zero weight has zero gradient.
            (partial_sums[0] * ranks / weight.clamp_min(sys.float_info.min)).backward()
            optimizer.step()
        training_loss = _mean(sums)
        waited = _largest_over_ranks(training_events.waited, device)
        seconds = time.perf_counter() - started
        validation_loss = _validate(replica, evaluate, validation_events, device)
        _require_finite(epoch + 1, training_loss, validation_loss)

        epoch, first_batch = epoch + 1, 0
        metrics = EpochMetrics(
            epoch=epoch,
            training_loss=training_loss,
            validation_loss=validation_loss,
            seconds=seconds,
            validation_seconds=time.perf_counter() - started - seconds,
            waited=waited,
            events_per_second=training_events.events / seconds,
            learning_rate=training.learning_rate,
            workers=ranks,
            device=device.type,
        )
        best = state.best if state else None
        if best is None or validation_loss < best.validation_loss:
            best = Best(epoch, validation_loss, weights_of(network))
        state = TrainingState(
            network=weights_of(network),
            optimizer=deepcopy(optimizer.state_dict()),
            position=training_events.state(epoch, 0).to_dict(),
            best=best,
            history=(*(state.history if state else ()), metrics),
        )
        report(state)
    assert state is not None  # training.epochs is positive
    return state


def _is_patience_over(state: TrainingState | None, training: Training) -> bool:
    return state is not None and len(state.history) - state.best.epoch >= training.patience


def _evaluation(
    network: nn.Module, scaler: Scaler, training: Training, device: torch.device
) -> Callable[[Batch], Tensor]:
    """Make the function from a batch to its two sums: of w times the squared error, and of abs(w)."""
    scale = scaler.on(device)
    treat = WEIGHT_TREATMENTS[training.weights]
    precision = _autocast(training.precision, device)

    def evaluate(batch: Batch) -> Tensor:
        events = scale(batch.islands)
        weight = torch.as_tensor(treat(batch.weight)).to(device)
        with precision:
            reconstruction = network(events)
        errors = (reconstruction.float() - events).square().mean(dim=1)
        return torch.stack(((errors * weight).sum(), weight.abs().sum()))

    return evaluate


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    use_bfloat16 = precision == "bfloat16" or (
        precision == "auto"
        and device.type == "cuda"
        and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16)


def _validate(
    network: nn.Module, evaluate: Callable[[Batch], Tensor], events: Source, device: torch.device
) -> float:
    network.eval()
    with torch.no_grad():
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        for batch in events.epoch(0):
            sums += evaluate(batch)
    return _mean(sums)


def _sum_over_ranks(value: Tensor) -> Tensor:
    if dist.is_initialized():
        dist.all_reduce(value)
    return value


def _mean(sums: Tensor) -> float:
    weighted, weight = _sum_over_ranks(sums).tolist()
    return weighted / weight if weight else math.nan


def _largest_over_ranks(value: float, device: torch.device) -> float:
    largest = torch.tensor(value, dtype=torch.float64, device=device)
    if dist.is_initialized():
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.item()


def _require_finite(epoch: int, training_loss: float, validation_loss: float) -> None:
    if not (math.isfinite(training_loss) and math.isfinite(validation_loss)):
        raise ConfigError(
            f"training diverged in epoch {epoch}: training loss {training_loss:g}, validation loss "
            f"{validation_loss:g}; lower training.learning_rate, or set training.weights to absolute"
        )

"""What one rank does: epochs, validation, and the state to continue from. Knows no Ray."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import ConfigError
from ..features.islands import Islands
from ..learning import Model, Training
from ..models import build
from ..store.state import StreamState
from ..store.stream import Batch, Stream
from .background import Background, describe_background
from .checkpoint import Best, TrainingState, Weights, weights_of
from .metrics import EpochMetrics
from .objective import Learner, event_losses, parts_of, weights_for
from .ranks import largest_over_ranks, sum_over_ranks
from .scaling import Scaler


class Source(Protocol):
    """Where batches come from; `Stream` is the one that reads a store."""

    @property
    def events(self) -> int:
        """Events in an epoch, over all ranks."""

    @property
    def batches(self) -> int:
        """Batches in an epoch."""

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
    counts: tuple[int, ...]
    """Rows of the matrices by type."""
    model: Model
    training: Training
    scaler: Scaler
    cell_weights: NDArray[np.float32] | None = None
    """(cells,) in the loss; all alike where there are none."""
    initial: Weights | None = None
    """What the network begins with; drawn at random where left out."""

    @property
    def size(self) -> int:
        """Rows of the matrices."""
        return 1 + sum(self.counts)


Report = Callable[[TrainingState], None]
"""Called by every rank after every epoch, and within one when `Training.checkpoint_minutes` have passed."""


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
    seen, unseen = (_source(task, split, rank, ranks) for split in ("training", "validation"))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(training.seed)
        network = build(task.model, task.size**2)
        if task.initial is not None:
            network.load_state_dict(task.initial)
        return fit(network, task.scaler, training, seen, unseen, device, report, state, task.cell_weights)


def background_of(task: Task, best: Best, rank: int, ranks: int, device: torch.device) -> Background:
    """Describe what the best network makes of the training events; every rank of the job runs this."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        network = build(task.model, task.size**2)
    network.load_state_dict(best.network)
    batches = _source(task, "training", rank, ranks, every_event_once=True).epoch(0)
    return describe_background(network.to(device), task.scaler, batches, task.counts, device)


def _source(task: Task, split: str, rank: int, ranks: int, every_event_once: bool = False) -> Stream:
    training = task.training
    learning = split == "training" and not every_event_once
    return Stream(
        task.store,
        task.channels,
        split,
        training.batch_size,
        training.seed,
        rank=rank,
        ranks=ranks,
        window_chunks=training.shuffle_chunks,
        shuffle=learning,
        threads=training.reader_threads,
        sampling=training.sampling if learning else {},
        cache=0 if every_event_once else training.cache // 2,
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
    cell_weights: NDArray[np.float32] | None = None,
) -> TrainingState:
    """Train a network on batches from anywhere. See `train_rank` for the meaning of the rest."""
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    network = network.to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    epoch, batches_done = 0, 0
    if state is not None:
        network.load_state_dict(state.network)
        optimizer.load_state_dict(state.optimizer)
        epoch, batches_done = training_events.resume(StreamState.from_dict(state.position))
    # The replica shares the network's parameters; its gradients are the mean over the ranks.
    learner = Learner(network)
    replica: nn.Module = DistributedDataParallel(learner) if ranks > 1 else learner
    is_compiled = training.compile is True or (training.compile == "auto" and device.type == "cuda")
    compute = torch.compile(replica) if is_compiled else replica
    losses_of = event_losses(compute, scaler, training, device, cell_weights)
    weights_of_batch = weights_for(training, device)

    def snapshot(batches_done: int, **changes: Any) -> TrainingState:
        return TrainingState(
            network=weights_of(network),
            optimizer=deepcopy(optimizer.state_dict()),
            position=training_events.state(epoch, batches_done).to_dict(),
            **{
                "best": state.best if state else None,
                "history": state.history if state else (),
                "unfinished": {},
                **changes,
            },
        )

    while epoch < training.epochs and not _is_patience_over(state, training):
        before = _Sums(**(state.unfinished if state else {}))
        started = saved = time.perf_counter()
        # Every rank sums its own part, so the first one alone goes on with what is summed up already.
        sums = torch.tensor([before.weighted, before.weight], dtype=torch.float64, device=device)
        sums *= rank == 0
        replica.train()
        for batch in training_events.epoch(epoch, batches_done):
            # Layers that draw random numbers draw the same ones when the batch is trained again.
            key = np.random.SeedSequence((training.seed, epoch, batch.number, rank))
            torch.manual_seed(int(key.generate_state(1)[0]))
            weight = weights_of_batch(batch)
            is_time = rank == 0 and time.perf_counter() - saved > 60 * training.checkpoint_minutes
            total, is_time_to_save = sum_over_ranks(
                torch.stack((weight.abs().sum(), torch.tensor(is_time, dtype=weight.dtype, device=device)))
            )
            optimizer.zero_grad()
            for part, synchronised in parts_of(batch, weight, training.microbatch, replica):
                with synchronised:
                    weighted = (losses_of(part.islands) * part.weight).sum()
                    # The replica divides by the number of ranks. A batch of zero weight has no gradient.
                    (weighted * ranks / total.clamp_min(sys.float_info.min)).backward()
                sums[0] += weighted.detach()
            sums[1] += weight.abs().sum()
            optimizer.step()
            if is_time_to_save and batch.number + 1 < training_events.batches:
                so_far = before.plus(sums.clone(), started, training_events.waited)
                report(snapshot(batch.number + 1, unfinished=asdict(so_far)))
                saved = time.perf_counter()
        epoch_sums = before.plus(sums, started, training_events.waited)
        now = time.perf_counter()
        validation_loss = _validate(replica, losses_of, weights_of_batch, validation_events, device)
        _require_finite(epoch + 1, epoch_sums.loss, validation_loss)

        epoch, batches_done = epoch + 1, 0
        metrics = EpochMetrics(
            epoch=epoch,
            training_loss=epoch_sums.loss,
            validation_loss=validation_loss,
            seconds=epoch_sums.seconds,
            validation_seconds=time.perf_counter() - now,
            waited=epoch_sums.waited,
            events_per_second=training_events.events / epoch_sums.seconds,
            learning_rate=training.learning_rate,
            workers=ranks,
            device=device.type,
        )
        best = state.best if state else None
        if best is None or validation_loss < best.validation_loss:
            best = Best(epoch, validation_loss, weights_of(network))
        state = snapshot(0, best=best, history=(*(state.history if state else ()), metrics))
        report(state)
    assert state is not None  # training.epochs is positive
    return state


@dataclass(frozen=True)
class _Sums:
    """What an epoch has summed up, over all ranks."""

    weighted: float = 0.0
    """Of w times the error."""
    weight: float = 0.0
    """Of abs(w)."""
    seconds: float = 0.0
    waited: float = 0.0

    @property
    def loss(self) -> float:
        return self.weighted / self.weight if self.weight else math.nan

    def plus(self, sums: Tensor, started: float, waited: float) -> "_Sums":
        """Give what it is now: `sums` of this rank since the epoch began, the clock since it was resumed."""
        weighted, weight = sum_over_ranks(sums).tolist()
        seconds = self.seconds + time.perf_counter() - started
        return _Sums(weighted, weight, seconds, self.waited + largest_over_ranks(waited, sums.device))


def _is_patience_over(state: TrainingState | None, training: Training) -> bool:
    best = state.best if state else None
    return state is not None and best is not None and len(state.history) - best.epoch >= training.patience


def _validate(
    network: nn.Module,
    losses_of: Callable[[Islands], Tensor],
    weights_of_batch: Callable[[Batch], Tensor],
    events: Source,
    device: torch.device,
) -> float:
    network.eval()
    with torch.no_grad():
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        for batch in events.epoch(0):
            weight = weights_of_batch(batch)
            for part, _ in parts_of(batch, weight, None, network):
                sums += torch.stack(((losses_of(part.islands) * part.weight).sum(), part.weight.abs().sum()))
    weighted, weight_of_all = sum_over_ranks(sums).tolist()
    return weighted / weight_of_all if weight_of_all else math.nan


def _require_finite(epoch: int, training_loss: float, validation_loss: float) -> None:
    if not (math.isfinite(training_loss) and math.isfinite(validation_loss)):
        raise ConfigError(
            f"training diverged in epoch {epoch}: training loss {training_loss:g}, validation loss "
            f"{validation_loss:g}; lower training.learning_rate, or set training.weights to absolute"
        )

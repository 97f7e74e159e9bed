"""Rates of this machine, from a few seconds of the real work in this process.

The functions timed are those that the stages run: a partition is read and fills a slot (`probe`), a stream
gives batches, a rank trains on them, a slot is scored. CPU seconds of all threads are counted, not wall time.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..config import Pipeline
from ..ingest.survey import SurveyedDataset
from ..models import build
from ..progress import Progress, silent
from ..search.score import one_thread, score_slot
from ..store.order import blocks_of, permutation, rows_of_rank
from ..store.read import statistics
from ..store.state import StreamState
from ..store.stream import Batch
from ..train.checkpoint import TrainingState, load_model, save_model
from ..train.loop import fit
from ..train.members import model_hash
from ..train.scaling import fit as fit_scaler
from .model import Rates, Work
from .probe import Probe, fill_store, first_input, toy_input

SECONDS = 1.0
"""CPU time spent on each rate, at least."""
ENOUGH = 500
"""Events below which a store says nothing about a stream."""


def work_of(pipeline: Pipeline, surveyed: Sequence[SurveyedDataset]) -> Work:
    """Count what a pipeline asks for."""

    def entries(wanted: Sequence[SurveyedDataset]) -> int:
        return sum(file.entries for each in wanted for file in each.files)

    learned = [each for each in surveyed if each.dataset.channel in pipeline.training_channels]
    return Work(
        entries=entries(surveyed),
        partitions=sum(len(each.partitions) for each in surveyed),
        training_entries=entries(learned),
        training_share=pipeline.splits.training,
        validation_share=pipeline.splits.validation,
        batch_size=pipeline.training.batch_size,
        epochs=pipeline.training.epochs,
        reader_threads=pipeline.training.reader_threads,
    )


def measure(
    pipeline: Pipeline,
    surveyed: Sequence[SurveyedDataset],
    seconds: float = SECONDS,
    progress: Progress = silent,
) -> Rates:
    """Measure the rates of one core on the first file that can be read, or on toys where there is none.

    Parameters
    ----------
    pipeline
        Its selection, features, store, network and batches are used.
    surveyed
        Its files.
    seconds
        CPU time to spend on each rate.
    progress
        Told which rate is being measured.

    Raises
    ------
    ConfigError
        The pipeline's network or plugins cannot be used.
    InputError
        The file can be opened, but not read.
    """
    with TemporaryDirectory(prefix="tailshard-plan-") as folder:
        place = Path(folder)
        progress("measure ingest", 0, 5)
        first = first_input(pipeline, surveyed) or toy_input(pipeline, place)
        probe = fill_store(first, place / "store", seconds)
        its = probe
        if probe.events < ENOUGH:  # the selection leaves too little of this file
            its = fill_store(toy_input(pipeline, place), place / "toy-store", seconds)
        progress("measure stream", 1, 5)
        stream_seconds = _stream(its, seconds)
        order_seconds = _order(its, seconds)
        progress("measure training", 2, 5)
        with one_thread():
            trained = _train(its, place / "model.pt", seconds)
            progress("measure validation", 3, 5)
            validation_seconds = _validate(trained, seconds)
            progress("measure scoring", 4, 5)
            score_seconds = _score(its, trained, seconds)
        training_flops, forward_flops, parameters = _flops(pipeline)
        progress("measure scoring", 5, 5)
    return Rates(
        measured_on=first.name if its is probe else f"{first.name}; stream and network on toys",
        ingest_seconds=probe.seconds,
        selected=probe.events / probe.entries,
        input_bytes=probe.input_bytes,
        stored_bytes=sum(its.bytes.values()) / its.events,
        streamed_bytes=(its.bytes["rmm"] + its.bytes["weight"]) / its.events,
        read_seconds=max(stream_seconds - order_seconds, 0.1 * stream_seconds),
        order_seconds=order_seconds,
        step_seconds=trained.seconds,
        validation_seconds=validation_seconds,
        score_seconds=score_seconds,
        device_bytes=trained.device_bytes,
        training_flops=training_flops,
        forward_flops=forward_flops,
        parameter_bytes=4.0 * parameters,
    )


# -- stream ----------------------------------------------------------------------------------------


def _stream(probe: Probe, seconds: float) -> float:
    stream = probe.stream()

    def epoch() -> int:
        return sum(len(batch.weight) for batch in stream.epoch(0))

    return _seconds_each(epoch, seconds)


def _order(probe: Probe, seconds: float) -> float:
    """Time what every rank does for all rows of a window, whichever of them it reads."""
    blocks = blocks_of(probe.catalog, [probe.channel], "training")
    sizes = blocks.sizes[: probe.pipeline.training.shuffle_chunks]
    rows = int(sizes.sum())

    def window() -> int:
        rows_of_rank(sizes, permutation(rows, 1, 0, "rows", 0), 0, 2)
        return rows

    return _seconds_each(window, min(seconds, 0.2))


def _seconds_each(work: Callable[[], int], seconds: float) -> float:
    """CPU seconds for each event of work that is done again and again, after one round to warm up."""
    work()
    began, events = time.process_time(), 0
    while not events or time.process_time() - began < seconds:
        events += work()
    return (time.process_time() - began) / events


# -- network ---------------------------------------------------------------------------------------


@dataclass
class _Batches:
    """Batches that are in memory already, so that only the network takes time."""

    content: Sequence[Batch]
    place: StreamState
    waited: float = 0.0

    @property
    def batches(self) -> int:
        return len(self.content)

    @property
    def events(self) -> int:
        return sum(len(batch.weight) for batch in self.content)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:  # noqa: ARG002 - as in Source
        return iter(self.content)

    def state(self, epoch: int, batch: int) -> StreamState:
        return replace(self.place, epoch=epoch, batch=batch)

    def resume(self, state: StreamState) -> tuple[int, int]:
        return state.epoch, state.batch


class _Trained(NamedTuple):
    model: Path
    network: str
    """What the pipeline calls it."""
    batches: Sequence[Batch]
    seconds: float
    """For each event of a training step."""

    @property
    def device_bytes(self) -> float:
        """Of each event, as a GPU would be sent it."""
        sent = sum(batch.islands.nbytes + batch.weight.nbytes for batch in self.batches)
        return sent / sum(len(batch.weight) for batch in self.batches)


def _train(probe: Probe, model: Path, seconds: float) -> _Trained:
    """Train for an epoch of some steps, through the loop that every rank runs."""
    pipeline, size = probe.pipeline, probe.catalog.geometry.size
    training = pipeline.training.model_copy(update={"epochs": 1})
    scaler = fit_scaler(statistics(probe.store, probe.catalog, [probe.channel]), training.scaler)
    stream = probe.stream()
    batches = list(islice(stream.epoch(0), 4))
    little = batches[0]
    few = slice(0, 16)
    little = Batch(little.islands[few], little.weight[few], little.position[few], 0)
    place = stream.state(0, 0)

    def epoch(steps: int) -> tuple[float, int, TrainingState]:
        network = build(pipeline.model, size**2)
        events = _Batches(list(islice(cycle(batches), steps)), place)
        began = time.process_time()
        state = fit(
            network, scaler, training, events, _Batches([little], place), torch.device("cpu"), lambda _: None
        )
        return time.process_time() - began, events.events, state

    with torch.random.fork_rng():
        epoch(1)  # warms up
        once, _, _ = epoch(1)
        spent, events, state = epoch(max(2, min(50, round(seconds / once))))
    assert state.best is not None  # an epoch has ended
    save_model(model, state.best, pipeline.model, scaler, size, stream.snapshot)
    return _Trained(model, pipeline.model.name, batches, spent / events)


def _validate(trained: _Trained, seconds: float) -> float:
    model = load_model(trained.model, trained.network)

    def forward() -> int:
        return sum(len(model.errors(batch.islands)) for batch in trained.batches)

    return _seconds_each(forward, seconds)


def _score(probe: Probe, trained: _Trained, seconds: float) -> float:
    digest = model_hash(trained.model)
    slots = cycle(probe.catalog.slots)

    def slot() -> int:
        return score_slot(trained.model, digest, probe.store, probe.catalog.geometry, next(slots))

    return _seconds_each(slot, seconds)


def _flops(pipeline: Pipeline) -> tuple[float, float, int]:
    """Count floating-point operations for each event, of a training step and forward, and parameters."""
    cells = pipeline.features.multiplicities.size**2
    network = build(pipeline.model, cells)
    events, counter = torch.rand(2, cells), FlopCounterMode(display=False)
    with counter:
        loss = (network(events) - events).square().sum()
    forward = counter.get_total_flops()
    with counter:
        loss.backward()
    both = forward + counter.get_total_flops()
    return both / 2, forward / 2, sum(each.numel() for each in network.parameters())

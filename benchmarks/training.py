"""(e) The training step, fed from memory, from tailshard's stream and from megasets; limit: from memory.

All run tailshard's own training loop on the small autoencoder; only the source of batches differs. A few
steps are enough: the network costs far more than its data on a CPU. What a GPU would wait for shows in the
time for a batch, which is measured beside.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from . import data, stream
from .data import SIZE
from .harness import Contestant, Figure, Goal, Run, Settings, Table

STEPS = 20
MEMORY = "batches in memory"
CHANNELS = tuple(process.name for process in data.SHARES)


def prepare(settings: Settings) -> None:
    for codec in data.CODECS:
        data.store(settings, codec)
    stream.megasets(settings)


def tables(settings: Settings) -> list[Table]:  # noqa: ARG001 (the same for all)
    ours = tuple(
        Contestant(
            f"tailshard, {codec}",
            partial(trained, source=partial(from_store, codec=codec)),
            cores=2,
        )
        for codec in data.CODECS
    )
    return [
        Table(
            f"Training steps of the small autoencoder, at most {STEPS}",
            (
                Figure("rate", "k events/s", 1e-3),
                Figure("step", "step, ms", 1e3, False),
                Figure("wait", "wait a step, ms", 1e3, False),
                Figure("waiting", "waiting, %", 100, False),
                Figure("waiting_later", "after the first batch, %", 100, False),
            ),
            (
                Contestant(MEMORY, partial(trained, source=from_memory), cores=2),
                *ours,
                Contestant("thesis: np.load of megasets", partial(trained, source=from_megasets), cores=2),
            ),
            baseline=MEMORY,
            goals=(Goal("tailshard, islands", "waiting", most=0.02),),
        )
    ]


class Limited:
    """A source of batches for `train.loop.fit` that ends after some, and notes what was waited for."""

    def __init__(self, batches: Callable[[int], Iterator[Any]], limit: int, events: int) -> None:
        self._batches, self._limit, self.events = batches, limit, events
        self.waits: list[float] = []
        self.began = self.ended = 0.0
        self.seen = self.steps = 0

    @property
    def batches(self) -> int:
        return self._limit

    @property
    def waited(self) -> float:
        return sum(self.waits)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:  # noqa: ARG002 (tailshard's interface)
        self.waits, self.seen, self.steps = [], 0, 0
        self.began = time.perf_counter()
        with closing(self._batches(epoch)) as batches:
            for _ in range(self._limit):
                asked = time.perf_counter()
                batch = next(batches, None)
                self.waits.append(time.perf_counter() - asked)
                if batch is None:
                    break
                self.seen += len(batch.weight)
                self.steps += 1
                yield batch
                self.ended = time.perf_counter()

    def state(self, epoch: int, batch: int) -> Any:
        from tailshard.store.state import StreamState

        return StreamState("benchmark", "training", 1, self.events, 1, True, "", epoch, batch)

    def resume(self, state: Any) -> tuple[int, int]:
        raise NotImplementedError(f"a measurement does not resume, asked to from {state}")


def _batch(features: Any, number: int = 0) -> Any:
    from tailshard.store.stream import Batch

    # Whole matrices stand where islands do: the loop takes both.
    return Batch(features, np.ones(len(features)), np.arange(len(features)), number)


Source = Callable[[Settings], Callable[[int], Iterator[Any]]]


def from_memory(settings: Settings) -> Callable[[int], Iterator[Any]]:
    matrices = np.load(data.dense(settings), mmap_mode="r")
    ready = [
        _batch(np.array(matrices[start : start + settings.batch]))
        for start in range(0, min(4 * settings.batch, len(matrices)), settings.batch)
    ]

    def batches(epoch: int) -> Iterator[Any]:  # noqa: ARG001 (the same in every epoch)
        for number in range(STEPS):
            yield ready[number % len(ready)]

    return batches


def from_store(settings: Settings, codec: str) -> Callable[[int], Iterator[Any]]:
    from tailshard.store.stream import Stream

    window = max(1, stream.POOL // settings.chunk)
    source = Stream(
        data.store(settings, codec), CHANNELS, "training", settings.batch, 1, window_chunks=window
    )
    return source.epoch


def from_megasets(settings: Settings) -> Callable[[int], Iterator[Any]]:
    def batches(epoch: int) -> Iterator[Any]:
        rng = np.random.default_rng(epoch)
        for file in stream.megasets(settings):
            matrices = np.load(file)
            order = rng.permutation(len(matrices))
            for start in range(0, len(order), settings.batch):
                yield _batch(matrices[order[start : start + settings.batch]])

    return batches


@contextmanager
def trained(settings: Settings, source: Source) -> Iterator[Run]:
    import torch

    from tailshard.learning import Model, Training
    from tailshard.models import build
    from tailshard.store.catalog import read_catalog
    from tailshard.store.read import statistics
    from tailshard.train.loop import fit
    from tailshard.train.scaling import fit as fit_scaler

    place: Path = data.store(settings, "zstd")
    training = Training(epochs=1, batch_size=settings.batch, weights="uniform")
    scaler = fit_scaler(statistics(place, read_catalog(place), CHANNELS), training.scaler)
    batches = source(settings)
    few = from_memory(settings)

    def once(limit: int) -> Limited:
        torch.manual_seed(1)
        events = Limited(batches, limit, settings.events)
        validation = Limited(lambda epoch: islice_closing(few(epoch), 1), 1, settings.batch)
        network = build(Model(name="ae_small"), SIZE * SIZE)
        fit(network, scaler, training, events, validation, torch.device("cpu"), lambda _: None)
        return events

    def run() -> Mapping[str, float]:
        done = once(STEPS)
        seconds = done.ended - done.began
        return {
            "rate": done.seen / seconds,
            "step": seconds / done.steps,
            "wait": done.waited / done.steps,
            "waiting": done.waited / seconds,
            "waiting_later": sum(done.waits[1:]) / (seconds - done.waits[0]),
        }

    once(1)
    yield run


def islice_closing(batches: Iterator[Any], number: int) -> Iterator[Any]:
    """Give the first few as a generator, which can be closed."""
    yield from islice(batches, number)

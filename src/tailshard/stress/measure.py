"""One shard slot becomes spectra of what a network makes of its test events, as they are and disturbed.

One task for each slot, one pass over its test events. Half of them, chosen by the seed, are disturbed; the
others stay as they are, so that what is compared has no event in common and uncertainties are right. A
task holds a chunk of events at a time, but for `shuffled`, which holds the slot's whole matrices.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hist
import numpy as np
from numpy.typing import NDArray

from ..config import Pipeline
from ..errors import ProcessingError
from ..features.islands import Islands, expand
from ..features.rmm import islands_from_objects
from ..learning import Score
from ..ntuples.dialects import collision_energy
from ..progress import Progress
from ..search.filling import BASELINES, ERROR, Axes, fine, log10_error, spectrum_axes
from ..search.reduction import reduce_slots
from ..search.score import load_once, one_thread
from ..search.significance import Spectrum
from ..store.catalog import Catalog, Slot
from ..store.layout import Geometry
from ..store.order import generator_of, permutation
from ..store.read import ShardReader, statistics
from ..train.members import model_hash
from .disturbances import (
    OF_OBJECTS,
    CellLimits,
    disturb_objects,
    gaussian,
    in_islands,
    noise,
    shuffled,
)

if TYPE_CHECKING:
    from distributed import Client

    from ..train.checkpoint import LoadedModel

KEPT = "kept"
"""The half of the test events that nothing is done to."""
TAKEN = "taken"
"""The half that is disturbed, as it was before."""
EVENTS = "events"
"""Unweighted number of events, in place of a quantity."""

Sums = dict[tuple[str, str], Any]
"""(sample, quantity) -> histogram; (sample, "events") -> number of events."""


@dataclass(frozen=True)
class Measurement:
    """What every slot is measured with; small enough to be sent to each."""

    model: Path
    digest: str
    """Content hash of the model."""
    network: str
    """What the pipeline calls it."""
    score: Score
    convention: str
    center_of_mass_energy: float
    """GeV."""
    limits: CellLimits
    seed: int


def measure(
    pipeline: Pipeline,
    store: Path,
    catalog: Catalog,
    model: Path,
    channels: Mapping[str, Sequence[str]],
    seed: int,
    client: "Client",
    progress: Progress,
) -> dict[str, Sums]:
    """Measure the test events of some channels.

    Parameters
    ----------
    pipeline, store, catalog
        The search.
    model
        File of a trained network.
    channels
        What to measure, and which of `tailshard.stress.disturbances.DISTURBANCES` to do to it.
    seed
        Of all random numbers.
    client, progress
        Dask workers that see store and model under the same paths, and who is told of their progress.

    Returns
    -------
    dict
        Channel -> sums, the same for any number of workers; channels without slots are left out.
    """
    measurement = Measurement(
        model,
        model_hash(model),
        pipeline.model.name,
        pipeline.score,
        pipeline.features.convention,
        collision_energy(pipeline),
        CellLimits.of(statistics(store, catalog, pipeline.training_channels)),
        seed,
    )
    calls = {
        channel: [(slot, catalog.scale(slot), tuple(names)) for slot in catalog.slots_of(channel)]
        for channel, names in channels.items()
    }
    function = partial(measure_slot, measurement, store, catalog.geometry)
    what = f"scoring with {model.parent.name}" if model.parent.name != "model" else "scoring with the network"
    return reduce_slots(client, what, function, calls, add_sums, progress, step="stress")


def measure_slot(
    measurement: Measurement,
    store: Path,
    geometry: Geometry,
    slot: Slot,
    scale: float,
    disturbances: Sequence[str],
) -> Sums:
    """Measure the test events of one slot, as they are and disturbed, with their weights times a scale.

    Raises
    ------
    ProcessingError
        The error of an event is not finite.
    """
    with one_thread():
        network = load_once(measurement.model, measurement.digest, measurement.network)
        its = _SlotSums(measurement, geometry, slot, tuple(disturbances), network)
        start, stop = geometry.split_range(slot, "test")
        its.measure(ShardReader(store), start, stop, scale)
    return its.sums


def add_sums(parts: list[Sums]) -> Sums:
    """Add the sums of several slots, from the first to the last."""
    total = dict(parts[0])
    for part in parts[1:]:
        total = {name: add(value, part[name]) for name, value in total.items()}
    return total


def spectrum_of(sums: Sums, sample: str, quantity: str) -> Spectrum:
    """Give the bins of a spectrum, underflow first and overflow last."""
    bins = sums[sample, quantity].view(flow=True)
    return Spectrum(bins["value"].copy(), bins["variance"].copy())


def axes() -> Axes:
    """Axes of the spectra, by quantity: those of the search."""
    every = spectrum_axes(dict.fromkeys(BASELINES, ""))
    return {name: every[fine(name)] for name in (ERROR, *BASELINES)}


def quantities_of(sample: str) -> tuple[str, ...]:
    """Say what is known of a sample: matrices that belong to no event have an error and nothing else."""
    return (ERROR, *BASELINES) if sample in (KEPT, TAKEN, *OF_OBJECTS) else (ERROR,)


@dataclass
class _SlotSums:
    measurement: Measurement
    geometry: Geometry
    slot: Slot
    disturbances: tuple[str, ...]
    network: "LoadedModel"
    sums: Sums = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = axes()
        for sample in (KEPT, TAKEN, *self.disturbances):
            self.sums[sample, EVENTS] = 0
            for quantity in quantities_of(sample):
                self.sums[sample, quantity] = hist.Hist(known[quantity], storage=hist.storage.Weight())

    def measure(self, reader: ShardReader, start: int, stop: int, scale: float) -> None:
        events, its = stop - start, self.slot
        if not events:
            return
        chosen = permutation(events, self.measurement.seed, "disturbed", its.channel, its.index) % 2 == 1
        taken_islands: list[Islands] = []
        taken_weights: list[NDArray[np.float64]] = []
        for first, last in self._chunks(start, stop):
            objects, multiplicity, weight = (
                reader.read(its.channel, name, first, last) for name in ("objects", "multiplicity", "weight")
            )
            islands = reader.read_islands(its.channel, first, last)
            weight = weight.astype(np.float64) * scale
            taken = chosen[first - start : last - start]
            kept, disturbed = (islands.take(np.flatnonzero(rows)) for rows in (~taken, taken))
            self._put(KEPT, kept, weight[~taken], objects[~taken])
            self._put(TAKEN, disturbed, weight[taken], objects[taken])
            self._disturb(objects[taken], multiplicity[taken], weight[taken], first)
            taken_islands.append(disturbed)
            taken_weights.append(weight[taken])
        self._make(events)
        if "shuffled" in self.disturbances:
            self._shuffle(Islands.concatenated(taken_islands), np.concatenate(taken_weights))

    def _disturb(
        self,
        objects: NDArray[np.float32],
        multiplicity: NDArray[np.uint8],
        weight: NDArray[np.float64],
        first: int,
    ) -> None:
        """Disturb some events one by one."""
        its, counts = self.measurement, self.geometry.counts
        for name in self.disturbances:
            if name in OF_OBJECTS:
                changed, many = disturb_objects(name, objects, multiplicity, counts)
                islands = islands_from_objects(
                    changed, many, counts, its.convention, its.center_of_mass_energy
                )
                self._put(name, islands, weight, changed)
            elif name == "in_islands":
                self._put(
                    name, in_islands(self._random(name, first), its.limits, multiplicity, counts), weight
                )

    def _make(self, events: int) -> None:
        """Make events of weight 1 from statistics alone, as many as the slot has."""
        for name, draw in (("gaussian", gaussian), ("noise", noise)):
            if name in self.disturbances:
                for first, last in self._chunks(0, events):
                    cells = draw(self._random(name, first), self.measurement.limits, last - first)
                    self._put(name, cells, np.ones(last - first))

    def _shuffle(self, islands: Islands, weight: NDArray[np.float64]) -> None:
        """Deal cells anew; a new event is made of many, so that each gets their mean weight."""
        if not len(islands):
            return
        matrices = shuffled(self._random("shuffled", 0), expand(islands))
        for first, last in self._chunks(0, len(matrices)):
            self._put("shuffled", matrices[first:last], np.full(last - first, weight.mean()))

    def _random(self, name: str, first: int) -> np.random.Generator:
        return generator_of(self.measurement.seed, name, self.slot.channel, self.slot.index, first)

    def _chunks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut rows where the store's chunks end, so that none is decoded twice."""
        chunk = self.geometry.chunk
        for first in range(start - start % chunk, stop, chunk):
            yield max(first, start), min(first + chunk, stop)

    def _put(
        self,
        sample: str,
        events: Islands | NDArray[np.float32],
        weight: NDArray[np.float64],
        objects: NDArray[np.float32] | None = None,
    ) -> None:
        if not len(weight):
            return
        kind = self.measurement.score.kind
        error = self.network.scores(events, (kind,), self.measurement.score.add_divergence)[kind]
        if broken := int(np.count_nonzero(~np.isfinite(error))):
            raise ProcessingError(
                f"channel '{self.slot.channel}', slot {self.slot.index}, events '{sample}': {broken} of "
                f"{len(error)} have no finite error; train again with a smaller training.learning_rate"
            )
        values: dict[str, NDArray[Any]] = {ERROR: log10_error(error)}
        if objects is not None:
            pt = objects[:, :, 0].astype(np.float64)
            values |= {"met": pt[:, 0], "m_eff": pt.sum(axis=1)}
        for quantity, its in values.items():
            self.sums[sample, quantity].fill(its, weight=weight)
        self.sums[sample, EVENTS] += len(weight)

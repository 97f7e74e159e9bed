"""What is hidden in a blind test: chosen, drawn and written, and told to the one who seals it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import Kind, Pipeline
from ..errors import ConfigError
from ..progress import Progress
from ..store.catalog import Catalog, Channel
from ..store.layout import SPLITS
from ..store.metadata import open_group
from ..store.order import generator_of
from .draw import choose, deal, factor_of
from .mix import BLIND, mix, on_workers
from .sources import Recipe, Source, SourceSums, count_drawn, smallest_keys, sums_of_slot

if TYPE_CHECKING:
    from distributed import Client

DEFAULT_LIMITS = (0.1, 2.0)
"""Signal events in units of the square root of the background's."""


@dataclass(frozen=True)
class Hiding:
    """What may be hidden."""

    signals: tuple[str, ...] = ()
    """Channels to choose from; all signals of the pipeline where there are none."""
    events: tuple[float, float] | None = None
    """Smallest and largest number of signal events; `DEFAULT_LIMITS` where left out."""
    nothing: float = 0.25
    """Probability that nothing is hidden."""
    into: str = "background"
    """background: pseudo-data from the test events of all backgrounds. data: the data itself."""
    seed: int | None = None
    """None takes one from the operating system, which nobody knows."""

    def __post_init__(self) -> None:
        if not 0 <= self.nothing <= 1:
            raise ConfigError(f"the probability of nothing is {self.nothing:g}; it must be between 0 and 1")
        if self.events and not 1 <= self.events[0] <= self.events[1]:
            raise ConfigError(
                f"the number of signal events goes from {self.events[0]:g} to {self.events[1]:g}; it must "
                "rise, and begin with 1 or more"
            )
        if self.into not in ("background", "data"):
            raise ConfigError(f"a signal can be hidden in 'background' or in 'data', not in '{self.into}'")


def hide(
    pipeline: Pipeline,
    store: Path,
    catalog: Catalog,
    place: Path,
    signals: Sequence[str],
    hiding: Hiding,
    seed: int,
    client: "Client",
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, Any], Catalog]:
    """Choose, draw and write; every signal is treated alike, so that nothing shows which was chosen."""
    geometry = catalog.geometry
    kind: Kind = "data" if hiding.into == "data" else "background"
    base = {
        slot: Recipe("all", 1.0, SPLITS)
        if kind == "data"
        else Recipe("poisson", catalog.scale(slot) / pipeline.splits.test, ("test",))
        for channel in pipeline.channels_of(kind)
        for slot in catalog.slots_of(channel)
    }
    of_signal = {
        slot: Recipe("chosen", catalog.scale(slot) / pipeline.splits.test, ("test",))
        for channel in signals
        for slot in catalog.slots_of(channel)
    }
    every = {**base, **of_signal}
    sum_up = partial(sums_of_slot, store, geometry)
    found = on_workers(client, "summing weights", sum_up, list(every.items()), progress)
    sums = dict(zip(every, found, strict=True))
    by_channel: dict[str, SourceSums] = {}
    for slot, its in sums.items():
        before = by_channel.get(slot.channel, SourceSums(0, 0.0, 0.0, 0))
        by_channel[slot.channel] = before.plus(its)
    expected = sum(
        by_channel[channel].weight for channel in pipeline.channels_of(kind) if channel in by_channel
    )
    limits = _limits(hiding, expected, {name: by_channel[name].drawable for name in signals})
    signal, number = choose(generator_of(seed, "choice"), signals, hiding.nothing, limits)

    most = round(limits[1])
    keys_of_slot = partial(smallest_keys, store, geometry, seed, most)
    pairs = list(of_signal.items())
    keys = zip(of_signal, on_workers(client, "choosing events", keys_of_slot, pairs, progress), strict=True)
    of_chosen = [its for slot, its in keys if slot.channel == signal]
    largest = float(np.sort(np.concatenate(of_chosen))[number - 1]) if number else -np.inf
    sources = [
        Source(slot, recipe, _factor(by_channel[slot.channel], slot.channel), is_signal=False)
        for slot, recipe in base.items()
    ] + [
        Source(slot, recipe, largest_key=largest if slot.channel == signal else -np.inf, is_signal=True)
        for slot, recipe in of_signal.items()
    ]
    count = partial(count_drawn, store, geometry, seed)
    counts = on_workers(client, "counting events", count, [(source,) for source in sources], progress)
    if not sum(counts):
        raise ConfigError(f"no event was drawn: {expected:g} are expected; ingest more files")
    sizes, table = deal(generator_of(seed, "deal"), counts, geometry.slot)
    attributes = dict(open_group(store).attrs)
    slots, hidden = mix(
        store,
        place,
        catalog,
        sources,
        table,
        sizes,
        pipeline.splits,
        seed,
        attributes,
        client,
        progress,
    )
    new = _new_catalog(catalog, pipeline, slots)
    # Simulation stands for the luminosity of the search, and data may have another.
    to_data = pipeline.data_luminosity / pipeline.luminosity if hiding.into == "data" else 1.0
    yields = {name: by_channel[name].weight * to_data for name in signals}
    truth = {
        "signal": signal,
        "events": number,
        "strength": number / yields[signal] if signal and yields[signal] > 0 else None,
        "others": sum(counts) - number,
        "expected_others": expected,
        "negative_weight": {
            name: 1 - its.weight / its.positive
            for name, its in by_channel.items()
            if its.positive > 0 and name not in signals
        },
        "seed": seed,
        "event_numbers": hidden,
    }
    public = {
        "signals": yields,
        "events": list(limits),
        "nothing": hiding.nothing,
        "into": hiding.into,
        "to_data": to_data,
        "blind_events": sum(counts),
    }
    return truth, public, new


def _factor(its: SourceSums, channel: str) -> float:
    return factor_of(its.weight, its.positive, channel)


def _limits(hiding: Hiding, expected: float, available: Mapping[str, int]) -> tuple[float, float]:
    """Say how many signal events there may be; as many as every signal has, at most."""
    low, high = hiding.events or tuple(
        max(1.0, float(np.sqrt(max(expected, 0))) * its) for its in DEFAULT_LIMITS
    )
    fewest = min(available, key=lambda name: available[name])
    if low > available[fewest]:
        raise ConfigError(
            f"at least {low:.0f} signal events are asked for, but {fewest} has {available[fewest]} test "
            "events of positive weight; ask for fewer with --events, or leave it out with --signal"
        )
    return low, min(high, float(available[fewest]))


def _new_catalog(catalog: Catalog, pipeline: Pipeline, slots: Sequence[Any]) -> Catalog:
    data = pipeline.channels_of("data")
    datasets = {each.identity for each in pipeline.datasets if each.kind == "data"}
    left = reduce(lambda found, name: found.without(name), data, catalog)
    return left.changed(
        channels=(*left.channels, Channel(name=BLIND, kind="data")),
        slots=(*left.slots, *slots),
        quarantine=tuple(row for row in left.quarantine if row.dataset not in datasets),
    )

"""Histograms of many slots, added up; what was made of a slot is kept for the next time."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Pipeline, content_hash
from ..ledger import code_of
from ..progress import Progress
from ..store.catalog import Catalog, Slot
from .filling import ERROR, Axes, Filled, add_filled, fill_slot
from .partials import Leaf, Partials
from .reduction import reduce_slots
from .regions import Region
from .score import scored_with

if TYPE_CHECKING:
    from distributed import Client

Kept = Partials[Filled] | None


def fill(
    what: str,
    pipeline: Pipeline,
    store: Path,
    catalog: Catalog,
    slots: Mapping[str, Sequence[Slot]],
    axes: Axes,
    regions: tuple[Region, ...] | None,
    client: "Client",
    progress: Progress,
    partials: Kept,
    tidy: bool = True,
    error: str = ERROR,
    step: str | None = None,
) -> dict[str, Filled]:
    """Fill the histograms of some slots, each set of them (by any name) added up by itself.

    `what`, `client`, `progress`, `partials`, `tidy` and `step` are those of `reduce_slots`, `error` is that
    of `fill_slot`.
    """
    meaning = {
        "axes": {name: repr(axis) for name, axis in axes.items()},
        "regions": None if regions is None else [repr(region) for region in regions],
        "error": error,
    }
    leaves = leaves_of(pipeline, store, catalog, slots, meaning)
    calls = {name: [(slot, catalog.scale(slot)) for slot in its] for name, its in slots.items()}
    function = partial(fill_slot, axes, regions, store, catalog.geometry, error=error)
    step = step or ("spectra" if regions is None else "histogram")
    return reduce_slots(client, what, function, calls, add_filled, progress, partials, leaves, tidy, step)


def leaves_of(
    pipeline: Pipeline,
    store: Path,
    catalog: Catalog,
    slots: Mapping[str, Sequence[Slot]],
    meaning: Any,
) -> dict[str, list[Leaf]]:
    """Give what results of slots are kept by: the slots' rows and errors, the code, and `meaning`."""
    errors = [scored_with(store, catalog), pipeline.score, code_of("score")]
    common = content_hash(meaning, errors, code_of("histogram"))
    return {
        name: [
            Leaf(slot.index, content_hash(common, slot.channel, slot.key, catalog.scale(slot)))
            for slot in its
        ]
        for name, its in slots.items()
    }

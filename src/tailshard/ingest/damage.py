"""Which slots of a store the catalog knows, but which are not all there."""

from pathlib import Path

from ..events.kinematics import QUANTITIES
from ..places import existence
from ..store.catalog import Catalog, read_catalog
from ..store.cells import SLOT_ARRAYS
from ..store.layout import columns, events_group, shard_file


def damage_in_words(store: Path) -> list[str]:
    """Say of a store which slots lack a file, a sentence each."""
    return [
        f"slot {index} of channel '{channel}' is damaged: {what}"
        for (channel, index), what in damaged_slots(store, read_catalog(store)).items()
    ]


def damaged_slots(store: Path, catalog: Catalog) -> dict[tuple[str, int], str]:
    """Find the slots that lack a file, by channel and index, and say what is missing. No file is opened.

    The errors of the events are not looked for: they are the output of a later stage.
    """
    described = columns(catalog.geometry, dict.fromkeys(QUANTITIES, ("", "")))
    dimensions = {name: 1 + len(column.shape) for name, column in described.items() if name != "error"}
    dimensions |= dict.fromkeys(SLOT_ARRAYS, 5)
    is_there = existence(events_group(store))
    absent = {
        (channel.name, name): events_group(store) / channel.name / name
        for channel in catalog.channels
        for name in (*dimensions, "error")
        if not is_there(events_group(store) / channel.name / name / "zarr.json")
    }
    damaged: dict[tuple[str, int], str] = {}
    for slot in catalog.slots:
        if not slot.selected:
            continue
        for name, its_dimensions in dimensions.items():
            array = events_group(store) / slot.channel / name
            shard = shard_file(array, slot.index, its_dimensions)
            if (slot.channel, name) in absent or not is_there(shard):
                damaged[slot.channel, slot.index] = f"{shard} is gone"
                break
        else:
            if (slot.channel, "error") in absent:
                damaged[slot.channel, slot.index] = f"{absent[slot.channel, 'error']} is gone"
    return damaged

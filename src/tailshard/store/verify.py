"""Read everything that the catalog says is there, and name what is not as it should be.

One task for each slot (`check_slot`); metadata and stray files are the driver's. What no catalogued slot
owns is *rubbish*: a kill may leave it, nobody reads it, and ingest overwrites it. It is named, but it is
no fault.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from pydantic import ValidationError

from ..config import Features
from ..errors import TailshardError
from ..places import files_below
from ..progress import Progress, silent
from .catalog import Catalog, Slot, catalog_path, read_catalog
from .cells import SLOT_ARRAYS, SlotArray
from .check_slot import ERROR, ChannelArrays, Fault, check_slot
from .layout import SCORE_PREFIX, SPLITS, Column, Geometry, columns, events_group
from .metadata import open_array
from .tasks import each_slot

if TYPE_CHECKING:
    from distributed import Client

_SCORED_BY = "model"
"""Attribute of the array ``error`` that scoring sets when every slot of the channel has its errors."""


@dataclass(frozen=True)
class Verification:
    """What a store looks like to someone who read all of it."""

    slots: int
    """Slots that were read."""
    events: int
    faults: tuple[Fault, ...]
    """In the order of channels, slots and arrays; empty where all is well."""
    rubbish: tuple[Fault, ...]
    """Files that no catalogued slot owns."""

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return {
            "slots": self.slots,
            "events": self.events,
            "faults": [fault._asdict() for fault in self.faults],
            "rubbish": [fault._asdict() for fault in self.rubbish],
        }


def verify(store: Path, client: "Client", progress: Progress = silent) -> Verification:
    """Read a whole store, and compare it with its catalog.

    Parameters
    ----------
    store
        Folder of the store.
    client
        Dask workers that see it under the same path.
    progress
        Told the number of slots that are done.

    Raises
    ------
    StoreError
        There is no catalog, or it cannot be read: there is nothing to compare with.
    """
    catalog = read_catalog(store)
    arrays, faults = check_arrays(store, catalog)
    features = None
    try:
        features = Features.model_validate(catalog.provenance.get("features"))
    except ValidationError:
        reason = "does not say how the matrices were made, so that they cannot be computed again"
        faults.append(Fault("", None, catalog_path(store).name, reason))
    check = partial(_check_slot_of, store, catalog.geometry, features, arrays)
    for slot, found in each_slot(client, "verify slots", check, catalog.slots, progress):
        faults += [_whole(slot, found)] if isinstance(found, TailshardError) else found
    return Verification(
        len(catalog.slots),
        sum(slot.selected for slot in catalog.slots),
        _sorted(faults, catalog),
        tuple(rubbish(store, catalog)),
    )


def _check_slot_of(
    store: Path,
    geometry: Geometry,
    features: Features | None,
    arrays: Mapping[str, ChannelArrays],
    slot: Slot,
) -> list[Fault]:
    return check_slot(store, geometry, features, arrays[slot.channel], slot)


def _whole(slot: Slot, error: TailshardError) -> Fault:
    return Fault(slot.channel, slot.index, "", str(error))


def _sorted(faults: Sequence[Fault], catalog: Catalog) -> tuple[Fault, ...]:
    places = {channel.name: number for number, channel in enumerate(catalog.channels)}

    def place(fault: Fault) -> tuple[int, int, str]:
        index = -1 if fault.slot is None else fault.slot
        return places.get(fault.channel, -1), index, fault.array

    return tuple(sorted(faults, key=place))


# -- arrays ----------------------------------------------------------------------------------------


def check_arrays(store: Path, catalog: Catalog) -> tuple[dict[str, ChannelArrays], list[Fault]]:
    """Look at the metadata of every array that a channel must have.

    These are the arrays of every store, and whatever kinematic quantities any other channel has.

    Returns
    -------
    arrays, faults
        Channel -> what can be read of it, and what is wrong with the rest.
    """
    group, faults = events_group(store), []
    described = columns(catalog.geometry, {})
    quantities = sorted(
        {
            folder.parent.name
            for channel in catalog.channels
            for folder in (group / channel.name).glob("*/zarr.json")
            if not folder.parent.name.startswith(SCORE_PREFIX)
        }
        - {*described, *SLOT_ARRAYS}
    )
    expected = {**described, **dict.fromkeys(quantities, Column("float32", fill=float("nan")))}
    arrays = {}
    for channel in catalog.channels:
        slots = catalog.slots_of(channel.name)
        length = 1 + max((slot.index for slot in slots), default=-1)
        usable, scored = [], False
        if not (group / channel.name / "zarr.json").is_file():
            faults.append(Fault(channel.name, None, "", "the channel's zarr.json is absent"))
        for name in (*expected, *SLOT_ARRAYS):
            try:
                array = open_array(store, channel.name, name)
                wrong = _unlike(array, expected.get(name, SLOT_ARRAYS.get(name)), catalog.geometry, length)
            except FileNotFoundError:
                wrong = "is absent"
            except Exception as error:  # noqa: BLE001 - damaged metadata can fail anywhere in Zarr
                wrong = f"its metadata cannot be read: {type(error).__name__}: {error}"
            if wrong:
                faults.append(Fault(channel.name, None, name, wrong))
                continue
            usable.append(name)
            scored |= name == ERROR and array.attrs.get(_SCORED_BY) is not None
        arrays[channel.name] = ChannelArrays(tuple(usable), scored)
    return arrays, faults


def _unlike(
    array: "zarr.Array[Any]", column: Column | SlotArray | None, geometry: Geometry, length: int
) -> str:
    """Say how an array differs from what the catalog's geometry asks for."""
    assert column is not None  # nothing else is expected
    found: dict[str, Any] = {
        "type": str(array.dtype),
        "shape of an event": array.shape[1:],
        "chunks": array.chunks,
        "shards": array.shards,
    }
    its: tuple[Any, ...]
    if isinstance(column, SlotArray):
        shape = (len(SPLITS), len(column.entries), geometry.size, geometry.size)
        its, rows = (column.dtype, shape, (1, *shape), None), length
    else:
        chunks = (geometry.chunk if column.streamed else geometry.slot, *column.shape)
        shards = (geometry.slot, *column.shape) if column.streamed else None
        its, rows = (column.dtype, column.shape, chunks, shards), length * geometry.slot
    wanted = dict(zip(found, its, strict=True))
    differences = [
        f"{name} is {found[name]} instead of {wanted[name]}" for name in found if found[name] != wanted[name]
    ]
    if array.shape[0] < rows:
        differences.append(f"has {array.shape[0]} rows, and the catalog's slots need {rows}")
    return "; ".join(differences)


# -- what nobody owns ------------------------------------------------------------------------------


def rubbish(store: Path, catalog: Catalog) -> Iterator[Fault]:
    """Name what lies in a store and belongs to no catalogued slot."""
    group = events_group(store)
    owned = {
        channel.name: {slot.index for slot in catalog.slots_of(channel.name)} for channel in catalog.channels
    }
    named: set[Path] = set()

    def strange(channel: str, slot: int | None, array: str, place: Path, why: str) -> Iterator[Fault]:
        if place not in named:
            named.add(place)
            yield Fault(channel, slot, array, f"{place} {why}")

    for name in files_below(group):
        channel, *below = name.split("/")
        if channel not in owned:
            if name != "zarr.json":
                why = "belongs to no channel of the catalog"
                yield from strange(channel, None, "", group / channel, why)
        elif len(below) > 2 and below[1] == "c":
            array, index = below[0], below[2].partition(".")[0]
            slot = int(index) if index.isdigit() else None
            if slot not in owned[channel]:
                place = group / channel / array / "c" / below[2]
                yield from strange(channel, slot, array, place, "belongs to no catalogued slot")
            elif name.endswith(".partial"):
                yield from strange(channel, slot, array, group / name, "was never finished")

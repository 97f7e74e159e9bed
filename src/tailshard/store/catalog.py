"""Which slots are whole, and what is in them: one JSON file, replaced atomically by one writer.

A slot exists when the catalog says so, and the driver enters it after every array of the slot is
written: all that one ingest has filled in one step, at its end. Until then they are listed in
``pending.json``, for an ingest that dies to be taken up again. Whatever else lies in the store is rubbish
that the next run overwrites.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_core.core_schema import ValidationInfo

from ..checked import dump_checked, load_checked
from ..config import Kind, content_hash
from ..errors import StoreError
from ..ledger import write_atomically
from ..parts import Part
from ..places import remove_file
from .layout import SPLITS, Geometry

CATALOG_VERSION = 2

Number = TypeVar("Number", int, float)


class CutflowStep(NamedTuple):
    """Events left after a cut."""

    name: str
    raw: int
    weighted: float


class Slot(Part):
    """A partition's events, whole in the store."""

    channel: str
    index: int = Field(ge=0)
    """Number of the slot in its channel."""
    dataset: str
    """Identity of the data set."""
    sample: str = ""
    """What the weights were normalised with, the data set where left out; `Catalog.scales` goes by it."""
    url: str
    uuid: str
    content: str = ""
    """What changes when the file is written to again under the same UUID."""
    tree: str
    start: int
    stop: int
    """Entries ``[start, stop)`` of the tree were read."""
    key: str
    """Content key: changes when the file, the entries or anything that made the rows changes."""
    rows: tuple[int, int, int]
    """Rows by split."""
    sum_of_weights: tuple[float, float, float]
    """By split, unscaled."""
    sum_of_squared_weights: tuple[float, float, float]
    """By split, unscaled."""
    cutflow: tuple[CutflowStep, ...] = ()
    runs: tuple[tuple[int, int], ...] = ()
    """Runs and their rows, of collision data."""
    selected: int = Field(ge=0)
    """Events that passed the selection: the sum of the rows."""


class Channel(Part):
    """A sample as figures and tables show it."""

    name: str
    kind: Kind
    label: str = ""


class Quarantined(Part):
    """An input that could not be used."""

    dataset: str
    url: str
    reason: str
    start: int | None = None
    stop: int | None = None
    """Entries, where only a part of the file is bad."""


class Catalog(Part):
    """Everything later steps need to know of a store without reading its arrays."""

    version: int = CATALOG_VERSION
    geometry: Geometry
    channels: tuple[Channel, ...]
    slots: tuple[Slot, ...] = ()
    """Sorted by channel, in the order of `channels`, then by index."""
    quarantine: tuple[Quarantined, ...] = ()
    scales: dict[str, float] = Field(default_factory=dict)
    """Sample -> factor on its weights that makes up for inputs in quarantine; 1 where left out."""
    warnings: tuple[str, ...] = ()
    """What a reader of any number made from this store must know: a sentence each."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    """What made the rows. No times and no host names: equal stores have equal catalogs."""

    @field_validator("slots")
    @classmethod
    def _sort(cls, slots: tuple[Slot, ...], info: ValidationInfo) -> tuple[Slot, ...]:
        order = {channel.name: number for number, channel in enumerate(info.data.get("channels", ()))}
        places = [(slot.channel, slot.index) for slot in slots]
        if unknown := {channel for channel, _ in places} - order.keys():
            raise ValueError(f"slots of unknown channels {sorted(unknown)}")
        if len(set(places)) != len(places):
            raise ValueError("two entries for one slot")
        return tuple(sorted(slots, key=lambda slot: (order[slot.channel], slot.index)))

    def changed(self, **fields: Any) -> Self:
        """Copy with other fields, validated and sorted again."""
        return type(self)(**{**dict(self), **fields})

    def without(self, name: str) -> Self:
        """Copy without a channel and its slots."""
        return self.changed(
            channels=tuple(channel for channel in self.channels if channel.name != name),
            slots=tuple(slot for slot in self.slots if slot.channel != name),
        )

    def channel(self, name: str) -> Channel:
        """Find a channel.

        Raises
        ------
        StoreError
            There is none of that name.
        """
        for channel in self.channels:
            if channel.name == name:
                return channel
        known = ", ".join(channel.name for channel in self.channels)
        raise StoreError(
            f"the store has no channel '{name}', only {known}; "
            "name one of these, or add the channel to the pipeline and run tailshard ingest"
        )

    def slots_of(self, channel: str) -> tuple[Slot, ...]:
        """Slots of a channel, by index.

        Raises
        ------
        StoreError
            There is no such channel.
        """
        self.channel(channel)
        return tuple(slot for slot in self.slots if slot.channel == channel)

    def scale(self, slot: Slot) -> float:
        """Factor on the weights of a slot."""
        return self.scales.get(slot.sample or slot.dataset, 1.0)

    def rows(self, channel: str, split: str | None = None) -> int:
        """Events of a channel in one split, or in all."""
        return sum(sum(_select(slot.rows, split)) for slot in self.slots_of(channel))

    def sum_of_weights(self, channel: str, split: str | None = None) -> float:
        """Scaled sum of weights of a channel in one split, or in all."""
        return sum(
            self.scale(slot) * sum(_select(slot.sum_of_weights, split)) for slot in self.slots_of(channel)
        )

    def sum_of_squared_weights(self, channel: str, split: str | None = None) -> float:
        """Sum of squares of the scaled weights of a channel in one split, or in all."""
        return sum(
            self.scale(slot) ** 2 * sum(_select(slot.sum_of_squared_weights, split))
            for slot in self.slots_of(channel)
        )

    def cutflow(self, channel: str) -> tuple[CutflowStep, ...]:
        """Cutflow of a channel, with scaled weights."""
        raw: dict[str, int] = {}
        weighted: dict[str, float] = {}
        for slot in self.slots_of(channel):
            for step in slot.cutflow:
                raw[step.name] = raw.get(step.name, 0) + step.raw
                weighted[step.name] = weighted.get(step.name, 0.0) + self.scale(slot) * step.weighted
        return tuple(CutflowStep(name, raw[name], weighted[name]) for name in raw)

    def snapshot_id(self, channels: Sequence[str] | None = None) -> str:
        """Hash that changes with any row or weight of some channels (all where left out).

        The order of the names does not matter, and other channels do not either: data that arrives
        for a signal leaves the snapshot of the background as it was.
        """
        names = {channel.name for channel in self.channels} if channels is None else set(channels)
        return content_hash(
            [self.geometry.slot, self.geometry.chunk, list(self.geometry.counts)],
            {
                name: [[slot.index, slot.key, slot.rows, self.scale(slot)] for slot in self.slots_of(name)]
                for name in names
            },
        )


def _select(by_split: tuple[Number, ...], split: str | None) -> tuple[Number, ...]:
    return by_split if split is None else (by_split[SPLITS.index(split)],)


def catalog_path(store: Path) -> Path:
    """File of the catalog of a store."""
    return store / "catalog.json"


def read_catalog(store: Path) -> Catalog:
    """Read the catalog of a store.

    Raises
    ------
    StoreError
        There is none, it is damaged, or another version of tailshard wrote it.
    """
    path = catalog_path(store)
    try:
        content = load_checked(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(
            f"there is no store at {store} ({path.name} is absent); run tailshard ingest"
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} is damaged ({error}); remove {store} and run tailshard ingest") from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != CATALOG_VERSION:
        raise StoreError(
            f"{path} has catalog version {version!r}, this tailshard reads {CATALOG_VERSION}; "
            f"remove {store} and run tailshard ingest, or use the tailshard that wrote it"
        )
    try:
        return Catalog.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in problem["loc"])
        raise StoreError(
            f"{path} is not a catalog of tailshard ({where}: {problem['msg']}); "
            f"remove {store} and run tailshard ingest"
        ) from None


def read_pending(store: Path) -> tuple[Slot, ...]:
    """Slots that an ingest which did not end had filled, and which the catalog does not know yet."""
    try:
        content = load_checked(_pending(store).read_text("utf-8"))
        return tuple(Slot.model_validate(slot) for slot in content["slots"])
    except (OSError, ValueError, KeyError, TypeError):  # then they are filled again
        return ()


def write_pending(store: Path, slots: Sequence[Slot]) -> None:
    """Replace the list of slots that are whole and not in the catalog; without any, remove it."""
    if slots:
        content = [slot.model_dump(mode="json") for slot in slots]
        write_atomically(_pending(store), dump_checked({"slots": content}) + "\n")
    else:
        remove_file(_pending(store))


def _pending(store: Path) -> Path:
    return store / "pending.json"


def write_catalog(store: Path, catalog: Catalog) -> None:
    """Replace the catalog of a store; readers see the old one or the new one, never a mixture."""
    write_atomically(catalog_path(store), dump_checked(catalog.model_dump(mode="json"), 1) + "\n")

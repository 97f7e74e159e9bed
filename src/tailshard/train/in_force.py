"""The model in force: which events it was trained on, and how the next one begins with it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..config import Pipeline
from ..errors import StateError, WorkdirError
from ..ledger import write_atomically
from ..places import copy_file, remove_file
from ..progress import Progress
from ..store.catalog import Catalog, Slot, read_catalog
from .checkpoint import Weights, load_model, weights_of
from .members import MODEL_FILE, all_member_folders, model_hash

PREVIOUS = "previous.pt"
"""File of a network that an unfinished training has begun with."""
_TRAINED_ON = "trained_on.json"


@dataclass(frozen=True)
class TrainedOn:
    """Events that a model has learned from, beside those that it could learn from now."""

    events: int
    """Training events at the time."""
    trained: dict[str, tuple[Slot, ...]]
    """Channel -> slots that were there at the time, and are there still."""
    new: dict[str, tuple[Slot, ...]]
    """Channel -> slots that have come since."""

    @property
    def new_events(self) -> int:
        """Training events that have come since."""
        return _training_events(self.new)

    @property
    def gone_events(self) -> int:
        """Training events that are not there any more."""
        return self.events - _training_events(self.trained)

    @property
    def present_events(self) -> int:
        """Training events that are there now."""
        return _training_events(self.trained) + self.new_events


def _training_events(slots: dict[str, tuple[Slot, ...]]) -> int:
    return sum(slot.rows[0] for its in slots.values() for slot in its)


def note_training(model: Path, store: Path, channels: Sequence[str]) -> None:
    """Write down, beside a model, the events of the store that it has just been trained on."""
    catalog = read_catalog(store)
    content = {
        channel: {
            "events": catalog.rows(channel, "training"),
            "slots": [slot.key for slot in catalog.slots_of(channel)],
        }
        for channel in channels
    }
    write_atomically(model / _TRAINED_ON, json.dumps(content) + "\n")


def events_trained_on(model: Path) -> dict[str, int]:
    """Channel -> training events that a model has learned from; empty where it was not written down."""
    try:
        noted = json.loads((model / _TRAINED_ON).read_text(encoding="utf-8"))
        return {channel: int(its["events"]) for channel, its in noted.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def trained_on(model: Path, catalog: Catalog, channels: Sequence[str]) -> TrainedOn:
    """Compare what a model was trained on with what is in the store now.

    Raises
    ------
    WorkdirError
        It was not written down, or cannot be read.
    """
    path = model / _TRAINED_ON
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        keys = {channel: set(its["slots"]) for channel, its in noted.items()}
        events = sum(its["events"] for its in noted.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkdirError(f"{path} cannot be read ({error}); run 'tailshard train' again") from error
    slots = {channel: catalog.slots_of(channel) for channel in channels}

    def chosen(known: bool) -> dict[str, tuple[Slot, ...]]:
        return {
            channel: tuple(slot for slot in its if (slot.key in keys.get(channel, ())) is known)
            for channel, its in slots.items()
        }

    return TrainedOn(events, chosen(True), chosen(False))


def set_aside(model: Path) -> None:
    """Copy the model in force, every network of it, to where a training that begins with it looks for it."""
    for folder in (*all_member_folders(model), model):
        if (folder / MODEL_FILE).is_file():
            copy_file(folder / MODEL_FILE, folder / PREVIOUS)


def previous_hash(model: Path) -> str | None:
    """Content hash of the network that a training begins with; None where it was not set aside."""
    return model_hash(model / PREVIOUS) if (model / PREVIOUS).is_file() else None


def _forget_previous(model: Path) -> None:
    """Remove what was set aside."""
    for folder in (model, *all_member_folders(model)):
        remove_file(folder / PREVIOUS)


@contextmanager
def beginning(model: Path, warm_start: bool) -> Iterator[None]:
    """Keep the networks that a training begins with until it has ended well; none where it begins anew."""
    if not warm_start:
        _forget_previous(model)
    yield
    _forget_previous(model)


def initial_weights(
    pipeline: Pipeline, catalog: Catalog, path: Path | None, progress: Progress
) -> Weights | None:
    """Read the weights to begin with; None, and a word on it, where a model does not fit."""
    if path is None:
        return None
    try:
        loaded = load_model(path, pipeline.model.name)
    except (WorkdirError, StateError) as error:
        progress(f"Training begins anew: {error}", 0, 0)
        return None
    if (loaded.model, loaded.size) != (pipeline.model, catalog.geometry.size):
        progress(f"Training begins anew: {path} is another network, or of other matrices", 0, 0)
        return None
    return weights_of(loaded.network)

"""Every event's reconstruction error and other scores, written beside its matrix: the score stage.

One Dask task for each slot: it reads the matrices chunk by chunk, lets the network reconstruct them and
writes the slot's scores as one shard each. The array ``error`` is the score that the pipeline chose
(`score.kind`, see `tailshard.train.scores`); histograms take its logarithm. The others are ``score_<kind>``.
Of an ensemble, ``error`` and they are those of the first seed, and ``score_seed_<seed>`` is the error by
each of the networks, that of the first again included.
Chunks, and so the sizes of the
matrix products, follow the slot alone, and a task computes on one thread: errors do not depend on the
number of workers.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ..config import Pipeline, content_hash
from ..errors import StoreError
from ..features.names import PHYSICS_BLOCKS
from ..learning import Score
from ..ledger import code_of
from ..places import existence, remove_tree
from ..progress import Progress, silent
from ..store.catalog import Catalog, Slot, read_catalog
from ..store.layout import SCORE_PREFIX, Column, Geometry, events_group, shard_file
from ..store.metadata import open_array, readable
from ..store.read import ShardReader, open_channel
from ..store.write import create_columns, write_column
from ..train.members import hash_of_all, member_models, model_hash
from .filling import ERROR, require_finite
from .reduction import reduce_slots

if TYPE_CHECKING:
    from distributed import Client

    from ..train.checkpoint import LoadedModel

_ERROR_ALONE = Score()
_NETWORKS_KEPT = 32

MODEL = "model"
"""Attribute of the array ``error``: content hash of the model (of all models of an ensemble) that made it,
once all of it is made."""
MADE_BY = "made_by"
"""Attribute of the array ``error``: hash of models, scores and code that made what is there of it."""


@dataclass(frozen=True)
class Member:
    """One network of an ensemble."""

    path: Path
    digest: str
    """Content hash of the file."""


@dataclass(frozen=True)
class ScoreResult:
    """What the score stage did."""

    model: str
    """Content hash of the model, or of all models of an ensemble."""
    events: dict[str, int]
    """Events that have an error, by channel."""
    slots: dict[str, int]
    """Slots that were ``scored``, and those that were scored already and were ``kept``."""
    events_scored: int
    """Events of the former."""

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return asdict(self)


def score(
    pipeline: Pipeline,
    store: Path,
    model: Path,
    client: "Client",
    progress: Progress = silent,
    anew: bool = False,
) -> ScoreResult:
    """Write the scores of every event that has none by this model into the store.

    Parameters
    ----------
    pipeline
        The search.
    store
        Folder of the store.
    model
        File of the trained model; of an ensemble, of the first seed's, with the others in folders beside it.
    client
        Dask workers that see store and model under the same paths.
    progress
        Told the number of slots that are done.
    anew
        Score every event, also those that have their scores.

    Raises
    ------
    WorkdirError
        There is no trained model.
    StateError
        The model does not fit the store's matrices.
    ProcessingError
        The error of an event is not finite; it names channel and slot.
    StoreError
        The store is absent or damaged.
    ClusterError
        Workers died too often.
    """
    catalog = read_catalog(store)
    digest = model_hash(model)
    members = {
        seed: Member(path, model_hash(path))
        for seed, path in member_models(pipeline.training, model.parent).items()
    }
    of_all = hash_of_all(model, {seed: member.digest for seed, member in members.items()})
    channels = [channel for channel in pipeline.channels if catalog.rows(channel)]
    described = _columns(pipeline.score, tuple(members))
    made_by = content_hash(of_all, pipeline.score, code_of("score"))
    calls: dict[str, list[tuple[Slot]]] = {}
    for channel in channels:
        create_columns(store, channel, catalog.geometry, described)
        arrays = {ERROR: 1, **{name: 1 + len(column.shape) for name, column in described.items()}}
        _begin(store, channel, made_by, list(arrays), anew)
        folder = events_group(store) / channel
        is_there = existence(folder)
        calls[channel] = [
            (slot,)
            for slot in catalog.slots_of(channel)
            if slot.selected
            and not all(is_there(shard_file(folder / name, slot.index, its)) for name, its in arrays.items())
        ]
        if calls[channel]:
            _note(store, channel, **{MODEL: None})
    network, scores = pipeline.model.name, pipeline.score
    function = partial(
        score_slot, model, digest, store, catalog.geometry, scores=scores, members=members, network=network
    )
    found = reduce_slots(client, "scoring", function, calls, _add, progress, step="score")
    for channel in channels:
        _note(store, channel, **{MODEL: of_all})
    scored = sum(map(len, calls.values()))
    slots = {"scored": scored, "kept": sum(bool(slot.selected) for slot in catalog.slots) - scored}
    rows = {channel: catalog.rows(channel) for channel in channels}
    return ScoreResult(of_all, rows, slots, sum(found.values()))


def _begin(store: Path, channel: str, made_by: str, arrays: Sequence[str], anew: bool) -> None:
    """Say that the errors of a channel are not whole, and remove those that something else made."""
    found = _error_array(store, channel).attrs.get(MADE_BY)
    if anew or found != made_by:
        _note(store, channel, **{MODEL: None, MADE_BY: None})
        for name in arrays:
            remove_tree(events_group(store) / channel / name / "c")
        _note(store, channel, **{MADE_BY: made_by})


def score_slot(
    model: Path,
    digest: str,
    store: Path,
    geometry: Geometry,
    slot: Slot,
    scores: Score = _ERROR_ALONE,
    members: Mapping[int, Member] = MappingProxyType({}),
    network: str = "",
) -> int:
    """Write the scores of one slot and give the number of its events.

    Every chunk of matrices is read once, for all networks. `network` is that of `load_model`.

    Raises
    ------
    ProcessingError
        The error of an event is not finite.
    """
    events = sum(slot.rows)
    if not events:  # the slot has no shards at all
        return 0
    parts: list[dict[str, NDArray[np.float32]]] = []
    first, reader = geometry.first_row(slot.index), ShardReader(store)
    with one_thread():
        first_network = load_once(model, digest, network)
        for start in range(0, events, geometry.chunk):
            stop = min(start + geometry.chunk, events)
            islands = reader.read_islands(slot.channel, first + start, first + stop)
            found = first_network.scores(islands, scores.kinds, scores.add_divergence)
            part = {_array_of(kind, scores): values for kind, values in found.items()}
            for seed, member in members.items():
                if member.digest == digest:
                    part[seed_array(seed)] = part[ERROR]
                else:
                    its = load_once(member.path, member.digest, network)
                    error = its.scores(islands, (scores.kind,), scores.add_divergence)[scores.kind]
                    part[seed_array(seed)] = error
            parts.append(part)
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts])
        what = f"score '{scores.kind if name == ERROR else name.removeprefix(SCORE_PREFIX)}'"
        require_finite(what, values, slot, "train again with a smaller training.learning_rate")
        write_column(store, slot.channel, name, slot.index, geometry, values)
    return events


def seed_array(seed: int) -> str:
    """Name of the array of the errors by one network of an ensemble."""
    return f"{SCORE_PREFIX}seed_{seed}"


def _array_of(kind: str, scores: Score) -> str:
    return ERROR if kind == scores.kind else SCORE_PREFIX + kind


def _columns(scores: Score, seeds: Sequence[int]) -> dict[str, Column]:
    """Describe the arrays of the scores beside the error."""
    described = {}
    for kind in scores.kinds[1:]:
        column = Column("float32", long_name=f"anomaly score '{kind}'", fill=float("nan"))
        if kind == "blocks":
            label = f"relative error by kind of cell: {', '.join(PHYSICS_BLOCKS)}"
            column = column._replace(long_name=label, dimensions=("block",), shape=(len(PHYSICS_BLOCKS),))
        described[SCORE_PREFIX + kind] = column
    for seed in seeds:
        label = f"reconstruction error by the network of seed {seed}"
        described[seed_array(seed)] = Column("float32", long_name=label, fill=float("nan"))
    return described


def scored_with(store: Path, catalog: Catalog) -> str:
    """Content hash of the model that made every error in the store.

    Raises
    ------
    StoreError
        There are no events, or some channel has not been scored, or by another model than the others.
    """
    models = {
        channel.name: _scored_by(store, channel.name)
        for channel in catalog.channels
        if catalog.rows(channel.name)
    }
    if not models:
        raise StoreError(f"there are no events in {store}; see the quarantine in 'tailshard status'")
    if len(set(models.values())) != 1 or None in models.values():
        raise StoreError(
            f"the events in {store} have not all been scored by one model (channel: model is "
            f"{', '.join(f'{channel}: {model}' for channel, model in models.items())}); run 'tailshard score'"
        )
    return str(next(iter(models.values())))


def _scored_by(store: Path, channel: str) -> Any:
    with readable(store):
        return open_channel(store, channel)[ERROR].attrs.get(MODEL)


def unscored(store: Path, digest: str, seeds: Sequence[int] = ()) -> str | None:
    """Say what lacks an error by these models, or None where every event has one. No error is read."""
    catalog = read_catalog(store)
    try:
        if scored_with(store, catalog) != digest:
            return "the errors are those of another model"
    except StoreError as error:
        return str(error)
    names = (ERROR, *(seed_array(seed) for seed in seeds))
    is_there = existence(events_group(store))
    for slot in catalog.slots:
        arrays = [events_group(store) / slot.channel / name for name in names]
        if slot.selected and not all(is_there(shard_file(array, slot.index, 1)) for array in arrays):
            return f"slot {slot.index} of channel '{slot.channel}' has no errors"
    return None


def _add(events: list[int]) -> int:
    return sum(events)


def _error_array(store: Path, channel: str) -> "zarr.Array[Any]":
    with readable(store):
        return open_array(store, channel, ERROR, "r+")


def _note(store: Path, channel: str, **noted: str | None) -> None:
    attributes = _error_array(store, channel).attrs
    if any(attributes.get(name) != value for name, value in noted.items()):
        attributes.put({**attributes, **noted})


@lru_cache(maxsize=_NETWORKS_KEPT)
def load_once(model: Path, digest: str, network: str) -> "LoadedModel":  # noqa: ARG001 (the hash is a key)
    """Load a model; a worker keeps the last ones. `network` is that of `load_model`."""
    from ..train.checkpoint import load_model

    return load_model(model, network)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: the sums inside a matrix product then have one order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

"""A blind test in a folder of its own: a work directory in which the search goes on, not knowing.

::

    pipeline.yaml    the search, with the channel "blind" in place of its data
    blind.json       what everybody may know: the digest of the truth, what may be hidden
    sealed.json      the truth
    store/  model/  ledger.json ...   a work directory, as 'tailshard run pipeline.yaml' knows it

Channels of simulation are not copied but linked, where the file system can: what later stages change has
files of its own.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from secrets import randbits
from typing import TYPE_CHECKING, Any

import yaml

from ..config import Dataset, Pipeline
from ..errors import ConfigError
from ..ingest.stage import IngestResult
from ..ledger import provenance
from ..pipeline import Search
from ..places import copy_file, files_below, is_remote
from ..progress import Progress
from ..search.histogram import write_json
from ..search.score import MODEL
from ..stages import outputs_of
from ..store.catalog import Catalog, read_catalog, write_catalog
from ..store.check_slot import ERROR
from ..store.export import aside
from ..store.layout import SCORE_PREFIX, events_group
from ..store.metadata import open_array
from .hide import Hiding, hide
from .mix import BLIND
from .seal import SEALED, seal

if TYPE_CHECKING:
    from distributed import Client

PUBLIC = "blind.json"
PIPELINE_FILE = "pipeline.yaml"


def make_blind(
    search: Search,
    out: Path,
    hiding: Hiding,
    workers: Callable[[], AbstractContextManager["Client"]],
    progress: Progress,
    has_network: bool,
) -> dict[str, Any]:
    """Make a blind test of a search whose store is current.

    Parameters
    ----------
    search
        Where simulation, and data, come from; it stays as it is.
    out
        Folder of the test, which must not be there.
    hiding
        What may be hidden.
    workers, progress
        Starts Dask workers, and who is told of their progress: which says nothing of the choice.
    has_network
        The search's network is current: the test goes on with it. Otherwise the test trains its own.

    Returns
    -------
    dict
        What ``blind.json`` holds, and where things are.

    Raises
    ------
    ConfigError
        There is no such signal, too little of it, or the pipeline cannot be tested like this.
    StoreError
        The store is damaged, or `out` is there already.
    ClusterError
        Workers died too often.
    """
    pipeline, catalog = search.pipeline, read_catalog(search.store)
    signals = _signals(pipeline, catalog, hiding)
    out = out.absolute()
    blinded = _blinded(pipeline, out, hiding)
    seed = randbits(63) if hiding.seed is None else hiding.seed
    with aside(out) as place:
        (place / "store").mkdir()
        with workers() as client:
            truth, public, new = hide(
                pipeline, search.store, catalog, place / "store", signals, hiding, seed, client, progress
            )
        for channel in new.channels:
            if channel.name != BLIND:
                _link_channel(search.store, place / "store", channel.name)
        write_catalog(place / "store", new)
        if has_network:
            for name in files_below(search.model):
                if not name.startswith("ray/"):
                    copy_file(search.model / name, place / "model" / name)
        digest = seal(place, truth)
        told = f"Blind test: what was hidden is sealed with the SHA-256 {digest}."
        blinded = blinded.model_copy(update={"description": f"{pipeline.description} {told}".strip()})
        content = yaml.safe_dump(blinded.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (place / PIPELINE_FILE).write_text(content, encoding="utf-8")
        public = {"pipeline": pipeline.name, "sha256": digest, **public, "made": provenance()}
        write_json(place / PUBLIC, public)
    _enter(Search(blinded, out), new, search.ledger.entries["train"].result if has_network else None)
    return {"folder": str(out), "pipeline_file": str(out / PIPELINE_FILE), **public}


def _signals(pipeline: Pipeline, catalog: Catalog, hiding: Hiding) -> tuple[str, ...]:
    """Say what can be hidden, and refuse what cannot be."""
    known = [name for name in pipeline.channels_of("signal") if catalog.rows(name, "test")]
    if unknown := [name for name in hiding.signals if name not in known]:
        raise ConfigError(
            f"{', '.join(unknown)}: no signal with test events; choose from {', '.join(known) or 'none'}"
        )
    if not known:
        raise ConfigError(f"'{pipeline.name}' names no signal with test events, so there is nothing to hide")
    if BLIND in pipeline.channels:
        raise ConfigError(f"'{pipeline.name}' has a channel '{BLIND}' already: it is a blind test itself")
    data = pipeline.channels_of("data")
    if hiding.into == "data" and not any(catalog.rows(name) for name in data):
        raise ConfigError(f"'{pipeline.name}' has no data to hide a signal in; hide it in the background")
    if learned := [name for name in pipeline.training_channels if name in data]:
        raise ConfigError(
            f"the network learns from {', '.join(learned)}, which a blind test replaces; name other "
            "training.channels"
        )
    return tuple(name for name in known if not hiding.signals or name in hiding.signals)


def _blinded(pipeline: Pipeline, out: Path, hiding: Hiding) -> Pipeline:
    """Give the same search with the channel "blind" in place of its data."""
    luminosity = next((each.luminosity for each in pipeline.datasets if each.luminosity), None)
    blind = Dataset(
        channel=BLIND,
        kind="data",
        dialect=pipeline.datasets[0].dialect,
        files=(str(out / SEALED),),
        luminosity=luminosity if hiding.into == "data" else None,
    )
    root = pipeline.data_root
    return Pipeline.model_validate(
        {
            **{name: getattr(pipeline, name) for name in type(pipeline).model_fields},
            "name": f"{pipeline.name}-blind",
            "data_root": root if root is None or "://" in root else str(Path(root).expanduser().absolute()),
            "datasets": (*(each for each in pipeline.datasets if each.kind != "data"), blind),
        }
    )


def _link_channel(store: Path, place: Path, channel: str) -> None:
    """Link the shards of a channel, and copy its metadata; scores are left to the next scoring."""
    source, target = (events_group(each) / channel for each in (store, place))
    for name in files_below(source):
        is_score = name.startswith((SCORE_PREFIX, f"{ERROR}/c/"))
        if is_score or name.endswith(".partial"):
            continue
        path, new = source / name, target / name
        if path.name == "zarr.json" or is_remote(path):
            copy_file(path, new)
            continue
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, new)
        except OSError:
            copy_file(path, new)
    errors = open_array(place, channel, ERROR, "r+").attrs
    errors.put({name: value for name, value in errors.items() if name != MODEL})


def _enter(made: Search, catalog: Catalog, trained: Mapping[str, Any] | None) -> None:
    """Enter store and model into the new ledger, so that nothing of them is made again."""
    files = made.listing()
    result = IngestResult(catalog, 0, len(catalog.slots), 0).to_dict()
    made.ledger.record("ingest", made.parts("ingest", files), result, outputs_of("ingest", made.workdir))
    if trained is not None:
        result = {**trained, "path": str(made.model / "model.pt")}
        made.ledger.record("train", made.parts("train", files), result, outputs_of("train", made.workdir))

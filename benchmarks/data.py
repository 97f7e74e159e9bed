"""The events of all measurements, made once and kept in ``work/events-N``.

Toy collisions as a detector sees them: 55 % Z+jets, 35 % top pairs, 10 % dibosons, and more objects than the
toys' own skim leaves, as busy ntuples have: an event with k objects is kept with probability
``_FLOOR + exp(k - 8)``, which gives 4.8 objects an event (2, 5 and 8 at 5, 50 and 95 %)::

    ntuples/*.root   the layout of the 2025 release, for ingest
    objects.root     selected objects by type, for what begins with a plain ROOT file
    met.npy ...      the same as flat arrays
    rmm.npy          their matrices, dense
    store-<codec>/   tailshard's store of the ntuples
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from tailshard.config import Pipeline
from tailshard.events.objects import Objects, select_objects
from tailshard.features import rmm
from tailshard.features.blocks import Block, block_from_awkward, blocks_from_objects, pad_objects
from tailshard.ntuples.dialects import dialect
from tailshard.toys.detector import detect
from tailshard.toys.processes import DIBOSON, TTBAR, ZJETS, Process

from .harness import Contestant, Settings

SHARES = {ZJETS: 0.55, TTBAR: 0.35, DIBOSON: 0.10}
TYPES = ("light_jets", "b_jets", "electrons", "muons")
COMPONENTS = ("pt", "eta", "phi", "mass")
COUNTS = (6, 6, 5, 5)
SIZE = 1 + sum(COUNTS)
CELLS = SIZE * SIZE
ROW = 4 * CELLS
"""Bytes of a dense matrix."""

_FLOOR = 0.017
_RAW = 100_000
_WRITE = 16_384
_SEED = 1
_VERSION = "1"


def folder(settings: Settings, events: int | None = None) -> Path:
    """Where the data of so many events is; `settings.events` where left out."""
    return settings.work / f"events-{events or settings.events}"


# -- making it -----------------------------------------------------------------------------------------


def once(path: Path, make: Callable[[Path], object]) -> Path:
    """Make a file or folder under another name first, so that what bears the name is whole."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"unfinished-{path.name}")
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.unlink(missing_ok=True)
        make(unfinished)
        unfinished.replace(path)
    return path


def ntuples(settings: Settings, events: int | None = None) -> list[Path]:
    """ROOT files in the layout of the 2025 release, one for each process."""
    events = events or settings.events
    place = once(folder(settings, events) / f"ntuples-{_VERSION}", lambda path: _write_ntuples(path, events))
    return [place / f"{process.name}.root" for process in SHARES]


def _write_ntuples(place: Path, events: int) -> None:
    place.mkdir()
    for process, share in SHARES.items():
        count = round(share * events)
        with uproot.recreate(place / f"{process.name}.root", compression=uproot.ZLIB(1)) as file:
            tree = None
            for first, seen in _generated(process, count):
                columns = {**{name: seen[name] for name in seen.fields}, **_variables(process, first, seen)}
                if tree is None:
                    types = {name: ak.type(column).content for name, column in columns.items()}
                    tree = file.mktree(
                        "analysis",
                        types,
                        counter_name=lambda objects: f"{objects}_n",
                        field_name=lambda objects, name: f"{objects}_{name}",
                    )
                tree.extend(columns)


def _generated(process: Process, count: int) -> Iterator[tuple[int, ak.Array]]:
    """Give exactly `count` events in pieces, each with the number of its first event."""
    first, number, kept = 0, 0, []
    while first < count:
        rng = np.random.default_rng([_SEED, process.channel, number])
        number += 1
        seen, _ = detect(rng, process.generate(rng, _RAW))
        objects = ak.to_numpy(ak.sum(seen.lep.isTightID, axis=1) + ak.sum(seen.jet.jvt, axis=1))
        chance = np.where(objects > 0, _FLOOR + np.exp(objects - 8.0), 0)
        kept.append(seen[rng.random(len(objects)) < chance])
        if (enough := sum(map(len, kept))) >= min(_WRITE, count - first):
            piece = ak.concatenate(kept)[: count - first]
            yield first, piece
            first, kept = first + enough, []


def _variables(process: Process, first: int, seen: ak.Array) -> dict[str, NDArray[Any]]:
    """Give variables of the event that the release has and the detector does not make."""
    number = np.arange(first, first + len(seen), dtype=np.uint64) + np.uint64(1)
    rng = np.random.default_rng([_SEED, process.channel, 7, first])
    factors = {
        f"ScaleFactor_{name}": rng.normal(1, 0.03, len(seen)).astype(np.float32)
        for name in ("PILEUP", "ELE", "MUON", "LepTRIGGER", "FTAG", "JVT")
    }
    constants = {
        "mcWeight": np.float32(1),
        "xsec": np.float32(process.cross_section),
        "kfac": np.float32(process.k_factor),
        "filteff": np.float32(process.filter_efficiency),
        "sum_of_weights": 1e6,
        "channelNumber": np.uint32(process.channel),
        "runNumber": np.uint32(284500),
    }
    columns = {name: np.full(len(seen), value) for name, value in constants.items()}
    return {**factors, **columns, "eventNumber": number}


def every_event(events: ak.Array, objects: Objects) -> NDArray[np.bool_]:  # noqa: ARG001 (tailshard's call)
    """Keep them all: the selection of the measurements."""
    return np.ones(len(events), np.bool_)


def pipeline(settings: Settings, events: int | None = None, *overrides: tuple[str, Any]) -> Pipeline:
    """Describe a search in the ntuples; overrides are pairs such as ("store.slot", 1024)."""
    content: dict[str, Any] = {
        "name": "benchmark",
        "luminosity": 1,
        "data_root": str(ntuples(settings, events)[0].parent),
        "datasets": [
            {
                "channel": process.name,
                "kind": "background",
                "dialect": "atlas-2025",
                "files": f"{process.name}.root",
            }
            for process in SHARES
        ],
        "selection": {"name": f"{__name__}:every_event"},
        "store": {"slot": settings.slot, "chunk": settings.chunk},
        "splits": {"training": 0.98, "validation": 0.01, "test": 0.01},
        "training": {"batch_size": settings.batch, "shuffle_chunks": max(1, 131_072 // settings.chunk)},
    }
    for key, value in overrides:
        part, name = key.split(".")
        content.setdefault(part, {})[name] = value
    return Pipeline.model_validate(content)


def _select(branches: ak.Array, search: Pipeline) -> tuple[ak.Array, Objects]:
    release = dialect("atlas-2025")
    events = release.canonical(branches, "background", search.selection)
    jets = release.b_tag_threshold(search.selection.jets)
    return events, select_objects(events, search.selection, jets)


def read_selected(file: Path, search: Pipeline) -> tuple[ak.Array, Objects]:
    """Read a whole ntuple with uproot, and select its objects."""
    branches = dialect("atlas-2025").branches("background", search.selection)
    with uproot.open(file) as opened:
        return _select(opened["analysis"].arrays(list(branches)), search)


def as_blocks(objects: Objects) -> list[Block]:
    """Give the types in the order of the matrix."""
    return [block_from_awkward(getattr(objects, name)) for name in TYPES]


def arrays(settings: Settings) -> Path:
    """Folder of the flat arrays, float32, the three processes mixed."""
    return once(folder(settings) / f"arrays-{_VERSION}", lambda path: _write_arrays(path, settings))


def _write_arrays(place: Path, settings: Settings) -> None:
    place.mkdir()
    search = pipeline(settings)
    parts = []
    for file in ntuples(settings):
        events, objects = read_selected(file, search)
        parts.append(
            pad_objects(ak.to_numpy(events.met), ak.to_numpy(events.met_phi), as_blocks(objects), COUNTS)
        )
    padded, multiplicity = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.random.default_rng(_SEED).permutation(len(padded))
    padded, multiplicity = padded[order], multiplicity[order]
    np.save(place / "objects.npy", padded)
    np.save(place / "multiplicity.npy", multiplicity)
    met, met_phi, blocks = blocks_from_objects(padded, multiplicity, COUNTS)
    np.save(place / "met.npy", met)
    np.save(place / "met_phi.npy", met_phi)
    for name, block in zip(TYPES, blocks, strict=True):
        for part, values in block._asdict().items():
            np.save(place / f"{name}_{part}.npy", values)


@cache
def events_as_blocks(settings: Settings) -> tuple[NDArray[Any], NDArray[Any], list[Block]]:
    """Read met, met_phi and the objects by type into memory."""
    place = arrays(settings)
    blocks = [Block(*(np.load(place / f"{name}_{part}.npy") for part in Block._fields)) for name in TYPES]
    return np.load(place / "met.npy"), np.load(place / "met_phi.npy"), blocks


def cut(blocks: Iterable[Block], start: int, stop: int) -> list[Block]:
    """Give the events ``[start, stop)`` of blocks, with offsets that begin at 0."""
    result = []
    for block in blocks:
        edges = block.offsets[start : stop + 1]
        begin, end = edges[0], edges[-1]
        result.append(Block(edges - begin, *(component[begin:end] for component in block[1:])))
    return result


def objects_file(settings: Settings) -> Path:
    """ROOT file of the selected objects."""
    return once(folder(settings) / f"objects-{_VERSION}.root", lambda path: _write_objects(path, settings))


def _write_objects(path: Path, settings: Settings) -> None:
    met, met_phi, blocks = events_as_blocks(settings)
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        kinds = {name: np.dtype([(part, "f4") for part in COMPONENTS]) for name in TYPES}
        tree = None
        for start in range(0, len(met), 65_536):
            columns: dict[str, Any] = {
                "met": met[start : start + 65_536],
                "met_phi": met_phi[start : start + 65_536],
            }
            for name, block in zip(kinds, cut(blocks, start, min(start + 65_536, len(met))), strict=True):
                flat = ak.zip(dict(zip(COMPONENTS, block[1:], strict=True)))
                columns[name] = ak.unflatten(flat, np.diff(block.offsets))
            if tree is None:
                types = {name: ak.type(ak.Array(column)).content for name, column in columns.items()}
                tree = file.mktree(
                    "events",
                    types,
                    counter_name=lambda objects: f"{objects}_n",
                    field_name=lambda objects, name: f"{objects}_{name}",
                )
            tree.extend(columns)


def dense(settings: Settings) -> Path:
    """File of the matrices, (events, 23, 23) float32, as the store has them."""
    return once(folder(settings) / f"rmm-{_VERSION}.npy", lambda path: _write_dense(path, settings))


def _write_dense(path: Path, settings: Settings) -> None:
    met, met_phi, blocks = events_as_blocks(settings)
    out = np.lib.format.open_memmap(path, "w+", np.float32, (len(met), SIZE, SIZE))
    for start in range(0, len(met), settings.batch):
        stop = min(start + settings.batch, len(met))
        rmm.rmm(met[start:stop], met_phi[start:stop], cut(blocks, start, stop), COUNTS, out=out[start:stop])
    out.flush()


# -- tailshard's store -----------------------------------------------------------------------------------

CODECS = ("zstd", "islands")


def with_each_codec(run: Callable[..., Any], unit: str) -> tuple[Contestant, ...]:
    """Let tailshard compete with every codec, on one core and on two."""
    return tuple(
        Contestant(
            f"tailshard, {codec}, {workers} {unit}{'s' * (workers > 1)}",
            partial(run, codec=codec, workers=workers),
            cores=workers,
        )
        for codec in CODECS
        for workers in (1, 2)
    )


@contextmanager
def dask_workers(workers: int) -> Iterator[Any]:
    """Start Dask workers as tailshard does."""
    from tailshard.launch import DaskProfile, LocalProfile, dask_client

    with dask_client(LocalProfile(dask=DaskProfile(workers=workers, dashboard="127.0.0.1:0"))) as client:
        yield client


def store(settings: Settings, codec: str, events: int | None = None) -> Path:
    """Tailshard's store of the ntuples."""
    from tailshard.ingest.stage import ingest

    def make(path: Path) -> None:
        with dask_workers(len(os.sched_getaffinity(0))) as client:
            ingest(pipeline(settings, events, ("store.codec", codec)), path, client)

    name = f"store-{codec}-{settings.slot}-{settings.chunk}-{_VERSION}"
    return once(folder(settings, events) / name, make)


# -- the page cache ------------------------------------------------------------------------------------


def forget(settings: Settings, path: Path) -> None:
    """Drop a file, or all files of a folder, from the page cache where the settings ask for it."""
    if not settings.cold:
        return
    for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())

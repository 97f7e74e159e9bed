"""(b) From ntuples to something a network can be trained on; limit: reading the files."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from tailshard.config import Multiplicities
from tailshard.features.names import cell_names
from tailshard.features.rmm import rmm

from . import data, root_ways
from .data import CELLS, COUNTS
from .harness import Contestant, Figure, Goal, Run, Settings, Table

READING = "reading the files"
PANDAS = "uproot + pandas + HDF5"


def prepare(settings: Settings) -> None:
    data.ntuples(settings)


def tables(settings: Settings) -> list[Table]:  # noqa: ARG001 (the same for all)
    ours = data.with_each_codec(tailshard_ingest, "worker")
    return [
        Table(
            "Ntuples to a store of matrices",
            (
                Figure("rate", "M events/s", 1e-6),
                Figure("peak", "peak memory, MB", 1e-6, False),
                Figure("bytes", "bytes/event on disk", compared=False),
                Figure("differing", "differing cells, ppm", 1e6, False),
            ),
            (
                Contestant(READING, reading),
                *ours,
                Contestant(PANDAS, pandas_hdf5, needs=("pandas", "tables")),
                Contestant(
                    f"{PANDAS}, compressed",
                    partial(pandas_hdf5, compressed=True),
                    needs=("pandas", "tables"),
                ),
                Contestant("RDataFrame + AsNumpy + npy", root_as_numpy, needs=("ROOT",)),
            ),
            baseline=READING,
            goals=tuple(
                Goal(f"tailshard, islands, {workers} worker{'s' * (workers > 1)}", "rate", PANDAS, least=10)
                for workers in (1, 2)
            ),
            repeats=3,
        )
    ]


def _timed(settings: Settings, place: Path, write: Callable[[], None]) -> Mapping[str, float]:
    """Write into an empty place and look at what is there."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for file in data.ntuples(settings):
        data.forget(settings, file)
    begin = time.perf_counter()
    write()
    seconds = time.perf_counter() - begin
    size = data.bytes_of(place)
    shutil.rmtree(place)
    return {"rate": settings.events / seconds, "bytes": size / settings.events}


def _place(settings: Settings, name: str) -> Path:
    return settings.work / "scratch" / name


@contextmanager
def reading(settings: Settings) -> Iterator[Run]:
    buffer = memoryview(bytearray(8 << 20))

    def read() -> None:
        for path in data.ntuples(settings):
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    def run() -> Mapping[str, float]:
        for path in data.ntuples(settings):
            data.forget(settings, path)
        begin = time.perf_counter()
        read()
        return {"rate": settings.events / (time.perf_counter() - begin)}

    yield run


@contextmanager
def tailshard_ingest(settings: Settings, codec: str, workers: int) -> Iterator[Run]:
    """The stage with its catalog, all arrays and statistics; workers are started before."""
    from tailshard.ingest.stage import ingest

    search = data.pipeline(settings, None, ("store.codec", codec))
    place = _place(settings, f"ingest-{codec}-{workers}")
    with data.dask_workers(workers) as client:

        def write() -> None:
            result = ingest(search, place / "store", client, strict=True)
            stored = sum(result.catalog.rows(name) for name in search.channels)
            if stored != settings.events:
                raise RuntimeError(f"{stored} of {settings.events} events were stored")

        def run() -> Mapping[str, float]:
            return _timed(settings, place, write)

        run()
        yield run


@contextmanager
def pandas_hdf5(settings: Settings, compressed: bool = False) -> Iterator[Run]:
    """A file at a time; objects are selected as in tailshard, and its kernel makes the matrices."""
    import pandas as pd

    search = data.pipeline(settings)
    place = _place(settings, f"pandas-{'compressed' if compressed else 'plain'}")
    names = [name for row in cell_names(Multiplicities()) for name in row]
    how: dict[str, Any] = {"complib": "blosc:zstd", "complevel": 1} if compressed else {}

    def write() -> None:
        for file in data.ntuples(settings):
            events, objects = data.read_selected(file, search)
            matrices = rmm(
                ak.to_numpy(events.met), ak.to_numpy(events.met_phi), data.as_blocks(objects), COUNTS
            )
            frame = pd.DataFrame(matrices.reshape(-1, CELLS), columns=names)
            frame.to_hdf(place / f"{file.stem}.h5", key="mini", mode="w", **how)

    yield lambda: _timed(settings, place, write)


@contextmanager
def root_as_numpy(settings: Settings) -> Iterator[Run]:
    """The optimised loop, not 529 Defines; matrices leave ROOT through AsNumpy."""
    root = root_ways.declare_loop()
    place = _place(settings, "root")

    def matrices(file: Path, most: int = 0) -> NDArray[np.float32]:
        frame = root.RDataFrame("analysis", str(file))
        frame = frame.Range(most) if most else frame
        frame = frame.Define("rmm", f"loop::from_ntuple({', '.join(root_ways.NTUPLE_COLUMNS)})")
        return np.stack([np.asarray(row) for row in frame.AsNumpy(["rmm"])["rmm"]])

    def write() -> None:
        for file in data.ntuples(settings):
            np.save(place / f"{file.stem}.npy", matrices(file))

    first = data.ntuples(settings)[0]
    found = matrices(first, 2000)
    events, objects = data.read_selected(first, data.pipeline(settings))
    met, met_phi, blocks = ak.to_numpy(events.met), ak.to_numpy(events.met_phi), data.as_blocks(objects)
    number = len(found)
    wanted = rmm(met[:number], met_phi[:number], data.cut(blocks, 0, number), COUNTS, convention="thesis")
    differ = float(np.mean(~np.isclose(found, wanted.reshape(-1, CELLS), rtol=1e-4, atol=1e-6)))
    yield lambda: {**_timed(settings, place, write), "differing": differ}

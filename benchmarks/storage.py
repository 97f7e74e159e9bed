"""(c) Matrices on disk: bytes, writing, scanning, and chunks in random order; limit: zeroing the same bytes.

A format is a class with ``write(path, matrices)``, ``open(path)`` and ``read(opened, start, stop)``; one more
is a few lines and an entry of `FORMATS`. Every format writes the same events, and reads `settings.chunk` rows
at a time into memory.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import data
from .data import CELLS, COUNTS, SIZE
from .harness import Contestant, Figure, Goal, Run, Settings, Table, clock

Matrices = NDArray[np.float32]
MOST = 262_144
"""Events at most: the rates do not depend on more."""
LIMIT = "zeroing the same bytes"
SEQUENTIAL = "reading a dense file in order"


class Format(Protocol):
    """A way to keep matrices."""

    def write(self, path: Path, matrices: Matrices, settings: Settings) -> None: ...

    def open(self, path: Path) -> Any: ...

    def read(self, opened: Any, start: int, stop: int) -> Matrices: ...


# -- formats -------------------------------------------------------------------------------------------


class Npy:
    """np.save, read through a memory map."""

    def write(self, path: Path, matrices: Matrices, settings: Settings) -> None:  # noqa: ARG002
        with path.open("wb") as file:
            np.save(file, matrices)

    def open(self, path: Path) -> Any:
        return np.load(path, mmap_mode="r")

    def read(self, opened: Any, start: int, stop: int) -> Matrices:
        return np.array(opened[start:stop])


@dataclass(frozen=True)
class Zarr:
    """A sharded Zarr v3 array, as tailshard's store has it."""

    compressor: str
    pipeline: str = "python"

    def write(self, path: Path, matrices: Matrices, settings: Settings) -> None:
        import zarr

        self._configure(zarr)
        array = zarr.create_array(
            path,
            shape=(-(-len(matrices) // settings.slot) * settings.slot, SIZE, SIZE),
            dtype="float32",
            chunks=(settings.chunk, SIZE, SIZE),
            shards=(settings.slot, SIZE, SIZE),
            compressors=self._codec(zarr.codecs),
            fill_value=0,
        )
        for start in range(0, len(matrices), settings.slot):
            stop = min(start + settings.slot, len(matrices))
            array[start:stop] = matrices[start:stop]

    def open(self, path: Path) -> Any:
        import zarr

        self._configure(zarr)
        return zarr.open_array(path, mode="r")

    def read(self, opened: Any, start: int, stop: int) -> Matrices:
        return np.asarray(opened[start:stop])

    def _configure(self, zarr: Any) -> None:
        if self.pipeline == "zarrs":
            import zarrs  # noqa: F401 (registers the pipeline)

            zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})

    def _codec(self, codecs: Any) -> Any:
        if self.compressor == "lz4":
            return codecs.BloscCodec(cname="lz4", clevel=5, shuffle="noshuffle")
        return codecs.ZstdCodec(level=1, checksum=True)


@dataclass(frozen=True)
class Hdf5:
    """One chunked data set."""

    filter: str

    def write(self, path: Path, matrices: Matrices, settings: Settings) -> None:
        import h5py

        if self.filter == "gzip":
            how: dict[str, Any] = {"compression": "gzip", "compression_opts": 4}
        else:
            import hdf5plugin

            how = {
                "compression": hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.NOSHUFFLE)
            }
        chunks = (min(settings.chunk, len(matrices)), SIZE, SIZE)
        with h5py.File(path, "w") as file:
            file.create_dataset("rmm", data=matrices, chunks=chunks, **how)

    def open(self, path: Path) -> Any:
        import h5py
        import hdf5plugin  # noqa: F401 (registers the filters)

        return h5py.File(path)["rmm"]

    def read(self, opened: Any, start: int, stop: int) -> Matrices:
        return np.asarray(opened[start:stop])


@dataclass(frozen=True)
class Parquet:
    """One column of fixed-size lists, a row group for each chunk."""

    compression: str

    def write(self, path: Path, matrices: Matrices, settings: Settings) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([("rmm", pa.list_(pa.float32(), CELLS))])
        with pq.ParquetWriter(path, schema, compression=self.compression, use_dictionary=False) as writer:
            for start in range(0, len(matrices), settings.chunk):
                cells = pa.array(matrices[start : start + settings.chunk].reshape(-1))
                column = pa.FixedSizeListArray.from_arrays(cells, CELLS)
                writer.write_table(pa.table([column], schema=schema))

    def open(self, path: Path) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(path, memory_map=True)

    def read(self, opened: Any, start: int, stop: int) -> Matrices:
        group = opened.metadata.row_group(0).num_rows
        table = opened.read_row_group(start // group, use_threads=False)
        cells = table.column("rmm").combine_chunks().flatten().to_numpy()
        return cells.reshape(-1, SIZE, SIZE)[: stop - start]


@dataclass(frozen=True)
class TailshardStore:
    """The matrices in tailshard's store with one of its codecs, through its own writer and reader.

    Objects and multiplicities are made before the clock starts; the small columns are written, too, but not
    counted in the bytes, which are those of the matrices alone.
    """

    codec: str
    channel: str = "events"

    def geometry(self, settings: Settings) -> Any:
        from tailshard.store.layout import Geometry

        return Geometry(settings.slot, settings.chunk, tuple(COUNTS), self.codec)

    def write(self, path: Path, matrices: Matrices, settings: Settings) -> None:
        objects, multiplicity = _objects(settings)
        self.create(path, len(matrices), settings)
        for index, start in enumerate(range(0, len(matrices), settings.slot)):
            stop = min(start + settings.slot, len(matrices))
            self.fill(
                path, index, matrices[start:stop], objects[start:stop], multiplicity[start:stop], settings
            )

    def create(self, path: Path, events: int, settings: Settings) -> None:
        from tailshard.store.write import create_arrays

        # Here a store is told its codec.
        create_arrays(path, {self.channel: -(-events // settings.slot)}, self.geometry(settings), {})

    def fill(
        self,
        path: Path,
        index: int,
        matrices: Any,
        objects: Matrices,
        multiplicity: NDArray[np.uint8],
        settings: Settings,
    ) -> None:
        from tailshard.store.write import write_slot

        number = np.arange(len(matrices), dtype=np.uint64)
        columns = {
            "rmm": matrices,
            "objects": objects,
            "multiplicity": multiplicity,
            "weight": np.ones(len(matrices)),
            **dict.fromkeys(("run", "event_number", "entry"), number),
        }
        split = np.ones(len(matrices), np.uint8)
        write_slot(path, self.channel, index, self.geometry(settings), columns, split)

    def open(self, path: Path) -> Any:
        from tailshard.store.read import ShardReader

        return ShardReader(path)

    def read(self, opened: Any, start: int, stop: int) -> Matrices:
        from tailshard.features.islands import expand

        if self.codec == "islands":
            return expand(opened.read_islands(self.channel, start, stop))
        return opened.read(self.channel, "rmm", start, stop)


def _objects(settings: Settings) -> tuple[Matrices, NDArray[np.uint8]]:
    place = data.arrays(settings)
    return np.load(place / "objects.npy", mmap_mode="r"), np.load(place / "multiplicity.npy", mmap_mode="r")


FORMATS: tuple[tuple[str, Format, tuple[str, ...], str], ...] = (
    *((f"tailshard store, {codec}", TailshardStore(codec), (), "") for codec in data.CODECS),
    ("Zarr, zstd, Python pipeline", Zarr("zstd"), (), ""),
    ("Zarr, zstd, Rust pipeline", Zarr("zstd", "zarrs"), ("zarrs",), ""),
    ("Zarr, lz4, Python pipeline", Zarr("lz4"), (), ""),
    ("Zarr, lz4, Rust pipeline", Zarr("lz4", "zarrs"), ("zarrs",), ""),
    ("npy, memory map", Npy(), (), ""),
    ("HDF5, gzip 4", Hdf5("gzip"), ("h5py", "hdf5plugin"), ""),
    ("HDF5, blosc zstd 1", Hdf5("blosc"), ("h5py", "hdf5plugin"), ""),
    ("Parquet, zstd", Parquet("zstd"), (), ""),
    ("Parquet, lz4", Parquet("lz4"), (), ""),
)
"""Name, format, packages it needs, why it cannot be measured."""


# -- contestants ---------------------------------------------------------------------------------------


def prepare(settings: Settings) -> None:
    data.dense(settings)


def tables(settings: Settings) -> list[Table]:  # noqa: ARG001 (the same for all)
    formats = tuple(
        Contestant(name, partial(stored, form=form), needs=needs, missing=missing)
        for name, form, needs, missing in FORMATS
    )
    slots = data.with_each_codec(finished_slots, "core")
    return [
        Table(
            "Matrices on disk",
            (
                Figure("bytes", "bytes/event", compared=False),
                Figure("write", "write, M events/s", 1e-6),
                Figure("scan", "scan, M events/s", 1e-6),
                Figure("shuffled", "random chunks, M events/s", 1e-6),
            ),
            (Contestant(LIMIT, zeroing), Contestant(SEQUENTIAL, sequential), *formats),
            baseline=LIMIT,
            goals=(
                Goal("tailshard store, islands", "bytes", most=132),
                Goal("tailshard store, islands", "scan", "Zarr, zstd, Rust pipeline", least=1),
            ),
        ),
        Table(
            "Four-vectors to finished slots: matrices, statistics, all arrays",
            (Figure("write", "M events/s", 1e-6),),
            (Contestant(LIMIT, zeroing), *slots),
            baseline=LIMIT,
            goals=(Goal("tailshard, islands, 2 cores", "write", least=1.5e6),),
        ),
    ]


def _events(settings: Settings) -> int:
    """Whole chunks, so that every read of every format is of one size."""
    return min(settings.events, MOST) // settings.chunk * settings.chunk


@contextmanager
def zeroing(settings: Settings) -> Iterator[Run]:
    out = np.ones((settings.batch, SIZE, SIZE), np.float32)
    times = max(1, _events(settings) // settings.batch)

    def work() -> None:
        for _ in range(times):
            out.fill(0)

    def run() -> Mapping[str, float]:
        rate = times * settings.batch / clock(work)
        return {"bytes": data.ROW, "write": rate, "scan": rate, "shuffled": rate}

    yield run


@contextmanager
def sequential(settings: Settings) -> Iterator[Run]:
    path = data.dense(settings)
    buffer = memoryview(bytearray(settings.chunk * data.ROW))
    events = _events(settings)

    def work() -> None:
        with path.open("rb", buffering=0) as file:
            for _ in range(0, events, settings.chunk):
                file.readinto(buffer)

    def run() -> Mapping[str, float]:
        data.forget(settings, path)
        return {"scan": events / clock(work)}

    yield run


@contextmanager
def stored(settings: Settings, form: Format) -> Iterator[Run]:
    events = _events(settings)
    matrices = np.array(np.load(data.dense(settings), mmap_mode="r")[:events])
    label = "-".join([type(form).__name__, *(str(part) for part in vars(form).values() if part)])
    place = settings.work / "scratch" / f"storage-{label}"
    path = place / "matrices"
    starts = np.arange(0, events, settings.chunk)
    order = np.random.default_rng(1).permutation(starts)

    def read(rows: NDArray[np.int64]) -> Callable[[], None]:
        def work() -> None:
            opened = form.open(path)
            for start in rows:
                form.read(opened, int(start), int(start) + settings.chunk)

        return work

    def run() -> Mapping[str, float]:
        empty()
        figures = {"write": events / clock(lambda: form.write(path, matrices, settings))}
        data.forget(settings, place)
        figures["scan"] = events / clock(read(starts))
        data.forget(settings, place)
        figures["shuffled"] = events / clock(read(order))
        matrices_alone = next(path.rglob("rmm")) if isinstance(form, TailshardStore) else path
        return {**figures, "bytes": data.bytes_of(matrices_alone) / events}

    def empty() -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)

    empty()
    few = matrices[: settings.slot]
    form.write(path, few, settings)
    opened = form.open(path)
    for start in range(0, len(few) // settings.chunk * settings.chunk, settings.chunk):
        if not np.array_equal(
            form.read(opened, start, start + settings.chunk), few[start : start + settings.chunk]
        ):
            raise RuntimeError(f"rows {start} to {start + settings.chunk} are not read as they were written")
    del opened
    try:
        yield run
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def finished_slots(settings: Settings, codec: str, workers: int) -> Iterator[Run]:
    """Processes that take slots in turns, as ingest's workers do."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    form = TailshardStore(codec)
    place = settings.work / "scratch" / f"slots-{codec}-{workers}"
    starts = range(0, settings.events, settings.slot)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:

        def work() -> None:
            form.create(place, settings.events, settings)
            list(pool.map(partial(_fill_slot, settings, form, place), starts))

        def run() -> Mapping[str, float]:
            shutil.rmtree(place, ignore_errors=True)
            return {"write": settings.events / clock(work)}

        run()
        try:
            yield run
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _fill_slot(settings: Settings, form: TailshardStore, place: Path, start: int) -> None:
    from tailshard.features.rmm import islands_from_objects

    objects, multiplicity = (part[start : start + settings.slot] for part in _objects(settings))
    objects = np.array(objects)
    matrices = islands_from_objects(objects, np.array(multiplicity), COUNTS)
    form.fill(place, start // settings.slot, matrices, objects, np.array(multiplicity), settings)

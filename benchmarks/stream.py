"""(d) Shuffled batches as torch tensors; limit: zeroing the batch.

An epoch is timed from its beginning, start-up included. A loader that is too slow for an epoch is stopped
after `settings.seconds`, and timed from its first batch; so are Mosaic and litdata, which read copies of at
most `ROWS` events and would otherwise be charged for starting alone.

The rivals shuffle as far as they can: megasets and the pool of chunks mix what is in memory at once, the
others all rows.
"""

import importlib.util
import os
import shutil
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from . import data
from .data import CELLS, SIZE
from .harness import Contestant, Figure, Goal, Run, Settings, Table

MEGASETS = 10
POOL = 131_072
"""Events that are shuffled together by tailshard and by the pool of chunks."""
ROWS = 131_072
"""Events at most for loaders that read row by row."""
LIMIT = "zeroing the batch"
MEGASET = "thesis: np.load of megasets"
CHUNK_POOL = "memory map, pool of chunks, DataLoader"

Batches = Callable[[], Iterable[Any]]
"""Begins an epoch; gives batches of dense matrices whose length is their number of events."""


def prepare(settings: Settings) -> None:
    for codec in data.CODECS:
        data.store(settings, codec)
    megasets(settings)
    for package, make in (
        ("streaming", mosaic_folder),
        ("litdata", litdata_folder),
        ("pyarrow", parquet_folder),
    ):
        if importlib.util.find_spec(package):
            make(settings)


def tables(settings: Settings) -> list[Table]:  # noqa: ARG001 (the same for all)
    figures = (
        Figure("rate", "M events/s", 1e-6),
        Figure("bytes", "GB/s of matrices", 1e-9, False),
        Figure("peak", "peak memory, MB", 1e-6, False),
    )
    tailshard = {codec: partial(tailshard_stream, codec=codec) for codec in data.CODECS}
    one = (
        Contestant(LIMIT, zeroing),
        Contestant("zeroing, 277 MB of batches", partial(zeroing, rows=POOL)),
        *(Contestant(f"tailshard, {codec}", make) for codec, make in tailshard.items()),
        Contestant(MEGASET, thesis),
        Contestant("Zarr, zstd, Rust pipeline, pool of chunks", zarr_pool, needs=("zarrs",)),
        Contestant("memory map, random rows, DataLoader", random_rows),
        Contestant(CHUNK_POOL, chunk_pool),
        Contestant("memory map, row by row, DataLoader", row_by_row),
        Contestant("mosaicml-streaming", mosaic, needs=("streaming",)),
        Contestant("litdata", litdata, needs=("litdata",)),
        Contestant("Ray Data, Parquet, local shuffle", ray_data, fresh=True),
    )
    two = (
        Contestant(LIMIT, partial(both, make=zeroing), cores=2),
        *(
            Contestant(f"tailshard, {codec}", partial(both, make=make), cores=2)
            for codec, make in tailshard.items()
        ),
        Contestant(MEGASET, partial(both, make=thesis), cores=2),
        Contestant(CHUNK_POOL, partial(both, make=chunk_pool), cores=2),
        Contestant("memory map, random rows, 2 loader workers", partial(random_rows, workers=2), cores=2),
        Contestant("memory map, row by row, 2 loader workers", partial(row_by_row, workers=2), cores=2),
        Contestant("mosaicml-streaming, 2 loader workers", partial(mosaic, workers=2), 2, ("streaming",)),
        Contestant("litdata, 2 loader workers", partial(litdata, workers=2), 2, ("litdata",)),
        Contestant("Ray Data, Parquet, local shuffle", ray_data, 2, fresh=True),
    )
    of_one = (
        Goal("tailshard, islands", "rate", LIMIT, least=0.40),
        Goal("tailshard, islands", "rate", MEGASET, least=6),
        Goal("tailshard, islands", "rate", "Zarr, zstd, Rust pipeline, pool of chunks", least=6),
        Goal("tailshard, islands", "rate", CHUNK_POOL, least=2.5),
    )
    of_two = (Goal("tailshard, islands", "bytes", least=8e9),)
    return [
        Table("Shuffled stream, one process", figures, one, LIMIT, of_one),
        Table("Shuffled stream, two processes", figures, two, LIMIT, of_two),
    ]


def timed(settings: Settings, batches: Batches, from_first: bool = False) -> Mapping[str, float]:
    """Consume an epoch, or as much of it as there is time for."""
    import torch

    begin = time.perf_counter()
    first = first_events = total = 0.0
    finished = False
    epoch = iter(batches())
    try:
        while time.perf_counter() - begin < settings.seconds + first:
            batch = next(epoch, None)
            if batch is None:
                finished = True
                break
            tensor = batch if isinstance(batch, torch.Tensor) else torch.from_numpy(batch)
            if tensor.dtype != torch.float32 or tensor[0].numel() != CELLS:
                raise RuntimeError(f"a batch is {tensor.dtype} of {tuple(tensor.shape)}")
            total += len(tensor)
            if not first:
                first, first_events = time.perf_counter() - begin, len(tensor)
    finally:
        if close := getattr(epoch, "close", None):
            close()
    seconds = time.perf_counter() - begin
    if (finished and not from_first) or total == first_events:
        rate = total / seconds
    else:
        rate = (total - first_events) / (seconds - first)
    return {"rate": rate, "bytes": rate * data.ROW}


def _warm(run: Run) -> Run:
    run()
    return run


# -- tailshard, the limit, and two processes of either ---------------------------------------------------


@contextmanager
def zeroing(settings: Settings, rank: int = 0, ranks: int = 1, rows: int = 0) -> Iterator[Run]:  # noqa: ARG001
    buffer = np.ones((max(rows, settings.batch), SIZE, SIZE), np.float32)
    pieces = [buffer[at : at + settings.batch] for at in range(0, len(buffer), settings.batch)]

    def epoch() -> Iterator[Any]:
        for number in range(max(1, settings.events // settings.batch // ranks)):
            batch = pieces[number % len(pieces)]
            batch.fill(0)
            yield batch

    yield _warm(lambda: timed(settings, epoch))


@contextmanager
def tailshard_stream(settings: Settings, codec: str, rank: int = 0, ranks: int = 1) -> Iterator[Run]:
    from tailshard.features.islands import expand
    from tailshard.store.stream import Stream

    place = data.store(settings, codec)
    channels = [process.name for process in data.SHARES]
    window = max(1, POOL // settings.chunk)
    # Two ranks make batches of twice the size together, as two GPUs would.
    batch = settings.batch * ranks
    stream = Stream(place, channels, "training", batch, 1, rank=rank, ranks=ranks, window_chunks=window)
    numbers = iter(range(1_000_000))
    room = np.empty((2 * settings.batch, SIZE, SIZE), np.float32)

    def epoch() -> Iterator[Any]:
        with closing(stream.epoch(next(numbers))) as batches:
            for each in batches:
                if rows := len(each.islands):
                    yield expand(each.islands, out=room if rows <= len(room) else None)

    def run() -> Mapping[str, float]:
        data.forget(settings, place)
        return timed(settings, epoch)

    yield _warm(run)


@contextmanager
def both(settings: Settings, make: Callable[..., Any]) -> Iterator[Run]:
    """Two processes, each on a core of its own, begin together; the rates add up."""
    context = get_context("spawn")
    pipes, children = [], []
    for rank, core in enumerate(sorted(os.sched_getaffinity(0))[:2]):
        mine, theirs = context.Pipe()
        child = context.Process(target=_half, args=(theirs, core, make, settings, rank))
        child.start()
        theirs.close()
        pipes.append(mine)
        children.append(child)
    for pipe in pipes:
        pipe.recv()

    def run() -> Mapping[str, float]:
        for pipe in pipes:
            pipe.send(True)
        halves = [pipe.recv() for pipe in pipes]
        return {key: sum(half[key] for half in halves) for key in ("rate", "bytes")}

    try:
        yield run
    finally:
        for pipe in pipes:
            pipe.send(False)
        for child in children:
            child.join()


def _half(pipe: Any, core: int, make: Callable[..., Any], settings: Settings, rank: int) -> None:
    import torch

    os.sched_setaffinity(0, [core])
    torch.set_num_threads(1)
    with make(settings, rank=rank, ranks=2) as run:
        pipe.send("ready")
        while pipe.recv():
            pipe.send(run())


# -- the thesis's way --------------------------------------------------------------------------------------


def megasets(settings: Settings) -> list[Path]:
    """Ten files of equal size; the rows of the dense file are mixed already."""

    def make(path: Path) -> None:
        path.mkdir()
        matrices = np.load(data.dense(settings), mmap_mode="r")
        for number, part in enumerate(np.array_split(matrices, MEGASETS)):
            np.save(path / f"{number}.npy", part)

    place = data.once(data.folder(settings) / "megasets", make)
    return [place / f"{number}.npy" for number in range(MEGASETS)]


@contextmanager
def thesis(settings: Settings, rank: int = 0, ranks: int = 1) -> Iterator[Run]:
    files = megasets(settings)[rank::ranks]
    rng = np.random.default_rng(1)

    def epoch() -> Iterator[Any]:
        for file in rng.permutation(len(files)):
            matrices = np.load(files[file])
            order = rng.permutation(len(matrices))
            for start in range(0, len(order), settings.batch):
                yield matrices[order[start : start + settings.batch]]

    def run() -> Mapping[str, float]:
        for file in files:
            data.forget(settings, file)
        return timed(settings, epoch)

    yield _warm(run)


# -- memory maps -------------------------------------------------------------------------------------------


class Rows:
    """A torch data set over a memory map; takes single rows, or a list of them at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._matrices = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._matrices)

    def __getitem__(self, row: int) -> Any:
        return np.array(self._matrices[row])

    def take(self, rows: list[int]) -> Any:
        import torch

        return torch.from_numpy(np.take(self._matrices, np.asarray(rows), axis=0))

    def __reduce__(self) -> Any:
        return Rows, (self._path,)


class RowsAtOnce(Rows):
    """The same, giving whole batches."""

    def __getitems__(self, rows: list[int]) -> Any:
        return self.take(rows)

    def __reduce__(self) -> Any:
        return RowsAtOnce, (self._path,)


def _as_it_is(batch: Any) -> Any:
    return batch


def _loader(dataset: Any, batch: int, workers: int = 0, **how: Any) -> Any:
    from torch.utils.data import DataLoader

    if workers:
        how |= {"num_workers": workers, "persistent_workers": True}
    return DataLoader(dataset, batch_size=batch, **how)


@contextmanager
def random_rows(settings: Settings, workers: int = 0) -> Iterator[Run]:
    path = data.dense(settings)
    loader = _loader(RowsAtOnce(path), settings.batch, workers, shuffle=True, collate_fn=_as_it_is)

    def run() -> Mapping[str, float]:
        data.forget(settings, path)
        return timed(settings, lambda: loader)

    yield _warm(run)


@contextmanager
def row_by_row(settings: Settings, workers: int = 0) -> Iterator[Run]:
    path = data.dense(settings)
    loader = _loader(Rows(path), settings.batch, workers, shuffle=True)

    def run() -> Mapping[str, float]:
        data.forget(settings, path)
        return timed(settings, lambda: loader)

    yield _warm(run)


def pooled(settings: Settings, starts: Iterable[int], read: Callable[[int, Any], None]) -> Iterator[Any]:
    """Shuffle a pool of chunks that ``read(start, out)`` reads, and cut batches out of it."""
    starts = list(starts)
    rng = np.random.default_rng(1)
    order = rng.permutation(len(starts))
    per_pool = min(max(1, POOL // settings.chunk), len(starts))
    pool = np.empty((per_pool * settings.chunk, SIZE, SIZE), np.float32)
    for begin in range(0, len(order), per_pool):
        chunks = order[begin : begin + per_pool]
        for place, chunk in enumerate(chunks):
            read(starts[chunk], pool[place * settings.chunk : (place + 1) * settings.chunk])
        rows = rng.permutation(len(chunks) * settings.chunk)
        for start in range(0, len(rows), settings.batch):
            yield pool[rows[start : start + settings.batch]]


@contextmanager
def chunk_pool(settings: Settings, rank: int = 0, ranks: int = 1) -> Iterator[Run]:
    """The strongest plain rival: sequential reads, rows shuffled in memory, batches copied once."""
    from torch.utils.data import IterableDataset

    path = data.dense(settings)
    matrices = np.load(path, mmap_mode="r")
    starts = range(0, len(matrices) - settings.chunk + 1, settings.chunk)[rank::ranks]

    def read(start: int, out: Any) -> None:
        out[...] = matrices[start : start + settings.chunk]

    class Pool(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Any]:
            return pooled(settings, starts, read)

    loader = _loader(Pool(), None, collate_fn=_as_it_is)  # type: ignore[arg-type]

    def run() -> Mapping[str, float]:
        data.forget(settings, path)
        return timed(settings, lambda: loader)

    yield _warm(run)


@contextmanager
def zarr_pool(settings: Settings) -> Iterator[Run]:
    """The same pool, filled from tailshard's zstd store by Zarr's Rust pipeline."""
    import zarr
    import zarrs  # noqa: F401 (registers the pipeline)

    from tailshard.store.catalog import read_catalog
    from tailshard.store.layout import events_group

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    place = data.store(settings, "zstd")
    catalog = read_catalog(place)
    group = zarr.open_group(events_group(place), mode="r")
    arrays = {channel.name: group[f"{channel.name}/rmm"] for channel in catalog.channels}
    chunks = []
    for slot in catalog.slots:
        start, stop = catalog.geometry.split_range(slot, "training")
        chunks += [(slot.channel, at) for at in range(start, stop - settings.chunk + 1, settings.chunk)]

    def read(number: int, out: Any) -> None:
        channel, start = chunks[number]
        out[...] = arrays[channel][start : start + settings.chunk]

    def run() -> Mapping[str, float]:
        data.forget(settings, place)
        return timed(settings, lambda: pooled(settings, range(len(chunks)), read))

    yield _warm(run)


# -- other loaders -----------------------------------------------------------------------------------------


def _rows(settings: Settings) -> Any:
    return np.load(data.dense(settings), mmap_mode="r")[:ROWS]


def mosaic_classes() -> tuple[Any, Any]:
    """Give MDSWriter and StreamingDataset without the package's own top, which wants torchvision."""
    if "streaming" not in sys.modules:
        spec = importlib.util.find_spec("streaming")
        assert spec is not None
        package = types.ModuleType("streaming")
        package.__path__ = list(spec.submodule_search_locations or ())
        sys.modules["streaming"] = package
    from streaming.base import MDSWriter, StreamingDataset

    return MDSWriter, StreamingDataset


def mosaic_folder(settings: Settings) -> Path:
    def make(path: Path) -> None:
        writer, _ = mosaic_classes()
        with writer(out=str(path), columns={"rmm": "ndarray:float32:23,23"}, size_limit=1 << 27) as out:
            for row in _rows(settings):
                out.write({"rmm": np.asarray(row)})

    return data.once(data.folder(settings) / f"mosaic-{ROWS}", make)


@contextmanager
def mosaic(settings: Settings, workers: int = 0) -> Iterator[Run]:
    _, dataset_class = mosaic_classes()
    place = mosaic_folder(settings)
    dataset = dataset_class(local=str(place), shuffle=True, batch_size=settings.batch, shuffle_seed=1)
    loader = _loader(dataset, settings.batch, workers)

    def run() -> Mapping[str, float]:
        data.forget(settings, place)
        return timed(settings, lambda: (each["rmm"] for each in loader), from_first=True)

    yield run


def _row_of(number: int, rows: Any) -> Any:
    return {"rmm": np.array(rows[number])}


def litdata_folder(settings: Settings) -> Path:
    def make(path: Path) -> None:
        from litdata import optimize

        optimize(
            fn=partial(_row_of, rows=_rows(settings)),
            inputs=list(range(len(_rows(settings)))),
            output_dir=str(path),
            chunk_bytes="64MB",
            num_workers=1,
        )

    return data.once(data.folder(settings) / f"litdata-{ROWS}", make)


@contextmanager
def litdata(settings: Settings, workers: int = 0) -> Iterator[Run]:
    from litdata import StreamingDataLoader, StreamingDataset

    place = litdata_folder(settings)
    dataset = StreamingDataset(str(place), shuffle=True, drop_last=False)
    loader = StreamingDataLoader(dataset, batch_size=settings.batch, num_workers=workers)

    def run() -> Mapping[str, float]:
        data.forget(settings, place)
        return timed(settings, lambda: (each["rmm"] for each in loader), from_first=True)

    yield run


def parquet_folder(settings: Settings) -> Path:
    def make(path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path.mkdir()
        for number, part in enumerate(np.array_split(np.load(data.dense(settings), mmap_mode="r"), 8)):
            cells = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(part))
            pq.write_table(pa.table({"rmm": cells}), path / f"{number}.parquet", compression="zstd")

    return data.once(data.folder(settings) / "parquet-whole", make)


@contextmanager
def ray_data(settings: Settings) -> Iterator[Run]:
    import ray

    place = parquet_folder(settings)
    # The path of a socket must be short.
    scratch = Path("/tmp") / f"tailshard-ray-{os.getpid()}"
    ray.init(
        num_cpus=len(os.sched_getaffinity(0)),
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=2 << 30,
        _temp_dir=str(scratch),
    )
    dataset = ray.data.read_parquet(str(place))

    def epoch() -> Iterator[Any]:
        for each in dataset.iter_torch_batches(
            batch_size=settings.batch, local_shuffle_buffer_size=4 * settings.batch, local_shuffle_seed=1
        ):
            yield each["rmm"]

    def run() -> Mapping[str, float]:
        data.forget(settings, place)
        return timed(settings, epoch)

    try:
        yield run
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)

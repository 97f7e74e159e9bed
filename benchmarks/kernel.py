"""(a) The matrix: from arrays in memory, and from a ROOT file; one convention ("thesis") for all."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from tailshard.features import rmm
from tailshard.features.blocks import Block, pad_objects
from tailshard.features.reference import rmm_reference

from . import data, root_ways
from .data import CELLS, COUNTS, SIZE
from .harness import Contestant, Figure, Goal, Run, Settings, Table, clock

Matrices = NDArray[np.float32]
CHECKED = 2000
"""Events whose matrices are compared with the reference."""
LARGE = 131_072
"""Matrices of an output that no cache holds; a batch may stay in the last level of it."""


def prepare(settings: Settings) -> None:
    data.objects_file(settings)


def tables(settings: Settings) -> list[Table]:  # noqa: ARG001 (the same for all)
    figures = (Figure("rate", "M events/s", 1e-6), Figure("differing", "differing cells, ppm", 1e6, False))
    from_arrays = (
        Contestant("zeroing the same bytes", zeroing),
        Contestant("tailshard", tailshard_kernel),
        Contestant("zeroing, 277 MB of output", partial(zeroing, rows=LARGE)),
        Contestant(
            "tailshard, 277 MB of output",
            partial(tailshard_kernel, rows=LARGE),
            baseline="zeroing, 277 MB of output",
        ),
        Contestant("tailshard, convention chekanov", partial(tailshard_kernel, convention="chekanov")),
        Contestant("tailshard, two threads", partial(tailshard_kernel, threads=2), cores=2),
        Contestant("NumPy, padded (n, 22, 22)", padded_numpy),
        Contestant("awkward + vector", awkward_vector),
    )
    from_file = (
        Contestant("tailshard + uproot", tailshard_from_file),
        Contestant("tailshard + uproot, two threads", partial(tailshard_from_file, threads=2), cores=2),
        Contestant("ROOT, 529 Defines", root_defines, needs=("ROOT",)),
        Contestant("ROOT, one C++ Foreach", root_foreach, needs=("ROOT",)),
        Contestant(
            "ROOT, one C++ Foreach, two threads", partial(root_foreach, threads=2), cores=2, needs=("ROOT",)
        ),
    )
    return [
        Table(
            "Matrices from arrays in memory",
            figures,
            from_arrays,
            baseline="zeroing the same bytes",
            goals=(
                Goal("tailshard", "rate", "zeroing the same bytes", least=0.45),
                Goal("tailshard", "rate", "NumPy, padded (n, 22, 22)", least=20),
            ),
        ),
        Table(
            "Matrices from a ROOT file of selected objects",
            (*figures, Figure("fixed", "compiling, s", compared=False)),
            from_file,
            baseline="ROOT, one C++ Foreach",
            goals=(
                Goal("tailshard + uproot", "rate", "ROOT, 529 Defines", least=300),
                Goal("tailshard + uproot", "rate", "ROOT, one C++ Foreach", least=2),
                Goal(
                    "tailshard + uproot, two threads", "rate", "ROOT, one C++ Foreach, two threads", least=2
                ),
            ),
        ),
    ]


@cache
def reference(settings: Settings) -> NDArray[np.float64]:
    """Matrices of the first events in plain Python, which shares no code with any contestant."""
    met, met_phi, blocks = data.events_as_blocks(settings)
    number = min(CHECKED, len(met))
    first = data.cut(blocks, 0, number)
    return rmm_reference(met[:number], met_phi[:number], first, COUNTS, convention="thesis")


def differing(found: Matrices, settings: Settings) -> float:
    """Share of the cells that differ from the reference by more than 1e-4 of their size."""
    number = min(len(found), len(reference(settings)))
    wanted = reference(settings)[:number].reshape(-1, CELLS)
    found = found[:number].reshape(-1, CELLS)
    # An energy below 1 MeV or an angle below 1e-6 is rounding of the float32 inputs.
    return float(np.mean(~np.isclose(found, wanted, rtol=1e-4, atol=1e-6)))


# -- from arrays in memory ------------------------------------------------------------------------------


@contextmanager
def zeroing(settings: Settings, rows: int = 0) -> Iterator[Run]:
    """Zero a batch, or that many rows in pieces of a batch, as often as the others write it."""
    out = np.ones((max(rows, settings.batch), SIZE, SIZE), np.float32)
    pieces = [out[at : at + settings.batch] for at in range(0, len(out), settings.batch)]
    times = max(len(pieces), settings.events // settings.batch)

    def work() -> None:
        for number in range(times):
            pieces[number % len(pieces)].fill(0)

    yield lambda: {"rate": times * settings.batch / clock(work)}


Batches = list[tuple[NDArray[Any], NDArray[Any], list[Block]]]


def in_batches(settings: Settings) -> Batches:
    met, met_phi, blocks = data.events_as_blocks(settings)
    edges = range(0, len(met) - settings.batch + 1, settings.batch)
    return [
        (
            met[a : a + settings.batch],
            met_phi[a : a + settings.batch],
            data.cut(blocks, a, a + settings.batch),
        )
        for a in edges
    ]


@contextmanager
def tailshard_kernel(
    settings: Settings, convention: str = "thesis", threads: int = 1, rows: int = 0
) -> Iterator[Run]:
    batches = in_batches(settings)
    # Each thread writes into memory of its own, again and again.
    shape = (threads, max(rows // settings.batch, 1), settings.batch, SIZE, SIZE)
    outs = np.ones(shape, np.float32)
    kept = np.concatenate([rmm.rmm(*batch, COUNTS, convention) for batch in batches[:2]])
    checks = {"differing": differing(kept, settings)} if convention == "thesis" else {}

    def share(thread: int) -> None:
        for number, batch in enumerate(batches[thread::threads]):
            rmm.rmm(*batch, COUNTS, convention, out=outs[thread, number % shape[1]])

    with ThreadPoolExecutor(threads) as pool:

        def run() -> Mapping[str, float]:
            seconds = clock(lambda: list(pool.map(share, range(threads))))
            return {"rate": len(batches) * settings.batch / seconds, **checks}

        run()
        yield run


@contextmanager
def padded_numpy(settings: Settings) -> Iterator[Run]:
    batches = in_batches(settings)[: max(1, 65_536 // settings.batch)]
    padded = [pad_objects(met, met_phi, blocks, COUNTS) for met, met_phi, blocks in batches]
    differ = differing(np.concatenate([numpy_matrices(*each) for each in padded[:2]]), settings)

    def work() -> None:
        for each in padded:
            numpy_matrices(*each)

    yield lambda: {"rate": len(padded) * settings.batch / clock(work), "differing": differ}


def numpy_matrices(objects: Matrices, multiplicity: NDArray[np.uint8]) -> Matrices:
    """All pairs of the 22 rows at once, whether there is an object or not."""
    pt, eta, phi, mass = np.moveaxis(objects[:, 1:].astype(np.float64), -1, 0)
    present = np.concatenate([np.arange(c) < multiplicity[:, [k]] for k, c in enumerate(COUNTS)], axis=1)
    squared = mass * np.abs(mass)
    squared = np.where(pt**2 + squared > 0, squared, 0)
    transverse = np.sqrt(pt**2 + squared)
    y = np.arcsinh(pt * np.sinh(eta) / np.where(present, transverse, 1))
    px, py = pt * np.cos(phi), pt * np.sin(phi)
    pairs = present[:, :, None] & present[:, None, :]
    cosh = np.cosh(y[:, :, None] - y[:, None, :])
    product = transverse[:, :, None] * transverse[:, None, :] * cosh
    product -= px[:, :, None] * px[:, None, :] + py[:, :, None] * py[:, None, :]
    square = squared[:, :, None] + squared[:, None, :] + 2 * product
    masses = np.copysign(np.sqrt(np.abs(square)), square)
    angles = 0.15 * (np.cosh((y[:, :, None] - y[:, None, :]) / 2) - 1)
    upper = np.triu(np.ones((SIZE - 1, SIZE - 1), bool), 1)
    out = np.zeros((len(objects), SIZE, SIZE), np.float32)
    inner = np.where(upper, masses, angles)
    before = np.roll(pt, 1, axis=1)
    diagonal = np.divide(before - pt, before + pt, out=np.zeros_like(pt), where=before + pt > 0)
    leading = np.cumsum((0, *COUNTS[:-1]))
    diagonal[:, leading] = transverse[:, leading]
    inner[:, np.arange(SIZE - 1), np.arange(SIZE - 1)] = diagonal
    out[:, 1:, 1:] = np.where(pairs, inner, 0)
    out[:, 0, 0] = objects[:, 0, 0]
    out[:, 0, 1:] = np.where(present, transverse, 0)
    out[:, 1:, 0] = np.where(present, 0.15 * (np.cosh(y) - 1), 0)
    return out


@contextmanager
def awkward_vector(settings: Settings) -> Iterator[Run]:
    import vector

    vector.register_awkward()
    batches = in_batches(settings)[: max(1, 131_072 // settings.batch)]
    ragged = [(met, as_vectors(blocks)) for met, _, blocks in batches]
    differ = differing(np.concatenate([awkward_matrices(*each) for each in ragged[:2]]), settings)

    def work() -> None:
        for each in ragged:
            awkward_matrices(*each)

    yield lambda: {"rate": len(ragged) * settings.batch / clock(work), "differing": differ}


def as_vectors(blocks: list[Block]) -> dict[str, ak.Array]:
    """Objects by type as `vector` momenta, float64 as in tailshard."""
    return {
        name: ak.unflatten(
            ak.zip(
                dict(zip(data.COMPONENTS, (part.astype(np.float64) for part in block[1:]), strict=True)),
                with_name="Momentum4D",
            ),
            np.diff(block.offsets),
        )
        for name, block in zip(data.TYPES, blocks, strict=True)
    }


def awkward_matrices(met: NDArray[Any], types: Mapping[str, ak.Array]) -> Matrices:
    """Pairs of existing objects by ak.combinations, masses and rapidities by vector."""
    events, first, parts = len(met), 1, []
    for objects, count in zip(types.values(), COUNTS, strict=True):
        kept = objects[:, :count]
        parts.append(ak.with_field(kept, first + ak.local_index(kept, axis=1), "row"))
        first += count
    objects = ak.with_name(ak.concatenate(parts, axis=1), "Momentum4D")
    out = np.zeros((events, SIZE, SIZE), np.float32)
    out[:, 0, 0] = met
    place = np.repeat(np.arange(events), ak.to_numpy(ak.num(objects)))
    flat = ak.flatten(objects)
    row, pt = ak.to_numpy(flat.row), ak.to_numpy(flat.pt)
    transverse = ak.to_numpy(np.sqrt(flat.mt2))
    out[place, 0, row] = transverse
    out[place, row, 0] = 0.15 * (np.cosh(ak.to_numpy(flat.rapidity)) - 1)
    is_leading = np.isin(row, 1 + np.cumsum((0, *COUNTS[:-1])))
    before = np.roll(pt, 1)
    out[place, row, row] = np.where(is_leading, transverse, (before - pt) / (before + pt))
    pairs = ak.combinations(objects, 2, fields=("one", "other"))
    place = np.repeat(np.arange(events), ak.to_numpy(ak.num(pairs)))
    pairs = ak.flatten(pairs)
    one, other = ak.to_numpy(pairs.one.row), ak.to_numpy(pairs.other.row)
    out[place, one, other] = ak.to_numpy((pairs.one + pairs.other).mass)
    difference = ak.to_numpy(pairs.one.rapidity - pairs.other.rapidity)
    out[place, other, one] = 0.15 * (np.cosh(difference / 2) - 1)
    return out


# -- from a ROOT file ----------------------------------------------------------------------------------------


@contextmanager
def tailshard_from_file(settings: Settings, threads: int = 1) -> Iterator[Run]:
    import uproot

    path = data.objects_file(settings)
    out = np.zeros((settings.events, SIZE, SIZE), np.float32)
    step = min(32_768, -(-settings.events // threads))
    names = ["met", "met_phi", *(f"{name}_{part}" for name in data.TYPES for part in data.COMPONENTS)]

    def part(start: int) -> None:
        stop = min(start + step, settings.events)
        with uproot.open(path) as file:
            columns = file["events"].arrays(names, entry_start=start, entry_stop=stop, ak_add_doc=False)
        blocks = []
        for name in data.TYPES:
            lists = [columns[f"{name}_{each}"].layout for each in data.COMPONENTS]
            parts = [np.asarray(each.content.data) for each in lists]
            blocks.append(Block(np.asarray(lists[0].offsets.data, np.int64), *parts))
        rmm.rmm(
            ak.to_numpy(columns.met),
            ak.to_numpy(columns.met_phi),
            blocks,
            COUNTS,
            "thesis",
            out=out[start:stop],
        )

    with ThreadPoolExecutor(threads) as pool:

        def run() -> Mapping[str, float]:
            data.forget(settings, path)
            seconds = clock(lambda: list(pool.map(part, range(0, settings.events, step))))
            return {"rate": settings.events / seconds, "differing": differing(out, settings)}

        run()
        yield run


@contextmanager
def root_defines(settings: Settings) -> Iterator[Run]:
    """Two lengths, so that the time to compile 529 expressions is not held against the loop."""
    root = root_ways.declare_cells()
    path = data.objects_file(settings)
    long = min(settings.events, 12_000)
    short = long // 6

    def matrices(events: int) -> Matrices:
        frame = root.RDataFrame("events", str(path)).Range(events)
        names = []
        for name, expression in root_ways.cell_expressions():
            frame = frame.Define(name, expression)
            names.append(name)
        columns = frame.AsNumpy(names)
        return np.stack([columns[name] for name in names], axis=1)

    def run() -> Mapping[str, float]:
        begin = time.perf_counter()
        matrices(short)
        middle = time.perf_counter()
        found = matrices(long)
        seconds = (time.perf_counter() - middle) - (middle - begin)
        return {"rate": (long - short) / seconds, "fixed": fixed, "differing": differing(found, settings)}

    # The first call compiles; later ones find their expressions compiled.
    fixed = clock(lambda: matrices(1))
    yield run


@contextmanager
def root_foreach(settings: Settings, threads: int = 1) -> Iterator[Run]:
    root = root_ways.declare_loop()
    if threads > 1:
        root.EnableImplicitMT(threads)
    path = data.objects_file(settings)
    out = np.zeros((settings.events, SIZE, SIZE), np.float32)

    def run() -> Mapping[str, float]:
        data.forget(settings, path)
        seconds = clock(lambda: root.loop.from_objects(str(path), out.ctypes.data))
        return {"rate": settings.events / seconds, "differing": differing(out, settings)}

    run()
    yield run

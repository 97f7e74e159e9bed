"""The most anomalous data events, one row each.

Workers send only rows that can be candidates: the spectrum of the error, already summed, tells above
which error enough events lie. Every addition of two tables keeps the wanted number of rows, so that the
result is exact and nobody holds more than a few times that number.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from ..features.names import PHYSICS_BLOCKS
from ..places import remove_file, written_whole
from ..store.catalog import Slot
from ..store.layout import SPLITS, Geometry
from ..store.read import read_rows
from .cell_filling import BLOCKS
from .filling import ERROR, log10_error

LEADING = "leading_block"
"""Column of the kind of cell with the largest relative error, where errors by kind were asked for."""

_ORDER = [
    ("error", "descending"),
    *((name, "ascending") for name in ("run", "event_number", "entry", "dataset", "file")),
]


def number_of_candidates(events: int, fraction: float, most: int) -> int:
    """Give the share of the data that is listed: rounded, at least one event if any, at most `most`."""
    return min(events, most, max(1, round(events * fraction)))


def lower_bound(contents: NDArray[np.float64], edges: NDArray[np.float64], count: int) -> float:
    """Find a log10 error above which at least `count` events lie, and few more.

    Parameters
    ----------
    contents
        Events in fine bins of log10 error, underflow first and overflow last.
    edges
        Edges of the bins.
    count
        Events wanted.
    """
    above = np.cumsum(contents[:0:-1])[::-1]
    enough = np.flatnonzero(above >= count)
    # One bin lower: an event on an edge may have been counted on either side of it.
    return float(edges[enough[-1] - 1]) if enough.size and enough[-1] > 0 else -np.inf


def coarsened(threshold: float) -> float:
    """Round a log10 error down to a quarter."""
    return math.floor(4 * threshold) / 4 if math.isfinite(threshold) else threshold


def slot_candidates(
    threshold: float,
    most: int,
    quantities: Sequence[str],
    store: Path,
    geometry: Geometry,
    slot: Slot,
    blocks: bool = False,
) -> pa.Table:
    """Read the events of a slot whose log10 error is at or above a threshold, the best `most` of them.

    Returns
    -------
    pyarrow.Table
        channel, dataset, file, entry (in the file's tree), row (on the channel's event axis in the store),
        run, event_number, error, log10_error, split, with `blocks` also leading_block, then the quantities;
        null where one does not exist.
    """
    start, _ = geometry.split_range(slot, SPLITS[0])
    stop = start + sum(slot.rows)
    columns = read_rows(
        store,
        slot.channel,
        [ERROR, "entry", "run", "event_number", *quantities, *([BLOCKS] if blocks else [])],
        start,
        stop,
    )
    chosen = log10_error(columns[ERROR]) >= threshold
    count = int(np.count_nonzero(chosen))
    splits = np.repeat(np.asarray(SPLITS), slot.rows)[chosen]
    columns = {name: column[chosen] for name, column in columns.items()}
    table = pa.table(
        {
            "channel": pa.array([slot.channel] * count, pa.string()),
            "dataset": pa.array([slot.dataset] * count, pa.string()),
            "file": pa.array([slot.url] * count, pa.string()),
            "entry": columns["entry"],
            "row": start + np.flatnonzero(chosen),
            "run": columns["run"],
            "event_number": columns["event_number"],
            "error": columns[ERROR],
            "log10_error": log10_error(columns[ERROR]),
            "split": pa.array(splits.tolist(), pa.string()),
            **({LEADING: _leading(columns[BLOCKS])} if blocks else {}),
            **{name: pa.array(columns[name], from_pandas=True) for name in quantities},
        }
    )
    return best(table, most)


def _leading(errors: NDArray[np.float32]) -> pa.Array:
    """Name the kind of cell with the largest error of each event."""
    names = np.asarray(PHYSICS_BLOCKS)[errors.argmax(axis=1)]
    return pa.array(names.tolist(), pa.string())


def add_candidates(parts: list[pa.Table], count: int) -> pa.Table:
    """Put tables one below the other, and keep the best `count` rows."""
    return best(pa.concat_tables(parts), count)


def best(table: pa.Table, count: int) -> pa.Table:
    """Sort by falling error, equals by run, event number, entry, dataset and file; keep the first `count`."""
    return table.sort_by(_ORDER).slice(0, count).combine_chunks()


def write_candidates(table: pa.Table | None, folder: Path) -> None:
    """Write ``candidates.parquet`` and ``candidates.csv``; without a table remove older ones."""
    writers = {"candidates.parquet": pyarrow.parquet.write_table, "candidates.csv": pyarrow.csv.write_csv}
    for name, write in writers.items():
        if table is None:
            remove_file(folder / name)
            continue
        with written_whole(folder / name) as aside:
            write(table, aside)

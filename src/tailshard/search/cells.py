"""What is known of every cell of the matrices: histograms by channel, correlations, errors by kind of cell.

One pass over the matrices that yields are quoted from, one Dask task for each slot; ranges follow from the
statistics that the store has. The result is ``cells.npz``, which plain NumPy reads:

=======================  ==============================================================================
channels, cells          names; cells in the order of the flat matrix, as `features.names` has them
edges                    (cells, bins + 1)
values, variances        (channels, cells, bins + 2): quoted sums of weights and of squared weights,
                         underflow first and overflow last; of events that have the cell
correlation              (cells, cells) float32: of the background, an absent object's cells being zero
blocks                   names of the kinds of cells
block_means, _errors     (channels, kinds): mean error by kind of cell, and its statistical uncertainty
=======================  ==============================================================================

Arrays of what was not asked for are empty.
"""

import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..config import Pipeline
from ..errors import WorkdirError
from ..features.names import PHYSICS_BLOCKS, cell_names
from ..places import here, opened_whole
from ..progress import Progress, silent
from ..store.catalog import Catalog
from ..store.read import statistics
from .cell_filling import CORRELATED_AT_MOST, Binning, CellSums, add_sums, fill_slot_cells
from .correlation import correlations
from .partials import Partials
from .quoting import Quote, quote
from .reduction import reduce_slots
from .significance import Array, Spectrum
from .slots import leaves_of

if TYPE_CHECKING:
    from distributed import Client

FILE = "cells.npz"


@dataclass(frozen=True, eq=False)
class Cells:
    """See the module; arrays as in ``cells.npz``."""

    channels: tuple[str, ...]
    cells: tuple[str, ...]
    edges: Array
    values: Array
    variances: Array
    correlation: NDArray[np.float32]
    blocks: tuple[str, ...]
    block_means: Array
    block_errors: Array

    def spectrum(self, cell: int, channel: str) -> Spectrum:
        """Give the bins of a cell in a channel: (bins + 2,)."""
        place = self.channels.index(channel)
        return Spectrum(self.values[place, cell], self.variances[place, cell])


_NAMES = ("channels", "cells", "blocks")
_NUMBERS = ("edges", "values", "variances", "correlation", "block_means", "block_errors")


def sum_cells(
    pipeline: Pipeline,
    store: Path,
    catalog: Catalog,
    client: "Client",
    progress: Progress = silent,
    kept: Path | None = None,
) -> Cells:
    """Sum up every cell of every channel, in one pass.

    Parameters
    ----------
    pipeline
        The search.
    store, catalog
        Where the events are.
    client
        Dask workers that see the store under the same path.
    progress
        Told the number of slots that are done.
    kept
        Folder that keeps the sums of each slot for the next time; None keeps nothing.

    Raises
    ------
    StoreError
        Rows are absent or damaged.
    ClusterError
        Workers died too often.
    """
    names = tuple(name for row in cell_names(pipeline.features.multiplicities) for name in row)
    channels, bins = tuple(pipeline.channels), pipeline.histograms.cell_bins
    quotes = {channel: quote(pipeline, channel) for channel in channels}
    # A signal must not stretch the axes on which data and background are compared.
    ruling = [channel for channel in channels if pipeline.channels[channel] != "signal"]
    binning = Binning.of(statistics(store, catalog, ruling, split=None), bins)
    blocks, correlated = "blocks" in pipeline.score.kinds, bins > 0 and len(names) <= CORRELATED_AT_MOST
    wanted = {channel: correlated and channel in pipeline.channels_of("background") for channel in channels}
    function = partial(fill_slot_cells, binning, blocks, store, catalog.geometry)
    calls = {
        channel: [
            (slot, catalog.scale(slot), quotes[channel].splits, wanted[channel])
            for slot in catalog.slots_of(channel)
        ]
        for channel in channels
        if bins or blocks
    }
    slots = {channel: catalog.slots_of(channel) for channel in calls}
    leaves = {
        channel: leaves_of(
            pipeline,
            store,
            catalog,
            {channel: its},
            [binning.edges.tobytes().hex(), blocks, quotes[channel].splits, wanted[channel]],
        )[channel]
        for channel, its in slots.items()
    }
    partials = Partials(kept / "cells", _write_sums, _read_sums) if kept else None
    found = reduce_slots(
        client, "comparing cells", function, calls, add_sums, progress, partials, leaves, step="cells"
    )
    return _quoted(pipeline, names, binning, quotes, found)


def _write_sums(sums: CellSums, path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **vars(sums))


def _read_sums(stored: IO[bytes]) -> CellSums:
    with np.load(stored, allow_pickle=False) as content:
        numbers: dict[str, Any] = {name: its if its.ndim else float(its) for name, its in content.items()}
    return CellSums(**numbers)


def _quoted(
    pipeline: Pipeline,
    names: tuple[str, ...],
    binning: Binning,
    quotes: dict[str, Quote],
    found: dict[str, CellSums],
) -> Cells:
    """Scale the sums of channels as yields are, and put them into arrays."""
    shape = (len(names), binning.bins + 2) if binning.bins else (0, 2)
    values, variances = np.zeros((2, len(quotes), *shape))
    kinds = len(PHYSICS_BLOCKS) if "blocks" in pipeline.score.kinds else 0
    means, errors = np.full((2, len(quotes), kinds), np.nan)
    for place, (channel, its) in enumerate(quotes.items()):
        if channel in found:
            values[place] = found[channel].values * its.scale
            variances[place] = found[channel].variances * its.scale**2
            means[place], errors[place] = _means(found[channel])
    background = [found[name] for name in pipeline.channels_of("background") if name in found]
    correlation = np.zeros((0, 0))
    if background and len(background[0].sums):
        together = add_sums(background)
        correlation = correlations(together.weight, together.sums, together.products)
    return Cells(
        tuple(quotes),
        names,
        binning.edges if binning.bins else np.zeros((0, 1)),
        values,
        variances,
        correlation.astype(np.float32),
        PHYSICS_BLOCKS[:kinds],
        means,
        errors,
    )


def _means(sums: CellSums) -> tuple[Array, Array]:
    """Give weighted means by kind of cell, and their standard deviations from the weights' statistics."""
    wx, w2x, w2x2 = sums.blocks
    if not sums.weight > 0:
        return np.full(len(wx), np.nan), np.full(len(wx), np.nan)
    mean = wx / sums.weight
    variance = w2x2 - 2 * mean * w2x + mean**2 * sums.squared_weights
    return mean, np.sqrt(np.maximum(variance, 0)) / sums.weight


def write_cells(folder: Path, cells: Cells) -> None:
    """Replace ``cells.npz``; equal cells give equal bytes."""
    content: dict[str, Any] = {name: np.array(getattr(cells, name), np.str_) for name in _NAMES}
    content |= {name: getattr(cells, name) for name in _NUMBERS}
    with opened_whole(folder / FILE) as file:
        np.savez_compressed(file, **content)


def read_cells(folder: Path) -> Cells:
    """Read ``cells.npz``.

    Raises
    ------
    WorkdirError
        It is absent or damaged.
    """
    path = folder / FILE
    try:
        with (
            here(path) as file,
            file.open("rb") as stored,
            np.load(stored, allow_pickle=False) as content,
        ):
            names: dict[str, Any] = {name: tuple(content[name].tolist()) for name in _NAMES}
            return Cells(**names, **{name: content[name] for name in _NUMBERS})
    except FileNotFoundError:
        raise WorkdirError(f"{path} does not exist; run 'tailshard histogram' first") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise WorkdirError(f"{path} cannot be read ({error}); run 'tailshard histogram' again") from error

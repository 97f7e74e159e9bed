"""Errors and weights become histograms, regions and numbers: the histogram stage.

Two passes over the one-dimensional columns of the store and one over its matrices, one Dask task for each
slot in each::

    error, MET, m_eff ──> fine spectra ──> regions (background's validation events alone)
                               │              │
                               v              v
            candidates    all observables, by region ──> summary
                                                            ^
    matrices ──> every cell, correlations, errors by kind ──┘

Of an ensemble, two more passes do the same with the errors by each of its networks (`ensemble`).

Results do not depend on the number of workers: each slot is filled alone and sums are taken in a fixed
tree.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hist
import uhi.io
import uhi.io.json

from ..config import Pipeline, content_hash
from ..errors import WorkdirError
from ..ledger import write_atomically
from ..progress import Progress, silent
from ..store.catalog import Catalog, read_catalog
from ..store.layout import SCORE_PREFIX, SPLITS, columns
from ..store.read import open_channel
from .agreement import data_and_simulation
from .bump import find_bump, require_hunter
from .candidates import (
    add_candidates,
    coarsened,
    lower_bound,
    number_of_candidates,
    slot_candidates,
    write_candidates,
)
from .cells import sum_cells, write_cells
from .ensemble import Found, summarise_members
from .filling import (
    ERROR,
    EVENTS,
    UNDEFINED,
    Axes,
    Filled,
    Histogram,
    empty,
    fine,
    join_channels,
    observable_axes,
    spectrum_axes,
)
from .limits import find_limits, write_workspaces
from .partials import keep_filled, keep_tables
from .quoting import Quote, spectrum
from .reduction import reduce_slots
from .regions import Region, define_regions
from .score import scored_with, seed_array
from .slots import Kept, fill, leaves_of
from .summary import finite_or_none, summarise

if TYPE_CHECKING:
    import pyarrow as pa
    from distributed import Client


@dataclass(frozen=True)
class HistogramResult:
    """What the histogram stage made."""

    histograms: tuple[str, ...]
    """Names in ``histograms.json``."""
    regions: tuple[str, ...]
    """Names of the signal regions, the inclusive one first."""
    candidates: int
    """Rows of the table of candidates; 0 without data."""
    filled: int = 0
    """Slots whose events were read for the histograms of the regions."""
    kept: int = 0
    """Slots whose histograms were there already."""

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return {
            "histograms": list(self.histograms),
            "regions": list(self.regions),
            "candidates": self.candidates,
            "slots": {"filled": self.filled, "kept": self.kept},
        }


def histogram(
    pipeline: Pipeline,
    store: Path,
    out: Path,
    client: "Client",
    progress: Progress = silent,
    kept: Path | None = None,
) -> HistogramResult:
    """Reduce a scored store to histograms, regions, cells, candidates and ``summary.json``.

    Parameters
    ----------
    pipeline
        The search.
    store
        Folder of a store whose events have an error.
    out
        Folder of the results; each file in it is replaced whole, the summary last.
    client
        Dask workers that see the store under the same path.
    progress
        Told the number of slots that are done.
    kept
        Folder that keeps what was made of each slot for the next time; None keeps nothing.

    Raises
    ------
    StoreError
        The store has not been scored.
    ConfigError
        A scan is asked for that cannot be done.
    ProcessingError
        An event has no finite error or weight, or the background is too small for a region.
    ClusterError
        Workers died too often.
    """
    require_hunter(pipeline)
    catalog = read_catalog(store)
    model = scored_with(store, catalog)
    quantities = read_quantities(store, catalog)

    channels = {channel: catalog.slots_of(channel) for channel in pipeline.channels}

    def reduced(what: str, axes: Axes, regions: tuple[Region, ...] | None, partials: Kept) -> Filled:
        parts = fill(what, pipeline, store, catalog, channels, axes, regions, client, progress, partials)
        return join_channels(parts, empty(axes, regions, list(pipeline.channels)))

    partials = keep_filled(kept, "observables")
    spectra = reduced("summing errors", spectrum_axes(quantities), None, keep_filled(kept, "spectra"))
    regions = find_regions(pipeline, spectra[fine(ERROR)])
    table = _candidates(
        pipeline, catalog, store, client, progress, spectra[fine(ERROR)], list(quantities), kept
    )
    axes = observable_axes(pipeline.histograms, quantities)
    filled = {**reduced("filling histograms", axes, regions, partials), **spectra}
    cells = sum_cells(pipeline, store, catalog, client, progress, kept)

    provenance = {"pipeline": content_hash(pipeline), "snapshot": catalog.snapshot_id(), "model": model}
    data_events = sum(catalog.rows(channel) for channel in pipeline.channels_of("data"))
    found = candidate_facts(table, pipeline.report.candidate_fraction, data_events)
    ensemble = _ensemble(pipeline, catalog, store, client, progress, kept)
    summary = summarise(pipeline, catalog, filled, regions, found, provenance, ensemble)
    limits, workspaces = find_limits(pipeline, filled, client, progress)
    for signal, its in summary["signals"].items():
        its["limits"] = finite_or_none(limits.get(signal, {}))
    summary["bump"] = finite_or_none(find_bump(pipeline, filled))
    summary["agreement"] = finite_or_none(data_and_simulation(pipeline, filled, cells))
    drawn = {name: histogram for name, histogram in filled.items() if name not in (EVENTS, UNDEFINED)}
    write_histograms(out / "histograms.json", drawn)
    write_json(out / "regions.json", {"split": "validation", "regions": [vars(region) for region in regions]})
    write_candidates(table, out)
    write_cells(out, cells)
    write_workspaces(out, workspaces)
    write_json(out / "summary.json", summary)
    return HistogramResult(
        tuple(drawn),
        tuple(region.name for region in regions),
        0 if table is None else table.num_rows,
        partials.made if partials else len(catalog.slots),
        partials.kept if partials else 0,
    )


def read_quantities(store: Path, catalog: Catalog) -> dict[str, str]:
    """Kinematic quantities that the store has for every channel, in alphabetical order, and their labels."""
    known = {*columns(catalog.geometry, {}), "statistics", "magnitudes"}
    labels = [
        {
            name: f"{array.attrs['long_name']} [{array.attrs['units']}]"
            for name, array in open_channel(store, channel.name).arrays()
            if name not in known and not name.startswith(SCORE_PREFIX)
        }
        for channel in catalog.channels
        if catalog.rows(channel.name)
    ]
    return {name: labels[0][name] for name in sorted(set.intersection(*map(set, labels)))}


def find_regions(pipeline: Pipeline, error_spectrum: Histogram) -> tuple[Region, ...]:
    """Define the regions from the fine error spectrum: the background's validation events, no others."""
    background = dict.fromkeys(pipeline.channels_of("background"), Quote(("validation",), 1.0))
    contents = spectrum(error_spectrum, background).values
    return define_regions(contents, error_spectrum.axes[ERROR].edges, pipeline.regions)


def _ensemble(
    pipeline: Pipeline, catalog: Catalog, store: Path, client: "Client", progress: Progress, kept: Path | None
) -> dict[str, Any] | None:
    """Reduce the errors by every network of an ensemble; None where there is one network."""
    slots = {channel: catalog.slots_of(channel) for channel in pipeline.channels}
    drawn = {ERROR: observable_axes(pipeline.histograms, {})[ERROR]}

    def reduced(seed: int, what: str, axes: Axes, regions: tuple[Region, ...] | None) -> Filled:
        array = seed_array(seed)
        partials = keep_filled(kept, f"{array}_{'spectra' if regions is None else 'regions'}")
        told = f"{what} of seed {seed}"
        its = (told, pipeline, store, catalog, slots, axes, regions, client, progress, partials)
        return join_channels(fill(*its, error=array), empty(axes, regions, list(pipeline.channels)))

    found = {}
    for seed in pipeline.training.seeds:
        spectra = reduced(seed, "summing errors", spectrum_axes({}), None)
        regions = find_regions(pipeline, spectra[fine(ERROR)])
        found[seed] = Found({**reduced(seed, "filling regions", drawn, regions), **spectra}, regions)
    return summarise_members(pipeline, found) if found else None


def candidate_facts(table: "pa.Table | None", fraction: float, events: int) -> dict[str, Any] | None:
    """Give the summary's line on the candidates."""
    if table is None:
        return None
    return {
        "count": table.num_rows,
        "fraction": fraction,
        "limited": table.num_rows < number_of_candidates(events, fraction, events),
        "smallest_error": table["error"][-1].as_py(),
    }


def _candidates(
    pipeline: Pipeline,
    catalog: Catalog,
    store: Path,
    client: "Client",
    progress: Progress,
    error_spectrum: Histogram,
    quantities: Sequence[str],
    kept: Path | None,
) -> "pa.Table | None":
    channels = pipeline.channels_of("data")
    count = number_of_candidates(
        sum(catalog.rows(channel) for channel in channels),
        pipeline.report.candidate_fraction,
        pipeline.report.maximum_candidates,
    )
    if count == 0:
        return None
    # Data has unit weights: its sums of weights are numbers of events.
    events = spectrum(error_spectrum, dict.fromkeys(channels, Quote(SPLITS, 1.0))).values
    lowest = lower_bound(events, error_spectrum.axes[ERROR].edges, count)
    # Coarse, and with as many rows as may ever be asked for, so that what is kept of a slot stays good
    # while data arrives.
    threshold, most = coarsened(lowest), pipeline.report.maximum_candidates
    blocks = "blocks" in pipeline.score.kinds
    meaning = ["candidates", threshold, most, list(quantities), blocks]
    slots = {channel: catalog.slots_of(channel) for channel in channels}
    function = partial(slot_candidates, threshold, most, quantities, store, catalog.geometry, blocks=blocks)
    tables = reduce_slots(
        client,
        "collecting candidates",
        function,
        {channel: [(slot,) for slot in its] for channel, its in slots.items()},
        partial(add_candidates, count=most),
        progress,
        keep_tables(kept, "candidates"),
        {
            channel: [  # the table names files and rows, too
                leaf._replace(key=content_hash(leaf.key, slot.url, slot.index))
                for leaf, slot in zip(its, slots[channel], strict=True)
            ]
            for channel, its in leaves_of(pipeline, store, catalog, slots, meaning).items()
        },
        step="candidates",
    )
    return add_candidates(list(tables.values()), count)


# -- files -----------------------------------------------------------------------------------------


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file; what is not finite becomes null."""
    write_atomically(path, json.dumps(finite_or_none(content), indent=1, allow_nan=False) + "\n")


def write_histograms(path: Path, histograms: Mapping[str, Histogram]) -> None:
    """Replace a file of histograms: a JSON object, name -> sparse UHI serialisation.

    Raises
    ------
    ValueError
        A bin is not finite.
    """
    content = {name: uhi.io.to_sparse(histogram._to_uhi_()) for name, histogram in histograms.items()}
    write_atomically(path, json.dumps(content, default=uhi.io.json.default, allow_nan=False) + "\n")


def read_histograms(path: Path) -> dict[str, Histogram]:
    """Read a file of histograms.

    Raises
    ------
    WorkdirError
        It is absent or not a file of histograms.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=uhi.io.json.object_hook)
        return {name: hist.Hist(uhi.io.from_sparse(stored)) for name, stored in content.items()}
    except FileNotFoundError:
        raise WorkdirError(f"{path} does not exist; run 'tailshard histogram' first") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkdirError(f"{path} holds no histograms ({error}); run 'tailshard histogram'") from error

"""What the earlier stages left behind, read once and handed to everything that writes or draws."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from ..config import Pipeline
from ..errors import StoreError, WorkdirError
from ..features.conventions import CONVENTIONS
from ..features.islands import expand
from ..features.rmm import row_names
from ..places import here
from ..search.cells import Cells, read_cells
from ..search.filling import Histogram
from ..search.histogram import read_histograms
from ..search.history import read_history
from ..search.score import one_thread
from ..search.stressed import read_robustness
from ..store.catalog import Catalog, read_catalog
from ..store.layout import OBJECT_TYPES
from ..store.read import ShardReader, read_rows, statistics
from ..train.checkpoint import LoadedModel, load_model
from ..train.members import model_hash
from ..train.metrics import EpochMetrics, read_metrics
from .spectra import as_used


@dataclass(frozen=True)
class Network:
    """The trained network, in the few numbers that a page shows."""

    name: str
    parameters: int
    scaler: str
    best_epoch: int
    validation_loss: float
    digest: str
    """Content hash of the file."""


@dataclass(frozen=True)
class Matrix:
    """The rapidity-mass matrix of one event, and what the network makes of it."""

    cells: NDArray[np.float32]
    """Shape (rows, rows)."""
    reconstruction: NDArray[np.float32]
    """Shape (rows, rows), in the same units; NaN where objects do not exist."""
    difference: NDArray[np.float32]
    """Shape (rows, rows): what scores see, scaled; as NaN."""
    multiplicity: dict[str, int]
    """Stored objects by type."""


@dataclass(frozen=True)
class Findings:
    """Everything that a report is made from."""

    pipeline: Pipeline
    summary: dict[str, Any]
    """As `search.summary` documents it."""
    histograms: dict[str, Histogram]
    """Axes channel, split, (region,) quantity."""
    epochs: Sequence[EpochMetrics]
    network: Network
    candidates: pa.Table | None
    """None without data."""
    displays: Sequence[Matrix]
    """Of the first candidates, in their order."""
    averages: dict[str, NDArray[np.float64]]
    """Channel -> weighted mean matrix; channels without events are left out."""
    rows: Sequence[str]
    """Names of the rows of a matrix."""
    cells: Cells
    """Histograms and correlations of every cell."""
    history: Sequence[dict[str, Any]] = ()
    """Lines that updates have left, as `search.history` documents them."""
    robustness: dict[str, Any] | None = None
    """What robustness tests have left, as `stress.results` documents it; None without them."""

    @property
    def title(self) -> str:
        """Of page and figures."""
        return self.pipeline.report.title or self.pipeline.name

    @property
    def to_data(self) -> float:
        """Factor on simulation where it stands beside data of another luminosity."""
        return self.pipeline.data_luminosity / self.pipeline.luminosity

    @property
    def over_collision_energy(self) -> bool:
        """Tell whether energies in the matrix are parts of the collision energy; GeV otherwise."""
        return CONVENTIONS[self.pipeline.features.convention].in_units_of_collision_energy

    def exists(self, name: str) -> bool:
        """Tell whether a quantity was histogrammed for any event at all."""
        if name not in self.histograms:
            return False
        contents: Any = self.histograms[name].view(flow=True)
        return bool(contents["variance"].any())

    def spectrum(self, name: str, channel: str, region: str | None = None) -> Histogram:
        """Give a channel's spectrum as yields are quoted: its splits, scaled to the luminosity."""
        its = self.summary["channels"][channel]
        return as_used(self.histograms[name], channel, its["splits"], its["scale"], region)


def read_findings(pipeline: Pipeline, store: Path, model: Path, results: Path) -> Findings:
    """Read the outputs of all earlier stages.

    Parameters
    ----------
    pipeline
        The search.
    store, model, results
        Folders of the stages ingest, train and histogram.

    Raises
    ------
    StoreError
        The store is absent or damaged, or does not hold the candidates.
    WorkdirError
        The model or the results are absent or damaged.
    """
    catalog = read_catalog(store)
    summary = _read_summary(results / "summary.json")
    table = None if summary["candidates"] is None else _read_candidates(results / "candidates.parquet")
    shown = [] if table is None else table.slice(0, pipeline.report.event_displays).to_pylist()
    means = {
        channel: statistics(store, catalog, [channel], split=None).weighted_mean
        for channel in pipeline.channels
        if catalog.rows(channel)
    }
    loaded = load_model(model / "model.pt", pipeline.model.name)
    return Findings(
        pipeline,
        summary,
        read_histograms(results / "histograms.json"),
        read_metrics(model),
        _describe(loaded, model_hash(model / "model.pt")),
        table,
        [_read_matrix(store, catalog, row, loaded) for row in shown],
        means,
        row_names(pipeline.features.multiplicities),
        read_cells(results),
        read_history(results),
        read_robustness(results),
    )


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkdirError(f"{path} does not exist; run 'tailshard histogram' first") from None
    except (OSError, ValueError) as error:
        raise WorkdirError(f"{path} cannot be read ({error}); run 'tailshard histogram' again") from error
    if not isinstance(content, dict) or {"regions", "agreement", "bump"} - content.keys():
        raise WorkdirError(f"{path} is not a summary of tailshard; run 'tailshard histogram' again")
    return content


def _read_candidates(path: Path) -> pa.Table:
    try:
        with here(path) as file:
            return pyarrow.parquet.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise WorkdirError(f"{path} cannot be read ({error}); run 'tailshard histogram' again") from error


def _describe(loaded: LoadedModel, digest: str) -> Network:
    parameters = sum(parameter.numel() for parameter in loaded.network.parameters())
    return Network(
        loaded.model.name, parameters, loaded.scaler.name, loaded.epoch, loaded.validation_loss, digest
    )


def _read_matrix(store: Path, catalog: Catalog, candidate: dict[str, Any], loaded: LoadedModel) -> Matrix:
    """Find a candidate's row by its entry, wherever the file of its slot lies now, and reconstruct it."""
    for slot in catalog.slots_of(candidate["channel"]):
        holds_it = (
            slot.dataset == candidate["dataset"] and slot.index == candidate["row"] // catalog.geometry.slot
        )
        if not (holds_it and slot.start <= candidate["entry"] < slot.stop):
            continue
        first = catalog.geometry.first_row(slot.index)
        entries = read_rows(store, slot.channel, ["entry"], first, first + slot.selected)["entry"]
        for place in np.flatnonzero(entries == candidate["entry"]):
            row = first + int(place)
            islands = ShardReader(store).read_islands(slot.channel, row, row + 1)
            counts = dict(zip(OBJECT_TYPES, islands.multiplicity[0].tolist(), strict=True))
            with one_thread():
                made = loaded.reconstruct(islands)
            return Matrix(expand(islands)[0], made.cells[0], made.difference[0], counts)
    raise StoreError(
        f"{store} has no entry {candidate['entry']} of {candidate['file']}, which is a candidate; "
        "the store has changed since: run 'tailshard histogram' again"
    )

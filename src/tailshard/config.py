"""One validated, immutable description of a search.

Every part is checked when it is created, so a wrong pipeline fails before any work. `content_hash` of a
part is stable across machines and Python versions; the ledger is built on it.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from .correction import Correction
from .cuts import Selection
from .data_taking import Campaign, Year, kept_years, refuse_other_luminosity
from .inference import Bump, Limits
from .learning import Model, Score, Training
from .parts import CrossSection, Energy, Fraction, Locations, Luminosity, Name, Part, PluginName, Positive
from .tuning import Tune

Kind = Literal["background", "signal", "data"]


class Dataset(Part):
    """Ntuple files of one sample, and the channel they belong to."""

    channel: Name
    """What the sample is called in figures and tables; several datasets may share a channel."""
    kind: Kind
    """background and signal are simulation; data never carries simulation weights."""
    dialect: PluginName
    """The ntuple release: atlas-2025, atlas-2020, atlas-2016."""
    files: Locations
    """Glob patterns below the data root, absolute paths, or URLs. Without a data root, relative ones start
    at the folder of the pipeline file, unless there is something published to read instead."""
    published: Locations = ()
    """URLs to read where there is no data root."""
    name: Name | None = None
    """Identity of the sample; the channel where it is left out. The split of an event depends on it."""
    tree: str | None = None
    """Tree in the file; the dialect's own where it is left out."""
    cross_section: CrossSection | None = None
    """pb; overrides the file's value, k-factor and filter efficiency included."""
    cross_section_unit: Literal["pb", "fb", "nb"] = "pb"
    """Unit of the cross-section that the files hold, alone or inside a weight."""
    sum_of_weights: float | None = Field(default=None, gt=0)
    """Sum of generator weights of the whole sample, before any skim; overrides the file's."""

    luminosity: Luminosity | None = None
    """fb^-1 of data that was not recorded at the pipeline's luminosity, over all data sets of kind data."""

    @model_validator(mode="after")
    def _normalisation_is_for_simulation(self) -> "Dataset":
        if self.kind == "data" and (self.cross_section or self.sum_of_weights):
            raise ValueError("data has no cross_section and no sum_of_weights; remove them")
        if self.kind != "data" and self.luminosity:
            raise ValueError("luminosity is for data; simulation is scaled to the pipeline's")
        if not self.files and not self.published:
            raise ValueError("names no files")
        return self

    @property
    def identity(self) -> str:
        """Name that keys the event hash."""
        return self.name or self.channel


Rows = Annotated[int, Field(ge=1, le=255)]


class Multiplicities(Part):
    """Rows of the rapidity-mass matrix by object type, in the order of its blocks."""

    light_jets: Rows = 6
    b_jets: Rows = 6
    electrons: Rows = 5
    muons: Rows = 5

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Rows by type, in block order."""
        return (self.light_jets, self.b_jets, self.electrons, self.muons)

    @property
    def size(self) -> int:
        """Rows (and columns) of the matrix, missing transverse momentum included: 23 by default."""
        return 1 + sum(self.counts)


class Features(Part):
    """What the network sees of an event."""

    convention: Literal["chekanov", "thesis"] = "chekanov"
    """chekanov: true transverse mass with MET, energies over sqrt(s). thesis: as its code has it."""
    multiplicities: Multiplicities = Multiplicities()
    center_of_mass_energy: Energy | None = Field(default=None, ge=1)
    """GeV; used by the chekanov convention. The collision energy of the dialects where left out."""


class Store(Part):
    """Geometry of the shard store."""

    slot: Positive = 65536
    """Events in a slot: the most that one task reads, and one shard of every array."""
    chunk: Positive = 4096
    """Events in a chunk: the least that is decoded at once."""
    codec: Literal["islands", "zstd"] = "islands"
    """How matrices are stored. islands: without the cells of absent objects; any Zarr reader opens it where
    tailshard is installed. zstd: whole, for any Zarr reader; larger, and slower to read."""

    @model_validator(mode="after")
    def _chunks_fill_a_slot(self) -> "Store":
        if self.slot % self.chunk:
            raise ValueError(f"slot ({self.slot}) must be a multiple of chunk ({self.chunk})")
        return self


class Splits(Part):
    """Disjoint shares of the events of every dataset, decided by a hash of each event's identity."""

    training: Fraction = 0.6
    validation: Fraction = 0.2
    test: Fraction = 0.2
    seed: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _sum_to_one(self) -> "Splits":
        total = self.training + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"training + validation + test must be 1, found {total:g}")
        return self

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Shares in the order training, validation, test."""
        return (self.training, self.validation, self.test)


class Regions(Part):
    """Signal regions, from the background's validation events alone."""

    background_efficiencies: tuple[Fraction, ...] = (0.1, 0.01)
    """Regions that keep this share of the background."""
    median_steps: tuple[Positive, ...] = (1, 2, 3)
    """Regions log10(error) > median + step x |median| / 5."""
    minimum_background: float = Field(default=1.0, ge=0)
    """Expected background events below which a scan quotes no significance."""


class Observable(Part):
    """A quantity to histogram."""

    bins: Positive
    range: tuple[float, float]

    @model_validator(mode="after")
    def _range_rises(self) -> "Observable":
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range must rise, found {list(self.range)}")
        return self


def _default_observables() -> dict[str, Observable]:
    return {
        "met": Observable(bins=50, range=(0, 1000)),
        "leading_lepton_pt": Observable(bins=50, range=(0, 1000)),
        "leading_jet_pt": Observable(bins=50, range=(0, 1000)),
        "m_ll": Observable(bins=60, range=(0, 600)),
        "m_lll": Observable(bins=50, range=(0, 1000)),
        "m_llll": Observable(bins=50, range=(0, 1000)),
        "m_t": Observable(bins=50, range=(0, 500)),
        "h_t": Observable(bins=50, range=(0, 2500)),
        "m_eff": Observable(bins=60, range=(0, 3000)),
        "delta_r_ll": Observable(bins=30, range=(0, 6)),
        "delta_phi_ll": Observable(bins=32, range=(0, 3.2)),
        "leptons": Observable(bins=8, range=(0, 8)),
        "jets": Observable(bins=12, range=(0, 12)),
        "b_jets": Observable(bins=7, range=(0, 7)),
    }


class Histograms(Part):
    """What is histogrammed, in every channel, split and region."""

    observables: dict[str, Observable] = Field(default_factory=_default_observables)
    """Kinematic quantities of the store by name; range in GeV where the quantity has a unit."""
    error: Observable = Observable(bins=60, range=(-5, 1))
    """log10 of the error, as drawn; cuts and AUC use a far finer axis."""
    cell_bins: Annotated[int, Field(ge=0)] = 30
    """Bins of the histogram of each cell of the matrix, their range from the store's statistics; 0: the cells
    are neither histogrammed nor correlated."""
    bump: Bump | None = None
    """Scan for a local excess of data; none where left out."""


class Report(Part):
    """What the report shows."""

    title: str | None = None
    candidate_fraction: Fraction = 0.01
    """Share of the data, in falling order of error, listed as candidates."""
    maximum_candidates: Positive = 10_000
    """Events listed at most, however much data there is."""
    event_displays: Annotated[int, Field(ge=0)] = 3
    """Most anomalous candidates whose matrices are drawn."""
    worst_cells: Annotated[int, Field(ge=0)] = 6
    """Cells of the matrix that are drawn: those in which data and simulation agree least."""
    all_cells: bool = False
    """Draw every cell, on a page of its own (cells.html)."""


class Update(Part):
    """What 'tailshard update' takes for finished, and when it trains again."""

    settle: float = Field(default=60.0, ge=0)
    """Seconds for which a file must not have been modified; a younger one is left for the next time."""
    new_events: float | None = Field(default=None, gt=0)
    """Train again when events that the network has not learned from, and such of those that it has learned
    from as are gone, are together more than this share of those that it has learned from."""
    error_drift: float | None = Field(default=None, gt=0)
    """Train again when the errors of new events differ by a population stability index above this (0.25 is
    customary) from those of the events that it was trained on, and not by chance."""
    feature_drift: float | None = Field(default=None, gt=0)
    """The same of the cell of the matrices that differs most."""
    warm_start: bool = True
    """Begin with the network in force; false: anew."""


class Pipeline(Part):
    """A search: what is read, kept, learned and reported."""

    name: Name
    description: str = ""
    data_root: str | None = None
    """Where relative input paths start, itself seen from the pipeline file; --data-root overrides it."""
    luminosity: Luminosity
    """fb^-1; simulation is scaled to it, by campaign where there are `campaigns`."""
    campaigns: tuple[Campaign, ...] = ()
    """For ntuples whose simulation is normalised campaign by campaign (susy-skim)."""
    years: tuple[Year, ...] | None = None
    """Years to keep; all that the campaigns stand for where left out."""
    datasets: tuple[Dataset, ...] = Field(min_length=1)
    selection: Selection = Selection()
    corrections: tuple[Correction, ...] = ()
    features: Features = Features()
    store: Store = Store()
    splits: Splits = Splits()
    model: Model = Model()
    training: Training = Training()
    score: Score = Score()
    regions: Regions = Regions()
    histograms: Histograms = Histograms()
    limits: Limits | None = Limits()
    """Upper limits on the signals; null for none."""
    report: Report = Report()
    tune: Tune | None = None
    """What `tailshard tune` tries; no stage of a run looks at it."""
    update: Update = Update()

    @model_validator(mode="after")
    def _parts_agree(self) -> "Pipeline":
        kinds: dict[str, str] = {}
        identities: set[str] = set()
        for dataset in self.datasets:
            if kinds.setdefault(dataset.channel, dataset.kind) != dataset.kind:
                raise ValueError(
                    f"channel '{dataset.channel}' is both {kinds[dataset.channel]} and {dataset.kind}"
                )
            if dataset.identity in identities:
                raise ValueError(f"two datasets are called '{dataset.identity}'; give each its own name")
            identities.add(dataset.identity)
        if "background" not in kinds.values():
            raise ValueError("no dataset has kind background: there is nothing to learn from")
        if unknown := [name for name in self.training.channels or () if name not in kinds]:
            raise ValueError(f"training.channels names unknown channels {unknown}; known: {list(kinds)}")
        if unknown := [name for name in self.training.sampling if name not in self.training_channels]:
            raise ValueError(
                f"training.sampling names {unknown}, which the network does not learn from; "
                f"it learns from {list(self.training_channels)}"
            )
        if self.tune:
            self.tune.check({"model": self.model, "training": self.training, "score": self.score})
        refuse_other_luminosity(self.luminosity, self.campaigns, self.years)
        if len({each.luminosity for each in self.datasets if each.kind == "data"}) > 1:
            raise ValueError("the data sets of kind data differ in luminosity; give the sum to each of them")
        if self.luminosity > 5000:
            raise ValueError(
                f"luminosity {self.luminosity:g} fb^-1 is more than the LHC will ever deliver; "
                f"if it is in pb^-1, write '{self.luminosity:g} pb^-1'"
            )
        return self

    @property
    def kept_years(self) -> tuple[int, ...] | None:
        """Years whose events are kept; None where there are no campaigns and nothing is asked of the year."""
        return kept_years(self.campaigns, self.years) if self.campaigns else None

    @property
    def data_luminosity(self) -> float:
        """fb^-1 of the data: simulation is scaled to it where the two are compared."""
        return next((each.luminosity for each in self.datasets if each.luminosity), self.luminosity)

    @property
    def channels(self) -> dict[str, Kind]:
        """Channel -> kind, in the order of the file."""
        return {dataset.channel: dataset.kind for dataset in self.datasets}

    def channels_of(self, kind: Kind) -> tuple[str, ...]:
        """Names of the channels of a kind, in the order of the file."""
        return tuple(channel for channel, its_kind in self.channels.items() if its_kind == kind)

    @property
    def training_channels(self) -> tuple[str, ...]:
        """Channels that the network learns from."""
        return self.training.channels or self.channels_of("background")


def content_hash(*contents: Any) -> str:
    """Give 16 hexadecimal digits that change when, and only when, the contents change.

    Takes anything JSON can hold, and parts of a pipeline.
    """

    def plain(value: Any) -> Any:
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)

    text = json.dumps(contents, sort_keys=True, separators=(",", ":"), default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

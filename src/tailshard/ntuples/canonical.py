"""How the branches of an ntuple release become canonical events.

Canonical events are the same for every release, in GeV, mm and radians:

========================  ==========================================================================
leptons                   pt, eta, phi, energy (GeV); flavour 11 or 13; charge; trigger_matched;
                          loose, medium, tight (identification); isolated_loose, isolated_tight;
                          d0_significance; z0 (mm); track_isolation, calorimeter_isolation (GeV);
                          passes_overlap (survives the removal of overlaps);
                          matched_<chain> (fired a leg of that trigger chain)
jets                      pt, eta, phi, energy (GeV); b_tag (score or quantile, larger is more b-like);
                          passes_vertex (the release's decision against pile-up); jvt (its score);
                          passes_overlap
met, met_phi              GeV, rad
run, event                uint64
good_quality              good run and vertex; only where the release leaves that cut to the reader
conditions_run            uint64; the run of data, or the one that simulation was made for
chains                    trigger chains that the selection asks for: fired or not
triggers                  those that the selection asks for; False where the release lacks one
generator_weight,         simulation only, float64; cross_section in pb with k-factor and filter
scale_factor,             efficiency; the last two only where the release stores them
cross_section,
sum_of_weights
cross_section_per_weight  simulation; pb, where the release stores that ratio instead
sample_number, born_mass  simulation; data-set number and mass (GeV) of a Z boson before it radiates
========================  ==========================================================================

Numbers are float64, made from the stored value before any arithmetic. Leptons and jets keep the order
of the file. Only what the selection uses is read: a lepton's impact parameter, say, is there only if a
cut needs it. A selection of the user's own may look at every field, and at the triggers that
`selection.cuts.triggers` names.

Scale factors are those of the release's own analyses that fit the objects used here: pile-up,
electrons, muons, lepton trigger and, in 2016, the vertex position. Some depend on the selection. The
factor of a trigger chain (susy-skim) is applied where chains are asked for. The
factor of the pile-up decision on jets is applied when that decision is. The b-tag factor is applied
when `selection.jets.b_tag_efficiency` is a working point that it was derived for, whether or not an
event cut counts b jets: every jet is sorted into light or b, so every event depends on the decision.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import awkward as ak
import numpy as np

from ..chains import distinct
from ..config import Dataset, Kind
from ..cuts import EventCuts, JetCuts, Selection
from ..errors import ConfigError, InputError
from ..events.objects import MATCHED
from ..events.selection import SELECTIONS, event_cuts
from ..events.triggers import chains_in_force
from ..events.weights import require_normalisation
from .columns import Column, Columns, flag, product

LARGEST_ENERGY = 1e6
"""GeV; more than any collider has, and far less than what overflows a matrix."""


@dataclass(frozen=True)
class Dialect:
    """An ntuple release. A user's own is an instance of this class, named ``module:object``."""

    name: str
    tree: str
    """Name, or a pattern (``*_NoSys``) that one tree of each file must match."""
    simulation_runs: frozenset[int]
    """Run numbers that only simulation has."""
    event: Columns
    """met, met_phi, run, event, and good_quality where it applies."""
    leptons: Columns
    jets: Columns
    triggers: Mapping[str, str]
    """Canonical trigger -> branch."""
    simulation: Columns
    """generator_weight, and cross_section and sum_of_weights or cross_section_per_weight where the file has
    them."""
    scale_factors: tuple[str, ...]
    """Branches of the factors that are always applied."""
    b_tag_working_points: Mapping[int, float]
    """Efficiency in per cent -> smallest b_tag that is tagged."""
    default_b_tag_efficiency: int
    b_tag_scale_factor: str | None = None
    b_tag_scale_factor_efficiencies: frozenset[int] = frozenset()
    """Working points that the b-tag scale factor was derived for."""
    pile_up_scale_factor: str | None = None
    """Factor of the jets' `passes_vertex`."""
    chain_scale_factor: str | None = None
    """Factor of the demand for a trigger chain."""
    conditions: Column | None = None
    """conditions_run of simulation; None where the release does not tell."""
    samples: Columns = field(default_factory=dict)
    """sample_number and born_mass of simulation."""
    chains: tuple[str, str] | None = None
    """Branches of a trigger chain, with ``{}`` for its name: of the event, and of each lepton."""
    center_of_mass_energy: float = 13_000.0
    """Of the collisions, GeV."""

    @property
    def normalised_in_file(self) -> bool:
        """Whether cross-section and sum of weights are branches."""
        return bool({"sum_of_weights", "cross_section_per_weight"} & self.simulation.keys())

    def b_tag_efficiency(self, cuts: JetCuts) -> int:
        """Working point in per cent: the one of `cuts`, or the release's default.

        Raises
        ------
        ConfigError
            The release has no such working point.
        """
        efficiency = self.default_b_tag_efficiency if cuts.b_tag_efficiency is None else cuts.b_tag_efficiency
        if efficiency not in self.b_tag_working_points:
            known = ", ".join(f"{point}" for point in self.b_tag_working_points)
            raise ConfigError(
                f"selection.jets.b_tag_efficiency is {efficiency}, {self.name} has the working points {known}"
            )
        return efficiency

    def b_tag_threshold(self, cuts: JetCuts) -> float:
        """Smallest b_tag of a b jet; raises as `b_tag_efficiency` does."""
        return self.b_tag_working_points[self.b_tag_efficiency(cuts)]

    def branches(self, kind: Kind, selection: Selection) -> tuple[str, ...]:
        """Name exactly the branches that `canonical` reads.

        Raises
        ------
        ConfigError
            The selection asks for something that this release does not store.
        """
        groups = self._groups(kind, selection).values()
        names = (name for columns in groups for column in columns.values() for name in column.branches)
        return tuple(dict.fromkeys(names))

    def check(self, dataset: Dataset, selection: Selection) -> None:
        """Refuse what this release cannot do, before any file is opened.

        Raises
        ------
        ConfigError
            The selection asks for something that the release does not store, or the dataset lacks a
            normalisation that the files lack too.
        """
        self.branches(dataset.kind, selection)
        self.b_tag_threshold(selection.jets)
        by_halves = (dataset.cross_section is None) != (dataset.sum_of_weights is None)
        if "cross_section_per_weight" in self.simulation and by_halves:
            require_normalisation(dataset, f"{self.name} files hold only their ratio")
        if not self.normalised_in_file:
            require_normalisation(dataset, f"{self.name} files hold neither")

    def canonical(self, branches: ak.Array, kind: Kind, selection: Selection) -> ak.Array:
        """Turn branches of one partition into canonical events.

        Parameters
        ----------
        branches
            Record array, shape (events,), with at least the fields of `branches`.
        kind
            What the pipeline says these events are.
        selection
            Decides which fields are needed, and which scale factors apply.

        Raises
        ------
        ConfigError
            The selection asks for something that this release does not store.
        InputError
            A branch is missing, the run numbers are not those of the declared kind, or a momentum is no
            finite number that a collision can give; it names branch and event.
        """
        if missing := set(self.branches(kind, selection)) - set(branches.fields):
            raise InputError(f"{self.name} ntuple without the branch {', '.join(sorted(missing))}")

        def make(columns: Columns) -> dict[str, ak.Array]:
            return {
                name: column.make(*(branches[branch] for branch in column.branches))
                for name, column in columns.items()
            }

        groups = self._groups(kind, selection)
        fields = make(groups.pop("events"))
        self._refuse_wrong_kind(fields["run"], kind)
        fields |= {name: ak.zip(make(columns)) for name, columns in groups.items() if columns}
        events = ak.zip(fields, depth_limit=1)
        self._refuse_impossible_momenta(events)
        return events

    def _groups(self, kind: Kind, selection: Selection) -> dict[str, Columns]:
        asked = event_cuts(selection)
        events = dict(self.event)
        if self.conditions:
            events["conditions_run"] = self.event["run"] if kind == "data" else self.conditions
        if kind != "data":
            events |= {**self.simulation, **self._wanted_samples(asked)}
            if factors := self._scale_factors(selection.jets, asked):
                events["scale_factor"] = Column(factors, product)
        fired, matched = self._wanted_chains(asked)
        return {
            "events": events,
            "leptons": {
                **self._pick("leptons", self._wanted_of_leptons(selection, asked), selection),
                **matched,
            },
            "jets": self._pick("jets", self._wanted_of_jets(selection), selection),
            "triggers": self._wanted_triggers(asked),
            "chains": fired,
        }

    def _scale_factors(self, cuts: JetCuts, asked: EventCuts) -> tuple[str, ...]:
        factors = self.scale_factors
        if self.chain_scale_factor and chains_in_force(asked):
            factors += (self.chain_scale_factor,)
        if self.b_tag_scale_factor and self.b_tag_efficiency(cuts) in self.b_tag_scale_factor_efficiencies:
            factors += (self.b_tag_scale_factor,)
        if self.pile_up_scale_factor and cuts.pile_up_rejection:
            factors += (self.pile_up_scale_factor,)
        return factors

    def _pick(
        self, objects: Literal["leptons", "jets"], wanted: Iterable[str], selection: Selection
    ) -> dict[str, Column]:
        columns = self.leptons if objects == "leptons" else self.jets
        names = dict.fromkeys(wanted)
        if missing := [name for name in names if name not in columns]:
            raise ConfigError(
                f"the selection needs '{', '.join(missing)}' of the {objects}, which {self.name} does not "
                f"store; it has {', '.join(columns)}"
            )
        return {name: columns[name] for name in names} if selection.name in SELECTIONS else dict(columns)

    def _wanted_samples(self, asked: EventCuts) -> Columns:
        wanted = []
        if asked.remove_bad_samples or asked.remove_z_overlap:
            wanted.append("sample_number")
        if asked.remove_z_overlap:
            wanted.append("born_mass")
        if missing := [name for name in wanted if name not in self.samples]:
            raise ConfigError(
                f"selection.cuts asks to remove samples, for which {self.name} would have to store "
                f"{', '.join(missing)}; remove_bad_samples and remove_z_overlap are not for this release"
            )
        return {name: self.samples[name] for name in wanted}

    def _wanted_chains(self, asked: EventCuts) -> tuple[Columns, Columns]:
        wanted = distinct(chains_in_force(asked))
        if not wanted:
            return {}, {}
        if self.chains is None:
            raise ConfigError(
                f"selection.cuts.trigger_chains asks for trigger chains, which {self.name} does not store; "
                f"use triggers and trigger_legs: it has {', '.join(self.triggers) or 'none'}"
            )
        of_event, of_lepton = self.chains
        return (
            {chain: flag(of_event.format(chain)) for chain in wanted},
            {MATCHED + chain: flag(of_lepton.format(chain)) for chain in wanted},
        )

    def _wanted_triggers(self, asked: EventCuts) -> Columns:
        wanted = asked.triggers or ()
        if wanted and not any(trigger in self.triggers for trigger in wanted):
            raise ConfigError(
                f"the selection asks for the triggers {', '.join(wanted)}, of which {self.name} stores none; "
                f"it has {', '.join(self.triggers) or 'only chains: use trigger_chains'}"
            )
        never = Column(self.event["run"].branches, lambda run: ak.zeros_like(run, dtype=np.bool_))
        return {name: flag(self.triggers[name]) if name in self.triggers else never for name in wanted}

    def _wanted_of_leptons(self, selection: Selection, asked: EventCuts) -> Iterator[str]:
        yield from ("pt", "eta", "phi", "energy", "flavour", "charge")
        if asked.trigger_matched or "trigger_matched" in self.leptons:
            yield "trigger_matched"
        if selection.overlap_removal and "passes_overlap" in self.leptons:
            yield "passes_overlap"
        kinds = (selection.electrons, selection.muons, selection.baseline_electrons, selection.baseline_muons)
        for cuts in filter(None, kinds):
            if cuts.identification != "none":
                yield cuts.identification
            if cuts.isolation != "none":
                yield f"isolated_{cuts.isolation}"
            if cuts.maximum_abs_d0_significance is not None:
                yield "d0_significance"
            if cuts.maximum_abs_z0_sin_theta is not None:
                yield "z0"

    def _wanted_of_jets(self, selection: Selection) -> Iterator[str]:
        yield from ("pt", "eta", "phi", "energy", "b_tag")
        if selection.overlap_removal and "passes_overlap" in self.jets:
            yield "passes_overlap"
        if selection.jets.pile_up_rejection:
            yield "passes_vertex" if selection.jets.minimum_jvt is None else "jvt"

    def _refuse_impossible_momenta(self, events: ak.Array) -> None:
        """Refuse what a selection would pass over in silence, and what a matrix cannot hold."""
        momenta: list[tuple[ak.Array, Columns, tuple[str, ...]]]
        momenta = [(events, self.event, ("met", "met_phi"))]
        for objects, columns in (("leptons", self.leptons), ("jets", self.jets)):
            if objects in events.fields:
                momenta.append((events[objects], columns, ("pt", "eta", "phi", "energy")))
        for records, columns, names in momenta:
            for name in names:
                values = records[name]
                largest = LARGEST_ENERGY if name in ("met", "pt", "energy") else np.inf
                bad = ~(abs(values) < largest)
                per_event = ak.to_numpy(ak.any(bad, axis=1) if bad.ndim > 1 else bad)
                if (places := np.flatnonzero(per_event)).size:
                    first = places[0]
                    value = values[first] if values.ndim == 1 else values[first][bad[first]][0]
                    raise InputError(
                        f"{places.size} of {len(events)} events have an impossible '{name}' (branch "
                        f"{', '.join(columns[name].branches)}); the first is that of run "
                        f"{events.run[first]}, event {events.event[first]}: {value}. Is the file damaged?"
                    )

    def _refuse_wrong_kind(self, run: ak.Array, kind: Kind) -> None:
        runs = ak.to_numpy(run)
        simulated = np.isin(runs, np.asarray(sorted(self.simulation_runs), dtype=runs.dtype))
        if kind == "data" and simulated.any():
            raise InputError(
                f"declared as data, but run {runs[simulated][0]} is simulation in {self.name}; "
                "set the dataset's kind to background or signal"
            )
        if kind != "data" and not simulated.all():
            raise InputError(
                f"declared as {kind}, but run {runs[~simulated][0]} is collision data: simulation in "
                f"{self.name} has run {' or '.join(map(str, sorted(self.simulation_runs)))}; "
                "set the dataset's kind to data"
            )

"""How the branches of an ntuple release become canonical events.

Canonical events are the same for every release, in GeV, mm and radians:

========================  ==========================================================================
leptons                   pt, eta, phi, energy (GeV); flavour 11 or 13; charge; trigger_matched;
                          loose, medium, tight (identification); isolated_loose, isolated_tight;
                          d0_significance; z0 (mm); track_isolation, calorimeter_isolation (GeV)
jets                      pt, eta, phi, energy (GeV); b_tag (score or quantile, larger is more b-like);
                          passes_vertex (the release's decision against pile-up)
met, met_phi              GeV, rad
run, event                uint64
good_quality              good run and vertex; only where the release leaves that cut to the reader
triggers                  those that the selection asks for; False where the release lacks one
generator_weight,         simulation only, float64; cross_section in pb with k-factor and filter
scale_factor,             efficiency; the last two only where the release stores them
cross_section,
sum_of_weights
========================  ==========================================================================

Numbers are float64, made from the stored value before any arithmetic. Leptons and jets keep the order
of the file. Only what the selection uses is read: a lepton's impact parameter, say, is there only if a
cut needs it. A selection of the user's own may look at every field, and at the triggers that
`selection.cuts.triggers` names.

Scale factors are those of the release's own analyses that fit the objects used here: pile-up,
electrons, muons, lepton trigger and, in 2016, the vertex position. Two depend on the selection. The
factor of the pile-up decision on jets is applied when that decision is. The b-tag factor is applied
when `selection.jets.b_tag_efficiency` is a working point that it was derived for, whether or not an
event cut counts b jets: every jet is sorted into light or b, so every event depends on the decision.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import Literal, NamedTuple

import awkward as ak
import numpy as np

from ..config import Dataset, Kind
from ..cuts import JetCuts, Selection
from ..errors import ConfigError, InputError
from ..events.selection import SELECTIONS, event_cuts
from ..events.weights import require_normalisation


class Column(NamedTuple):
    """A canonical field: the branches it is made from, and how."""

    branches: tuple[str, ...]
    make: Callable[..., ak.Array]


Columns = Mapping[str, Column]

LARGEST_ENERGY = 1e6
"""GeV; more than any collider has, and far less than what overflows a matrix."""


def double(values: ak.Array) -> ak.Array:
    """Cast to float64."""
    return ak.values_astype(values, np.float64)


def flag(branch: str) -> Column:
    """Field that is true where the branch is not zero."""
    return Column((branch,), lambda values: values != 0)


def product(*factors: ak.Array) -> ak.Array:
    """Multiply in float64."""
    return reduce(mul, map(double, factors))


@dataclass(frozen=True)
class Dialect:
    """An ntuple release. A user's own is an instance of this class, named ``module:object``."""

    name: str
    tree: str
    simulation_runs: frozenset[int]
    """Run numbers that only simulation has."""
    event: Columns
    """met, met_phi, run, event, and good_quality where it applies."""
    leptons: Columns
    jets: Columns
    triggers: Mapping[str, str]
    """Canonical trigger -> branch."""
    simulation: Columns
    """generator_weight, and cross_section and sum_of_weights where the file has them."""
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
    center_of_mass_energy: float = 13_000.0
    """Of the collisions, GeV."""

    @property
    def normalised_in_file(self) -> bool:
        """Whether cross-section and sum of weights are branches."""
        return "sum_of_weights" in self.simulation

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
        events = dict(self.event)
        if kind != "data":
            events |= self.simulation
            if factors := self._scale_factors(selection.jets):
                events["scale_factor"] = Column(factors, product)
        return {
            "events": events,
            "leptons": self._pick("leptons", _wanted_of_leptons(selection), selection),
            "jets": self._pick("jets", _wanted_of_jets(selection), selection),
            "triggers": self._wanted_triggers(selection),
        }

    def _scale_factors(self, cuts: JetCuts) -> tuple[str, ...]:
        factors = self.scale_factors
        if self.b_tag_scale_factor and self.b_tag_efficiency(cuts) in self.b_tag_scale_factor_efficiencies:
            factors += (self.b_tag_scale_factor,)
        if self.pile_up_scale_factor and cuts.pile_up_rejection:
            factors += (self.pile_up_scale_factor,)
        return factors

    def _pick(
        self, objects: Literal["leptons", "jets"], wanted: Iterable[str], selection: Selection
    ) -> Columns:
        columns = self.leptons if objects == "leptons" else self.jets
        names = dict.fromkeys(wanted)
        if missing := [name for name in names if name not in columns]:
            raise ConfigError(
                f"the selection needs '{', '.join(missing)}' of the {objects}, which {self.name} does not "
                f"store; it has {', '.join(columns)}"
            )
        return {name: columns[name] for name in names} if selection.name in SELECTIONS else columns

    def _wanted_triggers(self, selection: Selection) -> Columns:
        wanted = event_cuts(selection).triggers or ()
        if wanted and not any(trigger in self.triggers for trigger in wanted):
            raise ConfigError(
                f"the selection asks for the triggers {', '.join(wanted)}, of which {self.name} stores none; "
                f"it has {', '.join(self.triggers)}"
            )
        never = Column(self.event["run"].branches, lambda run: ak.zeros_like(run, dtype=np.bool_))
        return {name: flag(self.triggers[name]) if name in self.triggers else never for name in wanted}

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


def _wanted_of_leptons(selection: Selection) -> Iterator[str]:
    yield from ("pt", "eta", "phi", "energy", "flavour", "charge", "trigger_matched")
    for cuts in (selection.electrons, selection.muons):
        if cuts.identification != "none":
            yield cuts.identification
        if cuts.isolation != "none":
            yield f"isolated_{cuts.isolation}"
        if cuts.maximum_abs_d0_significance is not None:
            yield "d0_significance"
        if cuts.maximum_abs_z0_sin_theta is not None:
            yield "z0"


def _wanted_of_jets(selection: Selection) -> Iterator[str]:
    yield from ("pt", "eta", "phi", "energy", "b_tag")
    if selection.jets.pile_up_rejection:
        yield "passes_vertex"

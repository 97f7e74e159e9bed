"""What toy ntuples are called and hold: the layout of a release.

======================  ==========================================================================
atlas-2025              ATLAS Open Data 2025: what `detector` and `samples` make, as it is
susy-skim               the ntuples of the SUSY group: three campaigns of simulation with runs of
                        four years, trigger chains, flags of the removal of overlaps, scores for
                        b-tags and JVT, and some events of samples that an analysis must remove
======================  ==========================================================================
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..chains import DILEPTON_CHAINS, ELECTRON, MUON, distinct, legs_of
from ..data_taking import RUN_2
from .processes import RESONANCE, ZJETS, Process


class Block(NamedTuple):
    """Events made at once."""

    events: ak.Array
    """(n,) records with everything that is written"""
    weight: NDArray[np.float64]
    """(n,) generator weight times scale factors"""
    origin: NDArray[np.int64]
    """(n,) channel number of the process"""


class Layout(NamedTuple):
    """How a block of the 2025 layout becomes one of another, and what its branches are called."""

    tree: Callable[[str], str]
    """Sample -> name of the tree."""
    counter: Callable[[str], str]
    """Objects -> branch that counts them."""
    field: Callable[[str, str], str]
    """Objects and field -> branch."""
    event_number: str
    """Branch."""
    simulation: Callable[[Generator, Block, Process, int], Block]
    """Of so many generated events of a process; the weights may change, their total expectation not."""
    data: Callable[[Generator, Block], Block]


# -- ATLAS Open Data 2025 ------------------------------------------------------------------------------

ATLAS_2025 = Layout(
    tree=lambda _sample: "analysis",
    counter=lambda objects: f"{objects}_n",
    field=lambda objects, field: f"{objects}_{field}",
    event_number="eventNumber",
    simulation=lambda _rng, block, _process, _generated: block,
    data=lambda _rng, block: block,
)

# -- SUSY group ----------------------------------------------------------------------------------------

_SIMULATION_RUNS = (284500, 300000, 310000)  # by campaign
_COLLISION_RUNS = {
    2015: (276262, 284484),
    2016: (297730, 311481),
    2017: (325713, 340453),
    2018: (348885, 364292),
}
_SHARES = np.array([campaign.total for campaign in RUN_2]) / sum(campaign.total for campaign in RUN_2)
_DL1R_EDGES = np.array([-5.0, 0.665, 2.195, 3.245, 4.565, 12.0])  # of the b-tag quantiles 1 to 5
_Z_SAMPLES = {ELECTRON: 700320, MUON: 700323}
_BAD_SAMPLE = 308092


def _simulation(rng: Generator, block: Block, process: Process, generated: int) -> Block:
    """Give every event a campaign, normalise each campaign by itself, and dress the events."""
    number = ak.to_numpy(block.events.eventNumber).astype(np.int64) - 1
    starts = np.concatenate(([0], np.round(generated * np.cumsum(_SHARES)))).astype(np.int64)
    campaign = np.searchsorted(starts[1:-1], number, side="right")
    sums = np.diff([process.sum_of_weights(int(start)) for start in starts])
    year, run = np.zeros(len(number), np.int64), np.zeros(len(number), np.int64)
    for place, its_campaign in enumerate(RUN_2):
        here = campaign == place
        year[here], run[here] = _runs(rng, its_campaign.luminosity, int(here.sum()))
    events = block.events
    columns = {
        "RunNumber": np.array(_SIMULATION_RUNS, dtype=np.int32)[campaign],
        "RandomRunNumber": run.astype(np.int32),
        "genWeight": process.total_cross_section / sums[campaign],
        "eventWeight": events.mcWeight,
        "leptonWeight": events.ScaleFactor_ELE * events.ScaleFactor_MUON,
        "globalDiLepTrigSF": events.ScaleFactor_LepTRIGGER,
        "bTagWeight": events.ScaleFactor_FTAG,
        "jvtWeight": events.ScaleFactor_JVT,
        "pileupWeight": events.ScaleFactor_PILEUP,
        "isBSM": np.full(len(number), process is RESONANCE),
        **_sample(rng, events, process),
    }
    weight = block.weight * _SHARES[campaign] * process.sum_of_weights(generated) / sums[campaign]
    return Block(_dressed(rng, events, year, columns), weight, block.origin)


def _data(rng: Generator, block: Block) -> Block:
    events = block.events
    luminosity = {year: its for campaign in RUN_2 for year, its in campaign.luminosity.items()}
    year, run = _runs(rng, luminosity, len(events))
    weights = ("genWeight", "eventWeight", "leptonWeight", "globalDiLepTrigSF", "bTagWeight", "jvtWeight")
    columns = {
        "RunNumber": run.astype(np.int32),
        "RandomRunNumber": run.astype(np.int32),
        **{name: np.ones(len(events)) for name in (*weights, "pileupWeight")},
        "isBSM": block.origin == RESONANCE.channel,
        "DatasetNumber": np.zeros(len(events), np.int32),
        "bornMass": np.full(len(events), -1, np.float32),
    }
    return Block(_dressed(rng, events, year, columns), block.weight, block.origin)


def _runs(
    rng: Generator, luminosity: Mapping[int, float], events: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a year by luminosity and a run in it."""
    years = np.array([*luminosity])
    chances = np.array([*luminosity.values()])
    year = rng.choice(years, events, p=chances / chances.sum())
    first, last = np.array([_COLLISION_RUNS[each] for each in years.tolist()]).T
    place = np.searchsorted(years, year)
    return year, rng.integers(first[place], last[place] + 1)


def _sample(rng: Generator, events: ak.Array, process: Process) -> dict[str, Any]:
    size = len(events)
    if process is not ZJETS:
        return {
            "DatasetNumber": np.full(size, process.channel, np.int32),
            "bornMass": np.full(size, -1, np.float32),
        }
    flavour = ak.to_numpy(ak.fill_none(ak.firsts(events.lep["type"]), ELECTRON))
    sample = np.where(flavour == ELECTRON, _Z_SAMPLES[ELECTRON], _Z_SAMPLES[MUON])
    heavy = rng.random(size) < 0.05
    mass = np.where(heavy, rng.uniform(120_001, 200_000, size), rng.normal(91_188, 2_500, size))
    return {
        "DatasetNumber": np.where(rng.random(size) < 0.02, _BAD_SAMPLE, sample).astype(np.int32),
        "bornMass": mass.astype(np.float32),
    }


def _dressed(rng: Generator, events: ak.Array, year: NDArray[np.int64], columns: dict[str, Any]) -> ak.Array:
    jets = _jets(rng, events.jet)
    leptons = _leptons(events.lep)
    # As the group does it: jets within 0.2 of a lepton go, then leptons within 0.4 of a jet that is left.
    jets["PassOR"] = ~_near(events.jet, events.lep, 0.2)
    leptons["PassOR"] = ~_near(events.lep, events.jet[jets["PassOR"]], 0.4)
    fired = {}
    for chain in distinct(DILEPTON_CHAINS):
        ran = np.isin(year, [each for each, chains in DILEPTON_CHAINS.items() if chain in chains])
        fired[f"trigMatch_HLT_{chain}"], leptons[f"HLT_{chain}"] = _chain(rng, events.lep, chain, ran)
    ordered = events.lep[ak.argsort(events.lep.pt, ascending=False)]
    return ak.zip(
        {
            "lep": ak.zip(leptons),
            "jet": ak.zip(jets),
            "met_Et": events.met,
            "met_Phi": events.met_phi,
            "met_Sign": events.met / np.sqrt(1 + ak.sum(events.jet.pt, axis=1)),
            "mll": _mass_of_two(ordered),
            "EventNumber": events.eventNumber,
            **fired,
            **{
                name: ak.values_astype(values, np.float64) if name.endswith(("Weight", "TrigSF")) else values
                for name, values in columns.items()
            },
        },
        depth_limit=1,
    )


def _jets(rng: Generator, jets: ak.Array) -> dict[str, ak.Array]:
    counts = ak.num(jets)
    size = int(ak.sum(counts))
    quantile = ak.to_numpy(ak.flatten(jets.btag_quantile))
    from_vertex = ak.to_numpy(ak.flatten(jets.jvt))
    dl1r = rng.uniform(_DL1R_EDGES[quantile - 1], _DL1R_EDGES[quantile])
    jvt = np.where(from_vertex, rng.uniform(0.92, 1, size), rng.uniform(-0.1, 0.9, size))
    return {
        "Pt": jets.pt,
        "Eta": jets.eta,
        "Phi": jets.phi,
        "M": _mass(jets),
        "JVT": ak.unflatten(jvt.astype(np.float32), counts),
        "dl1r": ak.unflatten(dl1r.astype(np.float32), counts),
    }


def _leptons(leptons: ak.Array) -> dict[str, ak.Array]:
    return {
        "Pt": leptons.pt,
        "Eta": leptons.eta,
        "Phi": leptons.phi,
        "M": _mass(leptons),
        "Flavor": ak.values_astype((leptons["type"] - 9) // 2, np.int32),
        "Charge": leptons.charge,
        "Loose": leptons.isLooseID,
        "Tight": leptons.isTightID,
        "IsoLoose_VarRad": leptons.isLooseIso,
        "D0Sig": leptons.d0sig,
        "Z0SinTheta": ak.values_astype(leptons.z0 / np.cosh(leptons.eta), np.float32),
    }


def _mass(particles: ak.Array) -> ak.Array:
    momentum = particles.pt * np.cosh(particles.eta)
    return ak.values_astype(np.sqrt(np.maximum(particles.e**2 - momentum**2, 0)), np.float32)


def _mass_of_two(leptons: ak.Array) -> ak.Array:
    """Of the two leading leptons, taken as massless; -1 where there are fewer."""
    pair = ak.pad_none(leptons, 2, axis=1)
    first, second = pair[:, 0], pair[:, 1]
    squared = 2 * first.pt * second.pt * (np.cosh(first.eta - second.eta) - np.cos(first.phi - second.phi))
    return ak.values_astype(ak.fill_none(np.sqrt(squared), -1), np.float32)


def _near(these: ak.Array, others: ak.Array, distance: float) -> ak.Array:
    """Tell which of these lie within a distance in eta and phi of another."""
    eta = these.eta[:, :, np.newaxis] - others.eta[:, np.newaxis, :]
    phi = (these.phi[:, :, np.newaxis] - others.phi[:, np.newaxis, :] + np.pi) % (2 * np.pi) - np.pi
    return ak.any(eta**2 + phi**2 < distance**2, axis=2)


def _chain(
    rng: Generator, leptons: ak.Array, chain: str, ran: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], ak.Array]:
    """Events in which a chain fired, and the leptons that fired one of its legs."""
    legs = legs_of(chain)
    seen = ak.unflatten(rng.random(int(ak.sum(ak.num(leptons)))) < 0.95, ak.num(leptons))
    matched = ak.zeros_like(seen)
    fired = ran.copy()
    for flavour in {leg.flavour for leg in legs}:
        thresholds = sorted((leg.threshold for leg in legs if leg.flavour == flavour), reverse=True)
        able = seen & (leptons["type"] == flavour) & ran[:, np.newaxis] & (leptons.pt > thresholds[-1])
        pt = ak.sort(ak.mask(leptons.pt, able), axis=1, ascending=False)
        for place, threshold in enumerate(thresholds):
            hardest = ak.fill_none(ak.pad_none(pt, place + 1, axis=1)[:, place], 0)
            fired &= ak.to_numpy(hardest > threshold)
        matched = matched | able
    return fired, matched & fired[:, np.newaxis]


SUSY_SKIM = Layout(
    tree=lambda sample: f"{sample}_NoSys",
    counter=lambda objects: f"n_{objects}",
    field=lambda objects, field: f"{objects}{field}",
    event_number="EventNumber",
    simulation=_simulation,
    data=_data,
)

LAYOUTS: Mapping[str, Layout] = {"atlas-2025": ATLAS_2025, "susy-skim": SUSY_SKIM}
"""By the name of the dialect that reads it."""

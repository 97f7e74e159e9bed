"""Which events fired a trigger with the leptons that were selected."""

from collections.abc import Mapping, Sequence

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from ..chains import DILEPTON_CHAINS, Leg, legs_of
from ..cuts import EventCuts
from ..data_taking import year_of
from .objects import MATCHED

Mask = NDArray[np.bool_]

# The match that the Open Data releases store for each lepton is with single-lepton triggers: none of
# their leptons is matched in an event in which neither trigE nor trigM fired.
_MATCHED_BY_THE_RELEASE = ("electron", "muon")


def chains_in_force(cuts: EventCuts) -> Mapping[int, Sequence[str]]:
    """Chains to ask for, by year; empty where nothing is asked."""
    if cuts.trigger_chains == "dilepton":
        return DILEPTON_CHAINS
    return cuts.trigger_chains or {}


def legs_matched(leptons: ak.Array, legs: Sequence[Leg]) -> Mask:
    """Tell in which events every leg finds a lepton of its own: right flavour, pT above the threshold.

    Parameters
    ----------
    leptons
        Shape (events, leptons) with pt (GeV) and flavour.
    legs
        What the leptons must be. Of one flavour, the hardest lepton is held against the highest
        threshold and so on down, which finds a match wherever there is one.
    """
    matched = np.ones(len(leptons), dtype=np.bool_)
    for flavour in {leg.flavour for leg in legs}:
        pt = ak.sort(leptons.pt[leptons.flavour == flavour], axis=1, ascending=False)
        thresholds = sorted((leg.threshold for leg in legs if leg.flavour == flavour), reverse=True)
        for place, threshold in enumerate(thresholds):
            hardest = ak.fill_none(ak.pad_none(pt, place + 1, axis=1)[:, place], 0.0)
            matched &= ak.to_numpy(hardest > threshold)
    return matched


def fired_trigger(events: ak.Array, leptons: ak.Array, trigger: str, cuts: EventCuts) -> Mask:
    """Tell in which events a trigger of the release fired, with the leptons of `cuts.trigger_legs`."""
    fired: Mask = ak.to_numpy(events.triggers[trigger])
    chain = cuts.chain_of(trigger)
    if chain is None:
        return fired
    if trigger in _MATCHED_BY_THE_RELEASE and "trigger_matched" in leptons.fields:
        leptons = leptons[leptons.trigger_matched]
    return fired & legs_matched(leptons, legs_of(chain))


def fired_chain(events: ak.Array, leptons: ak.Array, chains: Mapping[int, Sequence[str]]) -> Mask:
    """Tell in which events a chain of the event's year fired and has all its legs matched.

    No event of a year without chains does.

    Parameters
    ----------
    events
        Canonical events with ``conditions_run`` and ``chains``.
    leptons
        Selected leptons with the matches ``matched_<chain>``.
    chains
        By year.
    """
    years = year_of(ak.to_numpy(events.conditions_run))
    passing = np.zeros(len(events), dtype=np.bool_)
    for chain in dict.fromkeys(name for names in chains.values() for name in names):
        ran = np.isin(years, [year for year, names in chains.items() if chain in names])
        fired = ran & ak.to_numpy(events.chains[chain])
        passing |= fired & legs_matched(leptons[leptons[MATCHED + chain]], legs_of(chain))
    return passing

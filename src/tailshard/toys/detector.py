"""What a detector makes of toy collisions.

Jets and leptons are smeared and lost, momentum is missing for that and for what is invisible, jets are
b-tagged, pile-up adds jets of its own, and triggers fire. There are no fake leptons.
"""

from typing import Any

import awkward as ak
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .processes import Collisions, Mask, Momenta, azimuth, four_momenta, pseudorapidity, transverse_momentum

_B_TAG_EFFICIENCY = np.array([0.85, 0.77, 0.70, 0.60])
_MISTAG_RATE = np.array([1 / 30, 1 / 110, 1 / 380, 1 / 1200])


def detect(rng: Generator, collisions: Collisions) -> tuple[ak.Array, Mask]:
    """Smear, lose, tag and trigger.

    Returns
    -------
    events
        (n,) records with the fields of the release: lep and jet, lists of records in no order, and the
        variables of the event.
    in_skim
        (n,) whether the 2J2LMET30 skim keeps the event: at least two jets, two tightly identified
        leptons and 30 GeV of missing transverse momentum.
    """
    jets, has_jet, balance = _jets(rng, collisions)
    leptons, has_lepton, smeared = _leptons(rng, collisions)
    events = len(has_jet)
    # Nature balances; what is seen does not, by what is invisible, by the smearing and by noise.
    true = collisions.partons.sum(axis=1) + collisions.leptons.sum(axis=1) + collisions.invisible
    noise = np.sqrt(15.0**2 + 0.5**2 * (jets["pt"] * has_jet).sum(axis=1))
    missing = (true - balance - smeared.sum(axis=1))[:, :2] + rng.normal(0, noise[:, None], (events, 2))
    met = transverse_momentum(missing)
    electron, fired = leptons["type"] == 11, leptons["isTrigMatched"]
    above = {pt: has_lepton & (leptons["pt"] > pt) for pt in (10, 15, 18)}
    events_as_seen = {
        "lep": _jagged(leptons, has_lepton),
        "jet": _jagged(jets, has_jet),
        "met": met.astype(np.float32),
        "met_phi": azimuth(missing).astype(np.float32),
        "met_mpx": missing[:, 0].astype(np.float32),
        "met_mpy": missing[:, 1].astype(np.float32),
        "trigE": (fired & electron).any(axis=1),
        "trigM": (fired & ~electron).any(axis=1),
        "trigDE": (above[18] & electron).sum(axis=1) >= 2,
        "trigDM": (above[15] & ~electron).sum(axis=1) >= 2,
        "trigML": above[10].sum(axis=1) >= 3,
        "trigMET": rng.random(events) < 1 / (1 + np.exp((130 - met) / 15)),
    }
    tight = has_lepton & leptons["isTightID"]
    in_skim = (has_jet.sum(axis=1) >= 2) & (tight.sum(axis=1) >= 2) & (met >= 30)
    return ak.zip(events_as_seen, depth_limit=1), in_skim


def _jagged(columns: dict[str, NDArray[Any]], present: Mask) -> ak.Array:
    counts = present.sum(axis=1)
    return ak.zip({name: ak.unflatten(values[present], counts) for name, values in columns.items()})


def _four_momentum(momenta: Momenta) -> dict[str, NDArray[Any]]:
    parts = {
        "pt": transverse_momentum(momenta),
        "eta": pseudorapidity(momenta),
        "phi": azimuth(momenta),
        "e": momenta[..., 3],
    }
    return {name: values.astype(np.float32) for name, values in parts.items()}


def _jets(rng: Generator, collisions: Collisions) -> tuple[dict[str, NDArray[Any]], Mask, Momenta]:
    """Columns of the jets, which of them are there, and the sum of what the calorimeters saw."""
    partons = collisions.partons
    # Response 80 % / sqrt(E) and 5 %; one jet in a hundred loses much of its energy.
    resolution = np.hypot(0.8 / np.sqrt(np.maximum(partons[..., 3], 1)), 0.05)
    response = np.maximum(rng.normal(1, resolution), 0.1)
    response = np.where(rng.random(response.shape) < 0.01, rng.uniform(0.4, 0.9, response.shape), response)
    smeared = partons * response[..., None]
    balance = (smeared * (np.abs(pseudorapidity(smeared)) < 4.5)[..., None]).sum(axis=1)

    shape = (len(partons), 2)
    pt = 18 / rng.power(5.0, shape)
    pile_up = four_momenta(pt, rng.normal(0, 2, shape), rng.uniform(-np.pi, np.pi, shape), 0.1 * pt)
    pile_up *= (rng.random(shape) < 0.15)[..., None]
    momenta = np.concatenate((smeared, pile_up), axis=1)
    is_pile_up = np.arange(momenta.shape[1]) >= partons.shape[1]
    is_b = np.concatenate((collisions.is_b, np.zeros(shape, bool)), axis=1)
    tag_rate = np.where(is_b[..., None], _B_TAG_EFFICIENCY, _MISTAG_RATE)
    columns = {
        **_four_momentum(momenta),
        "btag_quantile": (1 + (rng.random((*is_b.shape, 1)) < tag_rate).sum(axis=-1)).astype(np.int32),
        "jvt": rng.random(is_b.shape) < np.where(is_pile_up, 0.1, 0.97),
    }
    return columns, (columns["pt"] > 20) & (np.abs(columns["eta"]) < 2.5), balance


def _leptons(rng: Generator, collisions: Collisions) -> tuple[dict[str, NDArray[Any]], Mask, Momenta]:
    """Columns of the leptons, which of them are there, and their smeared momenta."""
    muon = collisions.flavour == 13
    smeared = collisions.leptons * rng.normal(1, np.where(muon, 0.02, 0.015))[..., None]
    shape = muon.shape
    momenta = _four_momentum(smeared)
    present = (momenta["pt"] > 7) & (np.abs(momenta["eta"]) < np.where(muon, 2.7, 2.47))
    present &= rng.random(shape) < 0.96
    quality = rng.random(shape)
    d0_significance = rng.normal(0, 1.1, shape)
    columns = {
        **momenta,
        "type": collisions.flavour,
        "charge": collisions.charge,
        "ptvarcone30": np.maximum(rng.exponential(1.5, shape) - 1.5, 0).astype(np.float32),
        "topoetcone20": rng.normal(0.5, 1.2, shape).astype(np.float32),
        "z0": rng.normal(0, 0.06, shape).astype(np.float32),
        "d0": (0.012 * d0_significance).astype(np.float32),
        "d0sig": d0_significance.astype(np.float32),
        "isTightID": quality < 0.92,
        "isMediumID": quality < 0.96,
        "isLooseID": quality < 0.99,
        "isTightIso": rng.random(shape) < 0.93,
        "isLooseIso": rng.random(shape) < 0.98,
        "isTrigMatched": present & (momenta["pt"] > 27) & (rng.random(shape) < np.where(muon, 0.8, 0.94)),
    }
    return columns, present, smeared

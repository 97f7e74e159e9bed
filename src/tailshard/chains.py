"""Trigger chains: which ran in which year, and what each of their legs asks of a lepton.

A chain is called what ATLAS calls it, without ``HLT_``: ``mu22_mu8noL1`` fires on a muon above 22 GeV and
another above 8, ``2e12_lhloose_L12EM10VH`` on two electrons above 12, ``e7_lhmedium_mu24`` on an electron
above 7 and a muon above 24.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

ELECTRON = 11
MUON = 13

_LEG = re.compile(r"(?:^|_)(\d*)(e|mu)(\d+)(?=_|noL1|$)")
_FLAVOURS = {"e": ELECTRON, "mu": MUON}


class Leg(NamedTuple):
    """What one lepton of a chain must be."""

    flavour: int
    """11 or 13."""
    threshold: float
    """GeV; the lepton's pT must exceed it."""


@cache
def legs_of(chain: str) -> tuple[Leg, ...]:
    """Read the legs of a chain from its name, in falling order of threshold.

    Seeds of the first trigger level (``L12EM10VH``) and working points (``lhloose``) are no legs.

    Raises
    ------
    ValueError
        The name has no leg.
    """
    legs = [
        Leg(_FLAVOURS[particle], float(threshold))
        for count, particle, threshold in _LEG.findall(chain.removeprefix("HLT_"))
        for _ in range(int(count or 1))
    ]
    if not legs:
        raise ValueError(
            f"'{chain}' names no electron or muon with a threshold; write for example mu22_mu8noL1 or 2e17"
        )
    return tuple(sorted(legs, key=lambda leg: -leg.threshold))


_CHAINS_OF_2017_AND_2018 = (
    "2e17_lhvloose_nod0_L12EM15VHI",
    "2e24_lhvloose_nod0",
    "2mu14",
    "mu22_mu8noL1",
    "e17_lhloose_nod0_mu14",
    "e26_lhmedium_nod0_mu8noL1",
    "e7_lhmedium_nod0_mu24",
)

DILEPTON_CHAINS: Mapping[int, tuple[str, ...]] = {
    2015: (
        "2e12_lhloose_L12EM10VH",
        "2mu10",
        "mu18_mu8noL1",
        "e17_lhloose_mu14",
        "e7_lhmedium_mu24",
    ),
    2016: (
        "2e15_lhvloose_nod0_L12EM13VH",
        "2e17_lhvloose_nod0",
        "2mu10",
        "2mu14",
        "mu20_mu8noL1",
        "mu22_mu8noL1",
        "e17_lhloose_nod0_mu14",
        "e24_lhmedium_nod0_L1EM20VHI_mu8noL1",
        "e7_lhmedium_nod0_mu24",
    ),
    2017: _CHAINS_OF_2017_AND_2018,
    2018: _CHAINS_OF_2017_AND_2018,
}
"""Dilepton chains of ATLAS by year of data taking.

Those of S. Frette's thesis (Oslo, 2023), whose text lists a chain of 2016 for 2015 as well
(``2e15_lhvloose_nod0_L12EM13VH``: electrons without a d0 cut came with 2016); it is left out here.
"""


def distinct(chains: Mapping[int, Iterable[str]]) -> tuple[str, ...]:
    """Names of all chains of all years, each once."""
    return tuple(dict.fromkeys(chain for year in sorted(chains) for chain in chains[year]))

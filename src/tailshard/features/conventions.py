"""The two ways in which the rapidity-mass matrix is written in the literature.

================  =====================================  =====================================
cell              chekanov                               thesis
================  =====================================  =====================================
(0, 0)            MET / sqrt(s)                          MET
(0, j)            mT(MET, object) / sqrt(s), if MET > 0  mT of the object alone, sqrt(pT^2 + m^2)
(j, 0)            cosh(y) - 1                            0.15 (cosh(y) - 1)
(j, j), leading   ET / sqrt(s), ET = E sin(theta)        sqrt(pT^2 + m^2)
(j, j), others    (ET[-1] - ET) / (ET[-1] + ET)          (pT[-1] - pT) / (pT[-1] + pT)
(i, j), i < j     m(i, j) / sqrt(s)                      m(i, j)
(i, j), i > j     cosh((y_i - y_j) / 2) - 1              0.15 (cosh((y_i - y_j) / 2) - 1)
================  =====================================  =====================================

Energies and masses of `thesis` are in GeV; `chekanov` is dimensionless. "[-1]" is the object of the same
type with the next higher pT. mT(MET, object)^2 = (ET + MET)^2 - |pT + MET|^2, and never below zero.

Sources: S. Chekanov, Nucl. Instrum. Meth. A 931 (2019) 92 and github.com/chekanov/Map2RMM (where the factor
0.15 is left to the caller, as here); S. Frette, "Deployment of semi-unsupervised learning in the search for
new physics at the LHC with the ATLAS detector" (Oslo, 2023), as its code has it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ..errors import ConfigError


class Convention(NamedTuple):
    """What differs between the ways to write the matrix."""

    in_units_of_collision_energy: bool
    """Energies and masses are divided by sqrt(s)."""
    transverse_mass_with_met: bool
    """Row 0 holds the transverse mass of the object and MET, otherwise that of the object alone."""
    energy_is_e_sin_theta: bool
    """The diagonal holds and compares E sin(theta); otherwise it holds sqrt(pT^2 + m^2) and compares pT."""
    angle_factor: float
    """Multiplies column 0 and the lower triangle."""


CONVENTIONS: Mapping[str, Convention] = {
    "chekanov": Convention(True, True, True, 1.0),
    "thesis": Convention(False, False, False, 0.15),
}


def convention_scales(name: str, center_of_mass_energy: float) -> tuple[Convention, float]:
    """Find a convention, and what its energies are multiplied with.

    Parameters
    ----------
    name
        A key of `CONVENTIONS`.
    center_of_mass_energy
        sqrt(s) in GeV; at least 1, which leaves energies in GeV.

    Raises
    ------
    ConfigError
        There is no such convention, or the energy is below 1 GeV.
    """
    if name not in CONVENTIONS:
        raise ConfigError(f"there is no RMM convention '{name}'; use one of {', '.join(CONVENTIONS)}")
    if not 1 <= center_of_mass_energy < float("inf"):
        raise ConfigError(
            f"center_of_mass_energy is {center_of_mass_energy:g} GeV; it must be at least 1 GeV and finite"
        )
    convention = CONVENTIONS[name]
    return convention, 1 / center_of_mass_energy if convention.in_units_of_collision_energy else 1.0

"""Numbers with units, as people write them in a pipeline file.

A plain number is taken in the canonical unit (GeV, fb^-1, pb, mm). A string carries its own unit and
is converted: ``"36.1 fb^-1"``, ``"30000 MeV"``. A unit of the wrong kind is refused by name.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

ENERGY = {"GeV": 1.0, "MeV": 1e-3, "TeV": 1e3}
LENGTH = {"mm": 1.0, "um": 1e-3, "cm": 10.0}
CROSS_SECTION = {"pb": 1.0, "fb": 1e-3, "nb": 1e3}
LUMINOSITY = {"fb^-1": 1.0, "pb^-1": 1e-3, "ab^-1": 1e3, "/fb": 1.0, "/pb": 1e-3, "/ab": 1e3}

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S+)\s*")


def _to_canonical(units: dict[str, float]) -> BeforeValidator:
    canonical = next(iter(units))

    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = _QUANTITY.fullmatch(value)
        if match is None:
            raise ValueError(f"'{value}' is not a number with a unit; write for example '30 {canonical}'")
        number, unit = match.groups()
        if unit not in units:
            raise ValueError(f"unit '{unit}' does not fit here; use one of {', '.join(units)}")
        return float(number) * units[unit]

    return BeforeValidator(convert, json_schema_input_type=float | str)


Energy = Annotated[float, Field(allow_inf_nan=False), _to_canonical(ENERGY)]
"""GeV."""
Length = Annotated[float, Field(allow_inf_nan=False), _to_canonical(LENGTH)]
"""mm."""
CrossSection = Annotated[float, Field(gt=0, allow_inf_nan=False), _to_canonical(CROSS_SECTION)]
"""pb."""
Luminosity = Annotated[float, Field(gt=0, allow_inf_nan=False), _to_canonical(LUMINOSITY)]
"""fb^-1."""

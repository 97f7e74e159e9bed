"""What the parts of a pipeline are made of: immutable models, names, and numbers with units.

A part that meets a key it does not know is an error. A plain number is taken in the canonical unit
(GeV, fb^-1, pb, mm). A string carries its own unit and is converted: ``"36.1 fb^-1"``, ``"30000 MeV"``. A
unit of the wrong kind is refused by name.
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(gt=0)]
PluginName = Annotated[str, Field(min_length=1, description="a built-in name, or 'module:object'")]


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Locations = Annotated[
    tuple[str, ...], BeforeValidator(_one_or_many, json_schema_input_type=str | tuple[str, ...])
]
"""Paths, patterns or URLs; a single one needs no list."""


class Part(BaseModel):
    """A part of a pipeline: immutable, every number finite, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


# -- numbers with units ----------------------------------------------------------------------------

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

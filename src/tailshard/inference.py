"""What is asked of the counts in the tail: limits on signals, and bumps in a mass."""

from typing import Annotated

from pydantic import Field, model_validator

from .parts import Part, Positive

Relative = Annotated[float, Field(ge=0, lt=1)]


class Limits(Part):
    """Upper limits on the strength of each signal, from pyhf."""

    background_uncertainty: Relative = 0.0
    """Relative uncertainty of the normalisation of each background channel, beside the simulation's
    statistics; channels vary apart from each other."""
    luminosity_uncertainty: Relative = 0.0
    """Relative uncertainty of the luminosity, common to all simulation."""


class Bump(Part):
    """A scan of one quantity for a local excess of data; needs ``pip install tailshard[bump]``."""

    quantity: str = "m_ll"
    """Kinematic quantity of the store."""
    region: str = "inclusive"
    """Region in which it is scanned, by its name in the summary."""
    bins: Positive = 60
    range: tuple[float, float] = (0, 600)
    widths: tuple[Positive, Positive] = (2, 8)
    """Smallest and largest window, in bins."""
    pseudo_experiments: Positive = 2000
    """Background-only experiments that give the global p-value; it is not known below their inverse."""
    seed: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _windows_fit(self) -> "Bump":
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range must rise, found {list(self.range)}")
        if not self.widths[0] <= self.widths[1] < self.bins:
            raise ValueError(
                f"widths must rise and be smaller than the {self.bins} bins, found {list(self.widths)}"
            )
        return self

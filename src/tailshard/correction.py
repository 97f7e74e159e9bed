"""A correction to the weights of simulation, as a pipeline names it; `events.corrections` evaluates it."""

from pydantic import Field

from .parts import Part


class Correction(Part):
    """A factor on the weights of simulation, from a file in the format of correctionlib."""

    file: str
    """JSON, plain or gzipped; a relative path starts at the data root."""
    name: str
    """Of the correction in the file."""
    inputs: dict[str, str] = Field(min_length=1)
    """Input of the correction -> quantity: one of an event (``met``, ``jets``, ``year``) or a field of
    selected objects (``electrons.pt``, ``muons.abs_eta``). With objects, the factors of all of an event's
    are multiplied."""
    constants: dict[str, str | int | float] = Field(default_factory=dict)
    """Inputs that have the same value for all events, such as a systematic variation."""

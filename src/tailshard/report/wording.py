"""Numbers as a physicist writes them: rounded to their uncertainty, thousands parted, true minus signs."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..learning import Score, ScoreKind

NOTHING = "–"
"""Stands for a number that does not exist."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class ScoreWords(NamedTuple):
    """What a score is called, and what it is."""

    name: str
    definition: str


_SQUARED = "the squared difference between the scaled cell and its reconstruction"
_RELATIVE = f"{_SQUARED}, in units of what it is for the background on average"
SCORES: Mapping[ScoreKind, ScoreWords] = {
    "sum": ScoreWords("reconstruction error", f"the sum over the cells of its matrix of {_SQUARED}"),
    "mean": ScoreWords("mean reconstruction error", f"the mean over the cells of its matrix of {_SQUARED}"),
    "masked_mean": ScoreWords(
        "mean error of existing objects", f"the mean over the cells of objects that exist of {_SQUARED}"
    ),
    "relative": ScoreWords(
        "relative reconstruction error", f"the sum over the cells of objects that exist of {_RELATIVE}"
    ),
    "excess": ScoreWords(
        "excess over the reconstruction",
        "how far energies and masses lie above their reconstruction: over the cells of existing objects that "
        f"exceed it, {_RELATIVE}, each kind of energy or mass counting alike",
    ),
    "divergence": ScoreWords(
        "latent divergence",
        "the Kullback-Leibler divergence of its latent distribution from the prior, in nats; nothing of it "
        "is a difference from the reconstruction",
    ),
    "latent_distance": ScoreWords(
        "latent distance",
        "the squared Mahalanobis distance of its latent variables from those of the background; nothing of "
        "it is a difference from the reconstruction",
    ),
    "blocks": ScoreWords(
        "errors by kind of cell", f"for each kind of cell, the mean over existing objects of {_RELATIVE}"
    ),
}
"""As `tailshard.train.scores` defines them."""


def defined(score: Score) -> str:
    """Say what the error of an event is."""
    its = SCORES[score.kind]
    added = ""
    if score.add_divergence and score.kind in ("sum", "mean", "masked_mean"):
        added = "; the divergence of its latent distribution is added, weighted as in training"
    return (
        f"The error of an event is here its {its.name} (score.kind: {score.kind}): {its.definition}{added}."
    )


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with some significant digits; whole digits are never rounded away."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))  # of the rounded number
    if not -3 <= exponent < 7:
        return f"{fixed(value / 10**exponent, digits - 1)} × 10{str(exponent).translate(_SUPERSCRIPT)}"
    return fixed(value, max(0, digits - 1 - exponent))


def measured(value: float | None, uncertainty: float | None) -> str:
    """Write a value and its uncertainty, both to the uncertainty's second significant digit."""
    if value is None or not math.isfinite(value) or not uncertainty or not math.isfinite(uncertainty):
        return number(value)
    exponent = math.floor(math.log10(max(abs(value), uncertainty)))
    if not -3 <= exponent < 7:
        power = 10.0**exponent
        inside = measured(value / power, uncertainty / power)
        return f"({inside}) × 10{str(exponent).translate(_SUPERSCRIPT)}"
    decimals = max(0, 1 - math.floor(math.log10(float(f"{uncertainty:.1e}"))))
    return f"{fixed(value, decimals)}\u00a0±\u00a0{fixed(uncertainty, decimals)}"


def observed(value: float | None) -> str:
    """Write a number of data events; it is whole unless the data is quoted from a part of it."""
    return count(value) if value is None or value == round(value) else number(value, 4)


def count(value: float | None) -> str:
    """Write a whole number."""
    return NOTHING if value is None else fixed(value, 0)


def percent(share: float | None, digits: int = 3) -> str:
    """Write a share in per cent."""
    return NOTHING if share is None else f"{number(100 * share, digits)} %"


def probability(value: float | None) -> str:
    """Write a p-value; one too small for its two digits to mean anything is only bounded."""
    if value is None:
        return NOTHING
    return "< 10⁻¹²" if value < 1e-12 else number(value, 2)


def plural(many: int, noun: str) -> str:
    """Count things: "1 worker", "2 workers"."""
    return f"{count(many)} {noun}{'' if many == 1 else 's'}"


def candidates_in_words(facts: Mapping[str, Any]) -> str:
    """Say which events are listed as candidates."""
    count = plural(facts["count"], "event")
    if facts["limited"]:
        return f"the {count} of the data with the largest errors (report.maximum_candidates allows no more)"
    return f"the most anomalous {100 * facts['fraction']:g} % of the data, {count}"


def listed(words: list[str]) -> str:
    """Join words as in a sentence: "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def fixed(value: float, decimals: int) -> str:
    """Write a number with a fixed number of decimals."""
    text = f"{value:,.{decimals}f}".replace(",", "\u202f").replace("-", "−")
    return text[1:] if text.startswith("−") and not text.strip("−0.") else text

"""How the search has changed from one update to the next: figures and a table."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import plots
from .blocks import Block, Note, Picture, Pictures, Table, Text, picture
from .canvas import DASHED, lines
from .findings import Findings
from .plots import Curve
from .wording import NOTHING, count, number, observed

UPDATES_SHOWN = 100
_MEASURES = {"errors": "errors", "features": "matrices"}


def updates(findings: Findings) -> Iterator[Block]:
    """Make the blocks of the section: nothing but a note where there was no update."""
    if not findings.history:
        yield Note("This search has not been updated: everything was made at once.")
        return
    yield Text(
        "Each update has read and scored the files that had arrived by then. Drift is the population "
        "stability index of the events that the network could have learned from and has not, against those "
        "that it has learned from: below 0.1 they are alike, above 0.25 they are not. The network was "
        "trained again where the table says so; the scores of all events are then those of the new one."
    )
    shown = findings.history[-UPDATES_SHOWN:]
    first = len(findings.history) - len(shown) + 1
    pictures = [_yields(findings, shown, first)]
    if drift := _drift(findings, shown, first):
        pictures.append(drift)
    yield Pictures(pictures)
    yield _table(findings, shown, first)


def _yields(findings: Findings, shown: Sequence[dict[str, Any]], first: int) -> Picture:
    number_of = np.arange(first, first + len(shown), dtype=np.float64)
    channels = list(findings.pipeline.channels)
    curves = [
        Curve(
            channel,
            number_of,
            np.array([its["yields"].get(channel) or np.nan for its in shown], np.float64),
            colour,
        )
        for channel, colour in zip(channels, lines(len(channels)), strict=True)
    ]
    return picture(
        plots.by_update(curves, ordinate="Selected events, weighted", title=findings.title),
        f"Weighted numbers of selected events by update, for {', '.join(channels)}.",
        "Sum of weights of the selected events of every channel after each update.",
    )


def _drift(findings: Findings, shown: Sequence[dict[str, Any]], first: int) -> Picture | None:
    number_of = np.arange(first, first + len(shown), dtype=np.float64)
    values = {
        label: np.array([_value(its, measure) or np.nan for its in shown], np.float64)
        for measure, label in _MEASURES.items()
    }
    measured = {label: found for label, found in values.items() if np.isfinite(found).any()}
    if not measured:
        return None
    curves = [
        Curve(label, number_of, found, colour, line)
        for (label, found), colour, line in zip(
            measured.items(), lines(len(measured)), ("-", DASHED), strict=False
        )
    ]
    return picture(
        plots.by_update(curves, ordinate="Population stability index", title=findings.title),
        f"Drift of the {' and the '.join(measured)} by update.",
        "Drift of new events against those that the network was trained on, where it was measured.",
    )


def _table(findings: Findings, shown: Sequence[dict[str, Any]], first: int) -> Table:
    data = findings.pipeline.channels_of("data")
    rows = [
        [
            f"{first + place}",
            its["time"].replace("T", " ").removesuffix("+00:00"),
            "trained" if its["retrained"] else "kept",
            count(its["files"]),
            observed(sum(its["events"].get(channel, 0) for channel in data)) if data else NOTHING,
            f"{count(its['trained_on'])} of {count(its['training_events'])}",
            *(number(_value(its, measure)) for measure in _MEASURES),
        ]
        for place, its in enumerate(shown)
    ]
    header = [
        "Update",
        "Time (UTC)",
        "Network",
        "Files",
        "Data events",
        "Training events",
        *(f"Drift of the {label}" for label in _MEASURES.values()),
    ]
    return Table(
        "Updates; training events: those that the network has learned from, of those there were",
        header,
        rows,
        text_columns=3,
    )


def _value(its: dict[str, Any], measure: str) -> float | None:
    found = its["drift"].get(measure)
    return None if found is None else float(found["value"])

"""Spectra and matrices of a page: which data goes into which drawing, with alternative texts and captions."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..events.kinematics import QUANTITIES
from ..features.rmm import cell_names
from ..ntuples.dialects import collision_energy
from ..search.filling import ERROR, Histogram
from ..search.regions import INCLUSIVE
from . import grids, plots
from .blocks import Note, Picture, picture
from .canvas import fills, lines
from .distributions import Component, distribution
from .findings import Findings, Matrix
from .spectra import folded, total
from .wording import SCORES, count, listed, measured, number, percent

_LARGEST_CELLS = 4


def region_label(name: str) -> str:
    """Name of a region in figures and tables."""
    return name.replace("_", " ")


def quantity_label(name: str) -> tuple[str, str]:
    """Label and unit of a histogrammed quantity."""
    quantity = QUANTITIES.get(name)
    return (quantity.label, quantity.unit) if quantity else (name.replace("_", " "), "1")


def error_label(findings: Findings) -> tuple[str, str]:
    """Label and unit of the error, by what the pipeline chose for it."""
    name = SCORES[findings.pipeline.score.kind].name
    return rf"log$_{{\mathrm{{10}}}}$({name})", "1"


def quantity_name(name: str) -> str:
    """Name of a quantity in running text: "leading lepton pt", but "m_ll"."""
    symbol = name[1:2] == "_" and quantity_label(name)[1] != "1"
    return name if symbol else name.replace("_", " ")


def score_label(name: str) -> str:
    """Name of what events are ordered by: the error, or a quantity alone."""
    return "error" if name == ERROR else f"{'MET' if name == 'met' else name} alone"


def corner(findings: Findings, luminosity: float | None = None) -> str:
    """Write what stands above a figure on the right: collision energy, where it matters, and luminosity.

    The luminosity (fb^-1) is that of the search unless another is given.
    """
    words = [] if findings.pipeline.channels_of("data") else ["Simulation"]
    if findings.over_collision_energy:  # elsewhere nothing depends on it
        words.append(f"{collision_energy(findings.pipeline) / 1000:g} TeV")
    words.append(rf"{luminosity or findings.pipeline.luminosity:.4g} fb$^{{\mathrm{{-1}}}}$")
    return ", ".join(words)


def spectrum_picture(findings: Findings, name: str, region: str = INCLUSIVE) -> Picture | Note:
    """Draw one quantity in one region, or say that there is nothing to draw."""
    backgrounds, signals, observed = stacks(findings, name, region)
    where = " in all selected events" if region == INCLUSIVE else f" in the region {region_label(region)}"
    what = f"{_words(findings, name)}{where}"
    drawn = [*(part.histogram for part in (*backgrounds, *signals)), *observed]
    if not any(spectrum.values().any() for spectrum in drawn):
        return Note(f"{_capitalised(what)}: nothing to draw, no event has it.")
    label, unit = error_label(findings) if name == ERROR else quantity_label(name)
    cuts = _cuts(findings) if name == ERROR else {}
    figure = distribution(
        backgrounds,
        signals,
        total(observed) if observed else None,
        label=label,
        unit=unit,
        title=findings.title if region == INCLUSIVE else region_label(region),
        corner=corner(findings, findings.pipeline.data_luminosity),
        cuts=cuts,
        wide=name == ERROR,
    )
    words = [f"Stacked histogram of {what}: {listed([part.label for part in backgrounds])}."]
    if signals:
        words.append(f"Signal as lines: {listed([part.label for part in signals])}.")
    if observed:
        words.append("Data as points, and their ratio to the simulation below.")
    if findings.to_data != 1:
        words.append("Simulation is scaled to the luminosity of the data.")
    if cuts:
        words.append(f"Thresholds at {listed([f'{cut:.2f} ({name})' for name, cut in cuts.items()])}.")
    caption = f"{_capitalised(what)}.{_undefined(findings, name, region)}"
    if name == ERROR:
        caption += "".join(f" {sentence}" for sentence in areas(findings))
    return picture(figure, " ".join(words), caption)


def stacks(
    findings: Findings, name: str, region: str
) -> tuple[list[Component], list[Component], list[Histogram]]:
    """Give what a figure of one quantity in one region is made of: backgrounds, signals and data."""
    backgrounds, signals, data = (
        _components(findings, kind, name, region) for kind in ("background", "signal", "data")
    )
    return backgrounds, signals, [part.histogram for part in data]


def areas(findings: Findings) -> Iterator[str]:
    """Say what the error and simple quantities alone separate, one sentence for each signal."""
    for signal, its in findings.summary["signals"].items():
        found = [
            f"{measured(area['value'], area['uncertainty'])} by {score_label(score)}"
            for score, area in its["auc"].items()
            if area["value"] is not None
        ]
        if found:
            yield f"AUC of {signal}: {listed(found)}."


def _words(findings: Findings, name: str) -> str:
    """Describe a quantity in plain words, without its unit."""
    if name == ERROR:
        return f"log10({SCORES[findings.pipeline.score.kind].name})"
    if name in QUANTITIES:
        return QUANTITIES[name].description
    label = str(findings.histograms[name].axes[-1].label)
    return label.rpartition(" [")[0] or label


def _capitalised(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]  # but "pT of the lepton"


def _components(findings: Findings, kind: Any, name: str, region: str) -> list[Component]:
    channels = findings.pipeline.channels_of(kind)
    scale = 1.0 if kind == "data" else findings.to_data
    colours = fills(len(channels)) if kind == "background" else lines(len(channels))
    return [
        Component(channel, folded(findings.spectrum(name, channel, region)) * scale, colour)
        for channel, colour in zip(channels, colours, strict=True)
    ]


def _cuts(findings: Findings) -> dict[str, float]:
    return {
        region_label(region["name"]): region["threshold"]
        for region in findings.summary["regions"]
        if region["threshold"] is not None
    }


def _undefined(findings: Findings, name: str, region: str) -> str:
    """Say for how much of the background a quantity does not exist, if that is known and not nothing."""
    channels = [
        findings.summary["channels"][channel] for channel in findings.pipeline.channels_of("background")
    ]
    lost, whole = (
        sum(its["undefined"].get(name, 0) for its in channels),
        sum(its["yield"] for its in channels),
    )
    if region != INCLUSIVE or not whole > 0 or not lost / whole > 1e-4:
        return ""
    return f" It does not exist in {percent(lost / whole)} of the background, which is not drawn."


def average_pictures(findings: Findings) -> Iterator[Picture]:
    """Draw the average matrix of every channel, on one colour scale."""
    limits = _limits(list(findings.averages.values()))
    for channel, cells in findings.averages.items():
        its = findings.summary["channels"][channel]
        figure = plots.matrix(
            cells, findings.rows, limits=limits, label=f"mean of the cell {_units(findings)}", title=channel
        )
        yield picture(
            figure,
            f"Average rapidity-mass matrix of {channel}. Largest cells: {_largest(findings, cells)}.",
            f"{channel}: {count(sum(its['events'].values()))} {its['kind']} events.",
        )


def display_pictures(findings: Findings) -> Iterator[Picture]:
    """Draw the matrices of the most anomalous candidates, beside what the network makes of them."""
    assert findings.candidates is not None
    rows = findings.candidates.slice(0, len(findings.displays)).to_pylist()
    for rank, (row, display) in enumerate(zip(rows, findings.displays, strict=True), start=1):
        identity = f"run {row['run']}, event {row['event_number']}"
        figure = grids.reconstruction(
            np.where(np.isnan(display.reconstruction), np.float32(np.nan), display.cells),
            display.reconstruction,
            findings.rows,
            label=f"cell {_units(findings)}",
            title=f"Candidate {rank}",
            corner=identity,
        )
        error = number(row["log10_error"])
        yield picture(
            figure,
            f"Rapidity-mass matrix of {identity}: {_objects(display)}; its reconstruction; their difference.",
            f"Candidate {rank}: {identity}, log10(error) = {error}. {_objects(display).capitalize()}. "
            f"Largest cells: {_largest(findings, display.cells)}. Of the squared scaled differences, "
            f"{_most_different(findings, display)}.",
        )


def _most_different(findings: Findings, display: Matrix) -> str:
    """Name the cells that differ most from their reconstruction, as scores see them, and their shares."""
    names = cell_names(findings.pipeline.features.multiplicities)
    squares = np.nan_to_num(display.difference.astype(np.float64) ** 2)
    order = np.argsort(-squares, axis=None, kind="stable")[:_LARGEST_CELLS]
    places = [divmod(int(place), len(squares)) for place in order]
    whole = float(squares.sum()) or 1.0
    return listed([f"{names[i][j]} holds {percent(float(squares[i, j]) / whole, 2)}" for i, j in places])


def _limits(matrices: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Give one colour scale for all: from the largest cell down to the smallest, over 5 decades at most."""
    positive = np.concatenate([cells[cells > 0].ravel() for cells in matrices])
    if positive.size == 0:
        return 0.1, 1.0
    high = float(positive.max())
    return max(float(positive.min()), high * 1e-5) * 0.999, high


def _units(findings: Findings) -> str:
    return "(energies over √s)" if findings.over_collision_energy else "(energies in GeV)"


def _largest(findings: Findings, cells: NDArray[Any]) -> str:
    names = cell_names(findings.pipeline.features.multiplicities)
    order = np.argsort(-cells, axis=None, kind="stable")[:_LARGEST_CELLS]
    places = [divmod(int(place), len(cells)) for place in order]
    return listed([f"{names[i][j]} {number(float(cells[i, j]))}" for i, j in places if cells[i, j] > 0])


def _objects(display: Matrix) -> str:
    words = [
        f"{count(many)} {name.replace('_', ' ') if many > 1 else name.replace('_', ' ')[:-1]}"
        for name, many in display.multiplicity.items()
        if many
    ]
    return listed(words) or "no objects"

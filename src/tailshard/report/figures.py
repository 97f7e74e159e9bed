"""The figures of a page: which data goes into which drawing, with alternative texts and captions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..events.kinematics import QUANTITIES
from ..features.conventions import CONVENTIONS
from ..features.rmm import cell_names
from ..ntuples.dialects import collision_energy
from ..search.filling import BASELINES, ERROR
from ..search.regions import INCLUSIVE
from . import plots
from .blocks import Note, Picture, picture
from .canvas import DASHED, DOTTED, FILLS, SOLID, fills, lines
from .distributions import Component, distribution
from .findings import Findings, Matrix
from .plots import Curve
from .spectra import folded, total
from .wording import count, listed, measured, number, percent

_LARGEST_CELLS = 4
_SIGNIFICANCES = (
    (
        "asimov_with_background_uncertainty",
        "Asimov significance",
        ", the background known to its statistical uncertainty",
    ),
    ("asimov", "Asimov significance", ", the background known exactly"),
    ("s_over_sqrt_b", "s / √b", ""),
)


def region_label(name: str) -> str:
    """Name of a region in figures and tables."""
    return name.replace("_", " ")


def quantity_label(name: str) -> tuple[str, str]:
    """Label and unit of a histogrammed quantity."""
    if name == ERROR:
        return r"log$_{\mathrm{10}}$(reconstruction error)", "1"
    quantity = QUANTITIES.get(name)
    return (quantity.label, quantity.unit) if quantity else (name.replace("_", " "), "1")


def quantity_name(name: str) -> str:
    """Name of a quantity in running text: "leading lepton pt", but "m_ll"."""
    symbol = name[1:2] == "_" and quantity_label(name)[1] != "1"
    return name if symbol else name.replace("_", " ")


def score_label(name: str) -> str:
    """Name of what events are ordered by: the error, or a quantity alone."""
    return "error" if name == ERROR else f"{'MET' if name == 'met' else name} alone"


def corner(findings: Findings) -> str:
    """Write what stands above a figure on the right: collision energy, where it matters, and luminosity."""
    features = findings.pipeline.features
    words = [] if findings.pipeline.channels_of("data") else ["Simulation"]
    if CONVENTIONS[features.convention].in_units_of_collision_energy:  # elsewhere nothing depends on it
        words.append(f"{collision_energy(findings.pipeline) / 1000:g} TeV")
    words.append(rf"{findings.pipeline.luminosity:.4g} fb$^{{\mathrm{{-1}}}}$")
    return ", ".join(words)


def spectrum_picture(findings: Findings, name: str, region: str = INCLUSIVE) -> Picture | Note:
    """Draw one quantity in one region, or say that there is nothing to draw."""
    backgrounds = _components(findings, "background", name, region)
    signals = _components(findings, "signal", name, region)
    observed = [part.histogram for part in _components(findings, "data", name, region)]
    where = " in all selected events" if region == INCLUSIVE else f" in the region {region_label(region)}"
    what = f"{_words(findings, name)}{where}"
    drawn = [*(part.histogram for part in (*backgrounds, *signals)), *observed]
    if not any(spectrum.values().any() for spectrum in drawn):
        return Note(f"{_capitalised(what)}: nothing to draw, no event has it.")
    label, unit = quantity_label(name)
    cuts = _cuts(findings) if name == ERROR else {}
    figure = distribution(
        backgrounds,
        signals,
        total(observed) if observed else None,
        label=label,
        unit=unit,
        title=findings.title if region == INCLUSIVE else region_label(region),
        corner=corner(findings),
        cuts=cuts,
        wide=name == ERROR,
    )
    words = [f"Stacked histogram of {what}: {listed([part.label for part in backgrounds])}."]
    if signals:
        words.append(f"Signal as lines: {listed([part.label for part in signals])}.")
    if observed:
        words.append("Data as points, and their ratio to the simulation below.")
    if cuts:
        words.append(f"Thresholds at {listed([f'{cut:.2f} ({name})' for name, cut in cuts.items()])}.")
    return picture(figure, " ".join(words), f"{_capitalised(what)}.{_undefined(findings, name, region)}")


def _words(findings: Findings, name: str) -> str:
    """Describe a quantity in plain words, without its unit."""
    if name in QUANTITIES:
        return QUANTITIES[name].description
    label = str(findings.histograms[name].axes[-1].label)
    return label.rpartition(" [")[0] or label


def _capitalised(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]  # but "pT of the lepton"


def _components(findings: Findings, kind: Any, name: str, region: str) -> list[Component]:
    channels = findings.pipeline.channels_of(kind)
    colours = fills(len(channels)) if kind == "background" else lines(len(channels))
    return [
        Component(channel, folded(findings.spectrum(name, channel, region)), colour)
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


def scan_pictures(findings: Findings, signal: str) -> Iterator[Picture]:
    """Draw significances against the cut on MET, by region and for MET alone, the deciding one first."""
    scans: Mapping[str, Any] = findings.summary["signals"][signal]["scans"]
    colours = dict(zip(scans, ("black", *lines(len(scans) - 1)), strict=True))
    label, unit = quantity_label("met")
    for key, ordinate, condition in _SIGNIFICANCES:
        curves = {
            name: Curve(
                "MET alone" if name == INCLUSIVE else region_label(name),
                _array(its["edges"]),
                _array(its[key]),
                colours[name],
                line=DASHED if name == INCLUSIVE else SOLID,
                mark=its["quoted"] and its["quoted"]["cut"],
            )
            for name, its in scans.items()
        }
        figure = plots.scan(
            list(curves.values()),
            [curve._replace(y=_positive(scans[name]["background"])) for name, curve in curves.items()],
            minimum_background=findings.pipeline.regions.minimum_background,
            label=f"Smallest {label} [{unit}]",
            ordinate=ordinate,
            wide=key == _SIGNIFICANCES[0][0],
            title=f"{findings.title}: {signal}",
            corner=corner(findings),
        )
        what = f"{ordinate} of {signal}{condition}"
        peaks = [
            f"{curve.label} {number(float(np.nanmax(curve.y)))}"
            for curve in curves.values()
            if np.isfinite(curve.y).any()
        ]
        yield picture(
            figure,
            f"{what} against a cut on MET. Largest values: {listed(peaks) or 'none'}. "
            "Below, the background that each cut leaves.",
            f"{what}, on test events. The dots mark the cuts that validation events chose.",
        )


def roc_picture(findings: Findings, signals: Sequence[str]) -> Picture:
    """Draw the ROC curves of the error and of simple quantities alone, for some signals."""
    curves = []
    for signal, colour in zip(signals, lines(len(signals)), strict=True):
        its = findings.summary["signals"][signal]
        for score, line in zip((ERROR, *BASELINES), (SOLID, DASHED, DOTTED), strict=True):
            if score in its["roc"]:
                area, points = its["auc"][score], its["roc"][score]
                curves.append(
                    Curve(
                        f"{signal}, {score_label(score)}: {measured(area['value'], area['uncertainty'])}",
                        _array(points["background_efficiency"]),
                        _array(points["signal_efficiency"]),
                        colour,
                        line=line,
                    )
                )
    figure = plots.roc(curves, title=findings.title)
    words = listed([curve.label for curve in curves])
    caption = (
        "ROC on test events; the numbers are areas under the curves (AUC). Up and to the left is better."
    )
    return picture(figure, f"Signal efficiency against background efficiency. AUC: {words}.", caption)


def training_picture(findings: Findings) -> Picture:
    """Draw training and validation loss."""
    epochs = _array([metrics.epoch for metrics in findings.epochs])
    losses = {
        "training": _array([metrics.training_loss for metrics in findings.epochs]),
        "validation": _array([metrics.validation_loss for metrics in findings.epochs]),
    }
    curves = [
        Curve(name, epochs, loss, colour, DASHED if name == "validation" else SOLID)
        for (name, loss), colour in zip(losses.items(), (FILLS[0], FILLS[2]), strict=True)
    ]
    best = findings.network
    figure = plots.training(curves, best_epoch=best.best_epoch, title=findings.title)
    return picture(
        figure,
        f"Loss against epoch; the validation loss is smallest, {number(best.validation_loss)}, "
        f"at epoch {best.best_epoch} of {len(epochs)}.",
        "Loss by epoch. The training loss is taken while the network changes, the validation loss after it.",
    )


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
    """Draw the matrices of the most anomalous candidates, on one colour scale."""
    assert findings.candidates is not None
    limits = _limits([display.cells for display in findings.displays])
    rows = findings.candidates.slice(0, len(findings.displays)).to_pylist()
    for rank, (row, display) in enumerate(zip(rows, findings.displays, strict=True), start=1):
        identity = f"run {row['run']}, event {row['event_number']}"
        figure = plots.matrix(
            display.cells,
            findings.rows,
            limits=limits,
            label=f"cell {_units(findings)}",
            title=f"Candidate {rank}",
            corner=identity,
        )
        error = number(row["log10_error"])
        yield picture(
            figure,
            f"Rapidity-mass matrix of {identity}: {_objects(display)}.",
            f"Candidate {rank}: {identity}, log10(error) = {error}. {_objects(display).capitalize()}. "
            f"Largest cells: {_largest(findings, display.cells)}.",
        )


def _limits(matrices: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Give one colour scale for all: from the largest cell down to the smallest, over 5 decades at most."""
    positive = np.concatenate([cells[cells > 0].ravel() for cells in matrices])
    if positive.size == 0:
        return 0.1, 1.0
    high = float(positive.max())
    return max(float(positive.min()), high * 1e-5) * 0.999, high


def _units(findings: Findings) -> str:
    over = CONVENTIONS[findings.pipeline.features.convention].in_units_of_collision_energy
    return "(energies over √s)" if over else "(energies in GeV)"


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


def _positive(values: Sequence[float | None]) -> NDArray[np.float64]:
    array = _array(values)
    return np.where(array > 0, array, np.nan)


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

"""Curves of a page, scans, ROC and losses: which data goes into which drawing, with words beside it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..search.filling import BASELINES, ERROR
from . import plots
from .blocks import Picture, picture
from .canvas import DASHED, DOTTED, FILLS, SOLID, lines
from .figures import corner, quantity_label, region_label, score_label
from .findings import Findings
from .plots import Curve
from .wording import listed, measured, number

_BASELINE_LINES: Mapping[str, Any] = dict(zip(BASELINES, (DASHED, DOTTED), strict=True))
_SIGNIFICANCES = (
    (
        "asimov_with_background_uncertainty",
        "Asimov significance",
        ", the background known to its statistical uncertainty",
    ),
    ("asimov", "Asimov significance", ", the background known exactly"),
    ("s_over_sqrt_b", "s / √b", ""),
)


def scan_label(name: str) -> str:
    """Name of a scan: of a region, or of a quantity alone."""
    return score_label(name) if name in BASELINES else region_label(name)


def scan_pictures(findings: Findings, signal: str) -> Iterator[Picture]:
    """Draw significances against cuts, by region and for the baselines alone, the deciding one first."""
    scans: Mapping[str, Any] = findings.summary["signals"][signal]["scans"]
    regions = [name for name in scans if name not in BASELINES]
    colours = {**dict.fromkeys(BASELINES, "black"), **dict(zip(regions, lines(len(regions)), strict=True))}
    minimum = findings.pipeline.regions.minimum_background
    for key, ordinate, condition in _SIGNIFICANCES:

        def curve(name: str, quantity: str = key) -> Curve:
            its = scans[name]
            return Curve(
                scan_label(name),
                _array(its["edges"]),
                _array(its[quantity]),
                colours[name],
                line=_BASELINE_LINES.get(name, SOLID),
                mark=its["quoted"] and its["quoted"]["cut"],
                error=_array(its[f"{quantity}_uncertainty"]),
            )

        columns: list[plots.Scan] = []
        for variable in dict.fromkeys(its["variable"] for its in scans.values()):
            names = [name for name, its in scans.items() if its["variable"] == variable]
            label, unit = quantity_label(variable)
            columns.append(
                plots.Scan(
                    f"Smallest {label} [{unit}]",
                    [curve(name) for name in names],
                    [_told(curve(name, "background"), minimum) for name in names],
                )
            )
        figure = plots.scan(
            columns,
            minimum_background=minimum,
            ordinate=ordinate,
            wide=key == _SIGNIFICANCES[0][0],
            title=f"{findings.title}: {signal}",
            corner=corner(findings),
        )
        what = f"{ordinate} of {signal}{condition}"
        peaks = [
            f"{its.label} {number(float(np.nanmax(its.y)))}"
            for column in columns
            for its in column.significance
            if np.isfinite(its.y).any()
        ]
        yield picture(
            figure,
            f"{what} against a cut on MET, and on m_eff alone. Largest values: {listed(peaks) or 'none'}. "
            "Below, the background that each cut leaves.",
            f"{what}, on test events. The dots mark the cuts that validation events chose, with the "
            "uncertainty of the simulation's statistics; bands below are the same of the background.",
        )


def roc_picture(findings: Findings, signals: Sequence[str]) -> Picture:
    """Draw the ROC curves of the error and of simple quantities alone, for some signals."""
    curves = []
    for signal, colour in zip(signals, lines(len(signals)), strict=True):
        its = findings.summary["signals"][signal]
        for score, line in ((ERROR, SOLID), *_BASELINE_LINES.items()):
            if score in its["roc"]:
                area, points = its["auc"][score], its["roc"][score]
                background = _array(points["background_efficiency"])
                # What lies below one event of the background says nothing.
                told = background >= max(points["resolution"] or 0, np.finfo(float).tiny)
                curves.append(
                    Curve(
                        f"{signal}, {score_label(score)}: {measured(area['value'], area['uncertainty'])}",
                        background[told],
                        _array(points["signal_efficiency"])[told],
                        colour,
                        line=line,
                        error=_array(points["signal_efficiency_uncertainty"])[told],
                    )
                )
    figure = plots.roc(curves, title=findings.title)
    words = listed([curve.label for curve in curves])
    caption = (
        "ROC on test events; the numbers are areas under the curves (AUC). Up and to the left is better. "
        "Bands: statistics of signal and background; a curve begins where one background event is left."
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


def _told(background: Curve, minimum: float) -> Curve:
    """Keep what a logarithmic axis can show, and uncertainties where something is quoted."""
    assert background.error is not None
    return background._replace(
        y=np.where(background.y > 0, background.y, np.nan),
        error=np.where(background.y >= minimum, background.error, np.nan),
    )


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

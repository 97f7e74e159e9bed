"""Every cell of the matrix in data and simulation, and how cells go together: pictures and tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import hist
import numpy as np

from ..features.names import PHYSICS_BLOCKS, physics_blocks
from ..search.cells import Cells
from ..search.filling import Histogram
from . import grids
from .blocks import Note, Picture, Table, picture
from .canvas import fills, lines
from .distributions import Component, distribution
from .figures import corner, quantity_name
from .findings import Findings
from .spectra import folded, total
from .wording import fixed, listed, measured, number, observed, percent, probability

WORST_SHOWN = 20
_STRONGEST = 3
_COMMON = 0.01  # share of the background that has a cell, for its correlations to be worth naming
_KINDS: Mapping[str, str] = {
    "MET": "missing transverse momentum",
    "mT": "transverse masses",
    "hL": "rapidities",
    "ET": "energies",
    "dET": "imbalances",
    "m": "invariant masses",
    "h": "rapidity differences",
}


def worst(findings: Findings) -> list[str]:
    """Name the cells that are drawn: the worst described ones, or without data none."""
    agreement = findings.summary["agreement"]
    rows = agreement["cells"][: findings.pipeline.report.worst_cells] if agreement else []
    return [row["name"] for row in rows]


def agreement_table(findings: Findings, kind: str) -> Table:
    """List how well quantities or cells are described, the worst ones first."""
    found = findings.summary["agreement"][kind]
    rows = [
        [
            quantity_name(row["name"]) if kind == "quantities" else row["name"],
            observed(row["data"]),
            measured(row["expected"], row["expected_uncertainty"]),
            fixed(row["chi2"], 1),
            str(row["bins"]),
            number(row["chi2_per_bin"]),
            probability(row["p_value"]),
            probability(row["shape_p_value"]),
        ]
        for row in found[:WORST_SHOWN]
    ]
    header = ["Quantity" if kind == "quantities" else "Cell", "Data", "Simulation"]
    header += ["χ²", "Bins", "χ² per bin", "p-value", "p-value of the shape"]
    rest = f", the worst {WORST_SHOWN} of {len(found)}" if len(found) > WORST_SHOWN else ""
    what = "kinematic quantities" if kind == "quantities" else "cells of the matrix"
    return Table(f"Data and simulation in {what}{rest}", header, rows)


def cell_picture(findings: Findings, name: str) -> Picture | Note:
    """Draw one cell in data and simulation, or say that no event has it."""
    cells, pipeline = findings.cells, findings.pipeline
    place = cells.cells.index(name)

    def components(kind: Any, colours: Sequence[str]) -> list[Component]:
        scale = 1.0 if kind == "data" else findings.to_data
        return [
            Component(channel, folded(spectrum(cells, place, channel)) * scale, colour)
            for channel, colour in zip(pipeline.channels_of(kind), colours, strict=False)
        ]

    backgrounds = components("background", fills(len(pipeline.channels_of("background"))))
    signals = components("signal", lines(len(pipeline.channels_of("signal"))))
    data = [part.histogram for part in components("data", ["black"] * len(pipeline.channels))]
    drawn = [*(part.histogram for part in (*backgrounds, *signals)), *data]
    if not any(each.values().any() for each in drawn):
        return Note(f"{name}: no event has it.")
    kind, unit = kind_of(findings, place)
    figure = distribution(
        backgrounds,
        signals,
        total(data) if data else None,
        label=name,
        unit=unit,
        title=name,
        corner=corner(findings, pipeline.data_luminosity),
    )
    words = f"Stacked histogram of the cell {name}: {listed([part.label for part in backgrounds])}."
    agreement = findings.summary["agreement"] or {"cells": []}
    row = next((row for row in agreement["cells"] if row["name"] == name), None)
    told = f" χ² = {fixed(row['chi2'], 1)} in {row['bins']} bins." if row else ""
    return picture(figure, words, f"{name}, {'' if place == 0 else 'one of the '}{kind}.{told}")


def kind_of(findings: Findings, place: int) -> tuple[str, str]:
    """Give the kind of a cell in words, and its unit."""
    kinds = physics_blocks(findings.pipeline.features.multiplicities.counts).reshape(-1)
    name = PHYSICS_BLOCKS[kinds[place]]
    energies = name in ("MET", "mT", "ET", "m")
    unit = "√s" if findings.over_collision_energy else "GeV"
    return _KINDS[name], unit if energies else "1"


def spectrum(cells: Cells, cell: int, channel: str) -> Histogram:
    """Give a cell's histogram in a channel as it is quoted."""
    edges, found = cells.edges[cell], cells.spectrum(cell, channel)
    axis = hist.axis.Regular(len(edges) - 1, edges[0], edges[-1], name="cell", label=cells.cells[cell])
    result: Histogram = hist.Hist(axis, storage=hist.storage.Weight())
    contents: Any = result.view(flow=True)
    contents["value"], contents["variance"] = found.values, found.variances
    return result


def correlation_picture(findings: Findings) -> Picture | Note:
    """Draw the correlations of the background's cells, kind by kind."""
    cells = findings.cells
    if not cells.correlation.size:
        return Note("The cells were not correlated: histograms.cell_bins is 0, or the matrix is too large.")
    kinds = physics_blocks(findings.pipeline.features.multiplicities.counts).reshape(-1)
    varies = np.isfinite(cells.correlation.diagonal())
    order = np.argsort(kinds, kind="stable")
    order = order[varies[order]]
    if not len(order):
        return Note("No cell of the background varies, so there are no correlations.")
    names = [cells.cells[place] for place in order]
    blocks = []
    for number_of_kind, name in enumerate(PHYSICS_BLOCKS):
        inside = np.flatnonzero(kinds[order] == number_of_kind)
        if len(inside):
            blocks.append(grids.Block(name, int(inside[0]), int(inside[-1]) + 1))
    values = cells.correlation[np.ix_(order, order)]
    figure = grids.correlation(
        values, names, blocks, title="Background", corner=corner(findings).removeprefix("Simulation, ")
    )
    background = [cells.channels.index(name) for name in findings.pipeline.channels_of("background")]
    events = cells.values[background].sum(axis=(0, 2))[order]
    common = events >= _COMMON * events.max()
    strongest = _strongest(values[np.ix_(common, common)], [names[place] for place in np.flatnonzero(common)])
    words = listed([f"{a} and {b} {number(value, 2)}" for a, b, value in strongest])
    return picture(
        figure,
        f"Correlations of {len(names)} cells of the background. Strongest: {words}.",
        f"Linear correlations of the {len(names)} cells that vary, over the weighted background, by kind of "
        f"cell: {listed([f'{block.name} ({_KINDS[block.name]})' for block in blocks])}; within a kind row by "
        f"row of the matrix. Strongest between cells that {percent(_COMMON)} of the background has: {words}.",
    )


def _strongest(values: np.ndarray[Any, Any], names: Sequence[str]) -> Iterator[tuple[str, str, float]]:
    upper = np.triu(np.nan_to_num(np.abs(values)), 1)
    for flat in np.argsort(-upper, axis=None, kind="stable")[:_STRONGEST]:
        row, column = divmod(int(flat), len(names))
        if row < column:
            yield names[row], names[column], float(values[row, column])


def kinds_picture(findings: Findings) -> Picture:
    """Draw the mean error by kind of cell, for every channel."""
    cells, pipeline = findings.cells, findings.pipeline
    colours = dict(
        zip(pipeline.channels_of("background"), fills(len(pipeline.channels_of("background"))), strict=True)
    )
    colours |= dict(
        zip(pipeline.channels_of("signal"), lines(len(pipeline.channels_of("signal"))), strict=True)
    )
    figure = grids.by_kind(
        cells.block_means,
        cells.block_errors,
        cells.channels,
        cells.blocks,
        [colours.get(channel, "black") for channel in cells.channels],
        ordinate="Mean relative error",
        title=findings.title,
        corner=corner(findings),
    )
    return picture(
        figure,
        "Mean relative error by kind of cell and channel; the numbers are in the table below.",
        "Mean error by kind of cell, in units of what is usual for the background: 1 is an ordinary event. "
        "Bars: statistics.",
    )


def kinds_table(findings: Findings) -> Table:
    """List the mean error by kind of cell, for every channel."""
    cells = findings.cells
    rows = [
        [channel, *(measured(float(m), float(e)) for m, e in zip(means, errors, strict=True))]
        for channel, means, errors in zip(cells.channels, cells.block_means, cells.block_errors, strict=True)
    ]
    return Table("Mean relative error by kind of cell", ["Channel", *cells.blocks], rows)

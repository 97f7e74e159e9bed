"""What the rows and cells of the rapidity-mass matrix are called."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..config import Multiplicities
from .blocks import first_rows

_TYPES = ("light jet", "b jet", "electron", "muon")
_LATEX_TYPES = ("j", "b", "e", r"\mu")

PHYSICS_BLOCKS = ("MET", "mT", "hL", "ET", "dET", "m", "h")
"""Kinds of cells, as `cell_names` calls them: energies and masses are MET, mT, ET and m."""


def physics_blocks(counts: Sequence[int]) -> NDArray[np.int64]:
    """Say which of the `PHYSICS_BLOCKS` each cell of the matrix belongs to: (R, R).

    Parameters
    ----------
    counts
        Rows by type.
    """
    row, column = np.indices((1 + sum(counts),) * 2)
    is_leading = np.isin(row, first_rows(counts))
    number = PHYSICS_BLOCKS.index
    return np.select(
        [(row == 0) & (column == 0), row == 0, column == 0, (row == column) & is_leading, row == column],
        [number(name) for name in ("MET", "mT", "hL", "ET", "dET")],
        np.where(row < column, number("m"), number("h")),
    )


def row_names(multiplicities: Multiplicities, latex: bool = False) -> list[str]:
    """Name the rows (and columns) of the matrix.

    Parameters
    ----------
    multiplicities
        Rows by type.
    latex
        Give labels for figures: ``$b_2$`` for ``b jet 2``.

    Returns
    -------
    list of str
        "MET", "light jet 1", "light jet 2", ...
    """
    if latex:
        return [f"${name}$" for name in _latex_rows(multiplicities)]
    return ["MET", *_numbered(_TYPES, multiplicities, "{} {}")]


def cell_names(multiplicities: Multiplicities, latex: bool = False) -> list[list[str]]:
    """Name every cell of the matrix; the names hold for all conventions.

    Parameters
    ----------
    multiplicities
        Rows by type.
    latex
        Give labels for figures: ``$m(j_1, b_2)$`` for ``m(light jet 1, b jet 2)``.

    Returns
    -------
    list of list of str
        By row and column: "MET"; "mT(muon 1)" in row 0; "hL(muon 1)" in column 0; "ET(muon 1)" and
        "dET(muon 1, muon 2)" on the diagonal; "m(electron 1, muon 1)" above and "h(muon 1, electron 1)"
        below it.
    """
    if latex:
        rows = _latex_rows(multiplicities)
        cell, symbols = "${}({})$", ("m_T", "h_L", "E_T", r"\delta E_T", "m", "h")
        met = f"${rows[0]}$"
    else:
        rows = row_names(multiplicities)
        cell, symbols = "{}({})", ("mT", "hL", "ET", "dET", "m", "h")
        met = rows[0]
    transverse_mass, longitudinal, energy, imbalance, mass, angle = symbols
    leading = {1 + sum(multiplicities.counts[:number]) for number in range(len(multiplicities.counts))}

    def name(row: int, column: int) -> str:
        if row == column == 0:
            return met
        if row == 0:
            return cell.format(transverse_mass, rows[column])
        if column == 0:
            return cell.format(longitudinal, rows[row])
        if row == column and row in leading:
            return cell.format(energy, rows[row])
        if row == column:
            return cell.format(imbalance, f"{rows[row - 1]}, {rows[row]}")
        return cell.format(mass if row < column else angle, f"{rows[row]}, {rows[column]}")

    return [[name(row, column) for column in range(len(rows))] for row in range(len(rows))]


def _latex_rows(multiplicities: Multiplicities) -> list[str]:
    return [r"p_T^\mathrm{miss}", *_numbered(_LATEX_TYPES, multiplicities, "{}_{{{}}}")]


def _numbered(types: tuple[str, ...], multiplicities: Multiplicities, pattern: str) -> list[str]:
    return [
        pattern.format(name, rank + 1)
        for name, count in zip(types, multiplicities.counts, strict=True)
        for rank in range(count)
    ]

import dataclasses

import numpy as np
import pytest

from tailshard.report import cells
from tailshard.report.blocks import Note, Picture


@pytest.fixture(scope="module")
def rows(findings):
    return findings.summary["agreement"]["cells"]


def test_the_worst_cells_are_those_of_the_summary(findings, rows) -> None:
    assert cells.worst(findings) == [row["name"] for row in rows[:6]]
    table = cells.agreement_table(findings, "cells")
    assert [row[0] for row in table.rows] == [row["name"] for row in rows[: cells.WORST_SHOWN]]
    assert table.caption == f"Data and simulation in cells of the matrix, the worst 20 of {len(rows)}"
    assert float(table.rows[0][3]) == pytest.approx(rows[0]["chi2"], abs=0.1)


def test_quantities_are_listed_by_their_names(findings) -> None:
    table = cells.agreement_table(findings, "quantities")
    assert {row[0] for row in table.rows} == {"error", "met", "m_lll", "jets"}
    assert all(row[1] and "±" in row[2] for row in table.rows)


def test_a_cell_is_drawn_with_what_is_known_of_it(findings) -> None:
    drawn = cells.cell_picture(findings, "mT(light jet 1)")
    assert isinstance(drawn, Picture)
    assert drawn.caption.startswith("mT(light jet 1), one of the transverse masses. χ² = ")
    assert "zjets and ttbar" in drawn.alt
    assert isinstance(cells.cell_picture(findings, "m(muon 4, muon 5)"), Note)


def test_a_histogram_of_a_cell_is_the_quoted_one(findings) -> None:
    found = cells.spectrum(findings.cells, 0, "ttbar")
    stored = findings.cells.spectrum(0, "ttbar")
    np.testing.assert_array_equal(found.values(flow=True), stored.values)
    np.testing.assert_array_equal(found.variances(flow=True), stored.variances)
    assert found.values(flow=True).sum() == pytest.approx(findings.summary["channels"]["ttbar"]["yield"])


def test_energies_have_units_where_they_are_not_parts_of_the_collision_energy(findings) -> None:
    assert cells.kind_of(findings, 0) == ("missing transverse momentum", "√s")
    features = findings.pipeline.features.model_copy(update={"convention": "thesis"})
    other = dataclasses.replace(
        findings, pipeline=findings.pipeline.model_copy(update={"features": features})
    )
    assert cells.kind_of(other, 0) == ("missing transverse momentum", "GeV")
    assert cells.kind_of(other, 23) == ("rapidities", "1")


def test_correlations_leave_out_what_does_not_vary(findings) -> None:
    drawn = cells.correlation_picture(findings)
    varying = int(np.isfinite(findings.cells.correlation.diagonal()).sum())
    assert 0 < varying < 529
    assert f"of the {varying} cells that vary" in drawn.caption
    none = dataclasses.replace(findings.cells, correlation=np.full((529, 529), np.nan))
    assert "No cell" in cells.correlation_picture(dataclasses.replace(findings, cells=none)).text
    none = dataclasses.replace(findings.cells, correlation=np.zeros((0, 0)))
    assert "not correlated" in cells.correlation_picture(dataclasses.replace(findings, cells=none)).text


def test_the_strongest_correlations_are_named(findings) -> None:
    values = np.eye(529, dtype=np.float32)
    values[0, 1] = values[1, 0] = -0.9
    changed = dataclasses.replace(findings.cells, correlation=values)
    drawn = cells.correlation_picture(dataclasses.replace(findings, cells=changed))
    assert "of the background has: MET and mT(light jet 1) −0.90" in drawn.caption


def test_errors_by_kind_are_listed_for_every_channel(findings) -> None:
    table = cells.kinds_table(findings)
    assert table.header == ["Channel", "MET", "mT", "hL", "ET", "dET", "m", "h"]
    assert [row[0] for row in table.rows] == ["zjets", "ttbar", "resonance", "data"]
    means = dict(zip(findings.cells.channels, findings.cells.block_means, strict=True))
    assert (means["resonance"] > means["zjets"]).all()  # its cells are eight times as large
    assert (findings.cells.block_errors > 0).all()
    assert isinstance(cells.kinds_picture(findings), Picture)

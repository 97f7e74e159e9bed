import numpy as np
import pytest

from tailshard.errors import WorkdirError
from tailshard.features.names import cell_names
from tailshard.search.cells import FILE, read_cells, write_cells


@pytest.fixture(scope="module")
def cells(searched):
    return read_cells(searched.results)


def test_cells_are_quoted_as_yields_are(cells, searched) -> None:
    assert cells.channels == tuple(searched.pipeline.channels)
    for channel, events in searched.events.items():
        chosen = np.ones(len(events["met"]), bool) if channel == "data" else events["split"] == 3
        scale = 1 if channel == "data" else 5
        for cell in (0, 5):
            found = cells.spectrum(cell, channel)
            assert found.values.sum() == pytest.approx(scale * events["weight"][chosen].sum())
            assert found.variances.sum() == pytest.approx(scale**2 * (events["weight"][chosen] ** 2).sum())
            edges = [-np.inf, *cells.edges[cell], np.inf]
            values = events["rmm"][chosen].reshape(-1, 25)[:, cell].astype(float)
            bins, _ = np.histogram(values, edges, weights=scale * events["weight"][chosen])
            np.testing.assert_allclose(found.values, bins, atol=1e-9)


def test_correlations_are_those_of_the_weighted_background(cells, searched) -> None:
    parts = [searched.events[name] for name in ("zjets", "ttbar")]
    rows = np.concatenate([part["rmm"][part["split"] == 3].reshape(-1, 25) for part in parts]).astype(float)
    weight = np.concatenate([part["weight"][part["split"] == 3] for part in parts])
    mean = weight @ rows / weight.sum()
    covariance = ((rows - mean).T * weight) @ (rows - mean)
    deviation = np.sqrt(covariance.diagonal())
    np.testing.assert_allclose(cells.correlation, covariance / np.outer(deviation, deviation), atol=1e-6)


def test_cells_survive_their_file_and_give_the_same_bytes(cells, tmp_path) -> None:
    write_cells(tmp_path, cells)
    first = (tmp_path / FILE).read_bytes()
    write_cells(tmp_path, read_cells(tmp_path))
    assert (tmp_path / FILE).read_bytes() == first
    again = read_cells(tmp_path)
    assert (again.cells, again.channels, again.blocks) == (cells.cells, cells.channels, ())
    for name in ("edges", "values", "variances", "correlation"):
        np.testing.assert_array_equal(getattr(again, name), getattr(cells, name))


def test_a_damaged_file_is_refused(tmp_path) -> None:
    with pytest.raises(WorkdirError, match="run 'tailshard histogram' first"):
        read_cells(tmp_path)
    for content in (b"", b"PK\x03\x04 broken", b"numbers"):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(WorkdirError, match="run 'tailshard histogram' again"):
            read_cells(tmp_path)


def test_without_bins_nothing_is_read(searched, small, client) -> None:
    from tailshard.search.cells import sum_cells

    pipeline = small.pipeline(small.channels, histograms={"cell_bins": 0})
    found = sum_cells(pipeline, searched.store, searched.catalog, client)
    assert found.edges.shape == (0, 1)
    assert found.correlation.size == found.values.size == 0


def test_cells_are_named_as_the_matrix_is(cells, searched) -> None:
    names = cell_names(searched.pipeline.features.multiplicities)
    assert cells.cells[0] == names[0][0] == "MET"
    assert len(cells.cells) == sum(map(len, names))

import numpy as np
import pytest

from tailshard.report import grids
from tailshard.report.canvas import svg

NAMES = ["MET", "light jet 1", "light jet 2", "muon 1"]


def test_few_cells_are_named_one_by_one_and_many_by_kind() -> None:
    blocks = [grids.Block("MET", 0, 1), grids.Block("mT", 1, 4)]
    axes, bar = grids.correlation(np.eye(4), NAMES, blocks, title="$5", corner="13 TeV").axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == NAMES
    assert axes.get_title(loc="left") == r"\$5"
    assert bar.get_ylabel() == "correlation"
    many = [str(number) for number in range(100)]
    blocks = [grids.Block("MET", 0, 1), grids.Block("mT", 1, 40), grids.Block("m", 40, 100)]
    figure = grids.correlation(np.full((100, 100), np.nan), many, blocks)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["mT", "m"]  # MET is too narrow
    assert [line.get_ydata()[0] for line in figure.axes[0].lines[::2]] == [0.5, 39.5]
    assert svg(figure).endswith(b"</svg>\n")


def test_an_event_stands_beside_its_reconstruction_and_their_difference() -> None:
    event = np.array([[4, 1, 0.5, np.nan], [-1, 0, 2, np.nan], [1, 1, 1, np.nan], [np.nan] * 4], np.float32)
    made = (event * 0.5).astype(np.float32)
    figure = grids.reconstruction(event, made, NAMES, label="cell [GeV]", title="Candidate 1", corner="run 7")
    left, middle, right = figure.axes[:3]
    shown = [panel.images[0].get_array() for panel in (left, middle, right)]
    for values in shown:
        np.testing.assert_array_equal(np.ma.getmaskarray(np.ma.masked_invalid(values)), np.isnan(event))
    assert shown[0][1, 0] < shown[0][2, 2] / 100  # below the scale
    np.testing.assert_allclose(shown[2][0, 0], 2)
    assert right.images[0].norm.vmax == -right.images[0].norm.vmin == 2
    labels = [axes.get_xlabel() for axes in figure.axes[3:]]
    assert labels == ["cell [GeV], red: not above zero"] * 2 + ["cell [GeV]"]
    assert svg(figure) == svg(
        grids.reconstruction(event, made, NAMES, label="cell [GeV]", title="Candidate 1", corner="run 7")
    )


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_an_event_without_a_cell_above_zero_can_be_drawn(value) -> None:
    nothing = np.full((4, 4), value, np.float32)
    assert svg(grids.reconstruction(nothing, nothing, NAMES, label="cell")).endswith(b"</svg>\n")


def test_kinds_are_points_with_bars_and_what_is_unknown_is_left_out() -> None:
    values = np.array([[1.0, 10], [np.nan, 3]])
    figure = grids.by_kind(values, values / 10, ["a", "b"], ["MET", "m"], ["red", "black"], ordinate="mean")
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert axes.get_ylim() == pytest.approx((0.5, 20))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["MET", "m"]
    assert svg(grids.by_kind(values * np.nan, values, ["a", "b"], ["MET", "m"], ["r", "k"], ordinate="mean"))

import numpy as np
import pytest

from tailshard.report import plots
from tailshard.report.canvas import DASHED, SOLID, svg
from tailshard.report.plots import Curve

X = np.linspace(0, 100, 11)
NAN = np.full(11, np.nan)
NAMES = ["MET", "light jet 1", "light jet 2", "muon 1"]


def scan(*curves: Curve, minimum: float = 1.0):
    return plots.scan([column("MET [GeV]", *curves)], minimum_background=minimum, ordinate="Z")


def column(label: str, *curves: Curve) -> plots.Scan:
    return plots.Scan(label, curves, [curve._replace(y=10 - X / 10) for curve in curves])


def test_a_scan_marks_the_chosen_cut_and_the_minimum_background() -> None:
    figure = scan(Curve("region", X, X / 50, "red", mark=50.0), Curve("MET alone", X, X / 90, "k", DASHED))
    upper, lower = figure.axes
    mark = upper.containers[0].lines[0]
    assert (mark.get_xdata().tolist(), mark.get_ydata().tolist()) == ([50.0], [1.0])
    assert [text.get_text() for text in lower.texts] == ["nothing is quoted below 1"]
    assert [line.get_linestyle() for line in (upper.lines[0], upper.lines[2])] == [SOLID, "--"]
    assert lower.get_xlim() == (0, 100)


def test_the_mark_of_a_scan_has_its_uncertainty_and_the_background_a_band() -> None:
    error = np.linspace(0.1, 0.2, 11)
    figure = scan(Curve("region", X, X / 50, "red", mark=50.0, error=error))
    upper, lower = figure.axes
    (segments,) = upper.containers[0].lines[2]
    assert segments.get_segments()[0][:, 1].tolist() == pytest.approx([0.85, 1.15])
    assert len(upper.collections) == 1  # the bar of the mark alone
    assert len(lower.collections) == 1
    assert lower.collections[0].get_datalim(lower.transData).y1 == pytest.approx(10.1)


def test_another_quantity_that_is_cut_on_gets_a_column_with_the_same_ordinate() -> None:
    columns = [
        column("MET [GeV]", Curve("region", X, X / 50, "red")),
        column("m_eff [GeV]", Curve("m_eff alone", 10 * X, X / 20, "k", DASHED, mark=500.0)),
    ]
    figure = plots.scan(columns, minimum_background=1.0, ordinate="Z", title="new", corner="13 TeV")
    svg(figure)
    left, right, lower_left, lower_right = figure.axes
    assert left.get_ylim() == right.get_ylim() == pytest.approx((0, 5.6))
    assert [lower_left.get_xlabel(), lower_right.get_xlabel()] == ["MET [GeV]", "m_eff [GeV]"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["region", "m_eff alone"]
    assert (left.get_title(loc="left"), right.get_title(loc="right")) == ("new", "13 TeV")


def test_a_scan_ends_soon_after_its_last_value() -> None:
    y = np.where(X <= 40, X / 50, np.nan)
    assert scan(Curve("region", X, y, "red")).axes[1].get_xlim() == pytest.approx((0, 44))


def test_a_scan_with_nothing_to_quote_can_be_drawn() -> None:
    figure = scan(Curve("region", X, NAN, "red"), minimum=0)
    assert svg(figure).endswith(b"</svg>\n")
    assert figure.axes[0].get_ylim() == (0, 1)
    assert not figure.axes[1].texts


def test_a_roc_curve_goes_down_to_the_smallest_efficiency_that_was_measured() -> None:
    curve = Curve("error", np.array([0, 0.003, 1]), np.array([0, 0.4, 1]), "red")
    assert plots.roc([curve]).axes[0].get_xlim() == pytest.approx((1e-3, 1))


def test_a_roc_curve_is_one_of_steps_with_a_band() -> None:
    at, kept = np.array([0.01, 0.1, 1]), np.array([0.2, 0.6, 1])
    curve = Curve("error", at, kept, "red", error=np.array([0.1, 0.05, 0]))
    figure = plots.roc([curve])
    svg(figure)
    drawn = figure.axes[0].lines[1]
    assert drawn.get_drawstyle() == "steps-post"
    (band,) = figure.axes[0].collections
    corners = band.get_paths()[0].vertices
    assert corners[:, 1].max() == pytest.approx(1)
    assert [0.1, pytest.approx(0.3)] in corners.tolist()  # up to the next step: 0.2 + 0.1


@pytest.mark.parametrize("epochs", [1, 3, 40])
def test_epochs_are_whole_numbers_and_the_best_one_is_named(epochs) -> None:
    x = np.arange(1.0, epochs + 1)
    figure = plots.training([Curve("training", x, 1 / x, "red")], best_epoch=epochs)
    svg(figure)
    ticks = figure.axes[0].get_xticks()
    assert np.array_equal(ticks, np.round(ticks))
    assert figure.legends[0].get_texts()[-1].get_text() == f"best epoch: {epochs}"


def test_a_matrix_leaves_zeros_blank_and_sets_negative_cells_apart() -> None:
    cells = np.array([[1, 0, 0.1, 0], [0, -0.5, 0, 0], [1e-9, 0, 2, 0], [0, 0, 0, 0.01]])
    figure = plots.matrix(cells, NAMES, limits=(1e-3, 1.0), label="cell")
    drawn = figure.axes[0].images[0].get_array()
    assert np.array_equal(np.ma.getmaskarray(np.ma.masked_invalid(drawn)), cells == 0)
    assert drawn[1, 1] < 1e-3
    assert drawn[2, 0] == 1e-3
    assert figure.axes[1].get_ylabel() == "cell, red: negative"
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == NAMES


def test_lines_part_the_kinds_of_objects() -> None:
    figure = plots.matrix(np.ones((4, 4)), NAMES, limits=(0.1, 1.0), label="cell")
    assert [line.get_ydata()[0] for line in figure.axes[0].lines[::2]] == [0.5, 2.5]


def test_equal_data_give_equal_bytes() -> None:
    def draw() -> bytes:
        return svg(plots.matrix(np.eye(4), NAMES, limits=(0.1, 1.0), label="cell"))

    assert draw() == draw()

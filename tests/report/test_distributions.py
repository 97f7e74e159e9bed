import hist
import numpy as np
import pytest

from tailshard.report.canvas import svg
from tailshard.report.distributions import Component, distribution, logarithmic_range, ratio_range
from tailshard.report.spectra import ratio

EDGES = (10, 0, 100)


def spectrum(contents, variances=None) -> hist.Hist:
    histogram = hist.Hist(hist.axis.Regular(*EDGES, name="met"), storage=hist.storage.Weight())
    contents = np.asarray(contents, float)
    histogram[...] = np.stack([contents, np.abs(contents) if variances is None else variances], axis=-1)
    return histogram


FALLING = spectrum(1000 * np.exp(-np.arange(10.0)))
SMALL = spectrum(np.full(10, 5.0))
NOTHING = spectrum(np.zeros(10))


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_the_smallest_background_is_at_the_bottom() -> None:
    figure = distribution(
        [Component("large", FALLING, "#111111"), Component("small", SMALL, "#222222")], label="met"
    )
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert labels == ["large", "small", "stat. uncertainty"]
    bottom = {patch.get_label(): patch.get_data().baseline for patch in figure.axes[0].patches}
    assert np.all(np.asarray(bottom["small"]) == 0)
    assert np.allclose(bottom["large"], SMALL.values())


def test_data_comes_first_in_the_legend_and_gets_a_ratio_panel() -> None:
    figure = distribution([Component("all", FALLING, "red")], data=FALLING, label="met", unit="GeV")
    assert figure.legends[0].get_texts()[0].get_text() == "Data"
    assert [axes.get_ylabel() for axes in figure.axes] == ["Events / 10 GeV", "Data / sim."]
    assert figure.axes[1].get_xlabel() == "met [GeV]"


def test_a_signal_is_drawn_with_its_own_normalisation() -> None:
    figure = distribution([Component("all", FALLING, "red")], [Component("new", SMALL, "blue")], label="met")
    drawn = next(patch for patch in figure.axes[0].patches if patch.get_label() == "new")
    assert drawn.get_data().values.tolist() == SMALL.values().tolist()
    low, _ = figure.axes[0].get_ylim()
    assert low < 5


def test_cuts_outside_the_axis_are_not_drawn() -> None:
    cuts = {"tight": 80.0, "loose": 70.0, "nowhere": 200.0}
    figure = distribution([Component("all", FALLING, "red")], label="met", cuts=cuts)
    assert texts(figure.axes[0]) == ["tight →", "loose →"]


def test_names_of_cuts_never_overlap() -> None:
    cuts = {f"cut number {number}": 50 + 0.1 * number for number in range(5)}
    figure = distribution([Component("all", FALLING, "red")], label="met", cuts=cuts)
    svg(figure)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert all(not a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])
    assert all(figure.axes[0].bbox.y0 < box.y0 and box.y1 < figure.axes[0].bbox.y1 for box in boxes)


def test_whole_numbers_are_written_below_the_middle_of_their_bins() -> None:
    jets = hist.Hist(hist.axis.Regular(3, 0, 3, name="jets"), storage=hist.storage.Weight()).fill([0, 1, 1])
    figure = distribution([Component("all", jets, "red")], label="jets")
    assert figure.axes[0].get_xticks().tolist() == [0.5, 1.5, 2.5]
    assert figure.axes[0].get_ylabel() == "Events"


@pytest.mark.parametrize(
    ("background", "data"),
    [(NOTHING, FALLING), (FALLING, NOTHING), (NOTHING, NOTHING), (spectrum(-FALLING.values()), FALLING)],
    ids=["no simulation", "no data", "nothing at all", "negative simulation"],
)
def test_empty_and_negative_spectra_can_be_drawn(background, data) -> None:
    figure = distribution([Component("all", background, "red")], data=data, label="met")
    assert svg(figure).endswith(b"</svg>\n")


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(1.1, (0.75, 1.25, False)), (1.4, (0.5, 1.5, False)), (1.9, (0.0, 2.0, False))],
)
def test_a_ratio_panel_is_as_narrow_as_the_points_allow(factor, expected) -> None:
    data = spectrum(np.full(10, 1000 * factor))
    assert ratio_range(ratio(data, spectrum(np.full(10, 1000.0)))) == expected


@pytest.mark.parametrize("expected", [1.0, 1e9])
def test_a_ratio_panel_is_logarithmic_where_data_and_simulation_are_far_apart(expected) -> None:
    low, high, logarithmic = ratio_range(ratio(spectrum(np.full(10, 1e5)), spectrum(np.full(10, expected))))
    assert logarithmic
    assert low < min(1, 1e5 / expected)
    assert high > max(1, 1e5 / expected)


def test_bins_without_statistics_do_not_widen_a_ratio_panel() -> None:
    contents = np.full(10, 1000.0)
    contents[-1] = 1
    simulation = np.full(10, 1000.0)
    simulation[-1] = 0.1
    assert ratio_range(ratio(spectrum(contents), spectrum(simulation))) == (0.75, 1.25, False)


def drawn_points(figure) -> tuple[np.ndarray, int]:
    """Points of a ratio panel, and the number of arrows in it."""
    panel = figure.axes[1]
    (points,) = (container.lines[0] for container in panel.containers)
    arrows = [line for line in panel.lines if line.get_marker() in ("^", "v")]
    return np.asarray(points.get_ydata()), sum(len(line.get_xdata()) for line in arrows)


def test_bins_that_are_all_imprecise_are_drawn_as_points() -> None:
    # As in a region of few events: every ratio lies between 2 and 4, none is known to 50 %.
    data, simulation = spectrum([3, 2, 1, 2, 1, 3, 2, 1, 2, 1]), spectrum(np.full(10, 0.6))
    low, high, _ = ratio_range(ratio(data, simulation))
    assert low <= 1
    assert high > 5
    points, arrows = drawn_points(distribution([Component("all", simulation, "red")], data=data, label="met"))
    assert (len(points), arrows) == (10, 0)


def test_an_excess_in_the_tail_can_be_read_from_the_ratio() -> None:
    expected = np.array([1e4, 5e3, 2e3, 1e3, 100, 20, 5, 2, 1, 0.5])
    seen = np.array([1.01e4, 4.9e3, 2e3, 1010, 105, 26, 15, 9, 5, 3])
    data, simulation = spectrum(seen), spectrum(expected)
    _, high, _ = ratio_range(ratio(data, simulation))
    assert high > 4.5
    points, arrows = drawn_points(distribution([Component("all", simulation, "red")], data=data, label="met"))
    assert arrows <= 1  # nine in ten
    assert (points > 2.5).sum() >= 3


def test_imprecise_bins_with_an_excess_can_be_read_beside_many_precise_ones() -> None:
    # None of the last five is far from one by its own uncertainty; all of them together are the signal.
    expected = np.array([1e4, 5e3, 2e3, 1e3, 500, 0.9, 0.7, 0.6, 0.5, 0.45])
    data, simulation = spectrum([1e4, 5e3, 2e3, 1e3, 500, 2, 2, 2, 2, 2]), spectrum(expected)
    assert ratio_range(ratio(data, simulation))[1] > 3.9
    points, arrows = drawn_points(distribution([Component("all", simulation, "red")], data=data, label="met"))
    assert (points > 2).sum() + arrows == 5
    assert arrows <= 1


@pytest.mark.parametrize("excess", [1.249, 1.2501, 1.4999, 1.9999, 2.99, 40.0])
@pytest.mark.parametrize("bins", [1, 3, 10])
def test_no_point_is_cut_by_the_edge_of_a_panel(excess, bins) -> None:
    contents = np.full(10, 1000.0)
    contents[-bins:] *= excess
    simulation = spectrum(np.full(10, 1000.0))
    figure = distribution([Component("all", simulation, "red")], data=spectrum(contents), label="met")
    svg(figure)
    panel = figure.axes[1]
    points, arrows = drawn_points(figure)
    assert len(points) + arrows == 10
    places = panel.transAxes.inverted().transform(
        panel.transData.transform(np.column_stack([np.zeros(len(points)), points]))
    )[:, 1]
    assert (places > 0.02).all()
    assert (places < 0.98).all()


def test_the_ordinate_spans_nine_decades_at_most_and_shows_single_data_events() -> None:
    assert logarithmic_range(NOTHING) == (0.1, 10.0)
    low, high = logarithmic_range(spectrum([1e12, *[1e-9] * 9]))
    assert high / low == pytest.approx(1e9)
    assert logarithmic_range(spectrum(np.full(10, 1e4)), data=spectrum([0] * 9 + [1]))[0] == pytest.approx(
        0.4
    )
    assert logarithmic_range(FALLING, [spectrum(np.full(10, 1e-3))])[0] < 1e-3

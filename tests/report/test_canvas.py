import sys

import pytest
from matplotlib.colors import to_rgb

from tailshard.report.canvas import FILLS, fills, finish, legend_columns, lines, new_figure, svg


def test_colours_of_many_channels_differ() -> None:
    assert fills(10) == list(FILLS)
    assert len(set(fills(20))) == 20
    assert len(fills(25)) == 25
    assert lines(9)[7:] == lines(2)


@pytest.mark.parametrize("colour", lines(7))
def test_lines_are_dark_enough_to_read_on_white(colour) -> None:
    # Contrast of 4.5 to 1: Web Content Accessibility Guidelines 2.2, criterion 1.4.3.
    channels = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)
    ]
    luminance = 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
    assert 1.05 / (luminance + 0.05) > 4.5


@pytest.mark.parametrize(
    ("names", "width", "columns"),
    [(["a", "b", "c"], 6.2, 3), (["x" * 30] * 3, 6.2, 2), (["x" * 90] * 3, 6.2, 1), (["a"], 6.2, 1)],
    ids=["short names in a row", "long names in two columns", "very long names one below the other", "one"],
)
def test_a_legend_has_as_many_columns_as_fit(names, width, columns) -> None:
    assert legend_columns(names, width) == columns


@pytest.mark.parametrize(
    "names",
    [
        [f"channel_number_{number}" for number in range(14)],
        ["a long name " * 6],
        [
            "Data",
            *(f"VV{number}" for number in range(12)),
            "stat. uncertainty",
            "C1N2_450p300",
            "C1N2_800p050",
        ],
    ],
    ids=["many", "long", "mixed"],
)
def test_legend_and_titles_lie_within_the_figure_and_above_the_axes(names) -> None:
    figure = new_figure(6.4, 5.4)
    axes = figure.add_subplot()
    for name in names:
        axes.plot([0, 1], label=name)
    finish(
        figure, axes, "A title that is far too long for the figure " * 4, "13 TeV, 36.1 fb$^{\\mathrm{-1}}$"
    )
    svg(figure)
    renderer = figure.canvas.get_renderer()
    legend = figure.legends[0].get_window_extent(renderer)
    left, right = (title.get_window_extent(renderer) for title in (axes._left_title, axes._right_title))
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1
    assert legend.y1 <= figure.bbox.y1
    assert left.x1 < right.x0
    assert right.x1 <= figure.bbox.x1
    assert axes.bbox.y1 < left.y0 < left.y1 <= legend.y0 + 2


def test_a_title_is_not_mathematics() -> None:
    figure = new_figure(4, 3)
    finish(figure, figure.add_subplot(), "50$ and 60$ _^{", "")
    assert svg(figure).startswith(b"<?xml")


def test_a_drawing_has_no_date_and_equal_bytes() -> None:
    def draw() -> bytes:
        figure = new_figure(4, 3)
        axes = figure.add_subplot()
        axes.stairs([1, 2], fill=True, hatch="///")
        finish(figure, axes, "title")
        return svg(figure)

    assert draw() == draw()
    assert b"dc:date" not in draw()


def test_pyplot_knows_of_no_figure() -> None:
    new_figure(4, 3)
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()

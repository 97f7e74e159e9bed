import dataclasses

import numpy as np

from tailshard.report import figures, headline, tables
from tailshard.report.blocks import Note, Picture


def test_names_in_text_keep_the_underscore_of_symbols_only() -> None:
    names = ["m_lll", "h_t", "leading_lepton_pt", "b_jets", "met"]
    assert [figures.quantity_name(name) for name in names] == [
        "m_lll",
        "h_t",
        "leading lepton pt",
        "b jets",
        "met",
    ]


def test_an_unknown_quantity_is_labelled_by_its_name() -> None:
    assert figures.quantity_label("my_own") == ("my own", "1")


def test_simulation_alone_says_so_and_every_figure_has_the_luminosity(findings, poor_findings) -> None:
    assert figures.corner(findings) == r"13 TeV, 10 fb$^{\mathrm{-1}}$"
    assert figures.corner(poor_findings) == r"Simulation, 13 TeV, 10 fb$^{\mathrm{-1}}$"


def test_simulation_is_scaled_to_data_of_another_luminosity(findings) -> None:
    datasets = tuple(
        each.model_copy(update={"luminosity": 0.5} if each.kind == "data" else {})
        for each in findings.pipeline.datasets
    )
    pipeline = findings.pipeline.model_copy(update={"datasets": datasets})
    other = dataclasses.replace(findings, pipeline=pipeline)
    assert (findings.to_data, other.to_data) == (1, 0.05)
    for kind, factor in (("background", 0.05), ("signal", 0.05), ("data", 1)):
        for before, after in zip(
            *(figures._components(each, kind, "met", "inclusive") for each in (findings, other)), strict=True
        ):
            np.testing.assert_allclose(after.histogram.values(), factor * before.histogram.values())
            np.testing.assert_allclose(after.histogram.variances(), factor**2 * before.histogram.variances())
    assert "scaled to the luminosity of the data" in figures.spectrum_picture(other, "met").alt
    assert tables.regions(other).header[4] == "Data (0.5 fb⁻¹)"
    assert tables.regions(findings).header[4] == "Data"
    value = findings.summary["regions"][0]["background"]["value"]
    assert headline.measured(value * 0.05, 0).split("±")[0].strip() in headline.headline(other)


def test_an_empty_spectrum_is_a_note_and_not_a_picture(poor_findings) -> None:
    assert isinstance(figures.spectrum_picture(poor_findings, "met"), Picture)
    note = figures.spectrum_picture(poor_findings, "m_lll", "median_1")
    assert isinstance(note, Note)
    assert "in the region median 1" in note.text


def test_the_part_of_the_background_without_a_quantity_is_told(findings) -> None:
    assert "It does not exist in 6" in figures.spectrum_picture(findings, "m_lll").caption
    assert figures.spectrum_picture(findings, "met").caption.endswith("in all selected events.")


def test_candidates_are_described_by_their_objects_and_largest_cells(findings) -> None:
    (display,) = findings.displays
    cells = np.zeros_like(display.cells)
    cells[0, 0], cells[13, 0] = 0.5, 0.7
    made_up = dataclasses.replace(
        display, cells=cells, multiplicity={"light_jets": 2, "muons": 1, "electrons": 0}
    )
    (drawn,) = figures.display_pictures(dataclasses.replace(findings, displays=[made_up]))
    first = findings.candidates.slice(0, 1).to_pylist()[0]
    assert drawn.caption.startswith(
        f"Candidate 1: run 284500, event {first['event_number']}, log10(error) = "
    )
    assert "2 light jets and 1 muon. Largest cells: hL(electron 1) 0.700 and MET 0.500." in drawn.caption


def test_matrices_without_any_cell_can_be_drawn(findings) -> None:
    averages = {"zjets": np.zeros((23, 23))}
    (drawn,) = figures.average_pictures(dataclasses.replace(findings, averages=averages))
    assert "zjets" in drawn.alt

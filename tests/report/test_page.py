"""The page as a colleague gets it."""

import base64
import html
import shutil
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from tailshard.errors import StoreError, WorkdirError
from tailshard.report.blocks import Note
from tailshard.report.cells import cell_picture
from tailshard.report.page import report

PROVENANCE = {
    "tailshard": "0.1",
    "packages": {"numpy": "2"},
    "stages": {"ingest": {"key": "0123456789abcdef"}},
}
TITLES = (
    *("Samples", "Cutflow", "Data and simulation", "Cells of the matrix", "Correlations", "Anomaly score"),
    *("Signal regions", "Significance", "Limits", "Separation", "Robustness"),
    *("Training", "Average events", "Candidates", "Updates", "Quarantine", "Provenance"),
)


class Page(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def out(search, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    told = []
    page = report(*search, out, PROVENANCE, lambda *progress: told.append(progress))
    assert page == out / "index.html"
    assert told[0] == ("writing the report", 0, len(TITLES))
    assert told[-1] == ("writing the report", len(TITLES), len(TITLES))
    return out


@pytest.fixture(scope="module")
def page(out) -> Page:
    return Page((out / "index.html").read_text())


@pytest.fixture(scope="module")
def poor_text(simulation_only, tmp_path_factory) -> str:
    return report(*simulation_only, tmp_path_factory.mktemp("poor"), PROVENANCE).read_text()


@pytest.fixture(scope="module")
def poor_page(poor_text) -> Page:
    return Page(poor_text)


def test_every_tag_is_closed(page) -> None:
    assert page.open == []


def test_nothing_is_loaded_and_no_script_is_needed(out, page) -> None:
    assert not page.of("script")
    assert not page.of("link")
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in page.of("img"))
    assert {link["href"][0] for link in page.of("a")} == {"#"}
    assert "url(" not in (out / "index.html").read_text().split("</style>")[0]


def test_every_figure_is_whole_and_has_an_alternative_text_of_its_own(page) -> None:
    images = page.of("img")
    for image in images:
        drawing = ElementTree.fromstring(base64.b64decode(image["src"].split(",")[1]))
        assert drawing.tag.endswith("svg")
        assert len(image["alt"]) > 30
    # 3 observables, 6 cells, correlations, error, its kinds, 2 in each of 2 regions, 3 scans, ROC, training,
    # 4 averages, 1 candidate
    expected = 3 + 6 + 1 + 1 + 1 + 4 + 3 + 1 + 1 + 4 + 1
    assert len({image["alt"] for image in images}) == len(images) == expected


def test_the_table_of_contents_leads_to_every_section(page) -> None:
    anchors = [section["id"] for section in page.of("section")]
    assert [link["href"] for link in page.of("a")] == [f"#{anchor}" for anchor in anchors]
    assert anchors == [title.lower().replace(" ", "-") for title in TITLES]


def test_text_from_outside_is_escaped(page, out) -> None:
    assert "cut <short>" in page.text
    assert "cut &lt;short&gt;" in (out / "index.html").read_text()


def test_the_page_holds_numbers_of_the_summary(page, findings) -> None:
    assert findings.candidates.num_rows == 45
    assert "the most anomalous 5 % of the data, 45 events." in page.text
    for row in findings.candidates.slice(0, 20).to_pylist():
        assert str(row["event_number"]) in page.text
    assert "0123456789abcdef" in page.text
    assert findings.summary["provenance"]["snapshot"] in page.text


def test_the_page_says_how_cuts_are_chosen_and_what_was_read(page) -> None:
    assert "The test events took no part in the choice" in page.text
    assert "look-elsewhere effect" in page.text
    assert "Beside each region stand cuts on MET alone and on m_eff alone" in page.text
    assert "Files that were read" in page.text
    assert "AUC of resonance:" in page.text


def test_equal_results_give_an_equal_page_apart_from_provenance(simulation_only, poor_text, tmp_path) -> None:
    (tmp_path / "cells.html").write_text("of a run that asked for it")
    again = report(*simulation_only, tmp_path, {**PROVENANCE, "tailshard": "0.2"}).read_text()
    assert not (tmp_path / "cells.html").exists()
    assert again != poor_text
    assert again.replace('<td class="words">0.2</td>', '<td class="words">0.1</td>') == poor_text


def test_what_does_not_apply_is_said_in_a_line(poor_page) -> None:
    assert "There is no data in this pipeline: the figures show simulation alone." in poor_page.text
    assert "There is no data in this pipeline, and so there are no candidates." in poor_page.text
    assert poor_page.text.count("No signal sample is named in this pipeline") == 4
    assert "m_lll is not drawn in the regions: no selected event has it" in poor_page.text
    assert (
        "Invariant mass of the three leading leptons in all selected events: nothing to draw"
        in poor_page.text
    )
    assert "so the cells of the matrix are not compared" in poor_page.text
    # 2 observables, correlations, error, MET in 2 regions, training, 1 average
    assert len(poor_page.of("img")) == 2 + 1 + 1 + 2 + 1 + 1


def test_every_cell_has_a_page_where_that_is_asked_for(simulation_only, tmp_path, monkeypatch) -> None:
    from tailshard.report import page as module

    drawn = []

    def draw_little(findings, name):  # 529 figures take minutes
        drawn.append(name)
        some = ("MET", "mT(light jet 1)", "m(muon 4, muon 5)")
        return cell_picture(findings, name) if name in some else Note("")

    monkeypatch.setattr(module, "cell_picture", draw_little)
    asked = simulation_only.pipeline.report.model_copy(update={"all_cells": True})
    pipeline = simulation_only.pipeline.model_copy(update={"report": asked})
    report(pipeline, *simulation_only[1:], tmp_path, PROVENANCE)
    cells = Page((tmp_path / "cells.html").read_text())
    assert len(drawn) == 529
    assert [section["id"] for section in cells.of("section")] == ["met"]  # no event has five muons
    assert len(cells.of("img")) == 2


def test_a_title_may_look_like_mathematics_or_markup(simulation_only, poor_text, poor_page) -> None:
    title = simulation_only.pipeline.report.title
    assert f"<h1>{html.escape(title)}</h1>" in poor_text
    assert title in poor_page.text


def test_a_failure_leaves_the_last_page_as_it_was(search, tmp_path) -> None:
    (tmp_path / "index.html").write_text("the last page")
    with pytest.raises(WorkdirError, match=r"nowhere.*tailshard histogram"):
        report(*search[:3], tmp_path / "nowhere", tmp_path, {})
    assert (tmp_path / "index.html").read_text() == "the last page"
    assert [file.name for file in tmp_path.iterdir()] == ["index.html"]


@pytest.mark.parametrize("file", ["summary.json", "histograms.json", "candidates.parquet"])
def test_damaged_results_are_named(search, tmp_path, file) -> None:
    results = tmp_path / "results"
    shutil.copytree(search.results, results)
    (results / file).write_text("{")
    with pytest.raises(WorkdirError, match=rf"{file}.*tailshard histogram"):
        report(*search[:3], results, tmp_path / "out", {})


def test_a_candidate_that_is_not_in_the_store_is_an_error(search, simulation_only, tmp_path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    results = tmp_path / "results"
    shutil.copytree(search.results, results)
    table = pyarrow.parquet.read_table(results / "candidates.parquet")
    odd = pa.compute.add(table["entry"], pa.scalar(1, pa.uint64()))
    moved = table.set_column(table.column_names.index("entry"), "entry", odd)
    pyarrow.parquet.write_table(moved, results / "candidates.parquet")
    with pytest.raises(StoreError, match=r"has no entry \d+ of root://somewhere/data.root"):
        report(*search[:3], results, tmp_path / "out", {})

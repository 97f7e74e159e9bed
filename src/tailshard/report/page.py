"""One HTML page that a physicist can send to a colleague: the report stage."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from ..config import Pipeline
from ..ledger import write_atomically
from ..places import remove_file
from ..progress import Progress, silent
from .blocks import Picture, Pictures, Section
from .cells import cell_picture
from .export import write_reconstructions, write_root, write_uhi
from .findings import Findings, read_findings
from .headline import headline
from .sections import section, sections


def report(
    pipeline: Pipeline,
    store: Path,
    model: Path,
    results: Path,
    out: Path,
    provenance: Mapping[str, Any],
    progress: Progress = silent,
) -> Path:
    """Write ``index.html``, histograms as ROOT and UHI, reconstructions, and ``cells.html`` where asked for.

    The page is one file: figures and style are inside, nothing is loaded from anywhere, and it needs no
    script. Each file appears whole, the page last. Equal results give an equal page, apart from what
    `provenance` says.

    Parameters
    ----------
    pipeline
        The search.
    store, model, results
        Folders of the stages ingest, train and histogram.
    out
        Folder to write to.
    provenance
        What made the results: versions, content keys and the like; mappings may be nested.
    progress
        Told the number of sections that are done.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    StoreError
        The store is absent or damaged, or does not hold the candidates.
    WorkdirError
        An earlier stage has not run, or its output is damaged.
    """
    findings = read_findings(pipeline, store, model, results)
    page = out / "index.html"
    text = render(findings, provenance, progress)
    write_root(out / "histograms.root", findings)
    write_uhi(out / "histograms.uhi.json", findings)
    write_reconstructions(out / "reconstructions.npz", findings)
    if pipeline.report.all_cells:
        write_atomically(out / "cells.html", render_cells(findings, progress))
    else:
        remove_file(out / "cells.html")
    write_atomically(page, text)
    return page


def render(findings: Findings, provenance: Mapping[str, Any], progress: Progress = silent) -> str:
    """Compose the page.

    Parameters
    ----------
    findings, provenance, progress
        As in `report`.
    """
    planned = sections(findings, provenance)
    made = []
    for done, (title, make) in enumerate(planned.items()):
        progress("writing the report", done, len(planned))
        made.append(section(title, make()))
    progress("writing the report", len(planned), len(planned))
    return _page(findings, headline(findings), made)


def render_cells(findings: Findings, progress: Progress = silent) -> str:
    """Compose a page of every cell that some event has, a section for each row of the matrix.

    Parameters
    ----------
    findings, progress
        As in `report`.
    """
    rows, names = findings.rows, findings.cells.cells
    made = []
    for done, title in enumerate(rows):
        progress("drawing every cell", done, len(rows))
        drawn = [cell_picture(findings, name) for name in names[done * len(rows) : (done + 1) * len(rows)]]
        if pictures := [each for each in drawn if isinstance(each, Picture)]:
            made.append(section(title, [Pictures(pictures)]))
    progress("drawing every cell", len(rows), len(rows))
    return _page(findings, "Every cell of the rapidity-mass matrix that some event has.", made)


def _page(findings: Findings, summary: str, made: Sequence[Section]) -> str:
    pipeline = findings.pipeline
    return compose(
        title=findings.title,
        description=" ".join(pipeline.description.split()),
        facts=f"{pipeline.name} · {pipeline.luminosity:.4g} fb⁻¹ · selection {pipeline.selection.name}",
        headline=summary,
        sections=made,
    )


def compose(*, title: str, description: str, facts: str, headline: str, sections: Sequence[Section]) -> str:
    """Fill the template: a title, a line of facts below it, the result in a sentence, then the sections."""
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        title=title, description=description, facts=facts, headline=headline, sections=sections
    )

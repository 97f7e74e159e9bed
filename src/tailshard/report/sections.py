"""The sections of a page: words between tables and figures, and a line for whatever does not apply."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import yaml

from ..search.filling import ERROR
from . import cells, curves, figures, limits, tables
from .blocks import Block, Code, Note, Picture, Pictures, Section, Text
from .ensemble import ensemble
from .findings import Findings
from .robustness import robustness
from .updates import updates
from .wording import candidates_in_words, defined, percent, plural, probability

_NO_DATA = "There is no data in this pipeline"
_NO_SIGNAL = "No signal sample is named in this pipeline, so there is nothing to show here."


def sections(
    findings: Findings, provenance: Mapping[str, Any]
) -> Mapping[str, Callable[[], Iterator[Block]]]:
    """Name the sections in their order, each with the function that makes its blocks."""
    made: dict[str, Callable[[Findings], Iterator[Block]]] = {
        "Samples": _samples,
        "Cutflow": _cutflow,
        "Data and simulation": _comparison,
        "Cells of the matrix": _cells,
        "Correlations": _correlations,
        "Anomaly score": _errors,
        "Signal regions": _regions,
        "Significance": _significance,
        "Limits": _limits,
        **({"Bump": _bump} if findings.summary["bump"] else {}),
        "Separation": _separation,
        **({"Seeds": ensemble} if "ensemble" in findings.summary else {}),
        "Robustness": robustness,
        "Training": _training,
        "Average events": _averages,
        "Candidates": _candidates,
        "Updates": updates,
        "Quarantine": _quarantine,
        "Provenance": lambda findings: _provenance(findings, provenance),
    }
    return {title: partial(make, findings) for title, make in made.items()}


def section(title: str, blocks: Iterable[Block]) -> Section:
    """Make a section; its anchor follows from its title."""
    return Section(title.lower().replace(" ", "-"), title, list(blocks))


def _samples(findings: Findings) -> Iterator[Block]:
    yield Text(
        "Simulation is quoted from its test events, divided by their share, because the network and the "
        "regions have seen the others; data that was not learned from counts whole. Expected numbers are for "
        f"{findings.pipeline.luminosity:.4g} fb⁻¹; uncertainties are those of the simulation's statistics."
    )
    yield tables.samples(findings)
    yield tables.inputs(findings)


def _cutflow(findings: Findings) -> Iterator[Block]:
    yield Text(
        f"The selection is {findings.pipeline.selection.name}. Raw counts are events in the files, weighted "
        "ones what they stand for at the luminosity."
    )
    yield from tables.cutflows(findings)


def _comparison(findings: Findings) -> Iterator[Block]:
    if not findings.pipeline.channels_of("data"):
        yield Note(f"{_NO_DATA}: the figures show simulation alone.")
    yield Text(
        "Signals are drawn as expected at the luminosity of the figure, not scaled up. The hatched band is "
        "the statistical uncertainty of the simulation. The first and last bins include what lies outside; "
        "arrows in a ratio panel stand for points beyond it."
    )
    names = [name for name in findings.pipeline.histograms.observables if name in findings.histograms]
    yield from _agreement(findings, "quantities")
    yield from _pictures_and_notes(figures.spectrum_picture(findings, name) for name in names)


def _agreement(findings: Findings, kind: str) -> Iterator[Block]:
    """Tell how well data is described, where there are data and enough simulation."""
    agreement = findings.summary["agreement"]
    if agreement is None:
        return
    if not agreement[kind]:
        yield Note(
            f"Fewer than {agreement['least']:g} events are expected or simulated, so nothing can be compared."
        )
        return
    if kind == "quantities":
        yield Text(
            "All data stands against all simulated background, with no region cut away. χ² sums (data − "
            "simulation)² over the variance of both: that of the expected number of data events and the "
            "simulation's statistics. Neighbouring bins are taken together until "
            f"{agreement['least']:g} events are expected in each, and as many simulated; no normalisation is "
            "fitted, except in the last column, where the simulation is scaled to the data. Systematic "
            "uncertainties are not included."
        )
    many = len(agreement[kind])
    yield Text(
        f"Of {plural(many, 'distribution')}, were all described perfectly, the smallest p-value would "
        f"typically be {probability(1 / many)}."
    )
    yield cells.agreement_table(findings, kind)


def _cells(findings: Findings) -> Iterator[Block]:
    if not len(findings.cells.edges):
        yield Note("The cells were not histogrammed: histograms.cell_bins is 0.")
        return
    if findings.summary["agreement"] is None:
        yield Note(
            f"{_NO_DATA}, so the cells of the matrix are not compared; their histograms are in cells.npz."
        )
        return
    yield Text(
        "A cell is counted in the events that have its objects. Drawn are the cells in which data and "
        "simulation agree least; the histograms of all are in cells.npz."
    )
    yield from _agreement(findings, "cells")
    yield from _pictures_and_notes(cells.cell_picture(findings, name) for name in cells.worst(findings))


def _correlations(findings: Findings) -> Iterator[Block]:
    yield Text(
        "What the network can learn is how cells go together. An absent object's cells are zero here, as the "
        "network sees them, so that cells of the same object rise and fall together."
    )
    yield from _pictures_and_notes([cells.correlation_picture(findings)], wide=True)


def _errors(findings: Findings) -> Iterator[Block]:
    yield Text(
        f"{defined(findings.pipeline.score)} Thresholds follow from the background alone; a region is "
        "everything to the right of its line."
    )
    yield from _pictures_and_notes([figures.spectrum_picture(findings, ERROR)], wide=True)
    if findings.cells.blocks:
        yield Text(
            "By kind of cell, the squared differences of existing objects in units of what they are for the "
            "background that the network learned from, on average: where an anomaly sits in the matrix."
        )
        yield Pictures([cells.kinds_picture(findings)], wide=True)
        yield cells.kinds_table(findings)


def _regions(findings: Findings) -> Iterator[Block]:
    floor = findings.pipeline.regions.minimum_background
    yield Text(
        "Regions are defined on the background's validation events, without regard to signal or data, and "
        "they overlap. Yields are those of the test events. Beside each region stand cuts on MET alone and "
        "on m_eff alone, which know no network, chosen to keep the same share of the background's "
        "validation events. A background of which no simulated event is left is not known to be absent: in "
        "brackets, what its yield is below at 68 % confidence. No significance is quoted below "
        f"{floor:g} expected background events."
    )
    yield tables.regions(findings)
    for signal in findings.summary["signals"]:
        yield tables.signal_in_regions(findings, signal)
    if not findings.summary["signals"]:
        yield Note(_NO_SIGNAL)
    regions = [region["name"] for region in findings.summary["regions"][1:]]
    drawn = [name for name in ("met", "m_lll") if findings.exists(name)]
    yield from _pictures_and_notes(
        figures.spectrum_picture(findings, name, region) for region in regions for name in drawn
    )
    for name in ("met", "m_lll"):
        if name not in drawn:
            yield Note(
                f"{name} is not drawn in the regions: no selected event has it, or it was not asked for."
            )


def _significance(findings: Findings) -> Iterator[Block]:
    if not findings.summary["signals"]:
        yield Note(_NO_SIGNAL)
        return
    yield Text(
        "A cut on MET is scanned in every region; MET alone and m_eff alone, without any region, are the "
        "baselines. The cut is chosen where validation events promise the largest Asimov significance with "
        "the background known to its statistical uncertainty, and quoted on test events, which had no say. "
        f"Nothing is quoted where fewer than {findings.pipeline.regions.minimum_background:g} background "
        "events are expected. Systematic uncertainties are not included."
    )
    yield Text(
        "What validation events promise for the chosen cut is not a result. It is the largest of as many "
        "numbers as cuts were tried, and each of them fluctuates with the simulated events: the largest is "
        "preferably one that fluctuated up (the look-elsewhere effect, or selection bias). The test events "
        "took no part in the choice, so what they give for the same cut has no such bias, and is on average "
        "smaller. Between regions, too, the choice is made on validation events."
    )
    for signal, its in findings.summary["signals"].items():
        if its["scans"]:
            first, *others = curves.scan_pictures(findings, signal)
            yield Pictures([first], wide=True)
            yield Pictures(others)
            yield tables.scans(findings, signal)
        else:
            yield Note(f"{signal}: neither MET nor m_eff was computed, so there is nothing to scan.")


def _limits(findings: Findings) -> Iterator[Block]:
    if not findings.summary["signals"]:
        yield Note(_NO_SIGNAL)
        return
    asked = findings.pipeline.limits
    if asked is None:
        yield Note("No limits were asked for (limits: null).")
        return
    shares = (asked.background_uncertainty, asked.luminosity_uncertainty)
    background, luminosity = (percent(share) if share else "none" for share in shares)
    yield Text(
        "CLs limits from pyhf, in the asymptotic approximation. The tail of the error, and of MET and m_eff "
        "alone, is counted in a few bins that validation events of the background chose by one rule; the "
        "counts are those of the test events. Backgrounds vary within the statistics of the simulation. "
        f"Uncertainty of each background's normalisation: {background}; of the luminosity: {luminosity}. "
        "Expected limits are for no signal. The models are in results/workspaces, for any tool that reads "
        "pyhf's format."
    )
    yield limits.limits_table(findings)
    yield from limits.reasons(findings)


def _bump(findings: Findings) -> Iterator[Block]:
    yield Text(
        "All windows of a range of widths are compared with the simulated background; the one that is least "
        "likely is shown. The global p-value is the share of background-only pseudo-experiments in which "
        "some window is as unlikely, so it pays for having looked in many places. The background counts as "
        "known exactly: where the simulation is scarce, or does not describe the data, the window says that "
        "and no more."
    )
    yield from limits.bump_blocks(findings)


def _separation(findings: Findings) -> Iterator[Block]:
    signals = findings.summary["signals"]
    if not signals:
        yield Note(_NO_SIGNAL)
        return
    drawable = [name for name, its in signals.items() if its["roc"][ERROR]["background_efficiency"]]
    if drawable:
        yield Text(
            "Efficiencies are those of the loosest cut that keeps no more than the given share of the "
            "background; uncertainties are of the statistics of signal and background. There is none where "
            "the background sample cannot tell so small a share: below that of one of its events."
        )
        yield Pictures([curves.roc_picture(findings, drawable)])
        yield tables.separation(findings, drawable)
    for name in signals:
        if name not in drawable:
            yield Note(f"{name}: too few events of it, or of the background, were selected for a ROC curve.")


def _training(findings: Findings) -> Iterator[Block]:
    if findings.epochs:
        yield Pictures([curves.training_picture(findings)])
    else:
        yield Note("The training left no metrics behind, so there are no curves.")
    yield tables.network(findings)


def _averages(findings: Findings) -> Iterator[Block]:
    yield Text(
        "Weighted mean of the rapidity-mass matrix over all events of a channel, absent objects counting as "
        "zero; cells that are always zero are blank. First cell: MET. First row: transverse masses. First "
        "column: rapidities. Diagonal: transverse energies and their imbalances. Above it: invariant masses "
        "of pairs. Below it: rapidity differences of pairs."
    )
    if findings.averages:
        yield Pictures(list(figures.average_pictures(findings)))
    for channel in findings.pipeline.channels:
        if channel not in findings.averages:
            yield Note(f"{channel}: no event was selected.")


def _candidates(findings: Findings) -> Iterator[Block]:
    table, facts = findings.candidates, findings.summary["candidates"]
    if table is None or facts is None:
        yield Note(f"{_NO_DATA}, and so there are no candidates.")
        return
    rows = table.slice(0, tables.CANDIDATES_SHOWN).to_pylist()
    yield Text(
        f"In candidates.parquet and candidates.csv are {candidates_in_words(facts)}, with identity, "
        f"kinematics and error; the first {len(rows)} are below. That the network cannot reconstruct an "
        "event has instrumental causes more often than new physics."
    )
    yield tables.candidates(findings, rows)
    if findings.displays:
        yield Text(
            "The matrices of the first ones, what the network makes of them, and the difference. Cells of "
            "objects that do not exist are blank, though some scores count them; the numbers are in "
            "reconstructions.npz beside this page."
        )
        yield Pictures(list(figures.display_pictures(findings)), wide=True)


def _quarantine(findings: Findings) -> Iterator[Block]:
    if not findings.summary["quarantine"]:
        yield Note("Every input was read.")
        return
    yield Text("These inputs, or the entries named of them, were left out.")
    yield tables.quarantine(findings)
    for sample, scale in findings.summary["scales"].items():
        yield Text(f"The weights of {sample} were multiplied by {scale:.4g} to make up for it.")
    if not findings.summary["scales"]:
        yield Text("No weight was changed on their account.")
    for warning in findings.summary["warnings"]:
        yield Note(warning)


def _provenance(findings: Findings, provenance: Mapping[str, Any]) -> Iterator[Block]:
    yield tables.provenance({**provenance, "content of the results": findings.summary["provenance"]})
    yield Text(
        "Beside this page lie histograms.root (TH1 with errors, region/histogram/channel, normalised as they "
        "are drawn) and histograms.uhi.json (by channel, split and region, nothing scaled). The "
        "pipeline, with all defaults written out:"
    )
    config = findings.pipeline.model_dump(mode="json", exclude_none=True)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    yield Code(text)


def _pictures_and_notes(found: Iterable[Picture | Note], wide: bool = False) -> Iterator[Block]:
    everything = list(found)
    if pictures := [it for it in everything if isinstance(it, Picture)]:
        yield Pictures(pictures, wide=wide)
    yield from (it for it in everything if isinstance(it, Note))

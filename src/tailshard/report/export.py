"""Every histogram in the formats of other tools, ROOT and UHI; reconstructions of candidates."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import uproot

from ..places import opened_whole, remove_file, written_whole
from ..search.filling import Histogram
from ..search.histogram import write_histograms
from .findings import Findings

FINE = "fine"
"""Folder of the finely binned spectra, which know no regions."""


def spectra(findings: Findings) -> Iterator[tuple[str, Histogram]]:
    """Give every spectrum as it is quoted, with its path ``region/histogram/channel``."""
    for name, histogram in findings.histograms.items():
        regions = list(histogram.axes["region"]) if "region" in histogram.axes.name else [None]
        for region in regions:
            folder = f"{FINE if region is None else _plain(region)}/{_plain(name)}"
            for channel in findings.pipeline.channels:
                yield f"{folder}/{_plain(channel)}", findings.spectrum(name, channel, region)


def write_root(path: Path, findings: Findings) -> None:
    """Write every spectrum as a TH1D with errors, ``region/histogram/channel``; the file appears whole."""
    with written_whole(path) as aside, uproot.recreate(aside) as file:
        for place, spectrum in spectra(findings):
            file[place] = spectrum


def write_uhi(path: Path, findings: Findings) -> None:
    """Write every histogram with all its axes (channel, split, region, quantity), nothing scaled."""
    write_histograms(path, findings.histograms)


def write_reconstructions(path: Path, findings: Findings) -> None:
    """Write the matrices of the drawn candidates and their reconstructions; without any, remove the file.

    Arrays: ``run``, ``event_number`` (n,); ``event``, ``reconstruction`` in the units of the cells and
    ``scaled_difference`` as scores see it, (n, rows, rows) float32; ``rows`` their names.
    """
    if findings.candidates is None or not findings.displays:
        remove_file(path)
        return
    shown = findings.candidates.slice(0, len(findings.displays))
    with opened_whole(path) as file:
        np.savez_compressed(
            file,
            run=shown["run"].to_numpy(),
            event_number=shown["event_number"].to_numpy(),
            event=np.stack([display.cells for display in findings.displays]),
            reconstruction=np.stack([display.reconstruction for display in findings.displays]),
            scaled_difference=np.stack([display.difference for display in findings.displays]),
            rows=np.array(findings.rows),
        )


def _plain(name: str) -> str:
    """Keep what ROOT takes for part of a path or a cycle out of a name."""
    return re.sub(r"[^\w.+-]", "_", name)

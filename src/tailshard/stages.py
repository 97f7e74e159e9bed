"""The stages of a search, the state that each is in, and what doing one has brought."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGES = ("ingest", "train", "score", "histogram", "report")

OUTPUTS = {
    "ingest": ("store", ("catalog.json",)),
    "train": (
        "model",
        (
            *("model.pt", "metrics.jsonl", "trained_on.json"),
            *("seed_*/model.pt", "seed_*/metrics.jsonl"),  # of an ensemble
        ),
    ),
    "score": ("store", ()),
    "histogram": (
        "results",
        (
            *("histograms.json", "regions.json", "cells.npz", "summary.json"),
            *("candidates.parquet", "candidates.csv", "workspaces/*.json"),  # where there are any
        ),
    ),
    "report": (
        "report",
        ("histograms.root", "histograms.uhi.json", "reconstructions.npz", "cells.html", "index.html"),
    ),
}
"""Folder of a stage below the work directory, and the files that it leaves there: names or patterns."""

Listing = Mapping[str, str]
"""URL of an input -> a cheap fingerprint of it."""


def outputs_of(stage: str, workdir: Path) -> list[Path]:
    """Find the files that a stage has made; those of the store's slots are the catalog's to know."""
    folder, names = OUTPUTS[stage]
    return [path for name in names for path in sorted((workdir / folder).glob(name))]


class Folders:
    """Where the outputs of a search are, below its work directory."""

    workdir: Path

    @property
    def store(self) -> Path:
        """Folder of the event store."""
        return self.workdir / "store"

    @property
    def model(self) -> Path:
        """Folder of the trained network."""
        return self.workdir / "model"

    @property
    def results(self) -> Path:
        """Folder of histograms and numbers."""
        return self.workdir / "results"

    @property
    def partials(self) -> Path:
        """Folder that keeps what was made of single slots."""
        return self.workdir / "partials"

    @property
    def report_page(self) -> Path:
        """The page to open."""
        return self.workdir / "report" / "index.html"


@dataclass(frozen=True)
class StageState:
    """Whether the output of a stage can be used as it is."""

    stage: str
    exists: bool
    reasons: tuple[str, ...]
    """Why it must be made again; empty where it is current."""
    made: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None

    @property
    def current(self) -> bool:
        """The output fits the pipeline, its inputs and this version of tailshard."""
        return not self.reasons

    @property
    def word(self) -> str:
        """Say it in a word: current, stale or missing."""
        return "current" if self.current else "stale" if self.exists else "missing"


@dataclass(frozen=True)
class StageOutcome:
    """What a verb did."""

    stage: str
    did: bool
    """False where the output was current already."""
    result: Mapping[str, Any]

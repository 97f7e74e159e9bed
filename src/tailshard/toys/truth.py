"""What is known of toy ntuples: `truth.json` beside the files."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import InputError

TRUTH_FILE = "truth.json"


@dataclass(frozen=True)
class ToySample:
    """What is known of one sample."""

    files: tuple[str, ...]
    events: int
    """In the files."""
    generated: int
    """Before the skim."""
    cross_section: float
    """pb, all included; 0 for data."""
    sum_of_weights: float
    """Generator weights before the skim; 1 for data."""
    expected: float
    """Sum of the weights of the events in the files at the luminosity of the data."""
    uncertainty: float
    """Statistical, of `expected`."""
    origins: Mapping[str, int]
    """Events in the files by process."""


@dataclass(frozen=True)
class ToyTruth:
    """What is known of a folder of toys; `truth.json` beside the files."""

    recipe: str
    """Changes with every parameter and with the code that makes toys."""
    seed: int
    luminosity: float
    """fb^-1 of the data."""
    injected: tuple[int, ...]
    """Event numbers of the signal events in the data."""
    samples: Mapping[str, ToySample]


def read_truth(folder: Path, recipe: str) -> ToyTruth | None:
    """Read what is known of finished toys of this recipe; None where they are not all there.

    Raises
    ------
    InputError
        The folder holds something else.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    if not (folder / TRUTH_FILE).is_file():
        raise InputError(
            f"{folder} holds files but no {TRUTH_FILE}: name a new folder, toys replace what is there"
        )
    content = json.loads((folder / TRUTH_FILE).read_text(encoding="utf-8"))
    if content.get("recipe") != recipe:
        return None
    samples = {
        name: ToySample(**{**sample, "files": tuple(sample["files"])})
        for name, sample in content.pop("samples").items()
    }
    if not all((folder / file).is_file() for sample in samples.values() for file in sample.files):
        return None
    return ToyTruth(**{**content, "injected": tuple(content["injected"])}, samples=samples)


def write_truth(folder: Path, truth: ToyTruth | None) -> None:
    """Replace `truth.json`; None marks the toys of a folder as unfinished."""
    aside = folder / f"{TRUTH_FILE}.part"
    aside.write_text(json.dumps(asdict(truth) if truth else {}, indent=2) + "\n", encoding="utf-8")
    aside.replace(folder / TRUTH_FILE)

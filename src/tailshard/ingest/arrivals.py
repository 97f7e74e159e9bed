"""Which files have arrived, changed or gone since the last ingest, and which of them are finished.

A small memory beside the store, ``inputs.json``, holds every file of the last ingest that ended: what it
looked like from outside, and what was found in it. Only what looks different is opened. A file that is
still being written is left for the next time, not put into quarantine:

- it has been modified in the last `update.settle` seconds, or a second look finds it changed;
- or it lacks what a ROOT file has when it is closed: header, end, list of contents.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..config import Pipeline, content_hash
from ..errors import InputError
from ..ledger import write_atomically
from ..ntuples import fileset
from ..ntuples.fileset import FileInfo, Quarantined
from ..ntuples.inspection import inspect
from ..ntuples.sight import Sight, forget_listings, look_at
from ..progress import Progress, silent
from .survey import Inputs, SurveyedDataset, check_names, expand, in_threads, questions

VERSION = 1

_SECOND_LOOK = 1.0
"""Seconds after the first look at a file whose server tells no time, unless `update.settle` is less."""


class Remembered(NamedTuple):
    """A file at the last ingest."""

    fingerprint: str
    """Of `Sight`."""
    question: str
    """Hash of what it was looked into for: tree and branches."""
    file: FileInfo | None
    """None where it could not be used."""


@dataclass(frozen=True)
class Arrivals:
    """What there is to ingest."""

    inputs: Inputs
    listing: Mapping[str, str]
    """File -> fingerprint, without what is left for the next time."""
    added: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    left: Mapping[str, str]
    """File that is still being written -> how that was seen."""

    @property
    def any(self) -> bool:
        """Whether there is anything to ingest."""
        return bool(self.added or self.changed or self.gone)

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return {
            "added": list(self.added),
            "changed": list(self.changed),
            "gone": list(self.gone),
            "left": dict(self.left),
        }


def find_arrivals(
    pipeline: Pipeline,
    memory: Mapping[str, Remembered],
    names: Iterable[str] | None = None,
    progress: Progress = silent,
) -> Arrivals:
    """Compare the files of a pipeline with those of the last ingest.

    Parameters
    ----------
    pipeline
        Whose patterns to follow.
    memory
        Files of the last ingest.
    names
        Paths and URLs to look at, all others being as they were; None looks everywhere.
    progress
        Told of files looked into.

    Raises
    ------
    ConfigError, InputError
        As in `survey`; or a name fits no pattern of the pipeline.
    """
    check_names(pipeline)
    wanted = None if names is None else {fileset.plain(name) for name in names}
    urls = _listed(pipeline) if wanted is None else _named(pipeline, memory, wanted)
    every = [url for its, _ in urls.values() for url in its]
    sights = look_at(url for url in every if wanted is None or url in wanted)
    if wanted is not None:  # a name that is not there any more is a file that has gone
        lost = {url for url, sight in sights.items() if url in memory and sight.is_lost}
        urls = {name: ([url for url in its if url not in lost], rest) for name, (its, rest) in urls.items()}
    present = [url for its, _ in urls.values() for url in its]
    news = [url for url in present if url in sights and sights[url].fingerprint != _seen(memory, url)]
    left = _unsettled(news, sights, pipeline.update.settle)
    known, unfinished = _looked_into(pipeline, urls, memory, news, left, progress)
    left |= unfinished

    def stays(url: str) -> bool:
        return url not in left or url in memory

    listing = {
        url: sights[url].fingerprint if url in sights and url not in left else _seen(memory, url)
        for url in present
        if stays(url)
    }
    arrived = [url for url in news if url not in left]
    return Arrivals(
        Inputs(
            {name: ([url for url in its if stays(url)], rest) for name, (its, rest) in urls.items()}, known
        ),
        listing,
        tuple(url for url in arrived if url not in memory),
        tuple(url for url in arrived if url in memory),
        tuple(sorted(set(memory).difference(present))),
        left,
    )


def _listed(pipeline: Pipeline) -> dict[str, tuple[list[str], list[Quarantined]]]:
    for dataset in pipeline.datasets:
        forget_listings(_patterns(pipeline, dataset))
    return {dataset.identity: expand(pipeline, dataset) for dataset in pipeline.datasets}


def _patterns(pipeline: Pipeline, dataset: Any) -> list[str]:
    return fileset.locations(dataset.files, dataset.published, pipeline.data_root, Path.cwd())


def _named(
    pipeline: Pipeline, memory: Mapping[str, Remembered], wanted: set[str]
) -> dict[str, tuple[list[str], list[Quarantined]]]:
    patterns = {dataset.identity: _patterns(pipeline, dataset) for dataset in pipeline.datasets}
    urls: dict[str, list[str]] = {name: [] for name in patterns}
    for url in sorted(wanted | set(memory)):
        owners = [name for name, its in patterns.items() if any(fileset.fits(url, each) for each in its)]
        if not owners and url in wanted:
            known = ", ".join(each for its in patterns.values() for each in its)
            raise InputError(
                f"{url} fits no files of this pipeline ({known}); "
                "name files that it searches, by their whole path or URL"
            )
        for name in owners:
            urls[name].append(url)
    return {name: (its, []) for name, its in urls.items()}


def _seen(memory: Mapping[str, Remembered], url: str) -> str:
    return memory[url].fingerprint if url in memory else ""


def _unsettled(urls: Sequence[str], sights: Mapping[str, Sight], settle: float) -> dict[str, str]:
    """Find the files that were modified a moment ago, or are being modified now."""
    if not settle:
        return {}
    now = time.time()
    left = {}
    for url in urls:
        modified = sights[url].modified
        if modified is not None and (age := now - modified) < settle:
            left[url] = f"was modified {max(age, 0):.0f} s ago, less than update.settle ({settle:g} s)"
    rest = [url for url in urls if url not in left]
    if any(sights[url].modified is None for url in rest):
        time.sleep(min(settle, _SECOND_LOOK))
    for url, sight in look_at(rest, afresh=True).items():
        if sight.fingerprint != sights[url].fingerprint:
            left[url] = f"is growing or changing: {sights[url].fingerprint}, then {sight.fingerprint}"
    return left


def _looked_into(
    pipeline: Pipeline,
    urls: Mapping[str, tuple[list[str], Any]],
    memory: Mapping[str, Remembered],
    news: Sequence[str],
    left: Mapping[str, str],
    progress: Progress,
) -> tuple[dict[str, FileInfo | Quarantined], dict[str, str]]:
    """Open the files that look new; give what is known of these and of the old ones, and the unfinished."""
    known: dict[str, FileInfo | Quarantined] = {}
    to_open = []
    fresh = set(news).difference(left)
    for dataset in pipeline.datasets:
        for question in questions(pipeline, dataset, urls[dataset.identity][0]):
            url = question[0]
            if url in fresh:
                to_open.append(question)
            elif url in memory and (file := memory[url].file) and memory[url].question == _hash(question):
                known[url] = file
    unfinished = {}
    for number, (question, answer) in enumerate(
        zip(to_open, in_threads(inspect, to_open), strict=True), start=1
    ):
        url = question[0]
        if isinstance(answer, Quarantined) and answer.unfinished:
            unfinished[url] = f"{answer.reason}: it seems to be still written"
            if url in memory and (file := memory[url].file):
                known[url] = file
        else:
            known[url] = answer
        progress("open new files", number, len(to_open))
    return known, unfinished


def _hash(question: tuple[str, str, list[str], str]) -> str:
    _, tree, branches, _ = question
    return content_hash(tree, branches)


# -- memory ----------------------------------------------------------------------------------------


def remember(
    path: Path, pipeline: Pipeline, listing: Mapping[str, str], surveyed: Sequence[SurveyedDataset]
) -> None:
    """Write down the files of an ingest that has ended."""
    files: dict[str, list[Any]] = {}
    for each in surveyed:
        usable = {file.url: file for file in each.files}
        urls = dict.fromkeys([*usable, *(row.url for row in each.quarantine if row.is_file)])
        for question in questions(pipeline, each.dataset, urls):
            url = question[0]
            if url in listing:
                info = asdict(usable[url]) if url in usable else None
                files[url] = [listing[url], _hash(question), info]
    write_atomically(path, json.dumps({"version": VERSION, "files": files}) + "\n")


def recall(path: Path) -> dict[str, Remembered] | None:
    """Read what an ingest wrote down; None where there is nothing that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            return None
        return {
            url: Remembered(seen, question, FileInfo(**info) if info else None)
            for url, (seen, question, info) in content["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None

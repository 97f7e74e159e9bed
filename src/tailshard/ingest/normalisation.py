"""What was lost of each sample, and what makes up for it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..ntuples.fileset import FileInfo, Quarantined
from ..store.catalog import Slot
from .survey import SurveyedDataset


class Normalisation(NamedTuple):
    """How the weights of the samples were corrected, and what was not."""

    scales: dict[str, float]
    """Sample -> factor on its weights; 1 where left out."""
    warnings: tuple[str, ...]
    """A sentence for each data set whose yield is not what the pipeline asks for."""


def normalisation(surveyed: Sequence[SurveyedDataset], slots: Sequence[Slot]) -> Normalisation:
    """Find the factor on the weights of each simulated sample that makes up for what could not be read.

    The sum of generator weights counts the whole sample, so the part that was read stands for all of
    it. Entries that are known to be lost count as they are. A file that is cut short or cannot be
    read counts the entries that its bytes hold in the files that were read: its full size stands in its
    header or its folder. Nothing else is guessed. What does not exist, or holds no such tree or branch,
    may be no part of the sample at all; and in a data set of several samples nobody knows which one
    lost a file. There the weights stay as they are, and a warning says so. Data is never scaled: whatever
    is lost of it is a warning.

    Parameters
    ----------
    surveyed
        The data sets and their files.
    slots
        All slots that are whole.
    """
    scales: dict[str, float] = {}
    warnings: list[str] = []
    for each in surveyed:
        its_slots = [slot for slot in slots if slot.dataset == each.dataset.identity]
        if each.dataset.kind == "data":
            warnings += _warning_of_data(each, its_slots)
            continue
        its_scales, unknown = _of_simulation(each, its_slots)
        scales |= its_scales
        warnings += _warning(each.dataset.identity, unknown)
    return Normalisation(scales, tuple(warnings))


def _of_simulation(each: SurveyedDataset, slots: Sequence[Slot]) -> tuple[dict[str, float], list[str]]:
    """Scales of a data set's samples, and the inputs whose share of a sample is not known."""
    entries = {file.url: file.entries for file in each.files}
    read: Counter[str] = Counter()
    for slot in slots:
        read[slot.url] += slot.stop - slot.start
    lost = [row for row in each.quarantine if not row.harmless and row.url not in read]
    samples = sorted({slot.sample for slot in slots})
    if len(samples) != 1:
        unknown = [row.url for row in lost] + [url for url in entries if url not in read]
        return {
            sample: scale for sample in samples if (scale := _partial(sample, slots, entries)) != 1
        }, unknown
    known = dict(_estimated_entries(each.files, lost))
    found = sum(read.values())
    whole = sum(entries.get(url, read[url]) for url in {*entries, *read}) + sum(known.values())
    unknown = [row.url for row in lost if row.url not in known]
    return ({samples[0]: whole / found} if whole != found else {}), unknown


def _partial(sample: str, slots: Sequence[Slot], entries: dict[str, int]) -> float:
    """Make up for failed partitions of files that were read in part."""
    read: Counter[str] = Counter()
    for slot in slots:
        if slot.sample == sample:
            read[slot.url] += slot.stop - slot.start
    return sum(entries.get(url, count) for url, count in read.items()) / sum(read.values())


def _estimated_entries(files: Sequence[FileInfo], lost: Sequence[Quarantined]) -> Iterator[tuple[str, float]]:
    """Entries of lost files of known size, by URL.

    A file holds descriptions and histograms beside its entries: as many bytes as the leanest one spends
    on them are taken off first, or a small file would count for far more entries than it holds.
    """
    sizes = {file.url: file.size for file in files if file.size is not None}
    if not sizes or len(sizes) < len(files):
        return
    apart = min(sizes[file.url] - file.tree_bytes for file in files)
    per_byte = sum(file.entries for file in files) / sum(size - apart for size in sizes.values())
    for row in lost:
        if row.size is not None:
            yield row.url, max(0, row.size - apart) * per_byte


def _warning(dataset: str, unknown: Sequence[str]) -> Iterator[str]:
    if unknown:
        yield (
            f"The weights of '{dataset}' were not corrected for {_named(unknown)}: what share of the sample "
            f"is in there is not known. If it belongs to '{dataset}', the yield is too small."
        )


def _warning_of_data(each: SurveyedDataset, slots: Sequence[Slot]) -> Iterator[str]:
    read: Counter[str] = Counter()
    for slot in slots:
        read[slot.url] += slot.stop - slot.start
    lost = [row.url for row in each.quarantine if not row.harmless and row.url not in read]
    lost += [file.url for file in each.files if read[file.url] < file.entries]
    if lost:
        yield (
            f"Part of the data was not read ('{each.dataset.identity}': {_named(lost)}), and the luminosity "
            "counts it: data and simulation are not comparable."
        )


def _named(urls: Sequence[str], most: int = 3) -> str:
    more = [f"{len(urls) - most} more inputs"] if len(urls) > most else []
    names = [*urls[:most], *more]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

"""What makes up for lost inputs, and what nothing can make up for."""

from typing import Any

import pytest

from tailshard.config import Dataset
from tailshard.ingest.normalisation import normalisation
from tailshard.ingest.survey import SurveyedDataset
from tailshard.ntuples.fileset import FileInfo, Quarantined
from tailshard.store.catalog import Slot


def _dataset(kind: str = "background") -> Dataset:
    return Dataset.model_validate(
        {"channel": "zee", "kind": kind, "dialect": "atlas-2025", "files": "*.root"}
    )


def _surveyed(files: list[FileInfo], *lost: Quarantined, kind: str = "background") -> SurveyedDataset:
    return SurveyedDataset(_dataset(kind), tuple(files), lost, ())


def _slot(url: str, start: int, stop: int, sample: str = "zee") -> Slot:
    fields: dict[str, Any] = dict.fromkeys(("uuid", "tree", "key"), "")
    zeros = (0, 0, 0)
    return Slot(
        channel="zee", index=0, dataset="zee", sample=sample, url=url, start=start, stop=stop, rows=zeros,
        sum_of_weights=zeros, sum_of_squared_weights=zeros, selected=0, **fields,
    )  # fmt: skip


def _lost(url: str, size: int | None = None, **more: Any) -> Quarantined:
    return Quarantined("zee", url, "a reason", size=size, **more)


BIG = FileInfo("big", 1_000_000 + 5000, "1", 850, 1_000_000)


def test_a_file_that_is_cut_short_counts_by_its_bytes_and_not_as_a_file() -> None:
    small = 5000 + 1_000_000 * 48 // 850
    found = normalisation([_surveyed([BIG], _lost("small", small))], [_slot("big", 0, 850)])
    assert found.scales == {"zee": pytest.approx(898 / 850, rel=1e-4)}
    assert found.warnings == ()


def test_what_may_be_no_part_of_the_sample_scales_nothing_and_is_named() -> None:
    found = normalisation([_surveyed([BIG], _lost("typo"), _lost("stray"))], [_slot("big", 0, 850)])
    assert found.scales == {}
    (warning,) = found.warnings
    assert "'zee' were not corrected for typo and stray:" in warning


def test_without_the_size_of_a_file_that_was_read_nothing_is_guessed() -> None:
    file = FileInfo("big", None, "1", 850)
    found = normalisation([_surveyed([file], _lost("small", 1000))], [_slot("big", 0, 850)])
    assert found.scales == {}
    assert "small" in found.warnings[0]


def test_lost_entries_count_as_they_are() -> None:
    lost = _lost("big", start=425, stop=850)
    found = normalisation([_surveyed([BIG], lost)], [_slot("big", 0, 425)])
    assert found == ({"zee": 2.0}, ())


def test_a_file_of_which_every_entry_was_lost_counts_in_a_data_set_of_one_sample_alone() -> None:
    files = [BIG, FileInfo("second", 1_005_000, "2", 850, 1_000_000)]
    assert normalisation([_surveyed(files)], [_slot("big", 0, 850)]) == ({"zee": 2.0}, ())
    files.append(FileInfo("third", 1_005_000, "3", 850, 1_000_000))
    slots = [_slot("big", 0, 850), _slot("third", 0, 425, "another")]
    found = normalisation([_surveyed(files)], slots)
    assert found.scales == {"another": 2.0}
    assert "second" in found.warnings[0]


def test_what_loses_no_event_changes_nothing() -> None:
    rows = [_lost("copy", 1000, harmless=True), _lost("big", 1000)]  # the second was read before
    assert normalisation([_surveyed([], *rows)], [_slot("big", 0, 850)]) == ({}, ())


def test_data_is_never_scaled() -> None:
    found = normalisation([_surveyed([BIG], _lost("b", 1000), kind="data")], [_slot("big", 0, 850)])
    assert found.scales == {}
    (warning,) = found.warnings
    assert warning.startswith("Part of the data was not read ('zee': b)")


@pytest.mark.parametrize(
    ("rows", "stop", "comparable"),
    [
        ([], 850, True),
        ([_lost("copy", harmless=True)], 850, True),
        ([_lost("big", 1000)], 850, True),  # it was read before
        ([_lost("big", start=425, stop=850)], 425, False),
        ([_lost("typo_*.root", is_file=False)], 850, False),
    ],
)
def test_data_is_comparable_only_as_a_whole(rows: list[Quarantined], stop: int, comparable: bool) -> None:
    found = normalisation([_surveyed([BIG], *rows, kind="data")], [_slot("big", 0, stop)])
    assert (found.warnings == ()) == comparable

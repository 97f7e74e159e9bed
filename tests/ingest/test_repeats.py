"""Data events that two files hold in common."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uproot
from distributed import Client

from tailshard.errors import InputError
from tailshard.ingest.repeats import Share, find_repeats, shares
from tailshard.ingest.stage import ingest
from tailshard.pipeline_files import load, shipped
from tailshard.progress import silent
from tailshard.store.read import read_rows

SMALL = ["store.slot=512", "store.chunk=128"]


def _slots(*runs: dict[int, int]) -> Any:
    return [SimpleNamespace(runs=tuple(each.items())) for each in runs]


def test_runs_are_taken_together_up_to_a_slot_and_a_long_one_is_divided() -> None:
    found = list(shares(_slots({1: 40, 3: 150}, {1: 30, 2: 20, 3: 100, 4: 1}), 100))
    parts = [Share((3,), part, 3) for part in range(3)]
    assert found == [*parts, Share((1, 2, 4), 0, 1)]


def _copy_entries(source: Path, target: Path, entries: slice) -> None:
    """Write some entries of a toy ntuple into a file of its own."""
    with uproot.open(source) as file:
        branches = file["analysis"].arrays()[entries]
    types = {name: branches[name].type.content for name in branches.fields}
    with uproot.recreate(target) as file:
        file.mktree("analysis", types).extend({name: branches[name] for name in branches.fields})


def test_events_of_two_skims_are_counted_and_strict_refuses_them(
    toys: Path, tmp_path: Path, dask_workers: Client
) -> None:
    folder, store = tmp_path / "toys", tmp_path / "store"
    shutil.copytree(toys, folder)
    pipeline = load(shipped("demo"), SMALL, str(folder))
    first = ingest(pipeline, store, dask_workers).catalog
    assert first.warnings == ()
    assert find_repeats(store, first, dask_workers, silent) == (0, None)

    _copy_entries(folder / "data_0.root", folder / "data_skim.root", slice(100, 400))
    second = ingest(pipeline, store, dask_workers).catalog
    repeats = find_repeats(store, second, dask_workers, silent)
    assert repeats.rows == second.rows("data") - first.rows("data") > 0
    assert repeats.example is not None
    run, number, *files = repeats.example
    assert {Path(file).name for file in files} == {"data_0.root", "data_skim.root"}
    assert f"{repeats.rows:,} rows repeat another, such as run {run}, event {number}" in second.warnings[0]
    events = [
        set(zip(rows["run"].tolist(), rows["event_number"].tolist(), strict=True))
        for slot in second.slots_of("data")
        for start in [second.geometry.first_row(slot.index)]
        for rows in [read_rows(store, "data", ["run", "event_number"], start, start + slot.selected)]
    ]
    assert sum((run, number) in each for each in events) == 2
    assert sum(map(len, events)) - len(set().union(*events)) == repeats.rows
    with pytest.raises(InputError, match="count twice"):
        ingest(pipeline, store, dask_workers, strict=True)


def test_the_runs_of_a_data_slot_are_in_the_catalog(toys: Path, tmp_path: Path, dask_workers: Client) -> None:
    catalog = ingest(load(shipped("demo"), SMALL, str(toys)), tmp_path / "store", dask_workers).catalog
    for slot in catalog.slots:
        if slot.channel == "data":
            assert np.sum([count for _, count in slot.runs]) == slot.selected
        else:
            assert slot.runs == ()

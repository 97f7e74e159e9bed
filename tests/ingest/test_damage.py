import shutil
from pathlib import Path

import pytest
from distributed import Client

from tailshard.config import Pipeline
from tailshard.ingest.damage import damaged_slots
from tailshard.ingest.stage import ingest
from tailshard.store.catalog import read_catalog


def _shards(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["rmm/c/1", "met/c/1", "statistics/c/1", "split/zarr.json", "error"])
def test_a_slot_that_lacks_a_file_is_found_and_made_again(
    toy_pipeline: Pipeline, tmp_path: Path, dask_workers: Client, gone: str
) -> None:
    store = tmp_path / "store"
    catalog = ingest(toy_pipeline, store, dask_workers).catalog
    assert damaged_slots(store, catalog) == {}
    before = _shards(store)
    victim = store / "events.zarr" / "ttbar" / gone
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    damaged = damaged_slots(store, catalog)
    channel = {("ttbar", slot.index) for slot in catalog.slots_of("ttbar")}
    assert set(damaged) == ({("ttbar", 1)} if gone.endswith("1") else channel)
    assert gone.partition("/")[0] in damaged["ttbar", 1]
    again = ingest(toy_pipeline, store, dask_workers)
    assert again.written == len(damaged)
    assert damaged_slots(store, read_catalog(store)) == {}
    assert _shards(store) == before

"""Every kind of damage is found, by name, and nothing else is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from distributed import Client
from tests.slots import slot_of

from tailshard.config import Features
from tailshard.errors import StoreError
from tailshard.features.rmm import islands_from_objects
from tailshard.store.catalog import Catalog, Channel, catalog_path, read_catalog, write_catalog
from tailshard.store.check_slot import Fault, check_slot
from tailshard.store.layout import Geometry, events_group, shard_file
from tailshard.store.shard import shard_bytes
from tailshard.store.verify import check_arrays, verify
from tailshard.store.write import clear_slot, create_arrays, write_column, write_slot

FEATURES = {"convention": "chekanov", "center_of_mass_energy": 13000.0}
QUANTITIES = {"met": ("GeV", "missing transverse momentum")}
SLOTS = {"ttbar": (64, 30, 0), "data": (13,)}


def columns(count: int, seed: int, counts: tuple[int, ...]) -> dict:
    random = np.random.default_rng(seed)
    multiplicity = random.integers(0, np.array(counts) + 1, (count, len(counts))).astype(np.uint8)
    objects = np.abs(random.normal(20, 10, (count, 1 + sum(counts), 4))).astype(np.float32)
    objects[:, :, 1] = random.normal(size=objects.shape[:2])
    objects[:, :, 2] = random.uniform(-3, 3, objects.shape[:2])
    first = 1
    for number, rows in enumerate(counts):
        absent = np.arange(rows) >= multiplicity[:, number, np.newaxis]
        objects[:, first : first + rows][absent] = 0
        first += rows
    return {
        "rmm": islands_from_objects(objects, multiplicity, counts, **FEATURES),
        "objects": objects,
        "multiplicity": multiplicity,
        "weight": random.normal(1, 1, count),
        "run": np.full(count, 284500, np.uint64),
        "event_number": np.arange(count, dtype=np.uint64),
        "entry": np.arange(count, dtype=np.uint64),
        "met": objects[:, 0, 0],
    }


def split_of(count: int) -> np.ndarray:
    return np.sort(np.arange(count) % 3 + 1).astype(np.uint8)


def build(store: Path, codec: str = "islands") -> Catalog:
    geometry = Geometry(slot=64, chunk=8, counts=(2, 1, 1, 1), codec=codec)
    create_arrays(store, {name: len(counts) for name, counts in SLOTS.items()}, geometry, QUANTITIES)
    slots = []
    for channel, counts in SLOTS.items():
        for index, count in enumerate(counts):
            its = columns(count, index, geometry.counts)
            summary = write_slot(store, channel, index, geometry, its, split_of(count))
            slots.append(slot_of(channel, index, count, summary, f"{channel}-{index}"))
    catalog = Catalog(
        geometry=geometry,
        channels=tuple(Channel(name=name, kind="background") for name in SLOTS),
        slots=tuple(slots),
        provenance={"features": FEATURES},
    )
    write_catalog(store, catalog)
    return catalog


def file_of(store: Path, name: str, channel: str = "ttbar", index: int = 1) -> Path:
    array = zarr.open_array(events_group(store), path=f"{channel}/{name}", mode="r")
    return shard_file(events_group(store) / channel / name, index, array.ndim)


def faults_of(store: Path) -> list[Fault]:
    """All faults, found in this process."""
    catalog = read_catalog(store)
    arrays, faults = check_arrays(store, catalog)
    features = Features(**catalog.provenance["features"])
    for slot in catalog.slots:
        faults += check_slot(store, catalog.geometry, features, arrays[slot.channel], slot)
    return faults


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("whole") / "store"
    build(store)
    return store


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "store")
    return tmp_path / "store"


@pytest.mark.parametrize("codec", ["islands", "zstd"])
def test_a_good_store_has_no_faults(tmp_path: Path, codec: str) -> None:
    build(tmp_path, codec)
    assert faults_of(tmp_path) == []


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


EVERY_ARRAY = ["rmm", "objects", "multiplicity", "weight", "run", "entry", "split", "met", "statistics"]


@pytest.mark.parametrize("name", EVERY_ARRAY)
def test_a_flipped_bit_is_found_in_every_array(store: Path, name: str) -> None:
    flip(file_of(store, name), 20)
    faults = faults_of(store)
    assert {(fault.channel, fault.slot, fault.array) for fault in faults} == {("ttbar", 1, name)}
    assert all("damaged" in fault.reason for fault in faults)


def test_only_the_damaged_chunk_is_named(store: Path) -> None:
    flip(file_of(store, "objects", index=0), 20)
    (fault,) = faults_of(store)
    assert fault.reason.startswith("rows 0 to 8 are damaged")


@pytest.mark.parametrize("name", EVERY_ARRAY)
def test_an_absent_file_is_found_in_every_array(store: Path, name: str) -> None:
    file_of(store, name).unlink()
    faults = faults_of(store)
    assert {(fault.channel, fault.slot, fault.array) for fault in faults} == {("ttbar", 1, name)}
    assert len(faults) == 1


@pytest.mark.parametrize("name", ["rmm", "weight", "run"])
def test_a_short_file_is_found(store: Path, name: str) -> None:
    file = file_of(store, name)
    file.write_bytes(file.read_bytes()[:-9])
    assert {(fault.slot, fault.array) for fault in faults_of(store)} == {(1, name)}


def test_all_faults_are_named_not_the_first(store: Path) -> None:
    flip(file_of(store, "weight", index=0), 20)
    file_of(store, "met").unlink()
    flip(file_of(store, "rmm", "data", 0), 20)
    assert {(fault.channel, fault.slot, fault.array) for fault in faults_of(store)} == {
        ("ttbar", 0, "weight"),
        ("ttbar", 1, "met"),
        ("data", 0, "rmm"),
    }


def test_a_lost_or_strange_array_is_found(store: Path) -> None:
    group = events_group(store)
    shutil.rmtree(group / "ttbar" / "met")
    metadata = group / "data" / "weight" / "zarr.json"
    metadata.write_text(metadata.read_text().replace("float64", "int64"))
    (group / "data" / "run" / "zarr.json").write_text("{")
    found = {(fault.channel, fault.array): fault.reason for fault in faults_of(store) if fault.slot is None}
    assert found["ttbar", "met"] == "is absent"
    assert "type is int64 instead of float64" in found["data", "weight"]
    assert "cannot be read" in found["data", "run"]


# -- checksums are right, but the content is wrong -------------------------------------------------


def rewritten(store: Path, change: Callable[[dict, np.ndarray], None], rows: int = 30) -> None:
    """Write slot 1 of ttbar again, with other content, and leave the catalog as it is."""
    geometry = read_catalog(store).geometry
    its, split = columns(rows, 1, geometry.counts), split_of(rows)
    change(its, split)
    write_slot(store, "ttbar", 1, geometry, its, split)


def change_weight(its: dict, split: np.ndarray) -> None:
    its["weight"][3] += 1e-13


def change_split(its: dict, split: np.ndarray) -> None:
    split[0] = 3


def change_entry(its: dict, split: np.ndarray) -> None:
    its["entry"][:3] = (1000, 7, 7)


def change_objects(its: dict, split: np.ndarray) -> None:
    its["objects"][5, 0, 0] = np.nextafter(its["objects"][5, 0, 0], np.float32(np.inf))


@pytest.mark.parametrize(
    ("change", "array", "reason"),
    [
        (change_weight, "weight", "sum_of_weights of training is"),
        (change_split, "split", "training has 9 rows, the catalog says 10"),
        (change_entry, "entry", "entries lie outside 0 to 30"),
        (change_entry, "entry", "entries are there more than once"),
        (change_objects, "rmm", "are not those that 'objects' give"),
    ],
)
def test_other_content_is_found(store: Path, change: Callable[..., None], array: str, reason: str) -> None:
    rewritten(store, change)
    assert any(fault.array == array and reason in fault.reason for fault in faults_of(store))


def test_rows_that_the_catalog_does_not_know_are_found(store: Path) -> None:
    rewritten(store, lambda its, split: None, rows=40)
    faults = faults_of(store)
    reasons = {(fault.array, fault.reason) for fault in faults}
    assert ("rmm", "1 chunks of unused rows are stored") in reasons
    assert ("run", "10 values of unused rows are stored") in reasons
    geometry = read_catalog(store).geometry
    write_slot(store, "ttbar", 2, geometry, columns(5, 1, geometry.counts), split_of(5))
    assert {fault.array for fault in faults_of(store) if fault.slot == 2} >= {"rmm", "run", "statistics"}


def test_other_multiplicities_are_found(store: Path) -> None:
    geometry = read_catalog(store).geometry
    values = zarr.open_array(events_group(store), path="ttbar/multiplicity", mode="r")[64:94]
    values[4] = (geometry.counts - values[4]).astype(np.uint8)
    write_column(store, "ttbar", "multiplicity", 1, geometry, values)
    (fault,) = faults_of(store)
    assert fault.array == "rmm"
    assert fault.reason == "1 matrices have other multiplicities than the array 'multiplicity'"


def test_other_statistics_are_found(store: Path) -> None:
    array = zarr.open_array(events_group(store), path="ttbar/statistics", mode="r+")
    stored = array[1]
    stored[1, 3, 2, 2] = np.nextafter(stored[1, 3, 2, 2], 2)
    array[1] = stored
    (fault,) = faults_of(store)
    assert (fault.array, fault.reason) == (
        "statistics",
        "mean of validation differs from the matrices in 1 cells",
    )


def test_errors_are_asked_for_once_the_channel_is_scored(store: Path) -> None:
    geometry = read_catalog(store).geometry
    write_column(store, "ttbar", "error", 1, geometry, np.ones(30, np.float32))
    assert faults_of(store) == []
    array = zarr.open_array(events_group(store), path="ttbar/error", mode="r+")
    array.attrs.put({**array.attrs, "model": "0123456789abcdef"})
    (fault,) = faults_of(store)
    assert (fault.slot, fault.array) == (0, "error")
    write_column(store, "ttbar", "error", 0, geometry, np.full(64, np.nan, np.float32))
    (fault,) = faults_of(store)
    assert fault.reason == "64 errors are not finite"


# -- the whole, on workers -------------------------------------------------------------------------


def test_workers_find_what_is_wrong_and_rubbish_apart(store: Path, dask_workers: Client) -> None:
    clean = verify(store, dask_workers)
    assert (clean.slots, clean.events, clean.faults, clean.rubbish) == (4, 107, (), ())
    catalog = read_catalog(store)
    write_catalog(store, catalog.changed(slots=[slot for slot in catalog.slots if slot.index != 1]))
    (file_of(store, "rmm", index=0).parent / "0.123.partial").write_bytes(b"x")
    shutil.copytree(events_group(store) / "data", events_group(store) / "gone")
    flip(file_of(store, "weight", index=0), 20)
    flip(file_of(store, "rmm", "data", 0), 20)
    found = verify(store, dask_workers)
    assert [(fault.channel, fault.array) for fault in found.faults] == [("ttbar", "weight"), ("data", "rmm")]
    rubbish = {(each.channel, each.slot, each.array) for each in found.rubbish}
    assert {("ttbar", 1, "rmm"), ("ttbar", 1, "run"), ("ttbar", 0, "rmm"), ("gone", None, "")} <= rubbish
    clear_slot(store, "ttbar", 1)
    assert len(verify(store, dask_workers).rubbish) == 2
    assert json.loads(json.dumps(found.to_dict()))["faults"][0]["slot"] == 0


def test_without_a_catalog_there_is_nothing_to_compare_with(store: Path, dask_workers: Client) -> None:
    catalog_path(store).unlink()
    with pytest.raises(StoreError, match=r"catalog\.json is absent"):
        verify(store, dask_workers)


def test_a_shard_that_lost_a_chunk_in_the_middle_is_found(store: Path) -> None:
    file_of(store, "weight").write_bytes(shard_bytes([], 8))
    assert {fault.array for fault in faults_of(store)} == {"weight"}

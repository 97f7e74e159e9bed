"""Ingest on real Dask worker processes."""

import filecmp
import os
import shutil
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import uproot
import xarray
import zarr
from distributed import Client, WorkerPlugin
from fsspec.implementations.local import LocalFileSystem

from tailshard.config import Pipeline
from tailshard.errors import ClusterError, InputError, WorkdirError
from tailshard.features.rmm import rmm_from_objects
from tailshard.ingest.stage import ingest
from tailshard.launch import DaskProfile, LocalProfile, dask_client
from tailshard.pipeline_files import load, shipped
from tailshard.store.catalog import read_catalog
from tailshard.store.read import open_channel, read_rows
from tailshard.toys import make_toys

SMALL = ["store.slot=1024", "store.chunk=256"]


@pytest.fixture(scope="module")
def store(toys: Path, tmp_path_factory: pytest.TempPathFactory, dask_workers: Client) -> Path:
    folder = tmp_path_factory.mktemp("ingest") / "store"
    ingest(load(shipped("demo"), SMALL, str(toys)), folder, dask_workers)
    return folder


@pytest.fixture
def pipeline(toys: Path) -> Pipeline:
    return load(shipped("demo"), SMALL, str(toys))


def _files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_the_catalog_agrees_with_the_arrays(store: Path) -> None:
    catalog = read_catalog(store)
    assert {channel.name: channel.kind for channel in catalog.channels}["data"] == "data"
    for channel in catalog.channels:
        group = open_channel(store, channel.name)
        split, weight = group["split"][:], group["weight"][:]
        for number, name in enumerate(("training", "validation", "test"), start=1):
            assert np.count_nonzero(split == number) == catalog.rows(channel.name, name) > 0
            assert weight[split == number].sum() == pytest.approx(catalog.sum_of_weights(channel.name, name))
        cutflow = catalog.cutflow(channel.name)
        assert cutflow[0].name == "all"
        assert cutflow[-1].raw == catalog.rows(channel.name)
        assert cutflow[-1].weighted == pytest.approx(catalog.sum_of_weights(channel.name))


def test_data_carries_no_simulation_weights(store: Path) -> None:
    group = open_channel(store, "data")
    assert np.unique(group["weight"][:][group["split"][:] > 0]).tolist() == [1.0]


def test_the_matrix_can_be_recomputed_bit_for_bit_from_the_stored_objects(store: Path) -> None:
    start, stop = read_catalog(store).geometry.split_range(read_catalog(store).slots_of("ttbar")[0], "test")
    rows = read_rows(store, "ttbar", ("rmm", "objects", "multiplicity"), start, stop)
    again = rmm_from_objects(rows["objects"], rows["multiplicity"], (6, 6, 5, 5), "chekanov", 13000.0)
    np.testing.assert_array_equal(again, rows["rmm"])


def test_an_event_can_be_found_in_its_ntuple(store: Path) -> None:
    slot = read_catalog(store).slots_of("ttbar")[1]
    start, stop = read_catalog(store).geometry.split_range(slot, "training")
    rows = read_rows(store, "ttbar", ("run", "event_number", "entry", "met"), start, stop)
    tree = uproot.open(slot.url)[slot.tree]
    entries = rows["entry"].astype(int)
    assert ((slot.start <= entries) & (entries < slot.stop)).all()
    np.testing.assert_array_equal(tree["eventNumber"].array(library="np")[entries], rows["event_number"])
    np.testing.assert_array_equal(tree["met"].array(library="np")[entries], rows["met"])


def test_the_store_opens_with_zarr_and_with_xarray(store: Path) -> None:
    group = zarr.open(store / "events.zarr", mode="r")
    assert group["zjets/rmm"].shape[1:] == (23, 23)
    assert group.attrs["pipeline"] == "demo"
    dataset = xarray.open_zarr(store / "events.zarr", group="zjets", consolidated=False)
    assert dataset["rmm"].dims == ("event", "row", "column")
    assert dataset["m_ll"].attrs["units"] == "GeV"
    chosen = dataset["met"].where(dataset["split"] == 3)
    assert float(chosen.mean()) > 0


def test_a_second_run_writes_nothing(store: Path, pipeline: Pipeline, dask_workers: Client) -> None:
    before = {path: (store / path).stat().st_mtime_ns for path in _files(store) if path.suffix != ".json"}
    result = ingest(pipeline, store, dask_workers)
    assert (result.written, result.freed) == (0, 0)
    assert before == {
        path: (store / path).stat().st_mtime_ns for path in _files(store) if path.suffix != ".json"
    }


@pytest.mark.slow
def test_one_worker_and_two_give_the_same_bytes(store: Path, pipeline: Pipeline, tmp_path: Path) -> None:
    with dask_client(LocalProfile(dask=DaskProfile(workers=1, dashboard="127.0.0.1:0"))) as one:
        ingest(pipeline, tmp_path / "store", one)
    assert _files(store) == _files(tmp_path / "store")
    _, different, errors = filecmp.cmpfiles(store, tmp_path / "store", _files(store), shallow=False)
    assert (different, errors) == ([], [])


def test_adding_changing_and_removing_a_file_touches_only_its_slots(
    toys: Path, tmp_path: Path, dask_workers: Client
) -> None:
    folder = tmp_path / "toys"
    shutil.copytree(toys, folder)
    late = tmp_path / "late.root"
    shutil.move(folder / "zjets_0.root", late)
    pipeline = load(shipped("demo"), SMALL, str(folder))
    store = tmp_path / "store"
    first = ingest(pipeline, store, dask_workers)
    assert (first.kept, first.freed) == (0, 0)

    shutil.move(late, folder / "zjets_0.root")
    added = ingest(pipeline, store, dask_workers)
    assert added.kept == first.written
    assert added.written > 0
    assert {slot.url for slot in added.catalog.slots} - {slot.url for slot in first.catalog.slots} == {
        str(folder / "zjets_0.root")
    }

    (folder / "zjets_1.root").unlink()
    removed = ingest(pipeline, store, dask_workers)
    assert removed.written == 0
    assert removed.freed > 0
    assert str(folder / "zjets_1.root") not in {slot.url for slot in removed.catalog.slots}


def test_lost_files_are_made_up_for_in_simulation_but_never_in_data(
    toys: Path, tmp_path: Path, dask_workers: Client, store: Path
) -> None:
    folder = tmp_path / "toys"
    shutil.copytree(toys, folder)
    for name in ("zjets_0.root", "data_0.root"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    result = ingest(load(shipped("demo"), SMALL, str(folder)), tmp_path / "store", dask_workers)
    assert {Path(row.url).name for row in result.catalog.quarantine} == {"zjets_0.root", "data_0.root"}
    (sample,) = result.catalog.scales
    assert sample.startswith("zjets (")
    whole = read_catalog(store)
    lost = result.catalog
    assert lost.sum_of_weights("zjets") == pytest.approx(whole.sum_of_weights("zjets"), rel=0.1)
    assert lost.sum_of_weights("data") == lost.rows("data") < whole.rows("data")
    (warning,) = lost.warnings
    assert "data_0.root), and the luminosity counts it: data and simulation are not comparable" in warning


def test_a_damaged_basket_costs_its_partition_only(toys: Path, tmp_path: Path, dask_workers: Client) -> None:
    folder = tmp_path / "toys"
    shutil.copytree(toys, folder)
    victim = folder / "ttbar_0.root"
    with uproot.open(victim) as file:
        branch = file["analysis"]["met"]
        offset = int(branch.member("fBasketSeek")[0])
        length = int(branch.member("fBasketBytes")[0])
    content = bytearray(victim.read_bytes())
    middle = offset + length // 2
    content[middle : middle + 40] = bytes(40)
    victim.write_bytes(content)
    result = ingest(load(shipped("demo"), SMALL, str(folder)), tmp_path / "store", dask_workers)
    rows = result.catalog.quarantine
    assert rows
    assert {row.url for row in rows} == {str(victim)}
    assert all(row.start is not None for row in rows)
    assert result.catalog.rows("ttbar") > 0
    (scale,) = result.catalog.scales.values()
    assert scale > 1


def test_a_momentum_that_is_no_number_costs_its_partition_only(
    toys: Path, tmp_path: Path, dask_workers: Client
) -> None:
    folder = tmp_path / "toys"
    shutil.copytree(toys, folder)
    victim = folder / "ttbar_0.root"
    with uproot.open(victim) as file:
        branches = file["analysis"].arrays()
    types = {name: branches[name].type.content for name in branches.fields}
    met = branches["met"].to_numpy().copy()
    met[7], met[8] = np.nan, 1e30
    branches["met"] = met
    with uproot.recreate(victim) as file:
        file.mktree("analysis", types).extend({name: branches[name] for name in branches.fields})
    result = ingest(load(shipped("demo"), SMALL, str(folder)), tmp_path / "store", dask_workers)
    (row,) = result.catalog.quarantine
    assert (row.url, row.start) == (str(victim), 0)
    assert "branch met" in row.reason
    assert result.catalog.rows("ttbar") > 0


def test_a_lost_sample_is_not_made_up_for_by_another(
    toys: Path, tmp_path: Path, dask_workers: Client
) -> None:
    (tmp_path / "lost_0.root").write_bytes(b"")
    names = [toys / "zjets_0.root", toys / "ttbar_0.root", tmp_path / "lost_0.root", toys / "absent_*.root"]
    files = f"datasets.0.files=[{', '.join(map(str, names))}]"
    others = ["datasets.1.files=ttbar_1.root"]
    result = ingest(
        load(shipped("demo"), [*SMALL, files, *others], str(toys)), tmp_path / "store", dask_workers
    )
    assert len(result.catalog.quarantine) == 2
    assert result.catalog.scales == {}
    (warning,) = result.to_dict()["warnings"]
    assert "'zjets' were not corrected" in warning
    assert "lost_0.root" in warning


def test_a_stray_file_and_a_mistyped_path_multiply_nothing(
    toys: Path, tmp_path: Path, dask_workers: Client, store: Path
) -> None:
    with uproot.recreate(tmp_path / "stray.root") as file:
        file.mktree("another", {"x": "int32"}).extend({"x": np.arange(3)})
    names = [toys / "zjets_*.root", tmp_path / "stray.root", tmp_path / "typo.root"]
    files = f"datasets.0.files=[{', '.join(map(str, names))}]"
    result = ingest(load(shipped("demo"), [*SMALL, files], str(toys)), tmp_path / "store", dask_workers)
    assert result.catalog.scales == {}
    assert result.catalog.sum_of_weights("zjets") == read_catalog(store).sum_of_weights("zjets")
    assert "stray.root" in (text := " ".join(result.catalog.warnings))
    assert "typo.root" in text


def test_a_file_that_was_read_and_cannot_be_now_keeps_its_events(
    toys: Path, tmp_path: Path, dask_workers: Client
) -> None:
    folder, store = tmp_path / "toys", tmp_path / "store"
    shutil.copytree(toys, folder)
    pipeline = load(shipped("demo"), SMALL, str(folder))
    first = ingest(pipeline, store, dask_workers)
    (folder / "zjets_0.root").write_bytes(b"")
    again = ingest(pipeline, store, dask_workers)
    assert (again.written, again.freed) == (0, 0)
    assert again.catalog.slots == first.catalog.slots
    assert [Path(row.url).name for row in again.catalog.quarantine] == ["zjets_0.root"]
    assert again.catalog.scales == {}


def test_a_changed_file_is_read_again(toys: Path, tmp_path: Path, dask_workers: Client) -> None:
    folder, store = tmp_path / "toys", tmp_path / "store"
    shutil.copytree(toys, folder)
    pipeline = load(shipped("demo"), SMALL, str(folder))
    first = ingest(pipeline, store, dask_workers)
    make_toys(tmp_path / "other", events=6000, signal_events=1000, files=2, seed=2)
    shutil.copy(tmp_path / "other" / "zjets_0.root", folder / "zjets_0.root")
    changed = ingest(pipeline, store, dask_workers)
    touched = {slot.url for slot in set(changed.catalog.slots) - set(first.catalog.slots)}
    assert touched == {str(folder / "zjets_0.root")}


def test_a_file_that_was_written_to_under_its_uuid_is_read_again(
    toys: Path, tmp_path: Path, dask_workers: Client
) -> None:
    folder, store = tmp_path / "toys", tmp_path / "store"
    shutil.copytree(toys, folder)
    pipeline = load(shipped("demo"), SMALL, str(folder))
    first = ingest(pipeline, store, dask_workers)
    victim = folder / "zjets_0.root"
    (folder / "zjets_1.root").touch()
    with uproot.open(victim) as file:
        tree, uuid = file["analysis"], file.file.uuid
        branches = tree.arrays()
        types = {name: branches[name].type.content for name in branches.fields}
    with uproot.update(victim) as file:
        branches["met"] = branches["met"] + 1
        file.mktree("analysis", types).extend({name: branches[name] for name in branches.fields})
    with uproot.open(victim) as file:
        assert file.file.uuid == uuid
    changed = ingest(pipeline, store, dask_workers)
    assert changed.written > 0
    assert {slot.url for slot in set(changed.catalog.slots) - set(first.catalog.slots)} == {str(victim)}


def test_a_wrong_data_root_leaves_the_store_as_it_was(
    store: Path, tmp_path: Path, dask_workers: Client
) -> None:
    before = read_catalog(store)
    with pytest.raises(
        InputError, match=r"nothing of the data set 'zjets' can be read.*Is the data root right"
    ):
        ingest(load(shipped("demo"), SMALL, str(tmp_path / "typo")), store, dask_workers)
    assert read_catalog(store) == before
    assert read_rows(store, "zjets", ["met"], 0, 1)["met"].size == 1


def test_a_channel_that_is_no_longer_named_leaves_the_others(
    toys: Path, tmp_path: Path, dask_workers: Client, pipeline: Pipeline
) -> None:
    store = tmp_path / "store"
    ingest(pipeline, store, dask_workers)
    fewer = pipeline.model_copy(
        update={"datasets": tuple(each for each in pipeline.datasets if each.channel != "diboson")}
    )
    result = ingest(fewer, store, dask_workers)
    assert result.written == 0
    assert not (store / "events.zarr" / "diboson").exists()


def test_a_store_of_other_data_sets_is_refused(pipeline: Pipeline, store: Path, dask_workers: Client) -> None:
    others = tuple(each.model_copy(update={"name": f"my_{each.channel}"}) for each in pipeline.datasets)
    with pytest.raises(WorkdirError, match="none of which this pipeline names"):
        ingest(pipeline.model_copy(update={"datasets": others}), store, dask_workers)


def test_strict_refuses_to_go_on_without_an_input(toys: Path, tmp_path: Path, dask_workers: Client) -> None:
    pipeline = load(shipped("demo"), [*SMALL, "datasets.0.files=[zjets_*.root, absent.root]"], str(toys))
    with pytest.raises(InputError, match=r"absent\.root: does not exist"):
        ingest(pipeline, tmp_path / "store", dask_workers, strict=True)
    assert not (tmp_path / "store").exists()


def test_nothing_to_learn_from_is_an_error(tmp_path: Path, dask_workers: Client) -> None:
    with pytest.raises(InputError, match="nothing of the channel 'zjets' can be read"):
        ingest(load(shipped("demo"), SMALL, str(tmp_path)), tmp_path / "store", dask_workers)


class _Deadly(LocalFileSystem):
    """Ends the process that asks how large a file is."""

    def info(self, path: str, **options: Any) -> Any:
        os._exit(1)


class _DeadlyFiles(WorkerPlugin):
    def setup(self, worker: Any) -> None:
        fsspec.register_implementation("deadly", _Deadly, clobber=True)


@pytest.mark.slow
def test_a_file_that_workers_die_of_is_named(toys: Path, tmp_path: Path) -> None:
    pipeline = load(shipped("demo"), [*SMALL, "datasets.0.files=deadly:///x.root"], str(toys))
    fsspec.register_implementation("deadly", LocalFileSystem, clobber=True)
    profile = LocalProfile(dask=DaskProfile(workers=1, dashboard="127.0.0.1:0"))
    with dask_client(profile) as client:
        client.register_plugin(_DeadlyFiles())
        with pytest.raises(ClusterError, match=r"workers died while they opened deadly:///x\.root"):
            ingest(pipeline, tmp_path / "store", client)

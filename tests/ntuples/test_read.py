import os
import pickle
import shutil
import time
from pathlib import Path

import awkward as ak
import dask
import dask_awkward as dak
import numpy as np
import pytest
import uproot
from distributed import Client, LocalCluster

from tailshard.errors import ClusterError, InputError, ProcessingError
from tailshard.ntuples.fileset import Partition, partitions
from tailshard.ntuples.inspection import inspect, reason
from tailshard.ntuples.read import map_partitions, open_partitions, results

# Functions for the workers are made by functions: so they travel by value, since a worker cannot
# import a test module.


def _describe():
    def describe(branches, unit):
        return {
            "unit": unit,
            "entries": len(branches),
            "first": int(branches.run[0]),
            "fields": branches.fields,
        }

    return describe


@pytest.fixture
def two_processes():
    """A cluster of the test's own, that it may kill."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL"
        ) as it,
        Client(it) as client,
    ):
        yield client


def _run(client, function, events, units=None, **options):
    """Records and exceptions by number of the partition."""
    units = range(events.npartitions) if units is None else units
    return dict(results(client, [map_partitions(function, events, units)], **options))


def _range(url, start, stop, tree="analysis"):
    return Partition("zjets", str(url), tree, "uuid", start, stop)


def _cut(path, slot):
    return partitions([inspect(path, "analysis", ["met"], "zjets")], "zjets", "analysis", slot)


def _flip_a_bit_in_every_basket(path: str, branch: str) -> None:
    with uproot.open(path) as file:
        found = file["analysis"][branch]
        places = [
            int(seek) + int(size) * 3 // 4
            for seek, size in zip(found.member("fBasketSeek"), found.member("fBasketBytes"), strict=True)
            if seek
        ]
    content = bytearray(Path(path).read_bytes())
    for place in places:
        content[place] ^= 1
    Path(path).write_bytes(content)


# -- lazy events ---------------------------------------------------------------------------------------


def test_each_partition_is_one_of_the_lazy_events_in_the_order_given(write_ntuple):
    first, second = write_ntuple("first.root"), write_ntuple("second.root", entries=30)
    given = [_range(first, 50, 100), _range(second, 0, 30), _range(first, 0, 10)]
    events = open_partitions(given, ["run", "jet_pt"])
    assert events.npartitions == 3
    assert [events.partitions[i].run.compute().tolist() for i in range(3)] == [
        list(range(50, 100)),
        list(range(30)),
        list(range(10)),
    ]


def test_only_the_branches_asked_for_are_there(write_ntuple):
    events = open_partitions(_cut(write_ntuple("a.root"), 40), ["jet_pt", "met"])
    assert set(events.fields) == {"jet_pt", "met"}


def test_a_task_reads_the_branches_asked_for_and_a_lazy_expression_only_those_it_needs(write_ntuple):
    events = open_partitions(_cut(write_ntuple("a.root"), 40), ["jet_pt", "met"])
    records = map_partitions(_describe(), events, range(events.npartitions))
    assert set.union(*map(set, dak.necessary_columns(records).values())) == {"jet_pt", "met"}
    assert set.union(*map(set, dak.necessary_columns(ak.sum(events.jet_pt, axis=1)).values())) == {"jet_pt"}


def test_the_baskets_of_other_branches_are_not_read(write_ntuple):
    path = write_ntuple("a.root", entries=2000)
    _flip_a_bit_in_every_basket(path, "jet_pt")
    whole = [_range(path, 0, 2000)]
    assert ak.sum(open_partitions(whole, ["run"]).run.compute()) == sum(range(2000))
    with pytest.raises(Exception, match="decompress"):
        open_partitions(whole, ["run", "jet_pt"]).jet_pt.compute()


def test_building_needs_one_good_file_only(write_ntuple):
    good = write_ntuple("good.root")
    events = open_partitions([_range("/absent/a.root", 0, 10), _range(good, 0, 10)], ["run"])
    assert events.npartitions == 2


def test_without_any_good_file_every_reason_is_given(write_ntuple):
    other = write_ntuple("other.root")
    with pytest.raises(InputError, match=r"(?s)/absent/a.root: does not exist.*other.root: .*no.*'mass'"):
        open_partitions([_range("/absent/a.root", 0, 10), _range(other, 0, 10)], ["run", "mass"])


def test_partitions_are_read_from_a_web_server(write_ntuple, web):
    write_ntuple("a.root")
    events = open_partitions([_range(f"{web.url}/a.root", 10, 20)], ["run"])
    assert events.run.compute().tolist() == list(range(10, 20))


def test_real_lists_of_root_vectors_are_read(shared_data):
    path = next((shared_data / "atlas_2025_2J2LMET30_mc").glob("*410081*"))
    events = open_partitions([_range(path, 1000, 1400), _range(path, 3000, 3404)], ["lep_pt", "jet_jvt"])
    expected = uproot.open(f"{path}:analysis").arrays(["lep_pt", "jet_jvt"])
    assert (
        events.compute().lep_pt.tolist() == expected.lep_pt[[*range(1000, 1400), *range(3000, 3404)]].tolist()
    )


# -- tasks ---------------------------------------------------------------------------------------------


def test_a_partition_is_one_task_and_its_graph_holds_no_events(write_ntuple):
    path = write_ntuple("a.root")
    events = open_partitions([_range(path, n % 50, n % 50 + 50) for n in range(500)], ["met", "jet_pt"])
    (optimised,) = dask.optimize(map_partitions(_named, events, range(500)))
    graph = dict(optimised.__dask_graph__())
    assert len(graph) == 500
    assert len(pickle.dumps(optimised.__dask_graph__())) < 200 * 500


def _named(branches, unit):
    return unit, len(branches)


def test_the_units_must_fit_the_partitions(write_ntuple):
    events = open_partitions(_cut(write_ntuple("a.root"), 40), ["met"])
    with pytest.raises(ValueError, match="same length"):
        map_partitions(_describe(), events, range(2))


# -- results -------------------------------------------------------------------------------------------


def test_records_are_any_objects_and_carry_their_number(dask_workers, write_ntuple):
    cut = _cut(write_ntuple("a.root"), 30)
    found = _run(dask_workers, _describe(), open_partitions(cut, ["run", "met"]), cut)
    assert sorted(found) == [0, 1, 2, 3]
    for number, partition in enumerate(cut):
        assert found[number] == {
            "unit": partition,
            "entries": partition.stop - partition.start,
            "first": partition.start,
            "fields": found[number]["fields"],
        }


def test_collections_of_different_branches_run_together_and_are_numbered_through(dask_workers, write_ntuple):
    path = write_ntuple("a.root")
    collections = [
        map_partitions(_describe(), open_partitions(_cut(path, slot), branches), list(range(pieces)))
        for slot, branches, pieces in ((50, ["run"], 2), (40, ["run", "jet_pt"], 3))
    ]
    found = dict(results(dask_workers, collections))
    assert [(found[n]["unit"], found[n]["entries"], len(found[n]["fields"])) for n in range(5)] == [
        (0, 50, 1),
        (1, 50, 1),
        (0, 33, 2),
        (1, 33, 2),
        (2, 34, 2),
    ]


def test_nothing_to_do_gives_nothing(dask_workers):
    assert list(results(dask_workers, [])) == []


def test_every_kind_of_bad_partition_gives_its_exception_and_the_others_finish(
    dask_workers, tmp_path, write_ntuple, shared_data
):
    good = write_ntuple("good.root", entries=2000)
    content = Path(good).read_bytes()
    (tmp_path / "truncated.root").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.root").write_bytes(b"")
    (tmp_path / "text.root").write_text("not a ROOT file " * 100)
    flipped = str(shutil.copy(good, tmp_path / "flipped.root"))
    _flip_a_bit_in_every_basket(flipped, "jet_pt")
    other_types = write_ntuple("other_types.root", entries=2000, met_type=np.float64)
    bad = {
        tmp_path / "absent.root": "does not exist",
        tmp_path / "truncated.root": "cannot be read: OSError: expected Chunk",
        tmp_path / "empty.root": "cannot be read: OSError",
        tmp_path / "text.root": "cannot be read: ValueError: not a ROOT file",
        shared_data / "other_formats/bad_delphes.root": "has no 'analysis'",
        flipped: "is damaged: a compressed block cannot be unpacked",
        other_types: "a branch seems to have another type",
    }
    given = [_range(good, 0, 1000), *(_range(url, 1000, 2000) for url in bad)]
    given += [_range(good, 1500, 2500), _range(good, 1000, 2000)]
    events = open_partitions(given, ["run", "met", "jet_pt"])
    found = _run(dask_workers, _describe(), events, retries=1)
    assert len(found) == len(given)
    for number, why in enumerate(bad.values(), start=1):
        assert isinstance(found[number], Exception)
        assert reason(found[number]).startswith(why), reason(found[number])
    assert "out of bounds" in reason(found[len(given) - 2])
    assert found[0]["entries"] == found[len(given) - 1]["entries"] == 1000


def test_a_branch_that_is_gone_and_a_tree_without_entries_are_faults(dask_workers, write_ntuple, shared_data):
    folder = shared_data / "other_formats"
    given = [
        _range(folder / "nano_dy.root", 0, 5, "Events"),
        _range(folder / "nano_dy_empty.root", 0, 5, "Events"),
        _range(write_ntuple("a.root"), 0, 5),
    ]
    events = open_partitions(given, ["MET_pt"])
    found = _run(dask_workers, _length(), events, retries=0)
    assert found[0] == 5
    assert "out of bounds" in reason(found[1])
    assert reason(found[2]) == "has no 'MET_pt'"


def _length():
    return lambda branches, _: len(branches)


def test_fewer_events_than_promised_are_a_fault(write_ntuple):
    from tailshard.ntuples.read import _Job, _process

    short = uproot.open(write_ntuple("a.root"))["analysis"].arrays(["met"], entry_stop=9)
    with pytest.raises(InputError, match="gave 9 events instead of 10"):
        _process(_named, short, _Job("unit", 10))
    assert _process(_named, short, _Job("unit", 9)) == ("unit", 9)


def test_a_fault_of_the_function_is_told_from_one_of_the_file_and_not_tried_again(
    dask_workers, tmp_path, write_ntuple
):
    events = open_partitions(_cut(write_ntuple("a.root"), 50), ["met"])

    def failing(folder):
        def fail(branches, unit):
            (folder / f"{unit}-{time.monotonic_ns()}").touch()
            if unit == 0:
                raise InputError("this run is not simulation")
            return {"mass": 1}["charge"]

        return fail

    found = _run(dask_workers, failing(tmp_path), events, retries=3)
    assert isinstance(found[0], InputError)
    assert str(found[0]) == "this run is not simulation"
    assert isinstance(found[1], ProcessingError)
    assert str(found[1]).startswith("KeyError: 'charge' (test_read.py, line ")
    assert len(list(tmp_path.glob("[01]-*"))) == 2


def test_a_fault_of_the_disk_is_tried_again(dask_workers, tmp_path, write_ntuple):
    events = open_partitions(_cut(write_ntuple("a.root"), 50), ["met"])

    def flaky(folder):
        def write(branches, unit):
            attempts = len(list(folder.glob(f"{unit}-*")))
            (folder / f"{unit}-{attempts}").touch()
            if attempts <= unit:
                raise OSError(28, "No space left on device")
            return attempts

        return write

    found = _run(dask_workers, flaky(tmp_path), events, retries=1)
    assert found == {0: 1, 1: found[1]}
    found = _run(dask_workers, flaky(tmp_path), events, retries=0)
    assert found == {0: 2, 1: 2}


def test_a_disk_that_stays_full_is_no_fault_of_the_file(dask_workers, write_ntuple):
    events = open_partitions(_cut(write_ntuple("a.root"), 100), ["met"])

    def full(branches, unit):
        raise OSError(28, "No space left on device")

    found = _run(dask_workers, full, events, retries=1)
    assert isinstance(found[0], ProcessingError)
    assert "No space left on device" in str(found[0])


def test_the_same_work_asked_for_again_is_done_again(dask_workers, tmp_path, write_ntuple):
    events = open_partitions(_cut(write_ntuple("a.root"), 100), ["met"])

    def counting(folder):
        def count(branches, unit):
            (folder / f"run-{time.monotonic_ns()}").touch()

        return count

    count = counting(tmp_path)
    first = map_partitions(count, events, [0])
    kept = list(results(dask_workers, [first]))
    assert kept == list(results(dask_workers, [map_partitions(count, events, [0])]))
    assert len(list(tmp_path.glob("run-*"))) == 2


def test_what_is_left_is_cancelled_when_the_caller_stops(dask_workers, tmp_path, write_ntuple):
    events = open_partitions(_cut(write_ntuple("a.root"), 2), ["met"])

    def slow(folder):
        def wait(branches, unit):
            (folder / f"unit-{unit}").touch()
            time.sleep(0.1)

        return wait

    records = results(dask_workers, [map_partitions(slow(tmp_path), events, range(50))])
    next(records)
    records.close()
    time.sleep(0.5)
    started = len(list(tmp_path.glob("unit-*")))
    time.sleep(0.5)
    assert len(list(tmp_path.glob("unit-*"))) == started < 20


@pytest.mark.slow
def test_hundreds_of_partitions_on_two_processes_survive_a_killed_worker(
    two_processes, tmp_path, write_ntuple
):
    events = open_partitions(_cut(write_ntuple("a.root", entries=1000), 2), ["run", "jet_pt"])

    def dying(folder):
        def die(branches, unit):
            if unit == 100 and not (folder / "died").exists():
                (folder / "died").touch()
                os._exit(1)
            return unit, int(branches.run[0])

        return die

    found = _run(two_processes, dying(tmp_path), events)
    assert found == {number: (number, 2 * number) for number in range(500)}


@pytest.mark.slow
def test_a_partition_that_kills_its_workers_is_a_fault_of_the_cluster(two_processes, write_ntuple):
    events = open_partitions(_cut(write_ntuple("a.root"), 50), ["met"])

    def die(branches, unit):
        if unit == 0:
            os._exit(1)
        return unit

    found = _run(two_processes, die, events)
    assert isinstance(found[0], ClusterError)
    assert str(found[0]).startswith("2 workers died while they ran it")
    assert found[1] == 1

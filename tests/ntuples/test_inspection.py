import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import uproot

from tailshard.ntuples.fileset import FileInfo, Quarantined, partitions
from tailshard.ntuples.inspection import inspect, reason


def _inspect(url, tree="analysis", branches=("met", "jet_pt"), **options):
    return inspect(str(url), tree, branches, "zjets", pause=0.01, **options)


def test_a_good_file_is_described(write_ntuple):
    path = write_ntuple("good.root", entries=100)
    info = _inspect(path)
    assert (info.url, info.size, info.entries) == (path, Path(path).stat().st_size, 100)
    assert info == pickle.loads(pickle.dumps(_inspect(path)))


def test_a_real_file_is_described(shared_data):
    path = next((shared_data / "atlas_2025_2J2LMET30_mc").glob("*410081*"))
    found = _inspect(path)
    assert found == FileInfo(
        str(path), 2229311, "e5f4401a-ed50-11ef-98d8-8fbdf081beef", 3404, 2212672, found.content
    )


def test_a_tree_may_be_found_by_a_pattern_that_one_tree_of_the_file_fits(write_ntuple, tmp_path):
    path = write_ntuple("good.root", entries=100)
    info = _inspect(path, tree="ana*")
    assert (info.entries, info.tree) == (100, "analysis")
    assert [each.tree for each in partitions([info], "zjets", "ana*", 60)] == ["analysis", "analysis"]
    assert _inspect(path, tree="analysis").tree == ""
    none = _inspect(path, tree="*_NoSys")
    assert none.reason == (
        "has no trees that fit '*_NoSys' where one is needed; it holds 'analysis'; set the dataset's tree"
    )
    with uproot.recreate(tmp_path / "two.root") as file:
        for name in ("one_NoSys", "other_NoSys"):
            file.mktree(name, {"met": "float32"}).extend({"met": np.ones(3, np.float32)})
    two = _inspect(tmp_path / "two.root", tree="*_NoSys")
    assert two.reason.startswith("has 2 trees that fit '*_NoSys' where one is needed; it holds 'one_NoSys', ")


def test_a_file_is_the_same_on_a_web_server(write_ntuple, web):
    path = write_ntuple("good.root")
    here, there = _inspect(path), _inspect(f"{web.url}/good.root")
    assert (there.size, there.uuid, there.entries) == (here.size, here.uuid, here.entries)


@pytest.mark.parametrize(
    ("bytes_kept", "why"),
    [
        (0, "is empty: 0 bytes"),
        (2, "is not a ROOT file: it begins with b'ro'"),
        (60, "is truncated: 60 bytes, less than the header of a ROOT file"),
        (200, r"is truncated: 200 bytes of [\d,]+"),
        (-1, r"is truncated: [\d,]+ bytes of [\d,]+"),
    ],
)
@pytest.mark.parametrize("remote", [False, True], ids=["local", "web"])
def test_a_file_that_was_cut_short_is_refused(write_ntuple, web, bytes_kept, why, remote):
    path = Path(write_ntuple("cut.root"))
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[:bytes_kept])
    found = _inspect(f"{web.url}/cut.root" if remote else path)
    assert isinstance(found, Quarantined)
    assert re.fullmatch(why, found.reason), found.reason
    assert found.size == (whole if abs(bytes_kept) in (1, 200) else None)


@pytest.mark.parametrize("remote", [False, True], ids=["local", "web"])
def test_a_file_that_is_not_there_is_refused(tmp_path, web, remote):
    found = _inspect(f"{web.url}/absent.root" if remote else tmp_path / "absent.root")
    assert found.reason == "does not exist"


def test_other_bad_input_is_refused_with_a_plain_reason(tmp_path, write_ntuple):
    path = write_ntuple("good.root")
    (tmp_path / "text.root").write_text("This is not what it seems. " * 50)
    assert _inspect(tmp_path / "text.root").reason == "is not a ROOT file: it begins with b'This'"
    assert _inspect(tmp_path).reason.startswith("is a folder, not a file")
    assert _inspect(path, tree="mini").reason == "has no tree 'mini'; it holds 'analysis', 'a_histogram'"
    assert _inspect(path, tree="a_histogram").reason == "'a_histogram' is a TH1D, not a tree"
    assert _inspect(path, branches=["met", "mass"]).reason == "tree 'analysis' has no branch 'mass'"
    missing = _inspect(path, branches=["met", "mass", "charge"])
    assert missing == Quarantined("zjets", path, "tree 'analysis' has no branches 'charge', 'mass'")
    assert _inspect(write_ntuple("none.root", entries=0)).reason == "tree 'analysis' has no entries"


def test_real_files_without_entries_or_trees_are_refused(shared_data):
    folder = shared_data / "other_formats"
    empty = _inspect(folder / "nano_dy_empty.root", tree="Events", branches=["MET_pt"])
    assert empty.reason == "tree 'Events' has no entries"
    assert _inspect(folder / "bad_delphes.root", tree="Delphes").reason.startswith("has no tree 'Delphes'")


def test_a_fault_of_the_network_is_retried(write_ntuple, web):
    write_ntuple("good.root", entries=100)
    web.failures = 2
    assert _inspect(f"{web.url}/good.root").entries == 100


def test_a_server_that_stays_broken_is_given_up(write_ntuple, web):
    write_ntuple("good.root")
    web.failures = 1000
    assert "503" in (found := _inspect(f"{web.url}/good.root")).reason
    assert found.reason.endswith("(tried 3 times)")


def test_what_is_not_there_is_not_asked_for_again(web):
    _inspect(f"{web.url}/absent.root", attempts=1)
    once = web.requests
    _inspect(f"{web.url}/absent.root", attempts=3)
    assert web.requests == 2 * once


def test_a_long_message_becomes_one_short_line():
    text = reason(ValueError("first\n\nsecond " + "word " * 200))
    assert text.startswith("cannot be read: ValueError: first second word")
    assert len(text) < 300
    assert "\n" not in text


def test_the_content_changes_when_a_file_is_written_to_and_not_when_it_is_touched(
    tmp_path, write_ntuple, web
):
    path = write_ntuple("good.root")
    before = _inspect(path)
    shutil.copy(path, tmp_path / "copy.root")
    assert (
        before.content == _inspect(tmp_path / "copy.root").content == _inspect(f"{web.url}/good.root").content
    )
    with uproot.update(path) as file:
        file.mktree("analysis", {"met": "float32", "jet_pt": "float32"}).extend(
            {"met": np.ones(100), "jet_pt": np.ones(100)}
        )
    after = _inspect(path)
    assert (after.uuid, after.entries) == (before.uuid, before.entries)
    assert after.content != before.content

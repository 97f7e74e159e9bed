import importlib
import shutil
import sys
from pathlib import Path

import pytest

from tailshard.errors import InputError
from tailshard.ntuples.fileset import (
    FileInfo,
    Partition,
    Quarantined,
    distinct,
    expand,
    fits,
    partitions,
)
from tailshard.ntuples.inspection import inspect


def _expand(tmp_path, *patterns, published=(), data_root=None, base=None):
    return expand(patterns, published, data_root, base or tmp_path, "zjets")


def _touch(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [str(folder / name) for name in names]


# -- expand --------------------------------------------------------------------------------------------


def test_relative_patterns_start_at_the_data_root(tmp_path):
    found = _touch(tmp_path / "data", "a/1.root", "a/2.root")
    _touch(tmp_path, "a/3.root")
    published = ["https://example.org/a.root"]
    urls, unmatched = _expand(tmp_path, "a/*.root", data_root=str(tmp_path / "data"), published=published)
    assert (urls, unmatched) == (found, [])


def test_without_a_data_root_the_published_urls_replace_relative_patterns(tmp_path):
    here = _touch(tmp_path, "1.root")
    published = ["https://example.org/b.root", "https://example.org/a.root"]
    assert _expand(tmp_path, "*.root", published=published) == (sorted(published), [])
    assert _expand(tmp_path, published=published) == (sorted(published), [])
    assert _expand(tmp_path, *here, published=published) == (here, [])


def test_without_published_urls_relative_patterns_start_beside_the_pipeline(tmp_path):
    found = _touch(tmp_path, "1.root")
    assert _expand(tmp_path / "elsewhere", "*.root", base=tmp_path) == (found, [])


def test_a_relative_data_root_starts_at_the_current_folder(tmp_path, monkeypatch):
    found = _touch(tmp_path, "data/1.root")
    monkeypatch.chdir(tmp_path)
    assert _expand(tmp_path / "pipelines", "*.root", data_root="data") == (found, [])


def test_urls_and_plain_paths_pass_through_unseen(tmp_path):
    names = ["/absent/a.root", "https://example.org/a.root?download=1"]
    assert _expand(tmp_path, *names) == (names, [])


def test_a_data_root_may_be_a_url(tmp_path):
    urls, _ = _expand(tmp_path, "mc/a.root", data_root="https://example.org/data/")
    assert urls == ["https://example.org/data/mc/a.root"]


def test_files_are_sorted_and_each_is_named_once(tmp_path):
    found = _touch(tmp_path, "a.root", "b.root", "sub/c.root")
    _touch(tmp_path, ".hidden.root", "notes.txt")
    urls, unmatched = _expand(tmp_path, "**/*.root", "a.root", f"file://{tmp_path}/b.root")
    assert (urls, unmatched) == (found, [])


def test_a_pattern_that_matches_nothing_goes_into_quarantine(tmp_path):
    found = _touch(tmp_path, "a.root")
    urls, unmatched = _expand(tmp_path, "*.root", "missing_*.root")
    assert urls == found
    assert unmatched == [
        Quarantined("zjets", str(tmp_path / "missing_*.root"), "no file matches this pattern", is_file=False)
    ]


def test_wildcards_work_on_a_web_server_that_lists_its_folders(tmp_path, web):
    _touch(tmp_path, "mc/a.root", "mc/b.root", "mc/notes.txt")
    urls, unmatched = _expand(tmp_path, "mc/*.root", data_root=web.url)
    assert (urls, unmatched) == ([f"{web.url}/mc/a.root", f"{web.url}/mc/b.root"], [])


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("s3://a/b.root", "s3fs", "s3"), ("root://a//b.root", "fsspec_xrootd", "xrootd")],
)
def test_a_scheme_without_its_package_names_the_extra_to_install(tmp_path, monkeypatch, url, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    loaded = importlib.import_module("fsspec.registry")._registry
    monkeypatch.delitem(loaded, url.partition(":")[0], raising=False)  # of earlier tests
    with pytest.raises(InputError, match=rf"pip install 'tailshard\[{extra}\]'"):
        _expand(tmp_path, url)


def test_the_home_of_nobody_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"~nosuchuser/x\.root: there is no user of that name"):
        _expand(tmp_path, "~nosuchuser/x.root")


def test_an_unknown_scheme_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gopher://.*use a path, https://, root:// or s3://"):
        _expand(tmp_path, "gopher://a/b.root")


# -- distinct and partitions ---------------------------------------------------------------------------


def test_a_copy_of_a_file_is_left_out(tmp_path, write_ntuple):
    path = write_ntuple("b.root")
    other = write_ntuple("c.root")
    shutil.copy(path, tmp_path / "a.root")
    copy, original, another = (
        inspect(str(each), "analysis", ("met", "jet_pt"), "zjets")
        for each in (tmp_path / "a.root", path, other)
    )
    files, copies = distinct([another, original, copy], "zjets")
    assert files == [copy, another]
    assert [(row.url, row.harmless) for row in copies] == [(path, True)]
    assert copies[0].reason.startswith(f"is a copy of {tmp_path / 'a.root'}")


def _files(*entries: int) -> list[FileInfo]:
    return [FileInfo(f"/{n}.root", 1, f"uuid {n}", number) for n, number in enumerate(entries)]


@pytest.mark.parametrize("slot", [1, 7, 100, 1000])
def test_partitions_cover_every_entry_once_in_near_equal_pieces(slot):
    files = _files(1, 99, 100, 101, 700)
    cut = partitions(files, "zjets", "analysis", slot)
    for file in files:
        pieces = [(each.start, each.stop) for each in cut if each.url == file.url]
        assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
        assert pieces[-1][1] == file.entries
        sizes = [stop - start for start, stop in pieces]
        assert max(sizes) <= slot
        assert max(sizes) - min(sizes) <= 1
        assert len(pieces) == -(-file.entries // slot)


def test_partitions_do_not_depend_on_the_order_of_the_files():
    files = _files(10, 20, 30)
    assert partitions(files[::-1], "zjets", "analysis", 7) == partitions(files, "zjets", "analysis", 7)


def test_a_file_without_entries_has_no_partitions():
    assert partitions(_files(0), "zjets", "analysis", 7) == []


def test_the_key_of_a_partition_changes_with_its_content_and_not_with_its_place():
    partition = Partition("zjets", "/a.root", "analysis", "uuid", 0, 10)
    assert partition.key == "807b9747c09671a7"
    assert partition.key == Partition("zjets", "/b.root", "analysis", "uuid", 0, 10).key
    others = [
        Partition("ttbar", "/a.root", "analysis", "uuid", 0, 10),
        Partition("zjets", "/a.root", "mini", "uuid", 0, 10),
        Partition("zjets", "/a.root", "analysis", "another", 0, 10),
        Partition("zjets", "/a.root", "analysis", "uuid", 1, 10),
        Partition("zjets", "/a.root", "analysis", "uuid", 0, 11),
        Partition("zjets", "/a.root", "analysis", "uuid", 0, 10, "written again"),
    ]
    assert len({partition.key, *(other.key for other in others)}) == 7


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("/a/mc_*.root", ["/a/mc_1.root"], ["/a/b/mc_1.root", "/a/data.root", "/b/mc_1.root"]),
        ("/a/**/x?.root", ["/a/x1.root", "/a/b/x1.root", "/a/b/c/x2.root"], ["/a/b/x.root", "/a/b/y1.root"]),
        ("/a/[ab].root", ["/a/a.root"], ["/a/c.root", "/a/[ab].root"]),
        ("/a/*.root", ["/a/b.root"], ["/a/.b.root", "/a/b.root/c"]),
        ("file:///a/b.root", ["/a/b.root"], ["/a/c.root"]),
        ("https://x.org/a/*.root", ["https://x.org/a/b.root"], ["https://x.org/a/b/c.root", "/a/b.root"]),
        ("https://x.org/a.root?b[1]", ["https://x.org/a.root?b[1]"], ["https://x.org/a.rootxb1"]),
        ("root://x.org//a/**/b.root", ["root://x.org//a/b.root", "root://x.org//a/c/b.root"], []),
    ],
)
def test_a_name_is_told_to_fit_a_pattern_without_looking(pattern, fitting, others):
    assert [url for url in (*fitting, *others) if fits(url, pattern)] == fitting

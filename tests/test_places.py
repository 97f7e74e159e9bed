"""Folders and object stores behind the same few functions."""

from pathlib import Path

import pytest

from tailshard.errors import ConfigError, StorageError
from tailshard.places import (
    copy_file,
    existence,
    files_below,
    here,
    is_remote,
    local,
    opened_whole,
    place,
    remove_file,
    remove_files,
    remove_tree,
    written_whole,
)


@pytest.fixture(params=["folder", "object store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "folder":
        return tmp_path
    return place(f"{request.getfixturevalue('bucket')}/a/prefix")


def test_a_place_is_a_folder_or_a_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place("work") == tmp_path.resolve() / "work"
    assert not is_remote(place("work"))
    there = place("s3://bucket/some/where/")
    assert is_remote(there)
    assert str(there / "store") == "s3://bucket/some/where/store"
    assert place(there) is there


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gs://bucket/work", "starts with s3://"), ("https://host/work", "starts with s3://")],
)
def test_what_cannot_hold_a_work_directory_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        place(name)


def test_where_a_folder_is_needed_a_prefix_is_refused(tmp_path: Path) -> None:
    assert local(tmp_path, "an export") == tmp_path
    with pytest.raises(ConfigError, match=r"an export needs a folder, not s3://bucket/out"):
        local(place("s3://bucket/out"), "an export")


def test_files_are_written_read_listed_and_removed(root: Path) -> None:
    with opened_whole(root / "one" / "a.txt") as file:
        file.write(b"first")
    with opened_whole(root / "one" / "a.txt") as file:
        file.write(b"second")
    copy_file(root / "one" / "a.txt", root / "one" / "deep" / "b.txt")
    assert (root / "one" / "a.txt").read_text(encoding="utf-8") == "second"
    with here(root / "one" / "deep" / "b.txt") as copy:
        assert copy.read_bytes() == b"second"
    assert files_below(root) == {"one/a.txt": 6, "one/deep/b.txt": 6}
    assert (root / "one").is_dir()
    is_there = existence(root)
    assert is_there(root / "one" / "a.txt")
    assert not is_there(root / "two")
    remove_file(root / "one" / "a.txt")
    remove_file(root / "one" / "a.txt")
    remove_files([root / "one" / "nothing", root / "one" / "deep" / "b.txt"])
    assert files_below(root) == {}
    with opened_whole(root / "two" / "c.txt") as file:
        file.write(b"third")
    remove_tree(root / "two")
    remove_tree(root / "two")
    assert not (root / "two" / "c.txt").exists()
    with pytest.raises(FileNotFoundError):
        (root / "two" / "c.txt").read_bytes()


def _write_half(path: Path) -> None:
    with written_whole(path) as aside:
        aside.write_bytes(b"ha")
        raise RuntimeError("killed")


def test_what_fails_while_it_is_written_leaves_what_was_there(root: Path) -> None:
    with opened_whole(root / "a.txt") as file:
        file.write(b"whole")
    with pytest.raises(RuntimeError):
        _write_half(root / "a.txt")
    assert (root / "a.txt").read_bytes() == b"whole"


def test_an_object_store_says_what_is_wrong(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="there is no bucket 'nowhere-at-all'"):
        (place("s3://nowhere-at-all/work") / "ledger.json").read_bytes()
    # Options of their own: file systems are made once for each set of them.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    path = type(place(bucket))
    with pytest.raises(StorageError, match="there are no credentials; set AWS_ACCESS_KEY_ID"):
        (path(f"{bucket}/work", default_block_size=5 * 2**20) / "ledger.json").read_bytes()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    quick = {"config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1}}
    with pytest.raises(StorageError, match=r"cannot be reached .* check the network and AWS_ENDPOINT_URL"):
        (path(f"{bucket}/work", **quick) / "ledger.json").read_bytes()

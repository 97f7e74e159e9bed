"""The copy opens where tailshard does not exist, and holds the same numbers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from distributed import Client

from tailshard.errors import StoreError, WorkdirError
from tailshard.ledger import locked
from tailshard.store.catalog import read_catalog
from tailshard.store.export import export_dense
from tailshard.store.layout import events_group, shard_file
from tailshard.store.read import ShardReader
from tailshard.store.stream import Stream
from tailshard.store.write import write_column

STRANGER = """
import sys

class NoTailshard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tailshard":
            raise ImportError("there is no tailshard here")

sys.meta_path.insert(0, NoTailshard())
import json
import numpy as np
import zarr

root = zarr.open(sys.argv[1], mode="r")
arrays = {f"{channel}/{name}": array for channel, group in root.groups() for name, array in group.arrays()}
np.savez(sys.argv[2], **{name: array[...] for name, array in arrays.items()})
print(json.dumps({name: dict(array.attrs) for name, array in arrays.items()}))
assert "tailshard" not in sys.modules
"""


def opened_by_a_stranger(store: Path, values: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", STRANGER, str(events_group(store)), str(values)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory, build_store) -> Path:
    folder = tmp_path_factory.mktemp("islands") / "store"
    catalog = build_store(folder, {"ttbar": (64, 30, 0), "data": (50,)}, {"ttbar": 1.5})
    errors = np.arange(64, dtype=np.float32)
    write_column(folder, "ttbar", "error", 0, catalog.geometry, errors)
    array = zarr.open_array(events_group(folder), path="ttbar/error", mode="r+")
    array.attrs.put({**array.attrs, "model": "0123456789abcdef"})
    return folder


@pytest.fixture(scope="module")
def copy(store: Path, tmp_path_factory, dask_workers: Client) -> Path:
    out = tmp_path_factory.mktemp("dense") / "copy"
    result = export_dense(store, out, dask_workers)
    assert (result.slots, result.events) == (4, 144)
    assert result.bytes == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert [path.name for path in out.parent.iterdir()] == ["copy"]
    assert sorted(path.name for path in out.iterdir()) == ["catalog.json", "events.zarr"]
    return out


def test_the_copy_opens_without_tailshard_and_holds_the_same(store: Path, copy: Path, tmp_path: Path) -> None:
    refused = opened_by_a_stranger(store, tmp_path / "refused.npz")
    assert refused.returncode != 0  # else this test would show nothing
    assert "there is no tailshard here" in refused.stderr or "islands" in refused.stderr
    shown = opened_by_a_stranger(copy, tmp_path / "values.npz")
    assert shown.returncode == 0, shown.stderr
    attributes = json.loads(shown.stdout)
    with np.load(tmp_path / "values.npz") as found:
        ours = zarr.open(events_group(store), mode="r")
        expected = [f"{name}/{array}" for name, group in ours.groups() for array, _ in group.arrays()]
        assert sorted(found) == sorted(expected)
        for name in expected:
            np.testing.assert_array_equal(found[name], ours[name][...], err_msg=name)
            assert attributes[name] == dict(ours[name].attrs), name


def test_tailshard_reads_the_copy_too(store: Path, copy: Path) -> None:
    ours, theirs = read_catalog(store), read_catalog(copy)
    assert theirs.geometry.codec == "zstd"
    assert theirs.changed(geometry=ours.geometry) == ours
    assert theirs.snapshot_id() == ours.snapshot_id()
    islands, again = (ShardReader(each).read_islands("ttbar", 64, 94) for each in (store, copy))
    np.testing.assert_array_equal(islands.cells, again.cells)
    batches = [
        list(Stream(each, ("ttbar", "data"), "training", 16, seed=1).epoch(0)) for each in (store, copy)
    ]
    for one, other in zip(*batches, strict=True):
        np.testing.assert_array_equal(one.features, other.features)
        np.testing.assert_array_equal(one.weight, other.weight)


def test_a_copy_of_a_copy_has_the_same_bytes(copy: Path, tmp_path: Path, dask_workers: Client) -> None:
    export_dense(copy, tmp_path / "again", dask_workers)
    names = sorted(path.relative_to(copy) for path in copy.rglob("*") if path.is_file())
    assert names == sorted(
        path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file()
    )
    for name in names:
        assert (copy / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_damaged_store_leaves_no_copy(store: Path, tmp_path: Path, dask_workers: Client) -> None:
    shutil.copytree(store, tmp_path / "store")
    file = shard_file(events_group(tmp_path / "store") / "ttbar" / "rmm", 1, 3)
    content = bytearray(file.read_bytes())
    content[30] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"ttbar/rmm .* damaged"):
        export_dense(tmp_path / "store", tmp_path / "out", dask_workers)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_killed_export_never_looks_whole(store: Path, tmp_path: Path, dask_workers: Client) -> None:
    script = (
        "import os, sys; from pathlib import Path; from tailshard.store.export import aside\n"
        "with aside(Path(sys.argv[1])) as place:\n"
        "    (place / 'events.zarr').mkdir(); (place / 'half').touch(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=False)
    assert killed.returncode == -9
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"]
    with pytest.raises(StoreError, match="there is no store"):
        read_catalog(tmp_path / ".out.partial")
    export_dense(store, tmp_path / "out", dask_workers)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not (tmp_path / "out" / "half").exists()


def test_what_is_there_is_never_overwritten(store: Path, tmp_path: Path, dask_workers: Client) -> None:
    with pytest.raises(StoreError, match="exists already"):
        export_dense(store, tmp_path, dask_workers)
    with locked(tmp_path / ".out.partial"), pytest.raises(WorkdirError, match="another tailshard is at work"):
        export_dense(store, tmp_path / "out", dask_workers)
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"]

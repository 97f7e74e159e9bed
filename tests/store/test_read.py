import re
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

from tailshard.errors import StoreError
from tailshard.features.islands import pack
from tailshard.store.catalog import read_catalog
from tailshard.store.cells import Statistics
from tailshard.store.layout import SPLITS, shard_file
from tailshard.store.read import ZarrReader, open_channel, read_rows, statistics


@pytest.fixture(scope="module")
def store(tmp_path_factory, build_store) -> Path:
    folder = tmp_path_factory.mktemp("store")
    build_store(folder, {"ttbar": (64, 30), "Zee": (50,)}, {"Zee": 2.0})
    return folder


@pytest.fixture
def catalog(store):
    return read_catalog(store)


@pytest.fixture
def damaged(tmp_path, build_store) -> Path:
    build_store(tmp_path, {"ttbar": (64, 30)})
    return tmp_path


# -- opening with other tools ----------------------------------------------------------------------


def test_plain_zarr_opens_the_store(store):
    root = zarr.open(store / "events.zarr", mode="r")
    rmm = root["ttbar/rmm"]
    assert rmm.metadata.dimension_names == ("event", "row", "column")
    assert rmm.shape == (128, 5, 5)
    assert rmm.chunks == (8, 5, 5)
    assert rmm.shards == (64, 5, 5)
    assert rmm[64:94, 0, 0].sum() == sum(range(64, 94))


def test_the_lines_of_the_readme_read_the_store(store):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    blocks = [block for block in re.findall(r"```python\n(.*?)```", readme, re.S) if "events.zarr" in block]
    assert len(blocks) == 2
    for block in blocks:
        here = block.replace("work/store/events.zarr", str(store / "events.zarr")).replace(
            '"data"', '"ttbar"'
        )
        names: dict = {}
        exec(here, names)  # warnings are errors; it is our own README
        assert len(names["met"]) == 94


def test_xarray_opens_a_channel_with_dimensions_and_units(store):
    with xarray.open_zarr(store / "events.zarr", group="ttbar", consolidated=False) as channel:
        assert channel["rmm"].dims == ("event", "row", "column")
        assert channel["objects"].dims == ("event", "row", "component")
        assert channel["multiplicity"].dims == ("event", "type")
        assert channel["met"].dims == channel["weight"].dims == channel["error"].dims == ("event",)
        assert channel["met"].units == "GeV"
        assert channel["met"].long_name == "missing transverse momentum"
        used = channel["split"].values > 0
        assert used.sum() == 94
        assert np.isnan(channel["met"].values[~used]).all()
        assert np.isnan(channel["error"].values).all()


def test_codecs_carry_checksums(store):
    for name, array in open_channel(store, "ttbar").arrays():
        codecs = array.metadata.to_dict()["codecs"]
        if array.shards:
            assert codecs[0]["configuration"]["index_codecs"][-1]["name"] == "crc32c", name
            codecs = codecs[0]["configuration"]["codecs"]
        if name == "rmm":  # ends in a checksum of its own
            assert [codec["name"] for codec in codecs] == ["islands"]
            continue
        assert codecs[-1] == {"name": "zstd", "configuration": {"level": 1, "checksum": True}}, name


# -- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 64), (0, 1), (7, 9), (10, 10), (60, 70), (64, 94)],
    ids=["slot", "row", "over_a_chunk_boundary", "nothing", "over_a_slot_boundary", "second_slot"],
)
def test_rows_agree_with_zarr(store, start, stop):
    group = zarr.open_group(store / "events.zarr", path="ttbar", mode="r")
    rows = read_rows(store, "ttbar", ["rmm", "event_number"], start, stop)
    np.testing.assert_array_equal(rows["rmm"], group["rmm"][start:stop])
    np.testing.assert_array_equal(rows["rmm"][:, 0, 0], rows["event_number"])


def test_rows_can_be_read_into_a_buffer(store):
    buffer = np.empty((20, 5, 5), np.float32)
    reader = ZarrReader(store)
    assert reader.read("ttbar", "rmm", 3, 13, out=buffer[5:15]).base is buffer
    np.testing.assert_array_equal(buffer[5:15], reader.read("ttbar", "rmm", 3, 13))


def test_errors_that_were_never_written_are_not_read_as_nan(store):
    with pytest.raises(StoreError, match=r"slot 0 was not written; run tailshard score"):
        read_rows(store, "ttbar", ["error"], 0, 64)


@pytest.mark.parametrize(
    ("channel", "name", "start", "stop", "message"),
    [
        ("ttbar", "loss", 0, 1, "no array ttbar/loss"),
        ("Wt", "rmm", 0, 1, "no array Wt/rmm"),
        ("ttbar", "rmm", 100, 129, "has 128 rows, asked for 100 to 129"),
        ("ttbar", "rmm", -1, 3, "asked for -1 to 3"),
    ],
)
def test_rows_that_are_not_there_are_refused(store, channel, name, start, stop, message):
    with pytest.raises(StoreError, match=message):
        read_rows(store, channel, [name], start, stop)


def test_unknown_channel_cannot_be_opened(store):
    with pytest.raises(StoreError, match="no channel 'Wt'"):
        open_channel(store, "Wt")


# -- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rmm", "objects", "weight", "met", "statistics"])
def test_flipped_bytes_are_never_read_as_data(damaged, name):
    stop = 1 if name == "statistics" else 64
    truth = ZarrReader(damaged).read("ttbar", name, 0, stop)
    file = shard_file(damaged / "events.zarr" / "ttbar" / name, 0, truth.ndim)
    good = file.read_bytes()
    places = range(0, len(good), max(1, len(good) // 60))
    harmless = 0
    for place in places:
        bad = bytearray(good)
        bad[place] ^= 0x10
        file.write_bytes(bad)
        try:
            found = ZarrReader(damaged).read("ttbar", name, 0, stop)
        except StoreError:
            continue
        np.testing.assert_array_equal(found, truth)
        harmless += 1
    assert harmless <= 1  # such as an unused bit of a frame header


def test_truncated_shard_is_damage(damaged):
    file = damaged / "events.zarr" / "ttbar" / "rmm" / "c" / "0" / "0" / "0"
    good = file.read_bytes()
    for length in (10, len(good) // 2, len(good) - 1):
        file.write_bytes(good[:length])
        with pytest.raises(StoreError, match="are damaged"):
            read_rows(damaged, "ttbar", ["rmm"], 0, 64)


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"")], ids=["gone", "empty"])
def test_shard_that_is_lost_is_not_read_as_zeros(damaged, damage):
    damage(damaged / "events.zarr" / "ttbar" / "rmm" / "c" / "1" / "0" / "0")
    assert read_rows(damaged, "ttbar", ["rmm"], 0, 64)["rmm"].any()
    with pytest.raises(StoreError, match="slot 1 was not written; run tailshard ingest"):
        read_rows(damaged, "ttbar", ["rmm"], 60, 70)


# -- statistics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", [*SPLITS, None])
def test_statistics_are_those_of_all_rows(store, catalog, split):
    rows = []
    for channel in ("ttbar", "Zee"):
        for slot in catalog.slots_of(channel):
            for name in SPLITS if split is None else (split,):
                found = read_rows(
                    store,
                    channel,
                    ["rmm", "multiplicity", "weight"],
                    *catalog.geometry.split_range(slot, name),
                )
                weight = found["weight"] * catalog.scale(slot)
                rows.append((found["rmm"], found["multiplicity"], weight))
    matrices, multiplicity, weight = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    merged = statistics(store, catalog, ["Zee", "ttbar"], split)
    expected = Statistics.of(pack(matrices, multiplicity, catalog.geometry.counts), weight)
    assert merged.events == expected.events == len(weight)
    assert merged.sum_of_weights == pytest.approx(weight.sum())
    for name in (*Statistics.STORED, "variance", "weighted_mean"):
        np.testing.assert_allclose(getattr(merged, name), getattr(expected, name), rtol=1e-12, atol=1e-12)


def test_statistics_do_not_depend_on_the_order_of_channels(store, catalog):
    one, other = (statistics(store, catalog, names) for names in (["ttbar", "Zee"], ["Zee", "ttbar"]))
    assert one.sum_of_squared_deviations.tobytes() == other.sum_of_squared_deviations.tobytes()


def test_statistics_of_no_slots_are_empty(store, catalog):
    assert statistics(store, catalog.changed(slots=()), ["ttbar"]).events == 0


def test_statistics_of_an_unknown_channel_are_refused(store, catalog):
    with pytest.raises(StoreError, match="no channel 'Wt'"):
        statistics(store, catalog, ["Wt"])

"""Numbers of a store, against those counted by hand."""

from pathlib import Path

import numpy as np
import pytest

from tailshard.errors import StoreError
from tailshard.learning import Sampling
from tailshard.store.inspection import inspect_mixing, inspect_store
from tailshard.store.read import open_channel


@pytest.fixture(scope="module")
def store(tmp_path_factory, build_store) -> Path:
    folder = tmp_path_factory.mktemp("inspected")
    build_store(folder, {"ttbar": (64, 30), "Zee": (50,), "nothing": (0,)}, {"Zee": 2.0})
    return folder


def test_numbers_are_those_of_the_arrays(store: Path) -> None:
    found = inspect_store(store)
    assert found["events"] == 144
    channels = {each["channel"]: each for each in found["channels"]}
    for name in ("ttbar", "Zee"):
        group, its = open_channel(store, name), channels[name]
        used = group["split"][:] > 0
        scale = {"ttbar": 1.0, "Zee": 2.0}[name]
        weight = scale * group["weight"][:][used]
        assert its["events"] == used.sum() == sum(its["rows"].values())
        assert its["yield"] == pytest.approx(weight.sum())
        assert its["yield_uncertainty"] == pytest.approx(np.sqrt((weight**2).sum()))
        assert its["occupancy"] == pytest.approx((group["rmm"][:][used] != 0).mean())
        means = group["multiplicity"][:][used].mean(axis=0)
        assert list(its["objects"].values()) == pytest.approx(list(means))
    assert channels["nothing"]["events"] == channels["nothing"]["bytes"] == 0
    files = [path for path in (store / "events.zarr").rglob("c/**/*") if path.is_file()]
    assert sum(found["bytes"].values()) == sum(path.stat().st_size for path in files)
    assert sum(found["bytes_per_event"].values()) == pytest.approx(sum(found["bytes"].values()) / 144)


def test_sampling_is_part_of_the_stream_that_is_measured(store: Path) -> None:
    plain = inspect_mixing(store, ("ttbar", "Zee"), 8, 8, 1, {})
    fewer = inspect_mixing(store, ("ttbar", "Zee"), 8, 8, 1, {"ttbar": Sampling(at_most=8)})
    assert plain["orders"][0]["batches"] > fewer["orders"][0]["batches"]
    assert plain["random_draws"] < plain["orders"][0]["ideal_entropy"]
    with pytest.raises(StoreError, match="no channel 'gone'"):
        inspect_mixing(store, ("gone",), 8, 8, 1, {})

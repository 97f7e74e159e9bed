"""What is written into a blind sample, and what does not show."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tests.clusters import threads_of_this_process
from tests.collisions import GEOMETRY

from tailshard.blind.hide import Hiding, hide
from tailshard.blind.mix import BLIND, RUN
from tailshard.config import Features
from tailshard.errors import ConfigError
from tailshard.progress import silent
from tailshard.store.catalog import Catalog, write_catalog
from tailshard.store.check_slot import ChannelArrays, check_slot
from tailshard.store.layout import columns
from tailshard.store.read import ShardReader, read_rows

SIGNALS = ("heavy", "heavier")
SEED = 4


class Hidden(NamedTuple):
    store: Path
    truth: dict[str, Any]
    public: dict[str, Any]
    catalog: Catalog

    def read(self, *names: str) -> dict[str, np.ndarray]:
        parts = []
        for slot in self.catalog.slots_of(BLIND):
            first = self.catalog.geometry.first_row(slot.index)
            parts.append(read_rows(self.store, BLIND, names, first, first + slot.selected))
        return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _hide(
    small: Any, client: Any, store: Path, progress: Any = silent, seed: int = SEED, **what: Any
) -> Hidden:
    hiding = Hiding(**{"nothing": 0.0, "events": (20, 30), **what})
    its = hide(small.pipeline, small.store, small.catalog, store, SIGNALS, hiding, seed, client, progress)
    return Hidden(store, *its)


@pytest.fixture(scope="module")
def hidden(small: Any, client: Any, tmp_path_factory: pytest.TempPathFactory) -> Hidden:
    return _hide(small, client, tmp_path_factory.mktemp("blind") / "store")


def _rows_of(small: Any, channel: str, splits: tuple[str, ...] = ("test",)) -> set[bytes]:
    found = set()
    for slot in small.catalog.slots_of(channel):
        for split in splits:
            where = small.catalog.geometry.split_range(slot, split)
            if where[0] < where[1]:
                found |= {row.tobytes() for row in ShardReader(small.store).read(channel, "objects", *where)}
    return found


def test_the_signal_is_there_and_the_truth_knows_where(small: Any, hidden: Hidden) -> None:
    its = hidden.read("objects", "event_number")
    signal = np.isin(its["event_number"], hidden.truth["event_numbers"])
    assert hidden.truth["signal"] in SIGNALS
    assert 20 <= signal.sum() == hidden.truth["events"] <= 30
    injected = {row.tobytes() for row in its["objects"][signal]}
    assert len(injected) == hidden.truth["events"], "no signal event is there twice"
    assert injected <= _rows_of(small, hidden.truth["signal"])
    others = {row.tobytes() for row in its["objects"][~signal]}
    assert others <= _rows_of(small, "zjets") | _rows_of(small, "ttbar")
    assert len(its["event_number"]) == hidden.public["blind_events"] == hidden.truth["others"] + signal.sum()


def test_there_is_as_much_background_as_is_expected(small: Any, hidden: Hidden) -> None:
    expected = sum(small.catalog.sum_of_weights(name, "test") for name in ("zjets", "ttbar")) / 0.2
    assert hidden.truth["expected_others"] == pytest.approx(expected)
    assert abs(hidden.truth["others"] - expected) < 5 * np.sqrt(expected)
    assert 0 < hidden.truth["negative_weight"]["ttbar"] < 0.2
    assert hidden.truth["negative_weight"]["zjets"] == pytest.approx(0)


def test_nothing_that_is_written_tells_signal_from_background(hidden: Hidden) -> None:
    its = hidden.read("event_number", "entry", "run", "weight", "split")
    signal = np.isin(its["event_number"], hidden.truth["event_numbers"])
    assert (its["weight"] == 1).all()
    assert (its["run"] == RUN).all()
    np.testing.assert_array_equal(np.sort(its["event_number"]), 1 + np.arange(len(signal)))
    np.testing.assert_array_equal(its["entry"], its["event_number"] - 1)
    # Places are those of a random order: their mean is that of uniform numbers, and every slot has its share.
    places = its["entry"][signal] / len(signal)
    assert abs(places.mean() - 0.5) < 5 * np.sqrt(1 / 12 / signal.sum())
    assert len(hidden.catalog.slots_of(BLIND)) > 1
    in_slot = np.bincount(its["entry"][signal].astype(int) // GEOMETRY.slot)
    assert in_slot.max() < 5 * signal.sum() / len(in_slot)
    in_split = np.bincount(its["split"][signal], minlength=4)[1:]
    assert (np.abs(in_split - np.array([0.6, 0.2, 0.2]) * signal.sum()) < 15).all()


def test_no_file_and_no_note_names_what_was_hidden(hidden: Hidden) -> None:
    names = {path.name for path in hidden.store.rglob("*")}
    assert not names & {"zjets", "ttbar", *SIGNALS, "pieces"}
    entries = [slot.model_dump() for slot in hidden.catalog.slots_of(BLIND)]
    text = json.dumps(entries)
    for channel in ("zjets", "ttbar", *SIGNALS):
        assert channel not in text
        for path in hidden.store.rglob("zarr.json"):
            assert f'"{channel}"' not in path.read_text()
    assert {entry["url"] for entry in entries} == {BLIND}
    assert str(SEED) not in json.dumps({**hidden.public, "blind_events": 0, "signals": 0, "events": 0})


def test_the_layout_is_the_same_whatever_is_hidden(small: Any, client: Any, tmp_path: Path) -> None:
    """Files, arrays, and what progress says: only the number of events may differ."""

    def told(store: Path, **what: Any) -> tuple[list[Any], Hidden]:
        said: list[Any] = []
        found = _hide(small, client, store, lambda *its: said.append(its), **what)
        slots = len(found.catalog.slots_of(BLIND))
        return [its for its in said if its[0] != "mixing events"] + [("slots", slots)], found

    something, first = told(tmp_path / "something")
    nothing, second = told(tmp_path / "nothing", nothing=1.0)
    assert first.truth["signal"]
    assert second.truth["signal"] is None
    assert second.truth["events"] == 0
    assert second.truth["event_numbers"] == []
    assert something == nothing
    told_to_all = {"blind_events": 0, "nothing": 0}
    assert {**first.public, **told_to_all} == {**second.public, **told_to_all}
    files = [{str(path.relative_to(its.store)) for path in its.store.rglob("*")} for its in (first, second)]
    assert files[0] == files[1]


def test_the_sample_is_a_whole_channel(small: Any, hidden: Hidden) -> None:
    """All that verify asks of a slot: rows, sums, statistics, and matrices from the objects."""
    write_catalog(hidden.store, hidden.catalog)
    names = [*columns(GEOMETRY, {}), "met", "m_ll", "statistics", "magnitudes"]
    arrays = ChannelArrays(tuple(name for name in names if name != "error"), scored=False)
    features = Features.model_validate({"center_of_mass_energy": 13000})
    for slot in hidden.catalog.slots_of(BLIND):
        assert check_slot(hidden.store, GEOMETRY, features, arrays, slot) == []
    assert [channel.name for channel in hidden.catalog.channels] == ["zjets", "ttbar", *SIGNALS, BLIND]
    assert hidden.catalog.channel(BLIND).kind == "data"


def _digest(hidden: Hidden) -> str:
    its = hidden.read("objects", "event_number", "split", "met")
    return hashlib.sha256(b"".join(values.tobytes() for values in its.values())).hexdigest()


def test_one_worker_and_two_hide_the_same(small: Any, hidden: Hidden, tmp_path: Path) -> None:
    with threads_of_this_process(1) as alone:
        again = _hide(small, alone, tmp_path / "store")
        other = _hide(small, alone, tmp_path / "other", seed=SEED + 1)
    assert again.truth == hidden.truth
    assert again.catalog == hidden.catalog
    assert _digest(again) == _digest(hidden) != _digest(other)


def test_a_signal_in_data_leaves_every_event_of_the_data(small: Any, client: Any, tmp_path: Path) -> None:
    its = _hide(small, client, tmp_path / "store", into="data")
    read = its.read("objects", "event_number")
    signal = np.isin(read["event_number"], its.truth["event_numbers"])
    data = {row.tobytes() for row in read["objects"][~signal]}
    assert data == _rows_of(small, "data", ("training", "validation", "test"))
    assert its.truth["others"] == small.catalog.rows("data")


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ({"nothing": 1.5}, "probability of nothing is 1.5"),
        ({"events": (10, 5)}, "goes from 10 to 5"),
        ({"events": (0, 5)}, "begin with 1 or more"),
        ({"into": "signal"}, "not in 'signal'"),
    ],
)
def test_what_cannot_be_hidden_is_refused(what: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Hiding(**what)


def test_more_signal_than_there_is_is_refused(small: Any, client: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 5000 signal events are asked for, but heavier has"):
        _hide(small, client, tmp_path / "store", events=(5000, 6000))

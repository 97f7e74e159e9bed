"""What a model was trained on, and how the next one begins with it."""

from pathlib import Path

import pytest
import torch

from tailshard.errors import WorkdirError
from tailshard.store.catalog import read_catalog
from tailshard.train.checkpoint import load_model
from tailshard.train.distributed import train
from tailshard.train.in_force import (
    PREVIOUS,
    beginning,
    note_training,
    previous_hash,
    set_aside,
    trained_on,
)

CHANNELS = ("diboson", "top")


def test_what_came_and_went_since_is_counted(store: Path, tmp_path: Path) -> None:
    note_training(tmp_path, store, CHANNELS)
    catalog = read_catalog(store)
    found = trained_on(tmp_path, catalog, CHANNELS)
    assert (found.events, found.new_events, found.gone_events, found.present_events) == (420, 0, 0, 420)
    slots = [slot for slot in catalog.slots if slot.channel != "top"]
    more = catalog.slots_of("diboson")[0].model_copy(
        update={"index": 1, "key": "another", "rows": (70, 1, 1)}
    )
    found = trained_on(tmp_path, catalog.changed(slots=[*slots, more]), CHANNELS)
    assert (found.new_events, found.gone_events, found.present_events) == (70, 120, 370)
    assert found.new == {"diboson": (more,), "top": ()}


def test_without_a_note_it_says_so(store: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkdirError, match="run 'tailshard train' again"):
        trained_on(tmp_path, read_catalog(store), CHANNELS)


def test_training_begins_with_the_network_in_force(store: Path, pipeline, tmp_path: Path) -> None:
    first = train(pipeline(epochs=2), store, tmp_path / "first", in_process=True)
    set_aside(tmp_path / "first")
    previous = tmp_path / "first" / PREVIOUS
    assert previous.read_bytes() == first.path.read_bytes()
    # So small a step that the network stays where it begins.
    still = pipeline(epochs=1, learning_rate=1e-12)
    second = train(still, store, tmp_path / "second", in_process=True, initial=previous)
    before, after = (load_model(result.path).network.state_dict() for result in (first, second))
    for name, values in before.items():
        torch.testing.assert_close(values, after[name], rtol=0, atol=1e-9)
    anew = load_model(train(still, store, tmp_path / "third", in_process=True).path).network.state_dict()
    assert any(not torch.allclose(before[name], anew[name], atol=1e-3) for name in before)


def test_another_network_is_no_beginning(store: Path, pipeline, tmp_path: Path) -> None:
    told: list[str] = []
    first = train(pipeline(epochs=1), store, tmp_path / "first", in_process=True)
    other = pipeline("ae_large", epochs=1)
    train(
        other,
        store,
        tmp_path / "other",
        lambda what, *_: told.append(what),
        in_process=True,
        initial=first.path,
    )
    assert any("is another network" in what for what in told)


def test_what_a_training_began_with_stays_until_it_has_ended_well(tmp_path: Path) -> None:
    member = tmp_path / "seed_2"
    member.mkdir()
    for folder in (tmp_path, member):
        (folder / "model.pt").write_bytes(b"weights")
    set_aside(tmp_path)
    first = [folder / PREVIOUS for folder in (tmp_path, member)]
    (tmp_path / "model.pt").unlink()
    assert previous_hash(tmp_path) == previous_hash(member)
    with pytest.raises(ZeroDivisionError), beginning(tmp_path, warm_start=True):
        raise ZeroDivisionError
    assert all(path.read_bytes() == b"weights" for path in first)  # for the next update to begin with
    with beginning(tmp_path, warm_start=True):
        pass
    assert not any(path.exists() for path in first)
    assert previous_hash(tmp_path) is None
    first[0].write_bytes(b"old")
    with beginning(tmp_path, warm_start=False):
        assert not first[0].exists()

"""What is kept of slots and groups of slots: found again bit for bit, made only where it is absent."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tailshard.errors import StoreError
from tailshard.progress import silent
from tailshard.search.filling import empty, spectrum_axes
from tailshard.search.histogram import histogram
from tailshard.search.partials import (
    Leaf,
    Partials,
    keep_filled,
    keep_json,
    keep_tables,
    make_and_keep,
    read_kept,
)
from tailshard.search.reduction import FAN_IN, reduce_slots
from tailshard.search.score import score
from tailshard.store.catalog import read_catalog, write_catalog
from tailshard.store.write import clear_slot


def _bracket(parts: list[str]) -> str:
    return f"({' '.join(parts)})"


def _leaves(places) -> dict[str, list[Leaf]]:
    return {"a": [Leaf(place, f"slot-{place}") for place in places]}


def _reduced(client, partials, places, called: Path) -> str:
    def call(place: int) -> str:
        (called / str(place)).touch()
        return str(place)

    called.mkdir(exist_ok=True)
    calls = {"a": [(place,) for place in places]}
    return reduce_slots(client, "adding", call, calls, _bracket, silent, partials, _leaves(places))["a"]


def _called(folder: Path) -> set[int]:
    return {int(path.name) for path in folder.iterdir()}


def test_only_new_slots_are_made_and_the_sum_is_the_same(client, tmp_path: Path) -> None:
    slots = FAN_IN**2 + 3
    partials = keep_json(tmp_path / "kept", "names")
    assert partials is not None
    _reduced(client, partials, range(slots), tmp_path / "first")
    assert (partials.made, partials.kept) == (slots, 0)
    again = keep_json(tmp_path / "kept", "names")
    assert again is not None
    found = _reduced(client, again, range(slots + 1), tmp_path / "second")
    assert _called(tmp_path / "second") == {slots}
    assert (again.made, again.kept) == (1, slots)
    assert found == _reduced(client, None, range(slots + 1), tmp_path / "scratch")


def test_a_slot_that_is_gone_leaves_the_places_of_the_others(client, tmp_path: Path) -> None:
    partials = keep_json(tmp_path / "kept", "names")
    assert partials is not None
    _reduced(client, partials, range(3 * FAN_IN), tmp_path / "first")
    left = [place for place in range(3 * FAN_IN) if place != FAN_IN + 2]
    found = _reduced(client, partials, left, tmp_path / "second")
    assert _called(tmp_path / "second") == set()
    assert found == _reduced(client, None, left, tmp_path / "scratch")
    groups = found.strip("()").split(") (")
    assert [len(group.split()) for group in groups] == [FAN_IN, FAN_IN - 1, FAN_IN]


def test_what_no_slot_needs_any_more_is_removed(client, tmp_path: Path) -> None:
    partials = keep_json(tmp_path / "kept", "names")
    assert partials is not None
    _reduced(client, partials, range(2 * FAN_IN), tmp_path / "first")
    assert len(list(partials.folder.iterdir())) == 2 * FAN_IN + 3
    _reduced(client, partials, range(FAN_IN), tmp_path / "second")
    assert len(list(partials.folder.iterdir())) == FAN_IN + 1


def test_everything_kept_is_one_file_to_read(client, tmp_path: Path) -> None:
    partials = keep_json(tmp_path / "kept", "names")
    assert partials is not None
    first = _reduced(client, partials, range(FAN_IN + 1), tmp_path / "first")
    reports: list[tuple[str, int, int]] = []
    calls = {"a": [(place,) for place in range(FAN_IN + 1)]}
    again = reduce_slots(
        client,
        "adding",
        _bracket,  # of no list: it would fail if it were called
        calls,
        _bracket,
        lambda *report: reports.append(report),
        partials,
        _leaves(range(FAN_IN + 1)),
    )
    assert again == {"a": first}
    assert reports == []


def test_histograms_are_kept_bit_for_bit(tmp_path: Path) -> None:
    partials = keep_filled(tmp_path, "spectra")
    assert partials is not None
    filled = empty(spectrum_axes({"met": "MET [GeV]"}), None)
    random = np.random.default_rng(1)
    values, weight = random.normal(-2, 1, 500), random.normal(1, 1, 500)
    filled["error_fine"].fill(split="test", error=values, weight=weight)
    partials.folder.mkdir()
    partials.write(filled, partials.folder / "one")
    found = partials.read(partials.folder / "one")
    assert list(found) == list(filled)
    for name, histogram_ in filled.items():
        assert found[name] == histogram_
        assert found[name].view(flow=True).tobytes() == histogram_.view(flow=True).tobytes()


@pytest.mark.parametrize("content", [b"nothing", b""])
def test_a_damaged_file_is_refused_and_made_anew_the_next_time(tmp_path: Path, content: bytes) -> None:
    partials: Partials = keep_filled(tmp_path, "spectra")  # type: ignore[assignment]
    partials.folder.mkdir()
    (partials.folder / "one").write_bytes(content)
    with pytest.raises(StoreError, match=r"was damaged .* and is removed; run the same again"):
        read_kept(partials.read, partials.folder / "one")
    assert "one" not in partials


@pytest.mark.parametrize("keep", [keep_filled, keep_json, keep_tables])
def test_a_flipped_bit_is_noticed_in_whatever_is_kept(tmp_path: Path, keep) -> None:
    made = {
        keep_filled: empty(spectrum_axes({}), None),
        keep_json: {"runs": [[1, 12345]]},
        keep_tables: pa.table({"error": [1.0, 2.5]}),
    }
    partials = keep(tmp_path, "some")
    path = partials.folder / "one"
    make_and_keep(lambda: made[keep], partials.write, path)
    assert read_kept(partials.read, path) == made[keep]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"its checksum is wrong.*run the same again"):
        read_kept(partials.read, path)


@pytest.fixture
def scored(small, client, tmp_path: Path):
    """A store of its own, scored."""
    pipeline = small.pipeline(small.channels)
    small.store(tmp_path / "store", pipeline)
    score(pipeline, tmp_path / "store", small.model(tmp_path / "model.pt"), client)
    return pipeline


def _texts(folder: Path) -> list[str]:
    names = ("histograms.json", "regions.json", "summary.json", "candidates.csv")
    return [(folder / name).read_text() for name in names]


def test_the_stage_reads_only_slots_that_are_new_to_it(scored, client, tmp_path: Path) -> None:
    store, kept = tmp_path / "store", tmp_path / "partials"
    catalog = read_catalog(store)
    last = catalog.slots_of("data")[-1]
    write_catalog(store, catalog.changed(slots=[slot for slot in catalog.slots if slot != last]))
    slots = len(catalog.slots)
    first = histogram(scored, store, tmp_path / "results", client, kept=kept)
    assert (first.filled, first.kept) == (slots - 1, 0)
    write_catalog(store, catalog)
    second = histogram(scored, store, tmp_path / "results", client, kept=kept)
    assert (second.filled, second.kept) == (1, slots - 1)
    histogram(scored, store, tmp_path / "scratch", client)
    assert _texts(tmp_path / "results") == _texts(tmp_path / "scratch")


def test_what_was_made_with_another_model_is_not_used(scored, small, client, tmp_path: Path) -> None:
    store, kept = tmp_path / "store", tmp_path / "partials"
    histogram(scored, store, tmp_path / "results", client, kept=kept)
    score(scored, store, small.model(tmp_path / "model.pt", bias=0.5), client)
    again = histogram(scored, store, tmp_path / "results", client, kept=kept)
    assert again.kept == 0
    histogram(scored, store, tmp_path / "scratch", client)
    assert _texts(tmp_path / "results") == _texts(tmp_path / "scratch")


def test_only_slots_without_scores_are_scored(scored, small, client, tmp_path: Path) -> None:
    store = tmp_path / "store"
    slots = sum(bool(slot.selected) for slot in read_catalog(store).slots)
    model = tmp_path / "model.pt"
    assert score(scored, store, model, client).slots == {"scored": 0, "kept": slots}
    (store / "events.zarr" / "data" / "error" / "c" / "1").unlink()
    assert score(scored, store, model, client).slots == {"scored": 1, "kept": slots - 1}
    assert score(scored, store, model, client, anew=True).slots["kept"] == 0
    clear_slot(store, "data", 1)  # its rows, too: this must be noticed, and not be scored as zeros
    with pytest.raises(StoreError):
        score(scored, store, model, client)

import json

import pytest
from pydantic import ValidationError

from tailshard.errors import StoreError
from tailshard.store.catalog import (
    Catalog,
    Channel,
    CutflowStep,
    Quarantined,
    Slot,
    catalog_path,
    read_catalog,
    write_catalog,
)
from tailshard.store.layout import Geometry


def slot(channel: str = "ttbar", index: int = 0, dataset: str = "ttbar_2l", **changes) -> Slot:
    fields = {
        "channel": channel,
        "index": index,
        "dataset": dataset,
        "url": f"{dataset}.root",
        "uuid": "8f3c",
        "tree": "mini",
        "start": 0,
        "stop": 100,
        "key": f"{dataset}-{index}",
        "rows": (6, 3, 1),
        "sum_of_weights": (6.5, 3.25, 1.0),
        "sum_of_squared_weights": (8.0, 4.0, 2.0),
        "cutflow": (CutflowStep("all", 100, 50.0), CutflowStep("two leptons", 10, 10.75)),
        "selected": 10,
    }
    return Slot(**{**fields, **changes})


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(
        geometry=Geometry(slot=64, chunk=8, counts=(1, 1, 1, 1)),
        channels=(
            Channel(name="ttbar", kind="background", label=r"$t\bar{t}$"),
            Channel(name="Zee", kind="background"),
        ),
        slots=(
            slot("Zee", 0, "Zee"),
            slot("ttbar", 1, "ttbar_1l"),
            slot("ttbar", 0),
        ),
        quarantine=(Quarantined(dataset="ttbar_1l", url="bad.root", reason="truncated"),),
        scales={"ttbar_1l": 2.0},
        provenance={"selection": {"name": "two_lepton"}, "third": 1 / 3},
    )


def test_catalog_comes_back_as_it_was_written(tmp_path, catalog):
    write_catalog(tmp_path, catalog)
    assert read_catalog(tmp_path) == catalog
    assert read_catalog(tmp_path).snapshot_id() == catalog.snapshot_id()


def test_equal_catalogs_have_equal_bytes(tmp_path, catalog):
    write_catalog(tmp_path / "a", catalog)
    write_catalog(tmp_path / "b", catalog.changed(slots=catalog.slots[::-1]))
    assert catalog_path(tmp_path / "a").read_bytes() == catalog_path(tmp_path / "b").read_bytes()


def test_replacing_leaves_nothing_else_behind(tmp_path, catalog):
    write_catalog(tmp_path, catalog)
    write_catalog(tmp_path, catalog.changed(slots=()))
    assert [file.name for file in tmp_path.iterdir()] == ["catalog.json"]
    assert read_catalog(tmp_path).slots == ()


def test_slots_are_sorted_by_channel_and_index(catalog):
    assert [(found.channel, found.index) for found in catalog.slots] == [
        ("ttbar", 0),
        ("ttbar", 1),
        ("Zee", 0),
    ]
    assert [found.index for found in catalog.slots_of("ttbar")] == [0, 1]


def test_sums_are_scaled_by_data_set(catalog):
    assert catalog.rows("ttbar") == 20
    assert catalog.rows("ttbar", "validation") == 6
    assert catalog.sum_of_weights("ttbar", "training") == 6.5 + 2 * 6.5
    assert catalog.sum_of_weights("ttbar") == 10.75 + 2 * 10.75
    assert catalog.sum_of_squared_weights("ttbar", "test") == 2 + 4 * 2
    assert catalog.cutflow("ttbar") == (("all", 200, 150.0), ("two leptons", 20, 32.25))


def test_channel_without_slots_is_empty(catalog):
    empty = catalog.changed(slots=catalog.slots_of("ttbar"))
    assert empty.rows("Zee") == 0
    assert empty.sum_of_weights("Zee", "test") == 0
    assert empty.cutflow("Zee") == ()


def test_unknown_channel_is_named_with_those_there_are(catalog):
    with pytest.raises(StoreError, match=r"no channel 'Wt', only ttbar, Zee"):
        catalog.slots_of("Wt")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"slots": (slot(), slot(index=1, dataset="ttbar_1l", key="other"))}, id="content"),
        pytest.param({"slots": (slot(), slot(index=2, dataset="ttbar_1l"))}, id="place"),
        pytest.param({"slots": (slot(),)}, id="slot_gone"),
        pytest.param({"scales": {}}, id="scale"),
        pytest.param({"geometry": Geometry(slot=64, chunk=16, counts=(1, 1, 1, 1))}, id="geometry"),
    ],
)
def test_snapshot_changes_with(catalog, change):
    assert catalog.changed(**change).snapshot_id(["ttbar"]) != catalog.snapshot_id(["ttbar"])


def test_snapshot_ignores_other_channels_and_the_order_of_names(catalog):
    without = catalog.changed(slots=catalog.slots_of("ttbar"))
    assert without.snapshot_id(["ttbar"]) == catalog.snapshot_id(["ttbar"])
    assert without.snapshot_id() != catalog.snapshot_id()
    assert catalog.snapshot_id(["Zee", "ttbar"]) == catalog.snapshot_id(["ttbar", "Zee"])
    assert catalog.snapshot_id() == catalog.snapshot_id(["ttbar", "Zee"])


def test_snapshot_ignores_what_makes_no_rows(catalog):
    assert catalog.changed(quarantine=(), provenance={}).snapshot_id() == catalog.snapshot_id()


def test_two_entries_for_one_slot_are_refused(catalog):
    with pytest.raises(ValidationError, match="two entries"):
        catalog.changed(slots=(slot(), slot()))


def test_slots_of_undeclared_channels_are_refused(catalog):
    with pytest.raises(ValidationError, match="unknown channels"):
        catalog.changed(channels=catalog.channels[:1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param('{"version": 1, "geome', "damaged", id="torn"),
        pytest.param("", "damaged", id="empty"),
        pytest.param('{"version": 99}', "version 99, this tailshard reads 2", id="newer_version"),
        pytest.param("[1, 2]", "version None", id="foreign_list"),
        pytest.param('{"name": "other"}', "version None", id="foreign_object"),
        pytest.param('{"version": 2}', "not a catalog.*geometry", id="incomplete"),
    ],
)
def test_bad_file_is_a_store_error_that_says_what_to_do(tmp_path, content, message):
    catalog_path(tmp_path).write_text(content)
    with pytest.raises(StoreError, match=f"(?s){message}.*run tailshard ingest"):
        read_catalog(tmp_path)


def test_absent_store_says_what_to_run(tmp_path):
    with pytest.raises(StoreError, match=r"no store at .*absent.*run tailshard ingest"):
        read_catalog(tmp_path / "nowhere")


def test_a_digit_that_has_changed_is_damage(tmp_path, catalog):
    write_catalog(tmp_path, catalog)
    path = catalog_path(tmp_path)
    assert '"ttbar_1l": 2.0' in path.read_text()
    path.write_text(path.read_text().replace('"ttbar_1l": 2.0', '"ttbar_1l": 3.0'))
    with pytest.raises(StoreError, match=r"is damaged .*checksum.*run tailshard ingest"):
        read_catalog(tmp_path)


def test_file_is_readable_json_without_times(tmp_path, catalog):
    write_catalog(tmp_path, catalog)
    content = json.loads(catalog_path(tmp_path).read_text())
    assert content["version"] == 2
    assert set(content) == {
        "crc32c",
        "version",
        "geometry",
        "channels",
        "slots",
        "quarantine",
        "scales",
        "warnings",
        "provenance",
    }

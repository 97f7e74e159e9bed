"""The history of updates: a line for each, once."""

from tailshard.search.history import add_to_history, read_history
from tailshard.store.catalog import read_catalog

MODEL = {"model": "m", "trained_on": 3, "training_events": 4, "retrained": False, "why": "", "drift": {}}
SUMMARY = {
    "regions": [
        {
            "name": "inclusive",
            "threshold": None,
            "background": {"value": 2.0, "uncertainty": 0.5},
            "data": 3.0,
        }
    ]
}


def test_a_line_is_added_once_for_each_result(searched, tmp_path) -> None:
    catalog = read_catalog(searched.store)
    assert read_history(tmp_path) == []
    for key in ("a", "a", "b"):
        add_to_history(tmp_path, catalog, SUMMARY, key, MODEL)
    first, second = read_history(tmp_path)
    assert (first["results"], second["results"]) == ("a", "b")
    assert first["events"] == {channel: catalog.rows(channel) for channel in searched.pipeline.channels}
    assert first["files"] == len({slot.url for slot in catalog.slots})
    assert first["regions"]["inclusive"] == {
        "threshold": None,
        "background": 2.0,
        "uncertainty": 0.5,
        "data": 3.0,
    }


def test_a_damaged_line_is_left_out(searched, tmp_path) -> None:
    add_to_history(tmp_path, read_catalog(searched.store), SUMMARY, "a", MODEL)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"time": "20')
    assert [line["results"] for line in read_history(tmp_path)] == ["a"]

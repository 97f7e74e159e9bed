"""What is told of a search, from a work directory of real files."""

import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tailshard.errors import ClusterError, InputError
from tailshard.learning import Training
from tailshard.ledger import Ledger
from tailshard.monitoring import TEXTFILE, Metrics, published
from tailshard.monitoring.metrics import HELP
from tailshard.train.metrics import EpochMetrics, write_metrics

INGESTED = {
    "slots": {"written": 8, "kept": 2, "freed": 0},
    "entries_read": 4000,
    "events": {"zjets": 900, "4top": 100},
    "quarantine": [{"url": "bad.root"}],
    "warnings": ["a", "b"],
}


def read(text: str) -> dict[tuple[str, ...], float]:
    """Metric and its labels, but for the search -> value."""
    return {
        (sample.name, *(label for name, label in sample.labels.items() if name != "search")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def metrics(tmp_path: Path) -> Metrics:
    ledger = Ledger.open(tmp_path, "small")
    return Metrics("small", tmp_path, lambda: ledger, Training())


def epoch(number: int) -> EpochMetrics:
    return EpochMetrics(number, 0.5, 0.75, 10.0, 1.0, 2.5, 1234.0, 1e-3, 2, "cpu")


def test_the_work_directory_tells_what_was_done_before(metrics: Metrics, tmp_path: Path) -> None:
    made = metrics.ledger()
    made.record("ingest", {}, INGESTED, [])
    made.keep(
        "decision", why="few", drift={"features": None, "errors": {"value": 0.3, "chance": 0, "where": ""}}
    )
    write_metrics(tmp_path / "model", [epoch(1), epoch(2)])
    with published(metrics):
        pass
    found = read((tmp_path / TEXTFILE).read_text())
    expected = {
        ("tailshard_store_events", "zjets"): 900,
        ("tailshard_store_events", "4top"): 100,
        ("tailshard_quarantined_inputs",): 1,
        ("tailshard_warnings",): 2,
        ("tailshard_training_epoch", "1"): 2,
        ("tailshard_training_loss", "1", "training"): 0.5,
        ("tailshard_training_loss", "1", "validation"): 0.75,
        ("tailshard_training_loader_wait_ratio", "1"): 0.25,
        ("tailshard_training_events_per_second", "1"): 1234,
        ("tailshard_drift", "errors"): 0.3,
        ("tailshard_running",): 0,
        ("tailshard_last_run_success",): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert ("tailshard_drift", "features") not in found
    assert abs(found["tailshard_stage_success_timestamp_seconds", "ingest"] - time.time()) < 60


def test_every_network_of_an_ensemble_is_told_of(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "small")
    for seed in (3, 5):
        write_metrics(tmp_path / "model" / f"seed_{seed}", [epoch(seed)])
    with published(Metrics("small", tmp_path, lambda: ledger, Training(seeds=(3, 5)))):
        pass
    found = read((tmp_path / TEXTFILE).read_text())
    assert {key[1]: found[key] for key in found if key[0] == "tailshard_training_epoch"} == {"3": 3, "5": 5}


def test_progress_and_throughput_of_a_stage(metrics: Metrics, tmp_path: Path) -> None:
    passed: list[tuple[str, int, int]] = []
    with published(metrics) as write:
        progress = metrics.watch(lambda *told: passed.append(told), write)
        with metrics.stage("ingest") as done:
            progress("a message", 0, 0)
            progress("fill slots", 3, 8)
            during = read(metrics_text(metrics))
            time.sleep(0.01)
            done(INGESTED)
    assert passed == [("a message", 0, 0), ("fill slots", 3, 8)]
    assert during["tailshard_progress_done", "ingest", "fill slots"] == 3
    assert during["tailshard_progress_total", "ingest", "fill slots"] == 8
    assert during["tailshard_stage_running", "ingest"] == during["tailshard_running",] == 1
    after = read((tmp_path / TEXTFILE).read_text())
    seconds = after["tailshard_stage_seconds", "ingest"]
    assert seconds > 0.01
    assert after["tailshard_stage_events_per_second", "ingest"] == pytest.approx(4000 / seconds)
    assert after["tailshard_stage_slots_per_second", "ingest"] == pytest.approx(8 / seconds)
    assert after["tailshard_stage_running", "ingest"] == after["tailshard_stage_failed", "ingest"] == 0


def metrics_text(metrics: Metrics) -> str:
    from prometheus_client import generate_latest

    return generate_latest(metrics.registry).decode()


def test_a_run_that_fails_says_so_until_one_ends_well(metrics: Metrics, tmp_path: Path) -> None:
    with pytest.raises(InputError), published(metrics), metrics.stage("ingest"):
        raise InputError("no files")
    found = read((tmp_path / TEXTFILE).read_text())
    assert found["tailshard_last_run_success",] == 0
    assert found["tailshard_stage_failed", "ingest"] == 1

    again = Metrics("small", tmp_path, metrics.ledger)
    with published(again):  # it never comes as far as the stage
        running = read((tmp_path / TEXTFILE).read_text())
    assert running["tailshard_last_run_success",] == 0
    assert running["tailshard_running",] == 1
    found = read((tmp_path / TEXTFILE).read_text())
    assert found["tailshard_last_run_success",] == 1
    assert found["tailshard_stage_failed", "ingest"] == 1


def test_a_file_that_is_damaged_is_made_anew(metrics: Metrics, tmp_path: Path) -> None:
    (tmp_path / TEXTFILE).write_text("tailshard_stage_seconds{ 5\x00")
    with published(metrics):
        pass
    assert ("tailshard_running",) in read((tmp_path / TEXTFILE).read_text())


def test_names_with_any_characters_are_labels(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "small")
    ledger.record("ingest", {}, {**INGESTED, "events": {'a"}\n\\': 1}}, [])
    with published(Metrics("small", tmp_path, lambda: ledger)):
        pass
    assert read((tmp_path / TEXTFILE).read_text())["tailshard_store_events", 'a"}\n\\'] == 1


def test_an_address_that_is_taken_is_a_cluster_error(metrics: Metrics, tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"cannot be served at {address}"), published(metrics, address):
            pass


def test_every_metric_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "dashboards.md").read_text(encoding="utf-8")
    assert {name for name in HELP if f"`{name}`" not in text} == set()

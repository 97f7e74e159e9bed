from pathlib import Path

import pytest

from tailshard.config import Pipeline
from tailshard.ingest.plan import plan, prepare
from tailshard.ingest.survey import survey
from tailshard.store.catalog import read_catalog


def test_a_plan_counts_and_estimates_and_writes_nothing(toy_pipeline: Pipeline, toys: Path) -> None:
    before = sorted(toys.rglob("*"))
    result = plan(toy_pipeline)
    assert sorted(toys.rglob("*")) == before
    assert result["quarantine"] == []
    assert result["slots"] == sum(row["partitions"] for row in result["datasets"])
    assert all(row["entries"] > 0 for row in result["datasets"])
    assert result["ingest_task_bytes"] > 512 * 23 * 23 * 4
    assert set(result["estimates"]) == {"slots", "store", "ingest", "training", "scoring"}


def test_slots_are_numbered_by_channel_and_the_plan_is_repeatable(
    toy_pipeline: Pipeline, tmp_path: Path
) -> None:
    surveyed = survey(toy_pipeline)
    _, tasks, freed = prepare(toy_pipeline, tmp_path / "a", surveyed)
    _, again, _ = prepare(toy_pipeline, tmp_path / "b", surveyed)
    assert tasks == again
    assert freed == 0
    channel = {dataset.identity: dataset.channel for dataset in toy_pipeline.datasets}
    for name in toy_pipeline.channels:
        indices = [task.index for task in tasks if channel[task.partition.dataset] == name]
        assert indices == list(range(len(indices)))
    assert len({task.key for task in tasks}) == len(tasks)
    assert read_catalog(tmp_path / "a").slots == ()


@pytest.mark.parametrize(
    ("part", "changes_simulation", "changes_data"),
    [
        pytest.param({"luminosity": 20.0}, True, False, id="luminosity is nothing to data"),
        pytest.param({"description": "other words"}, False, False, id="words change nothing"),
        pytest.param({"splits": {"seed": 2}}, True, True, id="splits"),
        pytest.param({"selection": {"name": "two_lepton"}}, True, True, id="selection"),
        pytest.param({"features": {"convention": "thesis"}}, True, True, id="features"),
        pytest.param({"training": {"epochs": 99}}, False, False, id="training"),
    ],
)
def test_a_slot_is_stale_exactly_when_its_content_would_change(
    toy_pipeline: Pipeline,
    tmp_path: Path,
    part: dict[str, object],
    changes_simulation: bool,
    changes_data: bool,
) -> None:
    def keys(pipeline: Pipeline, store: str) -> dict[str, set[str]]:
        _, tasks, _ = prepare(pipeline, tmp_path / store, surveyed)
        return {
            kind: {task.key for task in tasks if (task.partition.dataset == "data") == (kind == "data")}
            for kind in ("data", "simulation")
        }

    surveyed = survey(toy_pipeline)
    changed = Pipeline.model_validate({**toy_pipeline.model_dump(), **part})
    before, after = keys(toy_pipeline, "before"), keys(changed, "after")
    assert before["simulation"].isdisjoint(after["simulation"]) is changes_simulation
    assert (before["simulation"] == after["simulation"]) is not changes_simulation
    assert (before["data"] == after["data"]) is not changes_data

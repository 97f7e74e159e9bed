"""A search in an object store is the search in a folder, byte for byte."""

import json
from pathlib import Path

import pytest
from tests.clusters import threads_of_this_process

from tailshard import object_store
from tailshard.config import Pipeline
from tailshard.errors import WorkdirError
from tailshard.ingest.stage import ingest
from tailshard.object_store import leased
from tailshard.pipeline import Search
from tailshard.pipeline_files import load
from tailshard.places import files_below, place
from tailshard.search.histogram import histogram
from tailshard.search.score import score, unscored
from tailshard.toys import make_toys
from tailshard.train.ensemble import train_all

PIPELINE = """
name: small
luminosity: 0.1
datasets:
  - {channel: zjets, kind: background, dialect: atlas-2025, files: "zjets_*.root"}
  - {channel: resonance, kind: signal, dialect: atlas-2025, files: "resonance_*.root"}
  - {channel: data, kind: data, dialect: atlas-2025, files: "data_0.root"}
model: {name: ae_small}
training: {epochs: 1, batch_size: 128}
store: {slot: 4096, chunk: 64}
limits: null
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    make_toys(tmp_path / "toys", events=500, signal_events=200, files=1)
    (tmp_path / "small.yaml").write_text(PIPELINE)
    return load(tmp_path / "small.yaml", (), str(tmp_path / "toys"))


def _search(pipeline: Pipeline, workdir: Path) -> None:
    """Do all that needs no processes."""
    store, model = workdir / "store", workdir / "model"
    with threads_of_this_process() as client:
        ingest(pipeline, store, client, partials=workdir / "partials")
        train_all(pipeline, store, model, in_process=True)
        scored = score(pipeline, store, model / "model.pt", client)
        assert unscored(store, scored.model) is None
        histogram(pipeline, store, workdir / "results", client, kept=workdir / "partials")


def _content(workdir: Path) -> dict[str, object]:
    """Everything that two searches must have in common: not how long it took."""
    found: dict[str, object] = {}
    for name in files_below(workdir):
        content = (workdir / name).read_bytes()
        if name.endswith("metrics.jsonl"):
            found[name] = [json.loads(line)["validation_loss"] for line in content.splitlines()]
        elif "tensorboard" in name:
            found["tensorboard"] = True
        else:
            # Archives tell when they were made.
            found[name] = content if not name.startswith("partials/") else None
    return found


def test_a_search_in_an_object_store_is_that_in_a_folder(
    bucket: str, pipeline: Pipeline, tmp_path: Path
) -> None:
    there = place(f"{bucket}/some/search")
    _search(pipeline, tmp_path / "work")
    _search(pipeline, there)
    local, remote = _content(tmp_path / "work"), _content(there)
    assert local.keys() == remote.keys()
    assert [name for name in local if local[name] != remote[name]] == []


def test_a_search_in_an_object_store_says_what_is_stale_and_is_held_by_one(
    bucket: str, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "RENEWAL", 0.4)
    search = Search(pipeline, place(f"{bucket}/work"))
    assert [state.word for state in search.states()] == ["missing"] * 5
    search.ledger.record("ingest", {"made": "from this"}, {}, [])
    search.reopen()
    assert search.ledger.reasons("ingest", {"made": "from that"}) == [
        'made changed from "from this" to "from that"'
    ]
    with (
        leased(search.workdir),
        pytest.raises(WorkdirError, match=r"another tailshard .* is at work in s3://"),
    ):
        search.perform_all()

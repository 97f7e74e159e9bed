"""The names of all tasks of a search, as the scheduler of a real run knows them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client
from tests.clusters import threads_of_this_process

from tailshard.ingest.stage import ingest
from tailshard.pipeline_files import load, shipped
from tailshard.search.histogram import histogram
from tailshard.search.score import score
from tailshard.store.verify import verify
from tailshard.train.distributed import train

OVERRIDES = [
    *("store.slot=1024", "store.chunk=256", "histograms.bump=null"),
    *("training.epochs=1", "training.batch_size=256"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with threads_of_this_process() as client:
        yield client


def prefixes(client: Client) -> set[str]:
    return set(client.run_on_scheduler(lambda dask_scheduler: set(dask_scheduler.task_prefixes)))


@pytest.mark.slow
def test_every_task_of_a_search_says_what_it_does_and_to_which_channel(client, toys: Path, tmp_path: Path):
    pipeline = load(shipped("demo"), OVERRIDES, str(toys))
    channels = set(pipeline.channels)
    store, model = tmp_path / "store", tmp_path / "model"

    ingest(pipeline, store, client, partials=tmp_path / "partials")
    seen = prefixes(client)
    assert {f"ingest-{channel}" for channel in channels} < seen
    told = {"survey-files", "repeats-data", "repeats-data-sum"}
    assert seen - {f"ingest-{channel}" for channel in channels} <= told

    train(pipeline, store, model, in_process=True)
    score(pipeline, store, model / "model.pt", client)
    histogram(pipeline, store, tmp_path / "results", client, kept=tmp_path / "partials")
    verify(store, client)
    found = prefixes(client) - seen
    steps = {"score", "spectra", "histogram", "cells", "verify-slots"}
    assert {f"{step}-{channel}" for step in steps for channel in channels} < found
    assert "candidates-data" in found
    known = {*steps, "candidates", "limits"}
    unknown = {
        name
        for name in found
        if not any(name.removesuffix("-sum") == f"{step}-{c}" for step in known for c in channels)
    }
    assert unknown == set()

    histogram(pipeline, store, tmp_path / "results", client, kept=tmp_path / "partials")
    kept = prefixes(client) - seen - found
    assert kept
    assert all(name.endswith("-kept") for name in kept)

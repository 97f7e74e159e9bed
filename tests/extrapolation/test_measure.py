"""Rates come from the real work, and predict what one and two worker processes take here."""

import math
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from distributed import Client

from tailshard.config import Pipeline
from tailshard.extrapolation.measure import measure, work_of
from tailshard.extrapolation.model import Machines, extrapolate
from tailshard.ingest.stage import ingest
from tailshard.ingest.survey import survey
from tailshard.launch import DaskProfile, LocalProfile, dask_client
from tailshard.pipeline_files import load, shipped
from tailshard.search.score import score
from tailshard.store.catalog import read_catalog
from tailshard.toys import make_toys
from tailshard.train.distributed import train


def test_rates_are_those_of_the_pipeline(toy_pipeline: Pipeline) -> None:
    surveyed = survey(toy_pipeline)
    rates = measure(toy_pipeline, surveyed, seconds=0.2)
    assert rates.measured_on.endswith("zjets_0.root")
    assert 0.5 < rates.selected < 1
    numbers = [value for value in vars(rates).values() if not isinstance(value, str)]
    assert all(math.isfinite(value) and value > 0 for value in numbers)
    assert rates.step_seconds > rates.validation_seconds > rates.read_seconds
    assert rates.stored_bytes > rates.streamed_bytes > 50
    # Dense layers: two operations for each weight forward, as many again for each of two gradients.
    weights = rates.parameter_bytes / 4
    assert rates.forward_flops == pytest.approx(2 * weights, rel=0.02)
    assert 2 * rates.forward_flops < rates.training_flops < 3 * rates.forward_flops
    work = work_of(toy_pipeline, surveyed)
    assert work.partitions == sum(len(each.partitions) for each in surveyed)
    assert 0 < work.training_entries < work.entries


def test_toys_stand_in_for_files_that_are_not_here(tmp_path: Path) -> None:
    pipeline = load(shipped("demo"), ["training.batch_size=256"], str(tmp_path))
    rates = measure(pipeline, survey(pipeline), seconds=0.1)
    assert rates.measured_on == "toys"


def test_a_selection_that_leaves_nothing_still_has_a_rate(toys: Path) -> None:
    overrides = ["store.slot=512", "store.chunk=128", "selection.cuts.minimum_met=5 TeV"]
    pipeline = load(shipped("demo"), overrides, str(toys))
    rates = measure(pipeline, survey(pipeline), seconds=0.1)
    assert rates.measured_on.endswith("stream and network on toys")
    assert rates.selected < 0.01


def _cpu_seconds(client: Client, work: Callable[[], object]) -> float:
    """CPU seconds of the busiest worker: what the work takes where nobody else wants the cores."""
    before = client.run(time.process_time)
    work()
    after = client.run(time.process_time)
    return max(after[worker] - before[worker] for worker in before)


def _seconds_of_training(pipeline: Pipeline, store: Path, model: Path, epochs: int) -> float:
    """CPU seconds of one rank on one core."""
    training = pipeline.training.model_copy(update={"epochs": epochs, "cache": 0})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        began = time.process_time()
        train(pipeline.model_copy(update={"training": training}), store, model, in_process=True)
        return time.process_time() - began
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_one_and_two_workers_take_what_is_predicted(tmp_path: Path) -> None:
    """Within a loose factor, and by the processors' clocks: the machine may be busy with other things."""
    make_toys(tmp_path / "toys", events=100_000, signal_events=1000, files=2)
    overrides = ["store.slot=4096", "store.chunk=512", "training.epochs=1", "training.workers=1"]
    pipeline = load(shipped("demo"), overrides, str(tmp_path / "toys"))
    surveyed = survey(pipeline)
    rates, work = measure(pipeline, surveyed), work_of(pipeline, surveyed)
    store, model = tmp_path / "store", tmp_path / "model"
    ratios = {}
    for workers in (1, 2):
        predicted = extrapolate(rates, work, Machines(1, workers))
        profile = LocalProfile(dask=DaskProfile(workers=workers, dashboard="127.0.0.1:0"))
        with dask_client(profile) as client:
            for _ in range(2):  # the first time imports and compiles, in the workers
                shutil.rmtree(store, ignore_errors=True)
                spent = _cpu_seconds(client, partial(ingest, pipeline, store, client))
            ratios["ingest", workers] = predicted["ingest"].seconds / spent
            if workers == 1:
                one, four = (_seconds_of_training(pipeline, store, model, epochs) for epochs in (1, 4))
                ratios["epoch", 1] = predicted["epoch"].seconds / ((four - one) / 3)
            for _ in range(2):
                spent = _cpu_seconds(
                    client, partial(score, pipeline, store, model / "model.pt", client, anew=True)
                )
            ratios["scoring", workers] = predicted["scoring"].seconds / spent
    kept = sum(slot.selected for slot in read_catalog(store).slots)
    assert kept == pytest.approx(work.entries * rates.selected, rel=0.3)
    assert all(1 / 4 < ratio < 4 for ratio in ratios.values()), ratios
    # The model is about as right for two workers as for one.
    for stage in ("ingest", "scoring"):
        assert 1 / 2 < ratios[stage, 2] / ratios[stage, 1] < 2, ratios

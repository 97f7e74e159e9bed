"""Memory follows the slot, never the data set: five times the events, the same peak."""

from pathlib import Path

import pytest
from distributed import Client

from tailshard.blind.hide import Hiding, hide
from tailshard.config import Pipeline
from tailshard.ingest.stage import ingest
from tailshard.launch import DaskProfile, LocalProfile, dask_client
from tailshard.pipeline_files import load, shipped
from tailshard.progress import silent
from tailshard.search.histogram import histogram
from tailshard.search.score import score
from tailshard.store.catalog import read_catalog
from tailshard.stress.disturbances import DISTURBANCES
from tailshard.stress.measure import measure
from tailshard.toys import make_toys
from tailshard.train.distributed import train

pytestmark = pytest.mark.slow

PROFILE = LocalProfile(dask=DaskProfile(workers=1, dashboard="127.0.0.1:0"))
OVERRIDES = ["store.slot=4096", "store.chunk=512", "training.epochs=1", "training.shuffle_chunks=4"]


def _peak_after_each_stage(pipeline: Pipeline, workdir: Path) -> dict[str, int]:
    """Bytes: the most that a worker process ever held, by stage; each stage has a worker of its own."""
    store, model = workdir / "store", workdir / "model"
    peaks = {}

    def peak_of_the_worker(client: Client) -> int:
        # Not ru_maxrss: a process starts with that of the one that started it.
        (status,) = client.run(lambda: Path("/proc/self/status").read_text()).values()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])

    with dask_client(PROFILE) as client:
        ingest(pipeline, store, client)
        peaks["ingest"] = peak_of_the_worker(client)
    train(pipeline, store, model, in_process=True)
    with dask_client(PROFILE) as client:
        score(pipeline, store, model / "model.pt", client)
        peaks["score"] = peak_of_the_worker(client)
    with dask_client(PROFILE) as client:
        histogram(pipeline, store, workdir / "results", client)
        peaks["histogram"] = peak_of_the_worker(client)
    catalog, signals = read_catalog(store), pipeline.channels_of("signal")
    with dask_client(PROFILE) as client:
        channels = dict.fromkeys(pipeline.channels_of("background"), DISTURBANCES)
        measure(pipeline, store, catalog, model / "model.pt", channels, 1, client, silent)
        peaks["stress"] = peak_of_the_worker(client)
    with dask_client(PROFILE) as client:
        hide(pipeline, store, catalog, workdir / "blind", signals, Hiding(), 1, client, silent)
        peaks["blind"] = peak_of_the_worker(client)
    return peaks


def test_five_times_the_events_need_no_more_memory(tmp_path: Path) -> None:
    peaks = {}
    for events in (20_000, 100_000):
        folder = tmp_path / f"toys_{events}"
        make_toys(folder, events=events, signal_events=events // 10, files=2)
        pipeline = load(shipped("demo"), OVERRIDES, str(folder))
        peaks[events] = _peak_after_each_stage(pipeline, tmp_path / f"work_{events}")
    small, large = (read_catalog(tmp_path / f"work_{events}" / "store") for events in peaks)
    assert len(large.slots) > 2 * len(small.slots)
    for stage, peak in peaks[20_000].items():
        assert peaks[100_000][stage] < 1.15 * peak, stage

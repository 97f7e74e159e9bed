"""A search in an object store is the search in a folder, byte for byte."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.clusters import threads_of_this_process
from tests.servers import storage as servers

from tailshard import object_store
from tailshard.config import Pipeline
from tailshard.errors import WorkdirError
from tailshard.ingest.stage import ingest
from tailshard.object_store import leased
from tailshard.pipeline import Search
from tailshard.pipeline_files import load, shipped
from tailshard.places import files_below, place
from tailshard.search.histogram import histogram
from tailshard.search.score import score, unscored
from tailshard.toys import make_toys
from tailshard.train.ensemble import train_all

REPOSITORY = Path(__file__).resolve().parents[1]

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


@pytest.mark.slow
def test_a_search_in_an_object_store_is_that_in_a_folder(
    bucket: str, pipeline: Pipeline, tmp_path: Path
) -> None:
    there = place(f"{bucket}/some/search")
    _search(pipeline, tmp_path / "work")
    _search(pipeline, there)
    local, remote = _content(tmp_path / "work"), _content(there)
    assert local.keys() == remote.keys()
    assert [name for name in local if local[name] != remote[name]] == []


@pytest.mark.slow
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


# -- the whole street, with real processes, against a real server -------------------------------------

DEMO = ("store.slot=512", "store.chunk=128", "training.epochs=1", "training.workers=1", "limits=null")


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    """Environment by which clients find Ceph's S3 server, or moto's where it is not installed."""
    tools = Path(os.environ.get("TAILSHARD_SHARED", REPOSITORY.parent / "shared")) / "tools"
    has_ceph = shutil.which("radosgw") and shutil.which("ceph-osd") and tools.is_dir()
    folder = tmp_path_factory.mktemp("server")
    with servers.ceph(tools, folder) if has_ceph else servers.moto(folder) as environment:
        yield environment


@pytest.fixture
def searches(server: Mapping[str, str]) -> Iterator[str]:
    """URL of an empty bucket of that server."""
    with servers.new_bucket(server, "searches") as url:
        yield url


def _command(verb: str, workdir: object, toys: Path) -> list[str]:
    settings = [part for each in DEMO for part in ("--set", each)]
    where = ["--workdir", str(workdir), "--data-root", str(toys), "--workers", "2", "--json"]
    start = "from tailshard.cli import main; main()"
    return [sys.executable, "-c", start, verb, str(shipped("demo")), *where, *settings]


def _call(verb: str, workdir: object, toys: Path) -> dict[str, Any]:
    called = subprocess.run(_command(verb, workdir, toys), capture_output=True, text=True, check=False)
    assert called.returncode == 0, called.stderr[-3000:]
    told: dict[str, Any] = json.loads(called.stdout)["result"]
    return told


def _compared(workdir: Path) -> dict[str, bytes]:
    """Content that two searches have in common, whatever they went through."""
    wanted = ("store/events.zarr/", "results/histograms.json", "results/regions.json", "results/cells.npz")
    return {name: (workdir / name).read_bytes() for name in files_below(workdir) if name.startswith(wanted)}


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_in_an_object_store_and_takes_in_files_that_arrive(
    searches: str, tmp_path: Path
) -> None:
    there, here = place(f"{searches}/demo"), tmp_path / "work"
    make_toys(tmp_path / "toys", events=2500, signal_events=300, files=2)
    late = (tmp_path / "toys" / "data_1.root").rename(tmp_path / "late.root")

    # Killed while slots are filled, workers and all.
    log = (tmp_path / "killed.log").open("wb")
    killed = subprocess.Popen(
        _command("run", there, tmp_path / "toys"), start_new_session=True, stdout=log, stderr=log
    )
    until = time.monotonic() + 120
    while not (there / "store" / "pending.json").exists() and time.monotonic() < until:
        assert killed.poll() is None, (tmp_path / "killed.log").read_text()
        time.sleep(0.2)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    log.close()
    assert (there / ".lock").exists()

    # The lock of the dead is taken over when its lease is over.
    first = _call("run", there, tmp_path / "toys")["stages"]
    assert first["ingest"]["slots"]["kept"] > 0
    assert all(stage["did"] for stage in first.values())
    _call("run", here, tmp_path / "toys")
    assert _compared(here) == _compared(there)

    late.rename(tmp_path / "toys" / "data_1.root")
    os.utime(tmp_path / "toys" / "data_1.root", (1e9, 1e9))
    updated = _call("update", there, tmp_path / "toys")
    assert [Path(name).name for name in updated["files"]["added"]] == ["data_1.root"]
    assert updated["partitions"]["kept"] > updated["partitions"]["read"] > 0
    assert not updated["model"]["retrained"]
    status = _call("status", there, tmp_path / "toys")
    assert all(stage["state"] in ("current", "kept") for stage in status["stages"])

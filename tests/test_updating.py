"""Files that arrive: only they are read and scored, and the results are those of a search from scratch."""

import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import Client

from tailshard.errors import WorkdirError
from tailshard.ingest.stage import ingest
from tailshard.keys import snapshot
from tailshard.launch import LocalProfile
from tailshard.ledger import locked
from tailshard.monitoring import TEXTFILE
from tailshard.pipeline import Search
from tailshard.pipeline_files import load
from tailshard.search.histogram import histogram
from tailshard.search.history import read_history
from tailshard.search.score import score
from tailshard.stages import STAGES
from tailshard.store.catalog import read_catalog
from tailshard.toys import make_toys
from tailshard.train.checkpoint import load_model
from tailshard.train.distributed import train
from tailshard.train.in_force import note_training
from tailshard.updating import update
from tailshard.verbs import status

pytestmark = [
    pytest.mark.slow,
    # Ray warns of its own settings on every use of its trainer.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

PIPELINE = """
name: arriving
luminosity: 0.1 fb^-1
datasets:
  - {channel: zjets, kind: background, dialect: atlas-2025, files: "zjets_*.root"}
  - {channel: data, kind: data, dialect: atlas-2025, files: "data_*.root"}
selection: {name: two_jets_two_leptons}
store: {slot: 1024, chunk: 256}
training: {epochs: 1, batch_size: 256, workers: 1, use_gpu: false}
update: {settle: 0}
"""
FILES = 11
LATE = ("zjets_9.root", "data_9.root")  # the last in the order of the names
WARM = "trained beginning with the network in force"


class Place:
    """A folder of ntuples, all that will ever be, and a search in a work directory."""

    def __init__(self, folder: Path, workdir: Path, profile: LocalProfile) -> None:
        self.files, self.every = folder / "files", folder / "every"
        self.workdir, self.profile = workdir, profile
        self.pipeline = folder / "arriving.yaml"

    def only(self, *absent: str) -> None:
        """Have every file but some, as they were when they were written."""
        shutil.rmtree(self.files, ignore_errors=True)
        shutil.copytree(self.every, self.files, ignore=shutil.ignore_patterns(*absent))

    def search(self, *overrides: str) -> Search:
        return Search(load(self.pipeline, overrides, str(self.files)), self.workdir, self.profile)

    def arrive(self, *names: str) -> None:
        for name in names:
            shutil.copy(self.every / name, self.files / name)

    def from_scratch(self, client: Client, search: Search, folder: Path) -> None:
        """Do everything again with the same model, keeping nothing."""
        ingest(search.pipeline, folder / "store", client)
        score(search.pipeline, folder / "store", search.model / "model.pt", client)
        histogram(search.pipeline, folder / "store", folder / "results", client)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, profile: LocalProfile) -> Place:
    """Ten files of each sample, searched; the eleventh is still to come."""
    folder = tmp_path_factory.mktemp("arriving")
    place = Place(folder, folder / "work", profile)
    make_toys(place.every, events=6000, signal_events=100, files=FILES)
    place.only(*LATE)
    place.pipeline.write_text(PIPELINE)
    search = place.search()
    search.perform("ingest")
    # In this process, to save the time of a cluster; what follows cannot tell.
    made = train(search.pipeline, search.store, search.model, in_process=True)
    note_training(search.model, search.store, search.pipeline.training_channels)
    parts = search.parts("train", {}, keep_model=False)
    names = ("model.pt", "metrics.jsonl", "trained_on.json")
    search.ledger.record("train", parts, made.to_dict(), [search.model / name for name in names])
    for stage in STAGES[2:]:
        search.perform(stage)
    return place


@pytest.fixture
def place(finished: Place, tmp_path: Path) -> Place:
    """The same files, and a copy of the search, to change."""
    finished.only(*LATE)
    shutil.copytree(finished.workdir, tmp_path / "work")
    return Place(finished.files.parent, tmp_path / "work", finished.profile)


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _same(one: Path, other: Path) -> None:
    assert _files(one) == _files(other)
    _, different, errors = filecmp.cmpfiles(one, other, _files(one), shallow=False)
    assert (different, errors) == ([], [])


def _mtimes(folder: Path) -> dict[str, int]:
    """When what is in a folder was changed, but for what tells that a run was there."""
    found = [path for path in folder.rglob("*") if path.name != TEXTFILE]
    return {str(path): path.stat().st_mtime_ns for path in found}


def test_one_more_file_is_a_tenth_of_the_work_and_gives_what_a_search_from_scratch_gives(
    place: Place, tmp_path: Path, dask_workers: Client
) -> None:
    before = len(read_catalog(place.search().store).slots)
    place.arrive("data_9.root")
    did = update(place.search())
    assert did["did"] is True
    assert [Path(url).name for url in did["files"]["added"]] == ["data_9.root"]
    assert did["files"]["changed"] == did["files"]["gone"] == []
    assert before == 2 * (FILES - 1)
    assert did["partitions"] == {"read": 1, "kept": before, "freed": 0}
    assert did["scored"] == 1
    # The regions follow from the background, which is as it was: only the new slot is added.
    assert did["histograms"] == {"filled": 1, "kept": before}
    assert did["model"]["retrained"] is False
    search = place.search()
    assert all(state.current for state in search.states())

    place.from_scratch(dask_workers, search, tmp_path / "scratch")
    _same(search.store, tmp_path / "scratch" / "store")
    for name in ("histograms.json", "regions.json", "candidates.csv"):
        assert (search.results / name).read_text() == (tmp_path / "scratch" / "results" / name).read_text()
    (line,) = read_history(search.results)
    assert line["files"] == 2 * FILES - 1
    assert "Updates" in search.report_page.read_text()


def test_nothing_new_touches_nothing(place: Place) -> None:
    before = _mtimes(place.workdir)
    started = time.perf_counter()
    did = update(place.search())
    assert time.perf_counter() - started < 5
    assert did["did"] is False
    assert did["partitions"]["read"] == did["scored"] == did["histograms"]["filled"] == 0
    assert _mtimes(place.workdir) == before


def test_a_file_that_is_gone_is_taken_out_exactly(place: Place, tmp_path: Path, dask_workers: Client) -> None:
    (place.files / "data_4.root").unlink()
    did = update(place.search())
    assert [Path(url).name for url in did["files"]["gone"]] == ["data_4.root"]
    assert did["partitions"] == {"read": 0, "kept": 2 * (FILES - 1) - 1, "freed": 1}
    assert did["histograms"]["filled"] == 0
    search = place.search()
    histogram(search.pipeline, search.store, tmp_path / "results", dask_workers)
    for name in ("histograms.json", "summary.json", "candidates.csv"):
        assert (search.results / name).read_text() == (tmp_path / "results" / name).read_text()


def test_new_background_is_scored_by_the_model_in_force_where_no_policy_says_otherwise(place: Place) -> None:
    model = (place.workdir / "model" / "model.pt").read_bytes()
    place.arrive("zjets_9.root")
    did = update(place.search())
    assert (did["partitions"]["read"], did["scored"]) == (1, 1)
    assert did["model"]["retrained"] is False
    assert "update.new_events sets no limit" in did["model"]["why"]
    drift = did["model"]["drift"]["errors"]
    assert drift["where"] == "zjets"
    assert 0 <= drift["value"] < 1
    assert (place.workdir / "model" / "model.pt").read_bytes() == model
    assert did["model"]["trained_on"] < did["model"]["training_events"]

    told = status(place.pipeline, workdir=place.workdir, data_root=str(place.files))
    row = next(row for row in told["stages"] if row["stage"] == "train")
    assert row["state"] == "kept"
    counts = f"{did['model']['trained_on']:,} events of {did['model']['training_events']:,}"
    assert f"model in force, trained on {counts}; kept because" in row["reasons"][0]
    assert {row["state"] for row in told["stages"] if row["stage"] != "train"} == {"current"}
    assert update(place.search())["did"] is False
    strict = {state.stage: state for state in place.search().states(keep_model=False)}
    assert any("events changed" in reason for reason in strict["train"].reasons)  # so 'run' would train


def test_a_policy_trains_again_from_the_model_in_force_and_scores_everything(place: Place) -> None:
    place.arrive(*LATE)
    did = update(place.search("update.new_events=0.05"))
    assert did["model"]["retrained"] is True
    assert did["model"]["why"].startswith(f"{WARM}: ")
    assert "more than update.new_events (5.0%)" in did["model"]["why"]
    assert did["partitions"]["read"] == 2
    assert did["scored"] == did["histograms"]["filled"] == 2 * FILES
    assert did["model"]["trained_on"] == did["model"]["training_events"]
    assert not (place.workdir / "model" / "previous.pt").exists()
    search = place.search()
    assert load_model(search.model / "model.pt").snapshot == snapshot(search.workdir, ("zjets",))
    assert all(state.current for state in search.states())
    # 'tailshard run' trains anew: for numbers that do not depend on the order in which events came.
    stale = search.states(keep_model=False)[1]
    assert stale.reasons[0].startswith("began with changed")
    assert read_history(search.results)[-1]["retrained"] is True


UPDATE = """
import sys
from pathlib import Path
from tailshard.cli import main

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def tailshard(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``tailshard`` as a process, with a group of its own that is gone at the end."""
    (tmp_path / "tailshard.py.txt").write_text(UPDATE)
    started = []

    def start(place: Place, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, tmp_path / "tailshard.py.txt", "update", place.pipeline]
        paths = ["--workdir", place.workdir, "--data-root", place.files, "--workers", "1"]
        process = subprocess.Popen(
            [*map(str, (*command, *paths)), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _until(is_so: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.fixture(scope="module")
def undisturbed(finished: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The search after an update in which two files came."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "work"
    shutil.copytree(finished.workdir, workdir)
    finished.only()
    updated = Place(finished.files.parent, workdir, finished.profile)
    assert update(updated.search())["partitions"]["read"] == 2
    return updated


@pytest.mark.parametrize("moment", ["a slot is filled", "the catalog is written", "a slot is scored"])
def test_an_update_that_is_killed_is_finished_by_the_next(
    undisturbed: Place, place: Place, tailshard: Callable[..., subprocess.Popen[str]], moment: str
) -> None:
    place.arrive(*LATE)
    catalog = (place.workdir / "store" / "catalog.json").read_bytes()
    data = place.workdir / "store" / "events.zarr" / "data"
    signs = {
        "a slot is filled": (data / "met" / "c" / "10").exists,
        "the catalog is written": lambda: (place.workdir / "store" / "catalog.json").read_bytes() != catalog,
        "a slot is scored": (data / "error" / "c" / "10").exists,
    }
    process = tailshard(place)
    _until(signs[moment], process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if moment == "a slot is filled":
        assert (place.workdir / "store" / "catalog.json").read_bytes() == catalog
    did = update(place.search())
    assert did["did"] is True
    _same(place.workdir / "store", undisturbed.workdir / "store")
    for name in ("histograms.json", "regions.json", "candidates.csv"):
        found, wanted = (each / "results" / name for each in (place.workdir, undisturbed.workdir))
        assert found.read_text() == wanted.read_text()
    assert len(read_history(place.workdir / "results")) == len(read_history(undisturbed.workdir / "results"))
    assert update(place.search())["did"] is False


def test_a_second_update_refuses_or_waits(
    place: Place, tailshard: Callable[..., subprocess.Popen[str]]
) -> None:
    with locked(place.workdir):
        second = tailshard(place, "--json")
        answer = json.loads(second.communicate(timeout=60)[0])
        assert second.returncode == 1
        assert answer["error"]["type"] == "WorkdirError"
        assert "another tailshard is at work" in answer["error"]["message"]
        with pytest.raises(WorkdirError, match=r"still, after 0\.3 s, at work"):
            update(place.search(), wait=0.3)
        waiting = tailshard(place, "--json", "--wait", "60")
        time.sleep(1)
        assert waiting.poll() is None
    answer = json.loads(waiting.communicate(timeout=60)[0])
    assert (waiting.returncode, answer["result"]["did"]) == (0, False)


def test_a_list_of_files_is_all_that_is_looked_at(place: Place) -> None:
    place.arrive(*LATE)
    did = update(place.search(), [str(place.files / "data_9.root")])
    assert [Path(url).name for url in did["files"]["added"]] == ["data_9.root"]
    assert did["partitions"]["read"] == 1
    reasons = place.search().states()[0].reasons
    assert [reason.rsplit("/", 1)[-1] for reason in reasons] == ["zjets_9.root is new"]

"""The walk over the stages: what is stale, and doing just that."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tailshard.errors import ConfigError, InputError, StoreError, WorkdirError
from tailshard.launch import LocalProfile
from tailshard.pipeline import STAGES, Search
from tailshard.pipeline_files import load, shipped

SMALL = (
    "store.slot=1024",
    "store.chunk=256",
    "training.epochs=1",
    "training.batch_size=256",
    "training.workers=1",
)

OpenSearch = Callable[..., Search]


@pytest.fixture(scope="module")
def finished(toys: Path, tmp_path_factory: pytest.TempPathFactory, profile: LocalProfile) -> Path:
    """Work directory of a finished search on small toys."""
    workdir = tmp_path_factory.mktemp("finished")
    search = Search(load(shipped("demo"), SMALL, str(toys)), workdir, profile)
    assert all(outcome.did for outcome in search.perform_all())
    return workdir


@pytest.fixture
def open_again(finished: Path, toys: Path, tmp_path: Path, profile: LocalProfile) -> OpenSearch:
    """Open a copy of the finished search with other overrides."""
    workdir = tmp_path / "work"
    shutil.copytree(finished, workdir)

    def open_again(*overrides: str, data_root: Path = toys) -> Search:
        return Search(load(shipped("demo"), [*SMALL, *overrides], str(data_root)), workdir, profile)

    return open_again


def open_again_in(search: Search, *overrides: str) -> Search:
    """Open the same work directory with other overrides."""
    data_root = search.pipeline.data_root
    return Search(load(shipped("demo"), [*SMALL, *overrides], data_root), search.workdir, search.profile)


def _stale(search: Search) -> list[str]:
    return [state.stage for state in search.states() if not state.current]


def test_a_later_stage_needs_the_earlier_ones(toys: Path, tmp_path: Path) -> None:
    search = Search(load(shipped("demo"), SMALL, str(toys)), tmp_path)
    assert _stale(search) == list(STAGES)
    with pytest.raises(WorkdirError, match="cannot train: ingest has not been made yet"):
        search.perform("train")


def test_a_scan_that_cannot_be_done_is_refused_before_anything_is_read(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyBumpHunter", None)
    pipeline = load(shipped("demo"), [*SMALL, "histograms.bump={quantity: m_ll}"], str(toys))
    with pytest.raises(ConfigError, match="needs pyBumpHunter, which is not installed"):
        Search(pipeline, tmp_path).perform_all()
    assert not (tmp_path / "store").exists()


def test_a_network_that_does_not_exist_is_refused_before_anything_is_read(toys: Path, tmp_path: Path) -> None:
    search = Search(load(shipped("demo"), [*SMALL, "model.name=ae_smal"], str(toys)), tmp_path)
    with pytest.raises(ConfigError, match="no model called 'ae_smal'"):
        search.perform_all()
    assert not search.store.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "override", "data_root"),
    [("train", "model.name=ae_smal", None), ("ingest", "name=demo", "nowhere")],
    ids=["model", "data_root"],
)
def test_a_mistake_costs_no_output(
    open_again: OpenSearch, tmp_path: Path, stage: str, override: str, data_root: str | None
) -> None:
    wrong = {} if data_root is None else {"data_root": tmp_path / data_root}
    with pytest.raises((ConfigError, InputError)):
        open_again(override, **wrong).perform(stage)
    right = open_again()
    assert _stale(right) == []
    assert [outcome.did for outcome in right.perform_all()] == [False] * len(STAGES)


@pytest.mark.slow
def test_another_pipeline_cannot_use_the_work_directory(open_again: OpenSearch) -> None:
    search = open_again()
    with pytest.raises(WorkdirError, match="made by the pipeline 'demo', not 'other'"):
        Search(search.pipeline.model_copy(update={"name": "other"}), search.workdir)


@pytest.mark.slow
def test_a_second_run_does_nothing(open_again: OpenSearch) -> None:
    assert [outcome.did for outcome in open_again().perform_all()] == [False] * len(STAGES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "first_stale", "reason"),
    [
        ("selection.cuts.minimum_met=50", "ingest", "selection.cuts.minimum_met changed from null to 50.0"),
        ("luminosity=0.2", "ingest", "luminosity changed from 0.1 to 0.2"),
        ("training.learning_rate=0.01", "train", "training.learning_rate changed from 0.0015 to 0.01"),
        ("model.name=ae_large", "train", 'model.name changed from "ae_small" to "ae_large"'),
        ("regions.minimum_background=2", "histogram", "regions.minimum_background changed from 1.0 to 2.0"),
        ("report.title=Other", "report", "report.title changed"),
    ],
)
def test_a_change_makes_stale_what_depends_on_it_and_says_why(
    open_again: OpenSearch, override: str, first_stale: str, reason: str
) -> None:
    search = open_again(override)
    assert _stale(search) == list(STAGES[STAGES.index(first_stale) :])
    reasons = next(state.reasons for state in search.states() if not state.current)
    assert any(reason in each for each in reasons)


@pytest.mark.slow
@pytest.mark.parametrize("override", ["training.workers=2", "training.use_gpu=false", "description=other"])
def test_where_it_runs_makes_nothing_but_the_page_stale(open_again: OpenSearch, override: str) -> None:
    assert set(_stale(open_again(override))) <= {"report"}


@pytest.mark.slow
def test_an_output_that_is_gone_is_made_again(open_again: OpenSearch) -> None:
    search = open_again()
    search.report_page.unlink()
    assert _stale(search) == ["report"]
    assert [outcome.did for outcome in search.perform_all()] == [False, False, False, False, True]
    assert search.report_page.is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("model/metrics.jsonl", "train"),
        ("results/candidates.parquet", "histogram"),
        ("results/candidates.csv", "histogram"),
        ("results/histograms.json", "histogram"),
        ("results/cells.npz", "histogram"),
        ("results/workspaces/resonance-met.json", "histogram"),
        ("report/histograms.root", "report"),
        ("report/reconstructions.npz", "report"),
        ("store/events.zarr/zjets/rmm/c/0/0/0", "ingest"),
        ("store/events.zarr/zjets/met/zarr.json", "ingest"),
        ("store/events.zarr/zjets/error/c/0", "score"),
    ],
)
def test_every_file_of_an_output_is_missed(open_again: OpenSearch, file: str, stage: str) -> None:
    search = open_again()
    (search.workdir / file).unlink()
    first = next(state for state in search.states() if not state.current)
    assert first.stage == stage
    assert Path(file).parts[-2] in first.reasons[0]


@pytest.mark.slow
def test_a_shard_that_cannot_be_decoded_says_how_to_make_the_store_anew(open_again: OpenSearch) -> None:
    search = open_again()
    victim = search.store / "events.zarr" / "zjets" / "rmm" / "c" / "0" / "0" / "0"
    victim.write_bytes(bytes(victim.stat().st_size))
    with pytest.raises(StoreError, match="tailshard ingest --force"):
        search.perform("score", force=True)


@pytest.mark.slow
def test_a_shard_and_an_array_that_are_gone_are_made_and_scored_again(open_again: OpenSearch) -> None:
    search = open_again()
    (search.store / "events.zarr" / "zjets" / "rmm" / "c" / "0" / "0" / "0").unlink()
    shutil.rmtree(search.store / "events.zarr" / "data" / "met")
    outcomes = search.perform_all()
    assert [outcome.stage for outcome in outcomes if outcome.did][:2] == ["ingest", "score"]
    assert 0 < outcomes[0].result["slots"]["written"] < outcomes[0].result["slots"]["kept"]
    shutil.rmtree(search.store / "events.zarr")
    search.perform_all()
    assert _stale(search) == []


@pytest.mark.slow
def test_the_same_files_elsewhere_change_nothing_but_where_they_are(
    open_again: OpenSearch, toys: Path, tmp_path: Path
) -> None:
    shutil.copytree(toys, tmp_path / "moved")
    search = open_again(data_root=tmp_path / "moved")
    outcomes = {outcome.stage: outcome for outcome in search.perform_all()}
    assert [stage for stage in STAGES if outcomes[stage].did] == ["ingest"]
    assert outcomes["ingest"].result["slots"]["written"] == 0


@pytest.mark.slow
def test_new_signal_leaves_the_network_as_it_is(open_again: OpenSearch, toys: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fewer"
    shutil.copytree(toys, folder)
    (folder / "resonance_1.root").unlink()
    search = open_again(data_root=folder)
    done = [outcome.stage for outcome in search.perform_all() if outcome.did]
    assert done == ["ingest", "score", "histogram", "report"]


@pytest.mark.slow
def test_quarantined_inputs_are_tried_again_when_ingest_is_asked_for(
    open_again: OpenSearch, toys: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(toys, folder)
    victim = folder / "resonance_1.root"
    victim.write_bytes(b"")
    search = open_again(data_root=folder)
    first = search.perform("ingest")
    assert [Path(row["url"]).name for row in first.result["quarantine"]] == ["resonance_1.root"]
    assert search.perform("ingest").did is False
    again = search.perform("ingest", retry=True)
    assert again.did
    assert again.result["slots"]["written"] == 0


@pytest.mark.slow
def test_files_that_only_look_new_leave_the_scores_as_they_are(
    open_again: OpenSearch, toys: Path, tmp_path: Path
) -> None:
    shutil.copytree(toys, tmp_path / "moved", copy_function=shutil.copy)
    open_again(data_root=tmp_path / "moved").perform_all()
    search = open_again("regions.minimum_background=2", data_root=tmp_path / "moved")
    assert [outcome.stage for outcome in search.perform_all() if outcome.did] == ["histogram", "report"]


@pytest.mark.slow
def test_a_store_that_is_gone_is_made_and_scored_again(open_again: OpenSearch) -> None:
    search = open_again()
    shutil.rmtree(search.store)
    done = [outcome.stage for outcome in search.perform_all() if outcome.did]
    assert done[:2] == ["ingest", "score"]
    assert _stale(search) == []


@pytest.mark.slow
def test_a_file_that_arrives_during_ingest_is_read_by_the_next_run(
    open_again: OpenSearch, toys: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "arriving"
    shutil.copytree(toys, folder)
    late = (folder / "resonance_1.root").rename(tmp_path / "late.root")
    search = open_again(data_root=folder)

    def arrive(what: str, done: int, total: int) -> None:
        if what == "fill slots" or (what == "open files" and done == total):
            shutil.copy(late, folder / "resonance_1.root")

    search.progress = arrive
    search.perform("ingest")
    assert _stale(search)[0] == "ingest"


@pytest.mark.slow
def test_a_file_that_arrives_during_training_is_left_to_the_next_run(
    open_again: OpenSearch, toys: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "arriving"
    shutil.copytree(toys, folder)
    late = (folder / "resonance_1.root").rename(tmp_path / "late.root")
    search = open_again("training.epochs=2", data_root=folder)

    def arrive(what: str, done: int, total: int) -> None:
        if what == "train":
            shutil.copy(late, folder / "resonance_1.root")

    search.progress = arrive
    assert all(outcome.did for outcome in search.perform_all())
    assert (folder / "resonance_1.root").exists()
    assert _stale(search) == list(STAGES)
    assert any("resonance_1.root is new" in reason for reason in search.states()[0].reasons)
    search.progress = lambda what, done, total: None
    search.perform_all()
    assert _stale(search) == []


@pytest.mark.slow
def test_the_page_knows_of_a_file_that_was_lost(open_again: OpenSearch, toys: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(toys, folder)
    (folder / "data_9.root").write_bytes(b"")
    search = open_again(data_root=folder)
    search.perform_all()
    assert "data_9.root" in (search.results / "summary.json").read_text()
    assert "data_9.root" in search.report_page.read_text()


@pytest.mark.slow
def test_two_searches_in_one_process_see_each_others_work(open_again: OpenSearch) -> None:
    first, second = open_again(), open_again("report.title=Second")
    assert second.perform("report").did
    assert first.perform("report").did


@pytest.mark.slow
def test_an_ensemble_is_trained_seed_by_seed_and_scored_at_once(open_again: OpenSearch) -> None:
    search = open_again("training.seeds=[1, 2]")
    outcomes = {outcome.stage: outcome for outcome in search.perform_all()}
    assert [stage for stage in STAGES if outcomes[stage].did] == list(STAGES[1:])
    assert outcomes["train"].result["trained"] == [1, 2]
    assert "Over 2 seeds" in search.report_page.read_text().replace("\u202f", "")
    assert _stale(search) == []
    summary = json.loads((search.results / "summary.json").read_text())
    assert list(summary["ensemble"]["members"]) == ["1", "2"]
    assert _stale(open_again_in(search, "training.seeds=[1, 2, 5]")) == list(STAGES[1:])
    # Every file of a member counts.
    (search.store / "events.zarr" / "zjets" / "score_seed_2" / "c" / "0").unlink()
    assert _stale(search)[0] == "score"
    (search.model / "seed_2" / "model.pt").unlink()
    assert _stale(search)[0] == "train"

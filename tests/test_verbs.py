"""The verbs as Python functions."""

import inspect
import json
import shutil
from pathlib import Path

import pytest

from tailshard import show, verbs
from tailshard.errors import WorkdirError
from tailshard.pipeline_files import shipped

OF_A_PIPELINE = (
    *("ingest", "train", "score", "histogram", "report"),
    *("run", "update", "plan", "tune", "status", "validate"),
    *("launch", "cancel"),
)
OF_A_TRAINED_SEARCH = ("stress", "blind")


@pytest.mark.parametrize("name", [*OF_A_PIPELINE, *OF_A_TRAINED_SEARCH])
def test_a_verb_shows_the_options_that_it_takes(name: str) -> None:
    parameters = inspect.signature(getattr(verbs, name)).parameters
    assert next(iter(parameters)) == "pipeline"
    assert set(verbs.Options.__annotations__) < set(parameters)
    assert "options" not in parameters
    assert parameters["overrides"].default == ()
    assert ("force" in parameters) is (name in OF_A_PIPELINE[:5])
    assert ("strict" in parameters) is (name in ("ingest", "run", "launch"))


@pytest.mark.parametrize("name", [*OF_A_PIPELINE, *OF_A_TRAINED_SEARCH])
def test_a_wrong_option_is_refused_in_the_name_of_the_verb(name: str) -> None:
    with pytest.raises(
        TypeError, match=rf"^{name}\(\) has no option dataroot; it takes pipeline, .*data_root"
    ):
        getattr(verbs, name)("search.yaml", dataroot="/data")


@pytest.mark.parametrize("below", [".", "deeper/still"])
def test_a_work_directory_that_is_a_file_is_called_a_file(tmp_path: Path, below: str) -> None:
    file = tmp_path / "work"
    file.touch()
    with pytest.raises(WorkdirError, match=rf"the work directory {file}.* cannot be: {file} is a file"):
        verbs.status(shipped("demo"), workdir=file / below)
    assert file.is_file()


TUNE = "tune={space: {score.kind: [divergence]}, trials: 1, epochs: 1, scheduler: none}"


def test_settings_are_sought_in_the_store_of_the_pipeline_alone(toys: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkdirError, match="cannot tune: ingest has not been made yet"):
        verbs.tune(shipped("demo"), workdir=tmp_path, data_root=str(toys), overrides=[TUNE])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tune_reads_no_signal_and_goes_on_where_a_trial_fails(toys: Path, tmp_path: Path, capsys) -> None:
    small = ["store.slot=1024", "store.chunk=256", TUNE]
    options = {"workdir": tmp_path, "data_root": str(toys), "overrides": small}
    verbs.ingest(shipped("demo"), workers=2, **options)
    shutil.rmtree(tmp_path / "store" / "events.zarr" / "resonance")
    result = verbs.tune(shipped("demo"), **options)
    assert json.loads(json.dumps(result)) == result
    assert [trial["trial"] for trial in result["trials"]] == [0]
    assert result["channels"] == ["zjets", "ttbar", "diboson"]
    (failed,) = result["failed"]
    assert "needs a network with a divergence" in failed["reason"]
    assert not (Path(result["folder"]) / "trial_001.json").exists()
    show.tuning(result)
    shown = capsys.readouterr().out
    assert "trial 1 failed: ConfigError" in shown
    assert "No trial is better than the pipeline as it stands" in shown
    with pytest.raises(WorkdirError, match=r"selection\.cuts\.minimum_met changed"):
        verbs.tune(shipped("demo"), **{**options, "overrides": [*small, "selection.cuts.minimum_met=50"]})


def test_the_best_settings_are_shown_as_options(capsys) -> None:
    trial = {"trial": 1, "merit": 0.75, "merit_uncertainty": 0.01, "epochs": 2, "ended": "patience"}
    trial |= {"seconds": 3.0, "settings": {"model.widths": [8, 4]}, "parts": {"a": 0.5, "b": 1.0}}
    result = {"figure_of_merit": "separation", "channels": ["zjets"], "trials": [trial], "failed": []}
    result |= {"folder": "work/results/tune", "best": {"trial": 1, "set": ["model.widths=[8, 4]"]}}
    show.tuning(result)
    shown = capsys.readouterr().out
    assert "0.7500 ± 0.0100" in shown
    assert "--set 'model.widths=[8, 4]'" in shown

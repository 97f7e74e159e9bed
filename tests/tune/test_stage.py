import json
import shutil

import psutil
import pytest
import yaml

from tailshard.errors import ConfigError, ProcessingError, StoreError
from tailshard.launch import RayProfile
from tailshard.store.layout import events_group
from tailshard.tune import stage
from tailshard.tune.records import Trial, read_record, write_record
from tailshard.tune.stage import tune

ray = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_a_pipeline_without_a_space_is_told_how_to_write_one(store, pipeline, tmp_path):
    made = pipeline().model_copy(update={"tune": None})
    with pytest.raises(ConfigError, match="has no part tune"):
        tune(made, store, tmp_path / "out")


def test_a_network_that_learns_from_a_signal_is_refused(store, pipeline, tmp_path):
    made = pipeline()
    training = made.training.model_copy(update={"channels": ("diboson", "signal")})
    with pytest.raises(ConfigError, match="names the signal signal"):
        tune(made.model_copy(update={"training": training}), store, tmp_path / "out")


def test_there_must_be_a_store(pipeline, tmp_path):
    with pytest.raises(StoreError, match="tailshard ingest"):
        tune(pipeline(), tmp_path / "absent", tmp_path / "out")


def test_a_record_is_taken_for_the_same_trial_alone(tmp_path):
    figures = [{"epoch": 1, "merit": 0.123456789012345678}]
    write_record(tmp_path, Trial(3, {"model.latent": 2}, "key", figures))
    same, other, damaged = (Trial(3, {}, key) for key in ("key", "other", "key"))
    read_record(tmp_path, same)
    read_record(tmp_path, other)
    assert (same.figures, same.is_over, same.is_recorded) == (figures, True, True)
    assert (other.figures, other.is_over) == ([], False)
    content = (tmp_path / "trial_003.json").read_text()
    (tmp_path / "trial_003.json").write_text(content.replace('"epoch": 1', '"epoch": 2'))
    read_record(tmp_path, damaged)
    assert not damaged.is_over


def without_times(content):
    if isinstance(content, dict):
        return {name: without_times(value) for name, value in content.items() if name not in ("seconds",)}
    return [without_times(each) for each in content] if isinstance(content, list) else content


@ray
@pytest.mark.slow
def test_an_interrupted_search_goes_on_and_ends_as_the_undisturbed(store, pipeline, tmp_path, capfd):
    """Without the signal's shards, for no trial needs them."""
    shutil.rmtree(events_group(store) / "signal")
    space = {"model.latent": [1, 2, 4], "training.scaler": ["minmax", "occupied"]}
    made = pipeline(space=space, trials=3)
    out, told = tmp_path / "out", []

    def interrupt(what, done, total):
        told.append(what)
        if what.startswith("Trial 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(made, store, out, interrupt)
    assert not [one for one in psutil.Process().children(recursive=True) if "ray" in one.name()]
    assert (out / "trial_001.json").is_file()
    assert not (out / "summary.json").exists()
    first = (out / "trial_000.json").read_bytes()

    told.clear()
    result = tune(made, store, out, lambda *progress: told.append(progress))
    assert any(what.endswith("of 4 trials had been finished before") for what, *_ in told)
    assert not any(what.startswith("Trial 0") for what, *_ in told)
    assert (out / "trial_000.json").read_bytes() == first
    assert told[-1] == ("tune", 4 * 3, 4 * 3)
    assert capfd.readouterr().out == ""
    assert not (out / "ray").exists()

    undisturbed = tune(made, store, tmp_path / "undisturbed")
    assert without_times(result) == without_times(undisturbed)
    assert json.loads((out / "summary.json").read_text()) == result
    merits = [trial["merit"] for trial in result["trials"]]
    assert merits == sorted(merits, reverse=True)
    assert {trial["trial"] for trial in result["trials"]} == {0, 1, 2, 3}
    # What is best can be put into the pipeline as it is.
    fragment = yaml.safe_load((out / "best.yaml").read_text()) or {}
    best = result["trials"][0]["settings"]
    assert {f"{part}.{key}": value for part, its in fragment.items() for key, value in its.items()} == best

    # When everything is there, nothing is started.
    assert without_times(tune(made, store, out, profile=RayProfile(address="127.0.0.1:1"))) == without_times(
        result
    )


@ray
@pytest.mark.slow
def test_what_one_trial_meets_does_not_stop_the_others(store, pipeline, tmp_path):
    made = pipeline(space={"score.kind": ["divergence"]}, trials=1, epochs=1, scheduler="none")
    out = tmp_path / "out"
    result = tune(made, store, out)
    assert [trial["trial"] for trial in result["trials"]] == [0]
    assert result["best"]["set"] == []
    (failed,) = result["failed"]
    assert "divergence" in failed["reason"]
    assert not (out / "trial_001.json").exists()
    assert yaml.safe_load((out / "best.yaml").read_text()) is None


def test_no_figure_at_all_is_an_error(pipeline):
    trials = [Trial(0, {}, "key", failed="it is broken", is_over=True)]
    with pytest.raises(ProcessingError, match="it is broken"):
        stage._summary(pipeline(), trials)


def test_the_best_is_the_pipeline_as_it_stands_among_equals(pipeline):
    figures = {"epoch": 1, "best_epoch": 1, "training_loss": 1.0, "validation_loss": 2.0}
    figures |= {"merit": 0.5, "merit_uncertainty": 0.1, "parts": {"energetic": 0.5}, "seconds": 1.0}
    trials = [
        Trial(number, settings, "", [figures] * count, is_over=True)
        for number, settings, count in ((1, {"model.latent": 1}, 3), (0, {}, 1), (2, {"model.latent": 2}, 2))
    ]
    result = stage._summary(pipeline(), trials)
    assert [trial["trial"] for trial in result["trials"]] == [0, 1, 2]
    assert [trial["ended"] for trial in result["trials"]] == ["behind others", "all epochs", "behind others"]
    assert result["best"] == {"trial": 0, "merit": 0.5, "set": []}
    assert result["trials"][1]["seconds"] == 3.0

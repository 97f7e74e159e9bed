import json
import shutil

import psutil
import pytest
import torch
import yaml

from tailshard.errors import ConfigError, ProcessingError, StoreError
from tailshard.launch import RayProfile
from tailshard.store.layout import events_group
from tailshard.tune import stage
from tailshard.tune.records import Trial, read_record, write_record
from tailshard.tune.stage import tune
from tailshard.tune.trial import carry_out


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_interrupted_search_goes_on_where_it_stopped(store, pipeline, tmp_path, capfd):
    """Without the signal's shards, for no trial needs them."""
    shutil.rmtree(events_group(store) / "signal")
    hopeless = {"training.learning_rate": [1e-6]}
    made, out = pipeline(space=hopeless, trials=1), tmp_path / "out"

    def interrupt(what, done, total):
        if what.startswith("Trial 0"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(made, store, out, interrupt)
    assert not [one for one in psutil.Process().children(recursive=True) if "ray" in one.name()]
    assert not (out / "summary.json").exists()
    first = (out / "trial_000.json").read_bytes()

    told = []
    result = tune(made, store, out, lambda *progress: told.append(progress))
    assert told[0] == ("1 of 2 trials had been finished before", 0, 0)
    assert told[-1] == ("tune", 2 * 3, 2 * 3)
    assert not any(what.startswith("Trial 0") for what, *_ in told)
    assert (out / "trial_000.json").read_bytes() == first
    assert capfd.readouterr() == ("", "")
    assert not (out / "ray").exists()

    # The scheduler knows of the trial from before the interruption: this one is behind it.
    best, stopped = result["trials"]
    assert (best["trial"], best["epochs"], best["ended"]) == (0, 3, "all epochs")
    assert (stopped["trial"], stopped["epochs"], stopped["ended"]) == (1, 1, "behind others")
    here = []
    carry_out(made, {}, store, here.append, torch.device("cpu"))
    assert best["merit"] == pytest.approx(here[-1].merit, rel=1e-3)
    assert json.loads((out / "summary.json").read_text()) == result

    # When everything is there, nothing is started: there is no cluster at this address.
    assert tune(made, store, out, profile=RayProfile(address="127.0.0.1:1")) == result


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


def test_the_best_can_be_put_into_the_pipeline_as_it_is(pipeline):
    best = {"trial": 2, "merit": 0.75, "settings": {"model.widths": [8, 4], "training.scaler": "log"}}
    text = stage._fragment(pipeline(), {"figure_of_merit": "separation", "trials": [best, best]})
    assert text.startswith("# Of 2 trials of 'small' the best by separation: trial 2, 0.7500\n")
    assert yaml.safe_load(text) == {"model": {"widths": [8, 4]}, "training": {"scaler": "log"}}

import shutil

import pytest
import torch

from tailshard.errors import ConfigError
from tailshard.store.catalog import read_catalog, write_catalog
from tailshard.store.layout import events_group
from tailshard.train.checkpoint import load_model
from tailshard.train.distributed import train
from tailshard.tune.merit import Separation, Validation
from tailshard.tune.trial import carry_out, key_of, pipeline_of

CPU = torch.device("cpu")


def figures_of(pipeline, settings, store):
    found = []
    carry_out(pipeline, settings, store, found.append, CPU)
    return found


@pytest.mark.parametrize("merit", ["separation", "reconstruction"])
def test_a_trial_needs_nothing_of_the_signal(store, pipeline, merit):
    made = pipeline(figure_of_merit=merit)
    before = figures_of(made, {}, store)
    shutil.rmtree(events_group(store) / "signal")
    after = figures_of(made, {}, store)
    assert [its.epoch for its in after] == [1, 2, 3]
    assert [its.merit for its in after] == [its.merit for its in before]


def test_what_is_judged_is_the_network_that_training_would_keep(store, pipeline, tmp_path):
    made = pipeline()
    settings = {"model.latent": 3, "training.scaler": "standard"}
    last = figures_of(made, settings, store)[-1]
    trial = pipeline_of(made, settings)
    result = train(trial, store, tmp_path / "out", in_process=True)
    assert (last.best_epoch, min(last.validation_loss, result.validation_loss)) == (
        result.best_epoch,
        result.validation_loss,
    )
    judge = Separation(
        Validation(store, read_catalog(store), ("diboson", "top")), trial.score, made.tune.seed
    )
    found = judge(load_model(result.path))
    assert last.merit == pytest.approx(found.value, rel=1e-5)
    assert dict(last.parts) == pytest.approx(dict(found.parts), rel=1e-5)
    assert set(last.to_dict()) >= {"epoch", "merit", "merit_uncertainty", "parts", "seconds"}


def test_a_network_that_did_not_get_better_is_not_judged_again(store, pipeline):
    made = pipeline(epochs=4, figure_of_merit="reconstruction")
    found = figures_of(made, {"training.learning_rate": 0.5}, store)
    worse = [its for its in found if its.best_epoch != its.epoch]
    assert worse
    for its in worse:
        assert its.merit == found[its.best_epoch - 1].merit


def test_settings_that_do_not_go_together_are_named(store, pipeline):
    with pytest.raises(ConfigError, match="divergence"):
        carry_out(pipeline(), {"score.kind": "divergence"}, store, print, CPU)


def test_the_key_changes_with_all_that_decides_the_figures(store, pipeline):
    catalog = read_catalog(store)
    same = key_of(pipeline(), {"model.latent": 3}, catalog)
    assert key_of(pipeline(trials=7), {"model.latent": 3}, catalog) == same
    others = [
        key_of(pipeline(), {"model.latent": 4}, catalog),
        key_of(pipeline(), {"model.latent": 3, "score.kind": "sum"}, catalog),
        key_of(pipeline(epochs=9), {"model.latent": 3}, catalog),
        key_of(pipeline(seed=9), {"model.latent": 3}, catalog),
        key_of(pipeline(scheduler="none"), {"model.latent": 3}, catalog),
        key_of(pipeline(figure_of_merit="reconstruction"), {"model.latent": 3}, catalog),
    ]
    assert len({same, *others}) == 7
    write_catalog(store, catalog.changed(scales={"signal": 2.0}))
    assert key_of(pipeline(), {"model.latent": 3}, read_catalog(store)) == same
    write_catalog(store, catalog.changed(scales={"top": 2.0}))
    assert key_of(pipeline(), {"model.latent": 3}, read_catalog(store)) != same

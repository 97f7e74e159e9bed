import yaml

from tailshard.tune.space import as_fragment, as_options, draw, with_settings
from tailshard.tuning import Tune

SPACE = {
    "model.latent": [2, 3, 4],
    "model.widths": [[4], [8, 4]],
    "training.learning_rate": {"log_uniform": [1e-4, 1e-2]},
    "training.batch_size": {"integer": [32, 64]},
}


def test_the_first_trial_is_the_pipeline_as_it_stands():
    assert draw(Tune(space=SPACE, trials=1))[0] == {}


def test_draws_are_of_the_space_and_follow_from_the_seed():
    trials = draw(Tune(space=SPACE, trials=40))
    assert len(trials) == 41
    for settings in trials[1:]:
        assert list(settings) == list(SPACE)
        assert settings["model.latent"] in (2, 3, 4)
        assert 1e-4 <= settings["training.learning_rate"] <= 1e-2
        assert 32 <= settings["training.batch_size"] <= 64
    assert {settings["model.latent"] for settings in trials[1:]} == {2, 3, 4}
    rates = [settings["training.learning_rate"] for settings in trials[1:]]
    assert 10 < sum(rate < 1e-3 for rate in rates) < 30  # half of them, in the logarithm
    assert draw(Tune(space=SPACE, trials=40)) == trials
    assert draw(Tune(space=SPACE, trials=40, seed=2)) != trials


def test_more_trials_are_the_same_and_some_new_ones():
    small = {"model.latent": [2, 3, 4], "model.widths": [[4], [8, 4]]}
    few, many = (draw(Tune(space=small, trials=trials)) for trials in (3, 5))
    assert many[:4] == few
    everything = draw(Tune(space=small, trials=1000))
    assert everything[:6] == many
    assert len(everything) == 7  # and none twice
    assert all(settings not in everything[:place] for place, settings in enumerate(everything))


def test_a_trial_is_the_pipeline_with_its_settings(pipeline):
    made = pipeline()
    settings = {"model.latent": 4, "training.scaler": "robust", "score.kind": "sum"}
    trial = with_settings(made, settings)
    assert (trial.model.latent, trial.training.scaler, trial.score.kind) == (4, "robust", "sum")
    assert trial.training.epochs == 3
    assert trial.model.widths == made.model.widths
    assert with_settings(made, {}).training == made.training.model_copy(update={"epochs": 3})


def test_settings_can_be_written_down():
    settings = {"model.widths": [8, 4], "training.scaler": "log", "training.learning_rate": 0.001}
    assert as_options(settings) == [
        "model.widths=[8, 4]",
        'training.scaler="log"',
        "training.learning_rate=0.001",
    ]
    for option in as_options(settings):
        name, _, value = option.partition("=")
        assert yaml.safe_load(value) == settings[name]
    assert as_fragment(settings) == {
        "model": {"widths": [8, 4]},
        "training": {"scaler": "log", "learning_rate": 0.001},
    }

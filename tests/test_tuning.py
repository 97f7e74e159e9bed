import pytest
from pydantic import ValidationError

from tailshard.config import Pipeline
from tailshard.learning import Model
from tailshard.tuning import Range, Tune, changed


def pipeline(**tune):
    dataset = {"channel": "zjets", "kind": "background", "dialect": "atlas-2025", "files": "a.root"}
    return Pipeline.model_validate({"name": "p", "luminosity": 1, "datasets": [dataset], "tune": tune})


def test_a_space_is_of_lists_and_ranges():
    space = {
        "model.latent": [4, 8],
        "model.widths": [[64], [128, 64]],
        "training.learning_rate": {"log_uniform": [1e-4, 1e-2]},
        "training.batch_size": {"integer": [128, 1024]},
        "training.scaler": ["minmax", "robust"],
        "score.kind": ["sum", "excess"],
    }
    made = pipeline(space=space, trials=3)
    assert Pipeline.model_validate(made.model_dump(mode="json")) == made
    assert made.tune.space["model.widths"] == ([64], [128, 64])


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.depth": [1]}, "model has no field 'depth'; it has beta, latent, name, widths"),
        ({"store.slot": [1]}, "only fields of model, training and score"),
        ({"model": [1]}, "only fields of model"),
        ({"training.seed": [1, 2]}, "this is not sought"),
        ({"training.epochs": [1, 2]}, "tune itself has seed and epochs"),
        ({"training.workers": [1, 2]}, "this is not sought"),
        ({"training.channels": [["zjets"]]}, "this is not sought"),
        ({"score.also": [["sum"]]}, "score.kind alone"),
        ({"score.kind": ["sum", "blocks"]}, "tune.space.score.kind cannot be 'blocks'"),
        ({"model.latent": [4, 0]}, "tune.space.model.latent cannot be 0"),
        ({"training.scaler": ["clipped"]}, "tune.space.training.scaler cannot be 'clipped'"),
        ({"training.learning_rate": {"uniform": [-1, 1]}}, "learning_rate cannot be -1"),
        ({"model.latent": {"uniform": [2, 5.5]}}, "latent cannot be 5.5"),
        ({"training.learning_rate": {"log_uniform": [0, 1]}}, "positive ends"),
        ({"training.learning_rate": {"uniform": [1, 1]}}, "must rise"),
        ({"training.learning_rate": {"uniform": [0, 1], "integer": [0, 1]}}, "one of uniform"),
        ({"model.latent": []}, "at least 1 item"),
        ({}, "at least 1 item"),
    ],
)
def test_what_cannot_be_sought_is_refused_by_name(space, message):
    with pytest.raises(ValidationError, match=message):
        pipeline(space=space)


def test_reconstruction_knows_no_score():
    with pytest.raises(ValidationError, match="knows no score"):
        pipeline(space={"score.kind": ["sum"]}, figure_of_merit="reconstruction")


def test_a_range_ends_where_it_says():
    assert [Range(integer=(2, 4)).at(place) for place in (0, 0.34, 0.99, 1)] == [2, 3, 4, 4]
    assert [Range(uniform=(-1, 1)).at(place) for place in (0, 0.5, 1)] == [-1, 0, 1]
    assert [Range(log_uniform=(1, 100)).at(place) for place in (0, 0.5, 1)] == pytest.approx([1, 10, 100])


def test_a_changed_part_is_checked():
    assert changed(Model(latent=3), {"widths": [5]}) == Model(latent=3, widths=(5,))
    with pytest.raises(ValidationError):
        changed(Model(), {"widths": [0]})


def test_a_pipeline_tells_nothing_of_tune_by_default():
    assert Tune(space={"model.latent": [1]}).figure_of_merit == "separation"
    dataset = {"channel": "zjets", "kind": "background", "dialect": "atlas-2025", "files": "a.root"}
    assert Pipeline.model_validate({"name": "p", "luminosity": 1, "datasets": [dataset]}).tune is None

import pytest
from pydantic import ValidationError

from tailshard.learning import Model, Score, Training


def test_the_error_is_one_number_for_each_event():
    with pytest.raises(ValidationError, match="put blocks into"):
        Score(kind="blocks")
    assert Score(kind="excess", also=("blocks", "excess", "sum")).kinds == ("excess", "blocks", "sum")


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (Model, {"beta": -1}),
        (Model, {"widths": [0]}),
        (Training, {"mask": "cells"}),
        (Training, {"cell_weights": "weights"}),
        (Training, {"scaler": "clipped"}),
        (Score, {"kind": "best"}),
    ],
)
def test_what_cannot_be_is_refused(part, content):
    with pytest.raises(ValidationError):
        part.model_validate(content)


def test_the_seed_of_a_search_is_the_first_of_its_seeds():
    assert (Training().seed, Training().seeds) == (1, ())
    training = Training.model_validate({"seeds": [7, 3]})
    assert training.seed == 7
    assert Training.model_validate(training.model_dump(mode="json")) == training
    assert Training.model_validate({"seed": 7, "seeds": [7, 3]}) == training
    assert training.of_seed(3) == Training(seed=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"seed": 2, "seeds": [1, 2]}, "training.seed is 2 and training.seeds begins with 1"),
        ({"seeds": [1, 2, 1]}, r"names \[1\] more than once"),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"seeds": 3}, "valid tuple"),
    ],
)
def test_seeds_that_cannot_be_are_refused(content, message):
    with pytest.raises(ValidationError, match=message):
        Training.model_validate(content)

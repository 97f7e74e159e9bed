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

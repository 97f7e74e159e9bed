"""The verbs as Python functions."""

import inspect
from pathlib import Path

import pytest

from tailshard import verbs
from tailshard.errors import WorkdirError

OF_A_PIPELINE = (
    "ingest",
    "train",
    "score",
    "histogram",
    "report",
    "run",
    "update",
    "plan",
    "status",
    "validate",
)


@pytest.mark.parametrize("name", OF_A_PIPELINE)
def test_a_verb_shows_the_options_that_it_takes(name: str) -> None:
    parameters = inspect.signature(getattr(verbs, name)).parameters
    assert next(iter(parameters)) == "pipeline"
    assert set(verbs.Options.__annotations__) < set(parameters)
    assert "options" not in parameters
    assert parameters["overrides"].default == ()
    assert ("force" in parameters) is (name in OF_A_PIPELINE[:5])
    assert ("strict" in parameters) is (name in ("ingest", "run"))


@pytest.mark.parametrize("name", OF_A_PIPELINE)
def test_a_wrong_option_is_refused_in_the_name_of_the_verb(name: str) -> None:
    with pytest.raises(
        TypeError, match=rf"^{name}\(\) has no option dataroot; it takes pipeline, .*data_root"
    ):
        getattr(verbs, name)("search.yaml", dataroot="/data")


@pytest.mark.parametrize("below", [".", "deeper/still"])
def test_a_work_directory_that_is_a_file_is_called_a_file(tmp_path: Path, below: str) -> None:
    shipped = Path(__file__).parents[1] / "pipelines" / "demo.yaml"
    file = tmp_path / "work"
    file.touch()
    with pytest.raises(WorkdirError, match=rf"the work directory {file}.* cannot be: {file} is a file"):
        verbs.status(shipped, workdir=file / below)
    assert file.is_file()

from pathlib import Path

from tailshard.config import Pipeline
from tailshard.keys import parts_of
from tailshard.ledger import Entry, Ledger


def _of_data(pipeline: Pipeline, luminosity: float) -> Pipeline:
    datasets = tuple(
        each.model_copy(update={"luminosity": luminosity}) if each.kind == "data" else each
        for each in pipeline.datasets
    )
    return pipeline.model_copy(update={"datasets": datasets})


def test_histograms_depend_on_the_luminosity_of_the_data(toy_pipeline: Pipeline, tmp_path: Path) -> None:
    made = Entry({}, {"quarantine": [], "warnings": [], "model": "a"}, {})
    ledger = Ledger(tmp_path / "ledger.json", toy_pipeline.name, dict.fromkeys(("ingest", "score"), made))

    def parts(pipeline: Pipeline) -> object:
        return parts_of("histogram", pipeline, ledger, tmp_path, {})

    assert parts(toy_pipeline) == parts(toy_pipeline.model_copy())
    assert parts(_of_data(toy_pipeline, 0.05)) != parts(_of_data(toy_pipeline, 0.07))

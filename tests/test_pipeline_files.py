import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tailshard.config import Pipeline, content_hash
from tailshard.errors import ConfigError
from tailshard.pipeline_files import SCHEMA_FILE, json_schema, load, shipped

MINIMAL = """
name: search
luminosity: 36.1
datasets:
  - {channel: ttbar, kind: background, dialect: atlas-2025, files: ttbar.root}
  - {channel: data, kind: data, dialect: atlas-2025, files: [a.root, b.root]}
"""


@pytest.fixture
def pipeline_file(tmp_path: Path) -> Path:
    path = tmp_path / "search.yaml"
    path.write_text(MINIMAL)
    return path


def test_a_minimal_pipeline_gets_sensible_defaults(pipeline_file: Path) -> None:
    pipeline = load(pipeline_file)
    assert pipeline.luminosity == 36.1
    assert pipeline.features.multiplicities.size == 23
    assert pipeline.datasets[0].files == (str(pipeline_file.parent / "ttbar.root"),)
    assert pipeline.training_channels == ("ttbar",)
    assert pipeline.splits.fractions == (0.6, 0.2, 0.2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        pytest.param("luminostiy=3", "luminostiy: there is no such key", id="wrong key"),
        pytest.param("training.epocs=3", "training.epocs: there is no such key", id="wrong nested key"),
        pytest.param("training.epochs=many", "training.epochs", id="wrong type"),
        pytest.param("training.epochs=0", "training.epochs", id="out of range"),
        pytest.param("luminosity=30 GeV", "unit 'GeV' does not fit here", id="wrong unit"),
        pytest.param(
            "luminosity=36100", "if it is in pb^-1, write '36100 pb^-1'", id="pb^-1 taken for fb^-1"
        ),
        pytest.param(
            "selection.jets.minimum_pt=20 fb", "unit 'fb' does not fit here", id="wrong energy unit"
        ),
        pytest.param("selection.jets.minimum_pt=.nan", "selection.jets.minimum_pt", id="not a number"),
        pytest.param(
            "histograms.error={bins: 3, range: [-4, .inf]}", "histograms.error.range.1", id="endless range"
        ),
        pytest.param("training.learning_rate=.inf", "training.learning_rate", id="endless rate"),
        pytest.param("regions.minimum_background=.nan", "regions.minimum_background", id="no floor"),
        pytest.param("selection.jets.maximum_abs_eta=.nan", "selection.jets.maximum_abs_eta", id="no eta"),
        pytest.param("datasets.0.sum_of_weights=.inf", "datasets.0.sum_of_weights", id="endless sum"),
        pytest.param("splits.training=0.7", "must be 1, found 1.1", id="splits beyond one"),
        pytest.param(
            "store.chunk=1000", "slot (65536) must be a multiple of chunk (1000)", id="chunks do not fit"
        ),
        pytest.param("training.channels=[ttbra]", "unknown channels ['ttbra']", id="unknown channel"),
        pytest.param("datasets.0.kind=noise", "datasets.0.kind", id="unknown kind"),
        pytest.param("datasets.1.cross_section=3", "data has no cross_section", id="normalised data"),
        pytest.param("datasets.0.kind=data", "no dataset has kind background", id="nothing to learn from"),
        pytest.param("datasets.1.channel=ttbar", "is both background and data", id="channel of two kinds"),
        pytest.param("datasets.1.name=ttbar", "two datasets are called 'ttbar'", id="ambiguous identity"),
    ],
)
def test_a_wrong_value_is_one_clear_sentence(pipeline_file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(pipeline_file, [override])
    assert message in str(raised.value)
    assert str(pipeline_file) in str(raised.value)
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "expected key=value"),
        ("datasets.7.kind=data", "there is no '7'"),
        ("name.first=x", "has no key 'first'"),
        ("name=[", "not YAML"),
    ],
)
def test_a_wrong_override_names_itself(pipeline_file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"--set") as raised:
        load(pipeline_file, [override])
    assert message in str(raised.value)


@pytest.mark.parametrize("content", ["- a list", "name: [", "\x00"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"wrong\.yaml"):
        load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the pipeline"):
        load(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [("36100 pb^-1", 36.1), ("36.1 fb^-1", 36.1), ("0.0361 ab^-1", 36.1), ("36.1/fb", 36.1)],
)
def test_units_are_converted(pipeline_file: Path, text: str, value: float) -> None:
    assert load(pipeline_file, [f"luminosity={text}"]).luminosity == pytest.approx(value)


def test_overrides_reach_lists_and_absent_parts(pipeline_file: Path) -> None:
    pipeline = load(
        pipeline_file, ["datasets.0.files=x.root", "training.epochs=3", "selection.cuts.minimum_met=0.1 TeV"]
    )
    assert pipeline.datasets[0].files == (str(pipeline_file.parent / "x.root"),)
    assert pipeline.training.epochs == 3
    assert pipeline.selection.cuts.minimum_met == pytest.approx(100)


def test_the_data_root_of_the_command_line_wins(pipeline_file: Path) -> None:
    assert load(pipeline_file, ["data_root=/a"], data_root="/b").data_root == "/b"


def test_a_pipeline_cannot_be_changed(pipeline_file: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(pipeline_file).luminosity = 1.0  # type: ignore[misc]


def test_the_content_hash_sees_content_only(pipeline_file: Path) -> None:
    first = load(pipeline_file)
    second = Pipeline.model_validate(json.loads(first.model_dump_json()))
    assert content_hash(first) == content_hash(second)
    assert content_hash(first) != content_hash(load(pipeline_file, ["training.epochs=11"]))
    # Frozen: a new Python or pydantic must not make every output stale.
    assert content_hash({"b": 1, "a": [1.5, "x", None]}) == "4a5e6ab98ee69dcb"


def test_the_shipped_schema_is_the_one_of_the_code() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == json_schema(), "run: python -m tailshard.pipeline_files"


@pytest.mark.parametrize("name", ["demo", "open-data", "open-data-4lep"])
def test_shipped_pipelines_are_valid_for_the_code_and_for_the_schema(name: str) -> None:
    path = shipped(name)
    assert load(path).name == name
    jsonschema.validate(yaml.safe_load(path.read_text()), json_schema())
    reference = path.read_text().splitlines()[0].partition("$schema=")[2]
    assert (path.parent / reference).is_file()


def test_the_open_data_search_says_where_its_data_may_be_another_skim() -> None:
    description = " ".join(load(shipped("open-data")).description.split())
    assert "holds the exactly4lep skim of period D in place of the 2J2LMET30 one" in description
    assert "says nothing about the expected yield" in description


def test_relative_inputs_start_at_the_data_root_and_else_beside_the_pipeline_file(
    pipeline_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    folder = pipeline_file.parent

    def files(*overrides: str, data_root: str | None = None) -> tuple[str | None, tuple[str, ...]]:
        pipeline = load(pipeline_file, overrides, data_root)
        return pipeline.data_root, pipeline.datasets[0].files

    assert files() == (None, (str(folder / "ttbar.root"),))
    assert files("datasets.0.files=[/a.root, ~/b.root, 'https://c.org/d.root']") == (
        None,
        ("/a.root", "~/b.root", "https://c.org/d.root"),
    )
    assert files("datasets.0.published=https://c.org/d.root") == (None, ("ttbar.root",))
    assert files(data_root="mine") == ("mine", ("ttbar.root",))
    pipeline_file.write_text(pipeline_file.read_text() + "data_root: data\n")
    assert files() == (str(folder / "data"), ("ttbar.root",))
    assert files(data_root="mine") == ("mine", ("ttbar.root",))

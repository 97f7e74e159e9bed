"""The command line as a user meets it: a process of its own."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import uproot
from click.testing import CliRunner

from tailshard import cli

MINIMAL = """
name: search
luminosity: 36.1
datasets:
  - {channel: ttbar, kind: background, dialect: atlas-2025, files: ttbar.root}
"""


def tailshard(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from tailshard.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "search.yaml"
    path.write_text(MINIMAL)
    return path


def test_help_lists_the_verbs_in_the_order_they_run() -> None:
    shown = tailshard("--help").stdout
    places = [shown.index(f"\n  {verb} ") for verb in cli.main.commands]
    assert places == sorted(places)
    assert list(cli.main.commands)[:5] == ["ingest", "train", "score", "histogram", "report"]


@pytest.mark.parametrize("verb", list(cli.main.commands))
def test_every_verb_explains_itself(verb: str) -> None:
    shown = tailshard(verb, "--help")
    assert shown.returncode == 0
    assert "--json" in shown.stdout


def test_help_answers_at_once() -> None:
    # Against an interpreter that does nothing, on the same machine at the same time.
    def seconds(*command: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, check=True)
        return time.perf_counter() - start

    bare = min(seconds("-c", "import json, inspect") for _ in range(5))
    helped = min(
        seconds("-c", "import sys; sys.argv[1:] = ['--help']; from tailshard.cli import main; main()")
        for _ in range(5)
    )
    assert helped < bare + 0.3


@pytest.mark.parametrize("verb", ["run", "plan", "status", "validate", "ingest"])
def test_a_mistake_in_the_pipeline_is_one_message_without_a_traceback(verb: str, pipeline: Path) -> None:
    pipeline.write_text(MINIMAL.replace("luminosity", "luminostiy"))
    shown = tailshard(verb, pipeline)
    assert shown.returncode == 1
    assert "luminostiy: there is no such key" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_validate_refuses_a_network_that_does_not_exist(toys: Path, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[1] / "pipelines" / "demo.yaml"
    options = ("--data-root", toys, "--workdir", tmp_path / "work", "--set", "model.name=ae_smal")
    shown = tailshard("validate", shipped, *options)
    assert shown.returncode == 1
    assert "no model called 'ae_smal'; use one of ae_small" in shown.stderr


def test_errors_are_machine_readable_too(pipeline: Path) -> None:
    shown = tailshard("run", pipeline, "--set", "luminosity=1 GeV", "--json")
    answer = json.loads(shown.stdout)
    assert shown.returncode == 1
    assert answer["ok"] is False
    assert answer["error"]["type"] == "ConfigError"
    assert "unit 'GeV'" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "--json"), "Missing argument 'PIPELINE'"),
        (("run", "search.yaml", "--json", "--wrong"), "No such option"),
        (("search", "--json"), "No such command 'search'"),
        (("--json",), "No such option"),
    ],
)
def test_wrong_usage_is_machine_readable_too(arguments: tuple[str, ...], told: str) -> None:
    shown = tailshard(*arguments)
    answer = json.loads(shown.stdout)
    assert shown.returncode == 2
    assert answer["ok"] is False
    assert told in answer["error"]["message"]
    assert told in shown.stderr


def test_every_verb_of_a_pipeline_takes_the_common_options() -> None:
    common = {"workdir", "data_root", "overrides", "cluster", "workers", "as_json"}
    for name, verb in cli.main.commands.items():
        taken = {parameter.name for parameter in verb.params}
        assert name in ("demo", "toys", "unblind") or common <= taken, name


def test_an_update_takes_its_files_from_standard_input(pipeline: Path, tmp_path: Path) -> None:
    command = ["update", str(pipeline), "--workdir", str(tmp_path / "work"), "--files", "-", "--json"]
    answer = CliRunner().invoke(cli.main, command, input=f"\n  {tmp_path}/other.root  \n")
    assert answer.exit_code == 1
    assert (
        f"{tmp_path}/other.root fits no files of this pipeline"
        in json.loads(answer.stdout)["error"]["message"]
    )


def test_status_of_nothing_says_that_everything_is_missing(pipeline: Path, tmp_path: Path) -> None:
    shown = tailshard("status", pipeline, "--workdir", tmp_path / "work", "--json")
    stages = json.loads(shown.stdout)["result"]["stages"]
    assert [stage["state"] for stage in stages] == ["missing"] * 5
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_validate_names_every_input_that_cannot_be_used(pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "ttbar.root").write_bytes(b"root is not what this is")
    for root, reason in ((tmp_path, "is truncated"), (tmp_path / "nowhere", "does not exist")):
        shown = tailshard("validate", pipeline, "--data-root", root)
        assert shown.returncode == 1
        assert f"ttbar: {root}/ttbar.root: {reason}" in shown.stderr


def test_validate_is_content_with_good_inputs(toys: Path, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[1] / "pipelines" / "demo.yaml"
    workdir = tmp_path / "work"
    shown = tailshard("validate", shipped, "--data-root", toys, "--workdir", workdir, "--workers", "1")
    assert shown.returncode == 0, shown.stderr
    assert "good; 10 input files can be read" in shown.stdout
    assert not workdir.exists()


def test_validate_says_in_one_error_what_is_wrong_with_a_correction(toys: Path, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[1] / "pipelines" / "demo.yaml"
    its = f"corrections=[{{file: {tmp_path / 'sf.json'}, name: sf, inputs: {{pt: electrons.pt}}}}]"
    shown = tailshard("validate", shipped, "--data-root", toys, "--set", its)
    assert shown.returncode == 1
    assert shown.stderr.startswith(
        f"error: correction 'sf': cannot read {tmp_path / 'sf.json'} (No such file"
    )
    assert shown.stderr.count("\n") == 1


def test_plan_shows_what_would_be_done_and_does_nothing(toys: Path, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[1] / "pipelines" / "demo.yaml"
    shown = tailshard("plan", shipped, "--data-root", toys, "--workdir", tmp_path / "work", "--json")
    result = json.loads(shown.stdout)["result"]
    assert result["slots"] == 10
    assert result["estimates"]["store"].startswith("about ")
    assert {row["dataset"] for row in result["datasets"]} == {
        "zjets",
        "ttbar",
        "diboson",
        "resonance",
        "data",
    }
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_plan_extrapolates_to_machines_that_are_not_here(toys: Path, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[1] / "pipelines" / "demo.yaml"
    its = (shipped, "--data-root", toys, "--workdir", tmp_path / "work")
    shown = tailshard("plan", *its, "--nodes", "4", "--gpus-per-node", "2", "--cores-per-node", "32")
    assert shown.returncode == 0, shown.stderr
    assert "Extrapolated to 4 nodes of 32 cores and 2 GPUs" in shown.stdout
    assert "zjets_0.root" in shown.stdout
    assert not (tmp_path / "work").exists()


def test_toys_go_where_they_are_told(tmp_path: Path) -> None:
    shown = tailshard("toys", tmp_path / "toys", "--events", "1000", "--json")
    truth = json.loads(shown.stdout)["result"]
    assert sum(len(sample["files"]) for sample in truth["samples"].values()) == 15
    assert (tmp_path / "toys" / "truth.json").is_file()


@pytest.mark.slow
def test_toys_of_another_layout(tmp_path: Path) -> None:
    shown = tailshard("toys", tmp_path / "toys", "--events", "1000", "--layout", "susy-skim")
    assert shown.returncode == 0, shown.stderr
    with uproot.open(tmp_path / "toys" / "ttbar_0.root") as file:
        assert "lepPassOR" in file["ttbar_NoSys"]


@pytest.mark.slow
def test_ingest_warns_of_a_sample_whose_loss_nothing_makes_up_for(toys: Path, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[1] / "pipelines" / "demo.yaml"
    options = ("--data-root", toys, "--workdir", tmp_path / "work")
    files = ("--set", "datasets.0.files=[zjets_*.root, mistyped.root]", "--workers", "1")
    shown = tailshard("ingest", shipped, *options, *files)
    assert shown.returncode == 0, shown.stderr
    assert "warning: The weights of 'zjets' were not corrected for" in shown.stdout


@pytest.mark.slow
def test_a_store_is_verified_and_copied(toys: Path, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[1] / "pipelines" / "demo.yaml"
    its = (shipped, "--data-root", toys, "--workdir", tmp_path / "work", "--workers", "1")
    made = tailshard("ingest", *its)
    assert made.returncode == 0, made.stderr
    good = tailshard("verify", *its)
    assert good.returncode == 0, good.stderr
    assert "all as the catalog says" in good.stdout
    inspected = tailshard("inspect", *its, "--mixing", "--set", "training.batch_size=128", "--json")
    result = json.loads(inspected.stdout)["result"]
    assert result["events"] == sum(sum(each["rows"].values()) for each in result["channels"]) > 0
    assert result["mixing"]["stream"]["batch_size"] == 128
    assert [each["order"] for each in result["mixing"]["orders"]] == ["stream", "megasets", "no shuffle"]
    assert "chi-squared / degree" in tailshard("inspect", tmp_path / "work", "--mixing").stdout
    copied = tailshard("export", *its, "--dense", tmp_path / "dense", "--json")
    assert json.loads(copied.stdout)["result"]["store"] == str(tmp_path / "dense")
    again = tailshard("verify", tmp_path / "dense", "--workers", "1")
    assert again.returncode == 0, again.stdout
    (tmp_path / "work/store/events.zarr/ttbar/weight/c/0").write_bytes(b"lost")
    bad = tailshard("verify", tmp_path / "work" / "store", "--workers", "1", "--json")
    answer = json.loads(bad.stdout)
    assert bad.returncode == 1
    assert answer["ok"] is False
    (fault,) = answer["result"]["faults"]
    assert (fault["channel"], fault["slot"], fault["array"]) == ("ttbar", 0, "weight")
    assert "checksum of its index" in fault["reason"]
    shown = tailshard("verify", tmp_path / "work", "--workers", "1")
    assert shown.returncode == 1
    assert "1 faults" in shown.stdout


def test_a_folder_without_a_store_is_one_message(tmp_path: Path) -> None:
    shown = tailshard("verify", tmp_path)
    assert shown.returncode == 1
    assert "neither a store nor a work directory" in shown.stderr
    assert "Traceback" not in shown.stderr

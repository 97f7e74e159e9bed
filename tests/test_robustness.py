"""Robustness tests and blind tests of toys, as a user meets them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tailshard import verbs
from tailshard.errors import StoreError, WorkdirError
from tailshard.pipeline_files import load, shipped
from tailshard.store.catalog import read_catalog
from tailshard.store.verify import check_arrays

SMALL = (
    "store.slot=1024",
    "store.chunk=256",
    "model.name=ae",
    "model.widths=[16]",
    "model.latent=4",
    "training.epochs=1",
    "training.batch_size=256",
    "training.workers=1",
)


def _options(toys: Path, workdir: Path, workers: int = 2) -> dict[str, Any]:
    return {"workdir": workdir, "data_root": str(toys), "overrides": SMALL, "workers": workers}


def test_a_search_that_was_not_trained_is_refused(toys: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkdirError, match="cannot stress: ingest has not been made yet"):
        verbs.stress(shipped("demo"), **_options(toys, tmp_path))
    with pytest.raises(WorkdirError, match="cannot make a blind test of it: ingest has not been made yet"):
        verbs.blind(shipped("demo"), output=tmp_path / "blind", **_options(toys, tmp_path))
    assert not (tmp_path / "blind").exists()


@pytest.fixture(scope="module")
def trained(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work directory of a search on toys that is trained and no more."""
    workdir = tmp_path_factory.mktemp("trained")
    verbs.ingest(shipped("demo"), **_options(toys, workdir))
    verbs.train(shipped("demo"), **_options(toys, workdir))
    return workdir


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.slow
def test_any_number_of_workers_finds_the_same(toys: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "work")
    first = verbs.stress(shipped("demo"), channels=["ttbar"], **_options(toys, tmp_path / "work"))
    assert Path(first["page"]).is_file()
    assert set(first["networks"]) == {"full", "small"}
    areas = {
        name: row["auc"]["error"]["value"] for name, row in first["networks"]["full"]["disturbed"].items()
    }
    assert areas["momentum_10"] > areas["momentum_1.5"], "harder leptons are more anomalous"
    assert areas["noise"] > 0.9
    removed = first["removed"]["ttbar"]
    assert removed["training"]["channels"] == ["zjets", "diboson"]
    assert removed["model"] != first["networks"]["full"]["model"]
    numbers = (tmp_path / "work" / "results" / "stress.json").read_bytes()
    for kept in (tmp_path / "work" / "stress").glob("*.json"):
        kept.unlink()
    verbs.stress(shipped("demo"), channels=["ttbar"], **_options(toys, tmp_path / "work", workers=1))
    assert (tmp_path / "work" / "results" / "stress.json").read_bytes() == numbers
    stages = verbs.status(shipped("demo"), **_options(toys, tmp_path / "work"))["stages"]
    assert [stage["state"] for stage in stages[:2]] == ["current", "current"]


@pytest.mark.slow
def test_a_blind_test_from_secret_to_verdict(toys: Path, trained: Path, tmp_path: Path) -> None:
    before = _tree(trained)
    out = tmp_path / "blind"
    made = verbs.blind(
        shipped("demo"), output=out, events=(150, 200), nothing=0.0, seed=5, **_options(toys, trained)
    )
    assert made["pipeline_file"] == str(out / "pipeline.yaml")
    assert made["sha256"] in (out / "pipeline.yaml").read_text()
    with pytest.raises(StoreError, match="exists already"):
        verbs.blind(shipped("demo"), output=out, **_options(toys, trained))

    pipeline = load(out / "pipeline.yaml")
    original = load(shipped("demo"), SMALL, str(toys))
    assert pipeline.training == original.training
    assert pipeline.datasets[:-1] == original.datasets[:-1]
    assert pipeline.channels_of("data") == ("blind",)
    states = verbs.status(out / "pipeline.yaml", workdir=out)["stages"]
    assert [state["state"] for state in states] == ["current", "current", "missing", "missing", "missing"]
    assert verbs.verify(out / "pipeline.yaml", workdir=out, workers=2)["faults"] == []

    done = verbs.run(out / "pipeline.yaml", workdir=out, workers=2)["stages"]
    assert [name for name, stage in done.items() if stage["did"]] == ["score", "histogram", "report"]
    assert made["sha256"] in (out / "report" / "index.html").read_text()
    assert _tree(trained) == before, "the search that it came from is as it was"

    found = verbs.unblind(out, signal="resonance", events=170, uncertainty=25)
    truth = found["truth"]
    assert truth["signal"] == "resonance"
    assert 150 <= truth["events"] <= 200
    assert found["verdict"]["signal_right"]
    regions = {region["name"]: region for region in found["regions"]}
    assert regions["inclusive"]["observed"] == made["blind_events"] == truth["others"] + truth["events"]
    assert regions["inclusive"]["injected"] == truth["events"]
    tail = regions["efficiency_0.01"]
    assert 0 < tail["injected"] <= tail["observed"]
    assert abs(tail["excess"] - tail["injected"]) < 5 * tail["excess_uncertainty"]
    assert 0 < found["candidates"]["signal"] <= found["candidates"]["count"]
    assert "Signal regions" in (out / "report" / "unblinded.html").read_text()


@pytest.mark.slow
def test_the_command_line_makes_and_opens_a_blind_test(toys: Path, trained: Path, tmp_path: Path) -> None:
    def tailshard(*arguments: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from tailshard.cli import main; main()", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    its = [shipped("demo"), "--data-root", toys, "--workdir", trained, "--workers", "1"]
    its += [word for override in SMALL for word in ("--set", override)]
    out = tmp_path / "blind"
    made = tailshard("blind", *its, "--output", out, "--events", 20, 40)
    assert made.returncode == 0, made.stderr
    assert json.loads((out / "blind.json").read_text())["sha256"] in made.stdout
    assert "resonance" not in made.stdout + made.stderr
    catalog = read_catalog(out / "store")
    assert check_arrays(out / "store", catalog)[1] == []
    refused = tailshard("unblind", out, "--json")
    assert refused.returncode == 1
    assert "nothing is opened without a claim" in json.loads(refused.stdout)["error"]["message"]
    opened = tailshard("unblind", out, "--signal", "nothing")
    assert opened.returncode == 0, opened.stderr
    assert "The claim of what is in the sample is" in opened.stdout
    late = tailshard("unblind", out, "--signal", "nothing")
    assert "counts for nothing" in late.stdout

import base64
import dataclasses
import re
import shutil

import pytest
import torch

from tailshard.report.ensemble import ensemble, in_one_sentence, roc_picture, separation
from tailshard.report.findings import read_findings
from tailshard.report.headline import headline
from tailshard.report.page import report
from tailshard.report.sections import sections
from tailshard.search.histogram import histogram
from tailshard.search.score import score
from tailshard.train.checkpoint import Best, load_model, save_model, weights_of


def other_network(path, out, seed) -> None:
    """Save a network with other weights."""
    loaded = load_model(path)
    torch.manual_seed(seed)
    network = {
        name: value + 0.05 * torch.randn_like(value) for name, value in weights_of(loaded.network).items()
    }
    save_model(out, Best(1, 0.02, network), loaded.model, loaded.scaler, loaded.size, "snapshot")


@pytest.fixture(scope="module")
def searched(search, client, tmp_path_factory):
    """The search of the other tests, with two more networks."""
    folder = tmp_path_factory.mktemp("ensemble")
    for name in ("store", "model"):
        shutil.copytree(getattr(search, name), folder / name)
    model = folder / "model" / "model.pt"
    training = search.pipeline.training.model_copy(update={"seed": 1, "seeds": (1, 2, 3)})
    pipeline = search.pipeline.model_copy(update={"training": training})
    for seed in training.seeds:
        member = folder / "model" / f"seed_{seed}"
        member.mkdir()
        if seed == 1:
            shutil.copy(model, member / "model.pt")
        else:
            other_network(model, member / "model.pt", seed)
    score(pipeline, folder / "store", model, client)
    histogram(pipeline, folder / "store", folder / "results", client)
    return search._replace(
        pipeline=pipeline, store=folder / "store", model=folder / "model", results=folder / "results"
    )


@pytest.fixture(scope="module")
def with_seeds(searched):
    return read_findings(*searched)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\u202f", "")


def test_the_section_is_there_where_there_are_seeds_alone(with_seeds, findings, searched, tmp_path) -> None:
    assert "Seeds" not in sections(findings, {})
    titles = list(sections(with_seeds, {}))
    assert titles.index("Seeds") == titles.index("Separation") + 1
    page = plain(report(*searched, tmp_path, {}).read_text())
    assert "3 networks learned from the same events, with the seeds 1, 2 and 3." in page
    assert "seed 3" in page


def test_the_table_has_every_seed_and_the_spread(with_seeds) -> None:
    its = with_seeds.summary["ensemble"]
    table = separation(with_seeds)
    assert [row[:2] for row in table.rows] == [
        ["resonance", "mean ± spread"],
        ["", "smallest to largest"],
        *(["", f"seed {seed}"] for seed in (1, 2, 3)),
    ]
    assert len(table.header) == len(table.rows[0]) == 7
    area = its["spread"]["signals"]["resonance"]["auc"]
    assert area["standard_deviation"] > 0
    mean, deviation = (float(part) for part in plain(table.rows[0][2]).split(" ± "))
    assert mean == pytest.approx(area["mean"], abs=deviation)
    # A seed stands there with its own statistical uncertainty, as in the table of the first.
    auc = with_seeds.summary["signals"]["resonance"]["auc"]["error"]
    assert its["members"]["1"]["signals"]["resonance"]["auc"] == auc


def test_the_curve_has_a_band(with_seeds) -> None:
    found = roc_picture(with_seeds, ["resonance"])
    text = base64.b64decode(found.source.partition("base64,")[2]).decode()
    assert "FillBetweenPolyCollection" in text or "PolyCollection" in text
    assert "resonance, 3 seeds" in found.alt


def test_every_region_has_a_spread_and_a_threshold_by_seed(with_seeds) -> None:
    tables = [block for block in ensemble(with_seeds) if block.kind == "table"]
    assert len(tables) == 3
    regions = [region["name"].replace("_", " ") for region in with_seeds.summary["regions"]]
    assert [row[0] for row in tables[1].rows] == regions
    assert tables[2].header == ["Region", "seed 1", "seed 2", "seed 3"]
    assert [row[0] for row in tables[2].rows] == regions[1:]
    assert any(re.search(r"\d ± \d", plain(row[1])) for row in tables[1].rows[1:])


def test_the_headline_says_how_far_the_seed_counts(with_seeds, findings) -> None:
    sentence = "Over 3 seeds of the training, the AUC is "
    assert sentence in plain(headline(with_seeds))
    assert "those of seed 1" in headline(with_seeds)
    assert sentence not in plain(headline(findings))
    assert list(in_one_sentence(findings, "resonance")) == []


def test_nothing_to_compare_is_said(with_seeds) -> None:
    its = with_seeds.summary["ensemble"]
    nothing = {"mean": None, "standard_deviation": None, "minimum": None, "maximum": None, "seeds": 0}

    def changed(signals):
        spread = {**its["spread"], "signals": signals}
        summary = {**with_seeds.summary, "ensemble": {**its, "spread": spread}}
        return dataclasses.replace(with_seeds, summary=summary)

    its_signal = its["spread"]["signals"]["resonance"]
    few = changed({"resonance": {**its_signal, "auc": nothing}})
    assert any("too few events" in block.text for block in ensemble(few) if block.kind == "note")
    assert list(in_one_sentence(few, "resonance")) == []
    none = list(ensemble(changed({})))
    assert any("thresholds alone" in block.text for block in none if block.kind == "note")
    assert [block.kind for block in none] == ["text", "note", "table"]

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tailshard.config import content_hash
from tailshard.errors import StoreError, WorkdirError
from tailshard.search.histogram import histogram, read_histograms, write_histograms
from tailshard.search.regions import INCLUSIVE
from tailshard.search.score import score
from tailshard.train.members import model_hash

REGIONS = [INCLUSIVE, "efficiency_0.1", "efficiency_0.01", "median_1", "median_2", "median_3"]
SPLITS = {"training": 1, "validation": 2, "test": 3}


@pytest.fixture(scope="module")
def summary(searched) -> dict:
    return json.loads((searched.results / "summary.json").read_text())


@pytest.fixture(scope="module")
def histograms(searched) -> dict:
    return read_histograms(searched.results / "histograms.json")


@pytest.fixture(scope="module")
def thresholds(summary) -> dict[str, float]:
    return {
        region["name"]: -np.inf if region["threshold"] is None else region["threshold"]
        for region in summary["regions"]
    }


def test_histograms_have_predeclared_axes_in_the_order_of_the_pipeline(histograms, searched) -> None:
    assert list(histograms) == [
        *("error", "met", "m_lll", "met_scan"),
        *("error_fine", "met_fine", "m_eff_fine"),
    ]
    met = histograms["met"]
    assert met.axes.name == ("channel", "split", "region", "met")
    assert list(met.axes["channel"]) == list(searched.pipeline.channels)
    assert list(met.axes["split"]) == list(SPLITS)
    assert list(met.axes["region"]) == REGIONS
    assert met.axes["met"].label == "missing transverse momentum [GeV]"
    assert histograms["error_fine"].axes.name == ("channel", "split", "error")


@pytest.mark.parametrize("region", REGIONS)
def test_every_bin_of_every_region_is_that_of_the_events_themselves(
    histograms, searched, thresholds, region
) -> None:
    # The same mask for every channel and quantity: a cut made for one array is never used on another.
    for channel, events in searched.events.items():
        inside = np.log10(events["error"]) >= thresholds[region]
        for split, number in SPLITS.items():
            chosen = inside & (events["split"] == number)
            for name in ("met", "met_scan"):
                found = histograms[name][channel, split, region, :]
                edges = [*found.axes[0].edges, np.inf]
                expected, _ = np.histogram(events["met"][chosen], edges, weights=events["weight"][chosen])
                np.testing.assert_allclose(found.view(flow=True)["value"][1:], expected, atol=1e-12)


def test_regions_come_from_the_validation_events_of_the_background(searched, thresholds, summary) -> None:
    background = [searched.events[channel] for channel in ("zjets", "ttbar")]
    log_error, weight, split = (
        np.concatenate(values)
        for values in zip(*((np.log10(e["error"]), e["weight"], e["split"]) for e in background), strict=True)
    )
    log_error, weight = log_error[split == 2], weight[split == 2]
    for region in summary["regions"][1:3]:
        share = float(region["name"].removeprefix("efficiency_"))
        kept = weight[log_error >= region["threshold"]].sum() / weight.sum()
        assert region["background_efficiency"] == pytest.approx(kept)
        assert 0 < kept <= share
    order = np.argsort(log_error)
    median = log_error[order][np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)]
    assert thresholds["median_1"] == pytest.approx(median + abs(median) / 5, abs=0.005)


@pytest.mark.parametrize("region", REGIONS)
def test_yields_are_scaled_test_events_and_all_data(searched, summary, thresholds, region) -> None:
    found = next(row for row in summary["regions"] if row["name"] == region)
    total = 0.0
    for channel, events in searched.events.items():
        inside = np.log10(events["error"]) >= thresholds[region]
        data = channel == "data"
        chosen = inside & (data | (events["split"] == 3))
        scale = 1 if data else 5
        weight = events["weight"][chosen]
        assert found["yields"][channel]["value"] == pytest.approx(scale * weight.sum())
        assert found["yields"][channel]["uncertainty"] == pytest.approx(scale * np.sqrt((weight**2).sum()))
        assert found["yields"][channel]["raw"] == np.count_nonzero(chosen)
        total += scale * weight.sum() if channel in ("zjets", "ttbar") else 0
    assert found["background"]["value"] == pytest.approx(total)
    assert found["data"] == found["yields"]["data"]["value"]
    signal = found["signals"]["resonance"]
    if total > 0:
        assert signal["s_over_sqrt_b"] == pytest.approx(signal["value"] / np.sqrt(total))


def test_auc_is_that_of_the_test_events(searched, summary) -> None:
    test = {name: events["split"] == 3 for name, events in searched.events.items()}
    for score_name in ("met", "m_eff"):
        signal = searched.events["resonance"][score_name][test["resonance"]]
        pairs, norm = 0.0, 0.0
        for channel in ("zjets", "ttbar"):
            values, weight = (
                searched.events[channel][name][test[channel]] for name in (score_name, "weight")
            )
            pairs += (weight * (signal[:, None] > values)).sum()
            norm += len(signal) * weight.sum()
        found = summary["signals"]["resonance"]["auc"][score_name]
        assert found["value"] == pytest.approx(pairs / norm, abs=0.003)
        assert 0 < found["uncertainty"] < 0.1
    assert summary["signals"]["resonance"]["auc"]["error"]["value"] == pytest.approx(1, abs=1e-3)


def test_the_summary_tells_channels_and_what_was_left_out(searched, summary) -> None:
    data, ttbar = summary["channels"]["data"], summary["channels"]["ttbar"]
    assert (data["kind"], data["splits"], data["scale"]) == ("data", list(SPLITS), 1)
    assert data["events"] == {split: searched.catalog.rows("data", split) for split in SPLITS}
    assert data["cutflow"][0] == {"name": "all", "raw": 592, "weighted": 592}
    assert data["undefined"] == {"met": 0, "m_lll": np.isnan(searched.events["data"]["m_lll"]).sum()}
    assert ttbar["yield"] == pytest.approx(5 * searched.catalog.sum_of_weights("ttbar", "test"))
    assert summary["quarantine"][0]["reason"] == "truncated"
    assert summary["provenance"] == {
        "pipeline": content_hash(searched.pipeline),
        "snapshot": searched.catalog.snapshot_id(),
        "model": model_hash(searched.model),
    }
    assert set(summary["signals"]["resonance"]["scans"]) == {"met", "m_eff", *REGIONS[1:]}
    assert summary["candidates"]["count"] == 30


def test_files_hold_no_nan(searched) -> None:
    for name in ("summary.json", "regions.json", "histograms.json"):
        text = (searched.results / name).read_text()
        assert "NaN" not in text
        assert "Infinity" not in text
    regions = json.loads((searched.results / "regions.json").read_text())
    assert [region["name"] for region in regions["regions"]] == REGIONS


@pytest.mark.parametrize("left_out", ["resonance", "data"])
def test_regions_do_not_depend_on_signal_or_data_and_neither_is_needed(
    left_out, small, searched, client, tmp_path, thresholds
) -> None:
    channels = {name: kind for name, kind in small.channels.items() if name != left_out}
    result = histogram(small.pipeline(channels), searched.store, tmp_path, client)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {row["name"]: row["threshold"] for row in summary["regions"]} == {
        name: None if name == INCLUSIVE else value for name, value in thresholds.items()
    }
    if left_out == "resonance":
        assert summary["signals"] == {}
        assert result.candidates == 30
    else:
        assert summary["candidates"] is None
        assert summary["regions"][0]["data"] is None
        assert result.candidates == 0
        assert not (tmp_path / "candidates.parquet").exists()
    assert result.to_dict()["regions"] == REGIONS


def test_a_store_without_scores_is_refused(small, client, tmp_path) -> None:
    pipeline = small.pipeline({"zjets": "background"})
    small.store(tmp_path / "store", pipeline)
    with pytest.raises(StoreError, match="run 'tailshard score'"):
        histogram(pipeline, tmp_path / "store", tmp_path / "results", client)
    assert not (tmp_path / "results").exists()


def test_histograms_survive_their_file(histograms, tmp_path) -> None:
    write_histograms(tmp_path / "h.json", histograms)
    again = read_histograms(tmp_path / "h.json")
    assert all(again[name] == histograms[name] for name in histograms)
    assert all(again[name].storage_type == histograms[name].storage_type for name in histograms)


def test_a_file_that_holds_no_histograms_is_refused(tmp_path) -> None:
    with pytest.raises(WorkdirError, match="does not exist; run 'tailshard histogram'"):
        read_histograms(tmp_path / "absent.json")
    for content in ("{", "[]", '{"met": 3}', '{"met": {}}'):
        (tmp_path / "broken.json").write_text(content)
        with pytest.raises(WorkdirError, match="holds no histograms"):
            read_histograms(tmp_path / "broken.json")


@pytest.mark.slow
def test_results_are_the_same_bytes_for_one_and_two_worker_processes(small, tmp_path) -> None:
    from distributed import Client, LocalCluster

    pipeline = small.pipeline(small.channels, limits={})
    small.store(tmp_path / "one", pipeline)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    model = small.model(tmp_path / "model.pt")
    for workers, name in ((1, "one"), (2, "two")):
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
            ) as cluster,
            Client(cluster) as client,
        ):
            score(pipeline, tmp_path / name, model, client)
            histogram(pipeline, tmp_path / name, tmp_path / name / "results", client)
    one, two = (_bytes_below(tmp_path / name) for name in ("one", "two"))
    assert {
        Path("results/summary.json"),
        Path("results/cells.npz"),
        Path("events.zarr/data/error/c/0"),
    } <= one.keys()
    assert one == two


def _bytes_below(folder: Path) -> dict[Path, bytes]:
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_limit_on_the_candidates_keeps_the_best(searched, small, client, tmp_path) -> None:
    report = {"candidate_fraction": 0.1, "maximum_candidates": 7}
    pipeline = small.pipeline(small.channels, report=report)
    assert histogram(pipeline, searched.store, tmp_path, client).candidates == 7
    facts = json.loads((tmp_path / "summary.json").read_text())["candidates"]
    everything = json.loads((searched.results / "summary.json").read_text())["candidates"]
    assert (facts["count"], facts["limited"], everything["limited"]) == (7, True, False)
    assert facts["smallest_error"] > everything["smallest_error"]

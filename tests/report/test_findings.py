import numpy as np
import pytest

from tailshard.errors import StoreError, WorkdirError
from tailshard.report.findings import read_findings
from tailshard.store.catalog import read_catalog
from tailshard.store.read import read_rows


def test_displays_are_the_matrices_of_the_first_candidates(findings, search) -> None:
    first = findings.candidates.slice(0, 1).to_pylist()[0]
    slot = read_catalog(search.store).slots_of("data")[0]
    rows = read_rows(search.store, "data", ["event_number", "rmm", "error", "multiplicity"], 0, slot.selected)
    (place,) = np.flatnonzero(rows["event_number"] == first["event_number"])
    assert place == np.argmax(rows["error"])
    assert np.array_equal(findings.displays[0].cells, rows["rmm"][place])
    made = findings.displays[0].reconstruction
    assert np.isfinite(made[0, 0])
    counts = rows["multiplicity"][place]
    present = np.concatenate(
        [[True], *(np.arange(most) < n for most, n in zip((6, 6, 5, 5), counts, strict=True))]
    )
    np.testing.assert_array_equal(np.isfinite(made), np.outer(present, present))
    assert list(findings.displays[0].multiplicity.values()) == rows["multiplicity"][place].tolist()


def test_averages_are_weighted_means_over_all_splits(findings, search) -> None:
    slot = read_catalog(search.store).slots_of("ttbar")[0]
    rows = read_rows(search.store, "ttbar", ["rmm", "weight"], 0, slot.selected)
    expected = np.average(rows["rmm"].astype(float), axis=0, weights=rows["weight"])
    assert np.allclose(findings.averages["ttbar"], expected, rtol=1e-12)
    assert list(findings.averages) == list(search.pipeline.channels)


def test_the_network_is_the_one_that_was_saved(findings) -> None:
    assert (findings.network.name, findings.network.parameters) == ("ae_small", 439_749)
    assert (findings.network.best_epoch, len(findings.epochs)) == (2, 3)


def test_a_search_without_data_has_no_candidates(poor_findings) -> None:
    assert poor_findings.candidates is None
    assert poor_findings.displays == []


@pytest.mark.parametrize(
    ("missing", "error", "stage"),
    [
        ("store", StoreError, "ingest"),
        ("model", WorkdirError, "train"),
        ("results", WorkdirError, "histogram"),
    ],
)
def test_a_missing_stage_is_named(search, tmp_path, missing, error, stage) -> None:
    folders = {"store": search.store, "model": search.model, "results": search.results}
    with pytest.raises(error, match=stage):
        read_findings(search.pipeline, **{**folders, missing: tmp_path / "nowhere"})

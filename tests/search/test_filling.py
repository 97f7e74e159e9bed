import hist
import numpy as np
import pytest

from tailshard.config import Histograms
from tailshard.errors import ProcessingError
from tailshard.search.filling import (
    EVENTS,
    UNDEFINED,
    add_filled,
    empty,
    fill_slot,
    join_channels,
    log10_error,
    observable_axes,
    spectrum_axes,
)
from tailshard.search.regions import INCLUSIVE, Region
from tailshard.store.read import read_rows
from tailshard.store.write import write_column

LABELS = {"met": "MET [GeV]", "m_lll": "mass [GeV]"}
REGIONS = (Region(INCLUSIVE, "", -np.inf, 1), Region("tail", "", -0.9, 0.1))
AXES = {
    "met": hist.axis.Regular(10, 0, 200, name="met"),
    "error": hist.axis.Regular(8, -2, 0, name="error"),
    "m_lll": hist.axis.Regular(5, 0, 250, name="m_lll"),
}


@pytest.fixture(scope="module")
def filled(searched):
    slot = searched.catalog.slots_of("ttbar")[0]
    return fill_slot(AXES, REGIONS, searched.store, searched.catalog.geometry, slot, 2.0)


@pytest.fixture(scope="module")
def truth(searched):
    """The 200 events of the slot that is filled."""
    return {name: values[:200] for name, values in searched.events["ttbar"].items()}


@pytest.mark.parametrize("split", ["training", "validation", "test"])
@pytest.mark.parametrize("region", REGIONS, ids=lambda region: region.name)
def test_bins_hold_sums_of_weights_and_of_squared_weights(filled, truth, split, region) -> None:
    number = ["training", "validation", "test"].index(split) + 1
    chosen = (truth["split"] == number) & (np.log10(truth["error"]) >= region.threshold)
    weight = 2 * truth["weight"][chosen]
    assert (weight < 0).any()
    found = filled["met"][split, region.name, :].view(flow=True)
    edges = [-np.inf, *AXES["met"].edges, np.inf]
    for power, name in ((1, "value"), (2, "variance")):
        expected, _ = np.histogram(truth["met"][chosen], edges, weights=weight**power)
        np.testing.assert_allclose(found[name], expected, rtol=1e-12)
    assert filled[EVENTS][split, region.name].value == np.count_nonzero(chosen)


def test_undefined_values_are_in_no_bin_but_in_the_books(filled, truth) -> None:
    test = truth["split"] == 3
    lost = np.isnan(truth["m_lll"]) & test
    assert filled[UNDEFINED]["test", "m_lll"].value == pytest.approx(2 * truth["weight"][lost].sum())
    assert filled[UNDEFINED]["test", "met"].value == 0
    in_bins = filled["m_lll"]["test", INCLUSIVE, :].view(flow=True)["value"].sum()
    assert in_bins == pytest.approx(2 * truth["weight"][test & ~lost].sum())


def test_spectra_have_no_regions(searched) -> None:
    slot = searched.catalog.slots_of("data")[1]
    spectra = fill_slot(spectrum_axes(LABELS), None, searched.store, searched.catalog.geometry, slot, 1.0)
    assert list(spectra) == ["error_fine", "met_fine"]  # m_eff is not among the quantities here
    assert spectra["error_fine"].axes.name == ("split", "error")
    assert spectra["met_fine"].sum(flow=True).value == sum(slot.rows)


def test_a_perfect_reconstruction_is_underflow_and_not_lost(tmp_path, small, searched) -> None:
    catalog = small.store(tmp_path, small.pipeline({"zjets": "background"}))
    slot = catalog.slots_of("zjets")[2]
    errors = np.ones(100, np.float32)
    errors[0] = 0
    write_column(tmp_path, "zjets", "error", slot.index, catalog.geometry, errors)
    filled = fill_slot({"error": AXES["error"]}, REGIONS, tmp_path, catalog.geometry, slot, 1.0)
    bins = filled["error"]["training", INCLUSIVE, :].view(flow=True)
    assert log10_error(errors)[0] == -np.inf
    assert bins["value"][0] == 0.5
    assert filled["error"]["training", "tail", :].sum(flow=True).value == 0.5 * (slot.rows[0] - 1)


def test_events_without_a_finite_error_or_weight_are_refused(tmp_path, small) -> None:
    catalog = small.store(tmp_path, small.pipeline({"zjets": "background"}))
    slot = catalog.slots_of("zjets")[2]
    errors = np.ones(100, np.float32)
    errors[3] = np.nan
    write_column(tmp_path, "zjets", "error", slot.index, catalog.geometry, errors)
    where = r"channel 'zjets', slot 2 \(root://somewhere/zjets_2.root\): "
    with pytest.raises(ProcessingError, match=where + r"1 of \d+ events have no finite error"):
        fill_slot(AXES, REGIONS, tmp_path, catalog.geometry, slot, 1.0)
    with pytest.raises(ProcessingError, match=where + r"\d+ of \d+ events have no finite weight"):
        fill_slot(AXES, REGIONS, tmp_path, catalog.geometry, slot, np.inf)


def test_axes_are_those_of_the_pipeline_that_the_store_can_fill() -> None:
    axes = observable_axes(Histograms(), LABELS)
    assert list(axes) == ["error", "met", "m_lll", "met_scan"]
    assert axes["met"].label == "MET [GeV]"
    assert axes["met_scan"].name == "met"
    assert "met_scan" not in observable_axes(Histograms(), {})


def test_slots_add_up_and_channels_keep_their_order(searched) -> None:
    catalog = searched.catalog
    parts = {
        channel: add_filled(
            [
                fill_slot(AXES, REGIONS, searched.store, catalog.geometry, slot, catalog.scale(slot))
                for slot in catalog.slots_of(channel)
            ]
        )
        for channel in ("ttbar", "zjets")
    }
    joined = join_channels(parts, empty(AXES, REGIONS, ["zjets", "nothing", "ttbar"]))
    assert list(joined["met"].axes["channel"]) == ["zjets", "nothing", "ttbar"]
    for channel in ("zjets", "ttbar"):
        total = joined["met"][channel, sum, INCLUSIVE, :].sum(flow=True)
        weight = searched.events[channel]["weight"]
        assert total.value == pytest.approx(weight.sum())
        assert total.variance == pytest.approx((weight**2).sum())
    assert joined["met"]["nothing", sum, INCLUSIVE, :].sum(flow=True).value == 0


def test_the_store_is_read_where_the_errors_are(searched) -> None:
    # Guards the fixture: the truth that other tests compare with is the store's, split by split.
    for slot in searched.catalog.slots_of("zjets")[:1]:
        start, stop = searched.catalog.geometry.split_range(slot, "test")
        stored = read_rows(searched.store, "zjets", ["met"], start, stop)["met"]
        chosen = searched.events["zjets"]["split"][:256] == 3
        assert stored.tolist() == searched.events["zjets"]["met"][:256][chosen].tolist()

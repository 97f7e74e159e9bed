import numpy as np
import pytest

from tailshard.inference import Limits
from tailshard.search.significance import Spectrum
from tailshard.search.tail import Tail
from tailshard.search.workspaces import workspace


def tail(data=None, signal=(2.0, 3.0), backgrounds=None) -> Tail:
    found = backgrounds or {"zjets": ([50.0, 10.0], [4.0, 1.0]), "ttbar": ([5.0, -1.0], [1.0, 0.5])}
    spectra = {name: Spectrum(*map(np.array, each)) for name, each in found.items()}
    values = np.array(signal)
    return Tail([1.0, 2.0], Spectrum(values, 0 * values), spectra, None if data is None else np.array(data))


def test_a_workspace_is_one_for_pyhf_and_holds_the_counts() -> None:
    pyhf = pytest.importorskip("pyhf")
    limits = Limits(background_uncertainty=0.2, luminosity_uncertainty=0.02)
    space = pyhf.Workspace(
        workspace(tail(data=[57.0, 8.0]), "error", "resonance", limits)
    )  # checks the schema
    model = space.model()
    start = model.config.suggested_init()
    assert model.config.poi_name == "mu"
    expected = model.expected_data(start, include_auxdata=False)
    np.testing.assert_allclose(expected, [2 + 55, 3 + 9])
    assert space.data(model, include_auxdata=False) == [57, 8]
    assert {name for name, _ in model.config.modifiers} == {
        *("mu", "lumi", "simulation_error", "normalisation_zjets", "normalisation_ttbar")
    }
    # The statistics of all backgrounds together, bin by bin: sqrt(4 + 1) of 55, sqrt(1.5) of 9.
    np.testing.assert_allclose(model.config.param_set("simulation_error").sigmas, [5**0.5 / 55, 1.5**0.5 / 9])


def test_without_data_the_expected_background_stands_in_its_place() -> None:
    content = workspace(tail(), "error", "resonance", Limits())
    assert content["observations"][0]["data"] == [55, 9]
    kinds = {its["type"] for sample in content["channels"][0]["samples"] for its in sample["modifiers"]}
    assert kinds == {"normfactor", "staterror"}


def test_a_factor_multiplies_the_signal_alone() -> None:
    plain, larger = (workspace(tail(), "met", "resonance", Limits(), factor) for factor in (1.0, 4.0))
    assert larger["channels"][0]["samples"][0]["data"] == [8, 12]
    assert larger["channels"][0]["samples"][1:] == plain["channels"][0]["samples"][1:]

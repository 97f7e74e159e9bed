"""Numbers of one signal, against the events themselves."""

import json

import numpy as np
import pytest

from tailshard.search.comparison import BACKGROUND_EFFICIENCIES
from tailshard.search.significance import Spectrum, significance

SPLIT = {"validation": 2, "test": 3}


@pytest.fixture(scope="module")
def signal(searched):
    return json.loads((searched.results / "summary.json").read_text())["signals"]["resonance"]


def counted(searched, channels, split, **cuts) -> tuple[float, float]:
    """Expected events of a split above cuts, and their variance, summed event by event."""
    total = variance = 0.0
    for channel in channels:
        events = searched.events[channel]
        chosen = events["split"] == SPLIT[split]
        for name, cut in cuts.items():
            values = np.log10(events[name]) if name == "error" else events[name]
            chosen &= values >= cut
        weight = events["weight"][chosen] * 5
        total += weight.sum()
        variance += np.square(weight).sum()
    return total, variance


@pytest.mark.parametrize(("quantity", "step", "last"), [("met", 10, 1500), ("m_eff", 20, 6000)])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_baseline_is_scanned_alone(searched, signal, quantity, step, last, split) -> None:
    scan = signal["scans"][quantity]
    assert scan["variable"] == quantity
    assert (scan["edges"][1], scan["edges"][-1]) == (step, last)
    found = scan["validation"] if split == "validation" else scan
    for place in (0, 5, 20):
        cut = {quantity: scan["edges"][place]}
        for name, channels in (("signal", ["resonance"]), ("background", ["zjets", "ttbar"])):
            value, variance = counted(searched, channels, split, **cut)
            assert found[name][place] == pytest.approx(value)
            assert found[f"{name}_uncertainty"][place] == pytest.approx(np.sqrt(variance))


def test_the_best_region_is_chosen_on_validation_and_quoted_on_test_events(searched, signal) -> None:
    best = signal["best"]
    regions = {name: scan for name, scan in signal["scans"].items() if name not in ("met", "m_eff")}
    promised = {
        name: scan["chosen"]["asimov_with_background_uncertainty"]
        for name, scan in regions.items()
        if scan["chosen"]
    }
    assert best["region"] == max(promised, key=promised.get)
    assert best["chosen"] == regions[best["region"]]["chosen"]
    assert best["quoted"] == regions[best["region"]]["quoted"]
    assert best["tried"] == sum(scan["tried"] for scan in regions.values()) > len(promised)
    validation = regions[best["region"]]["validation"]["asimov_with_background_uncertainty"]
    assert best["chosen"]["asimov_with_background_uncertainty"] == max(
        value for value in validation if value is not None
    )


def test_what_is_quoted_follows_from_the_test_events_alone(searched, signal) -> None:
    quoted = signal["scans"]["m_eff"]["quoted"]
    sums = [
        Spectrum(*(np.array(value) for value in counted(searched, channels, "test", m_eff=quoted["cut"])))
        for channels in (["resonance"], ["zjets", "ttbar"])
    ]
    for name, value in significance(*sums, 1.0)._asdict().items():
        assert quoted[name] == pytest.approx(float(value)), name


def test_efficiencies_are_those_of_the_events(searched, signal) -> None:
    found = signal["efficiencies"]["met"]
    assert [row["background_efficiency"] for row in found] == list(BACKGROUND_EFFICIENCIES)
    whole, _ = counted(searched, ["zjets", "ttbar"], "test")
    of_signal, _ = counted(searched, ["resonance"], "test")
    # Scan the cuts by hand, from the tightest down to the first that keeps more than a tenth.
    cut = 1500
    while counted(searched, ["zjets", "ttbar"], "test", met=cut - 1)[0] <= 0.1 * whole:
        cut -= 1
    assert found[0]["value"] == pytest.approx(
        counted(searched, ["resonance"], "test", met=cut)[0] / of_signal
    )
    assert 0 < found[0]["uncertainty"] < 0.3
    # About 200 test events stand for the background: they cannot tell one in a thousand.
    assert found[2]["value"] is found[2]["uncertainty"] is found[3]["value"] is None

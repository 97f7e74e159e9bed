import json

import hist
import numpy as np
import pytest
import uhi.io
import uhi.io.json
import uproot

from tailshard.report.export import spectra, write_reconstructions, write_root, write_uhi


@pytest.fixture(scope="module")
def root(findings, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "histograms.root"
    write_root(path, findings)
    assert [file.name for file in path.parent.iterdir()] == ["histograms.root"]
    with uproot.open(path) as file:
        yield file


def test_every_spectrum_of_every_channel_and_region_is_in_the_root_file(root, findings) -> None:
    names = {name.split(";")[0] for name, kind in root.classnames().items() if kind == "TH1D"}
    by_region = {"error", "met", "m_lll", "jets", "met_scan"}
    assert names == {
        *(
            f"{region}/{name}/{channel}"
            for region in ("inclusive", "efficiency_0.1", "median_1")
            for name in by_region
            for channel in findings.pipeline.channels
        ),
        *(
            f"fine/{name}/{channel}"
            for name in ("error_fine", "met_fine", "m_eff_fine")
            for channel in findings.pipeline.channels
        ),
    }


def test_root_histograms_are_the_quoted_spectra_with_errors_and_flow(root, findings) -> None:
    for place, spectrum in spectra(findings):
        stored = root[place].to_hist()
        assert np.array_equal(stored.values(flow=True), spectrum.values(flow=True))
        assert np.allclose(stored.variances(flow=True), spectrum.variances(flow=True), rtol=1e-14, atol=0)


def test_quoted_spectra_add_up_to_the_yields_of_the_summary(root, findings) -> None:
    for channel, its in findings.summary["channels"].items():
        stored = root[f"inclusive/met/{channel}"]
        assert stored.values(flow=True).sum() == pytest.approx(its["yield"])
        assert np.sqrt(stored.variances(flow=True).sum()) == pytest.approx(its["yield_uncertainty"])


def test_uhi_files_hold_every_histogram_as_it_was(findings, tmp_path) -> None:
    write_uhi(tmp_path / "histograms.uhi.json", findings)
    text = (tmp_path / "histograms.uhi.json").read_text()
    content = json.loads(text, object_hook=uhi.io.json.object_hook)
    read = {name: hist.Hist(uhi.io.from_sparse(stored)) for name, stored in content.items()}
    assert read == findings.histograms


def test_reconstructions_are_those_of_the_candidates(findings, poor_findings, tmp_path) -> None:
    path = tmp_path / "reconstructions.npz"
    write_reconstructions(path, findings)
    with np.load(path) as content:
        assert content["event_number"].tolist() == findings.candidates["event_number"].to_pylist()[:1]
        np.testing.assert_array_equal(content["event"][0], findings.displays[0].cells)
        np.testing.assert_array_equal(content["reconstruction"][0], findings.displays[0].reconstruction)
        assert content["rows"].tolist() == findings.rows
    first = path.read_bytes()
    write_reconstructions(path, findings)
    assert path.read_bytes() == first
    write_reconstructions(path, poor_findings)
    assert not path.exists()

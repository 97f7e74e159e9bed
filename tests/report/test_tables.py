import dataclasses

from tailshard.report import tables
from tailshard.report.wording import NOTHING


def test_every_channel_has_a_row_with_its_quoted_yield(findings) -> None:
    table = tables.samples(findings)
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == ["zjets", "ttbar", "resonance", "data", "all background"]
    assert rows["data"][-1] == "900"
    assert rows["data"][2] == "all"
    assert rows["ttbar"][2] == "test"
    assert "±" in rows["all background"][-1]
    assert {len(row) for row in table.rows} == {len(table.header)}


def test_a_cutflow_has_raw_and_weighted_counts_of_simulation_and_raw_ones_of_data(findings) -> None:
    (table,) = tables.cutflows(findings)
    assert table.header == [
        "After",
        "zjets, raw",
        "weighted",
        "ttbar, raw",
        "weighted",
        "resonance, raw",
        "weighted",
        "data",
    ]
    assert table.rows[0] == [
        "all",
        "2\u202f000",
        "1\u202f600",
        "1\u202f600",
        "320.0",
        "800",
        "40.00",
        "1\u202f800",
    ]


def test_a_wide_cutflow_is_parted_into_tables(findings) -> None:
    channel = findings.summary["channels"]["zjets"]
    empty = {**channel, "cutflow": []}
    channels = {"first": empty, **{f"channel {number}": channel for number in range(8)}}
    found = list(tables.cutflows(dataclasses.replace(findings, summary={"channels": channels})))
    assert [len(table.header) for table in found] == [9, 9, 3]
    assert found[0].rows[0][1:4] == [NOTHING, NOTHING, "2\u202f000"]


def test_data_has_a_column_only_where_there_is_data(findings, poor_findings) -> None:
    assert tables.regions(findings).header[-1] == "Data"
    assert tables.regions(poor_findings).header[-1] == "Background"


def test_a_scan_without_a_cut_has_an_empty_row(findings) -> None:
    scans = {"tail_1": {"quoted": None, "chosen": None}}
    summary = {"signals": {"new": {"scans": scans}}}
    table = tables.scans(dataclasses.replace(findings, summary=summary), "new")
    assert table.rows == [["tail 1", *[NOTHING] * 7]]


def test_efficiencies_are_read_off_the_roc_curve(findings) -> None:
    roc = {"background_efficiency": [0, 0.05, 0.15, 1], "signal_efficiency": [0, 0.2, 0.4, 1]}
    signals = {"new": {"roc": {"error": roc}, "auc": {"error": {"value": 0.8, "uncertainty": 0.1}}}}
    table = tables.separation(dataclasses.replace(findings, summary={"signals": signals}), ["new"])
    assert table.rows == [
        ["new", "error", "0.80\u00a0±\u00a00.10", "0.300", "0.0400", "0.00400", "4.00 × 10⁻⁴"]
    ]


def test_every_baseline_stands_beside_the_error(findings) -> None:
    assert [row[1] for row in tables.separation(findings, ["resonance"]).rows] == [
        "error",
        "MET alone",
        "m_eff alone",
    ]


def test_candidates_have_their_observables_in_units(findings) -> None:
    rows = findings.candidates.slice(0, 3).to_pylist()
    table = tables.candidates(findings, rows)
    assert table.header[5:] == ["met [GeV]", "m_lll [GeV]", "jets"]
    assert [row[3] for row in table.rows] == [str(row["event_number"]) for row in rows]
    rows[0]["m_lll"] = None
    assert tables.candidates(findings, rows).rows[0][6] == NOTHING


def test_provenance_has_a_row_for_each_fact() -> None:
    facts = {
        "commit": "abc",
        "packages": {"numpy": "2", "zarr": "3"},
        "stages": {"train": {"key": "k", "more": {"a": 1}}},
    }
    assert tables.provenance(facts).rows == [
        ["commit", "abc"],
        ["packages", "numpy 2, zarr 3"],
        ["stages, train", "key k"],
        ["stages, train, more", "a 1"],
    ]


def test_a_region_that_the_simulation_is_too_small_for_is_marked(findings) -> None:
    regions = [dict(region) for region in findings.summary["regions"]]
    regions[-1] |= {"simulation_ends": ["zjets"], "quotable": False}
    yields = regions[-1]["yields"]
    regions[-1]["yields"] = {**yields, "zjets": {**yields["zjets"], "raw": 0, "upper_limit": 4.6}}
    table = tables.regions(dataclasses.replace(findings, summary={**findings.summary, "regions": regions}))
    assert table.header[-1] == "Limited by simulation"
    assert table.rows[0][-1] == NOTHING
    assert table.rows[-1][-1] == (
        "no event of zjets is left (< 4.6); too little background to quote a significance"
    )

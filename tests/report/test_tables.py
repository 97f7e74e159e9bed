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
    assert tables.regions(findings).header[4] == "Data"
    assert tables.regions(poor_findings).header[-1] == "Background"


def test_a_scan_without_a_cut_has_an_empty_row(findings) -> None:
    scans = {"tail_1": {"variable": "met", "quoted": None, "chosen": None}}
    summary = {"signals": {"new": {"scans": scans}}}
    table = tables.scans(dataclasses.replace(findings, summary=summary), "new")
    assert table.rows == [["tail 1", *[NOTHING] * 8]]


def test_both_baselines_are_scanned_beside_the_regions(findings) -> None:
    rows = tables.scans(findings, "resonance").rows
    assert [row[0] for row in rows] == ["MET alone", "m_eff alone", "efficiency 0.1", "median 1"]
    assert [row[1].split()[0] for row in rows] == ["MET", "m_eff", "MET", "MET"]
    assert all("±" in column for row in rows[:2] for column in row[4:6])
    assert all("±" in column for column in rows[0][6:])


def test_efficiencies_have_uncertainties_and_nothing_where_the_background_cannot_tell(findings) -> None:
    (error, met, m_eff) = tables.separation(findings, ["resonance"]).rows
    assert all("±" in row[2] for row in (error, met, m_eff))
    for row in (met, m_eff):
        assert "±" in row[3]  # at 0.1
        assert row[5] == row[6] == NOTHING  # 360 events of unequal weight cannot tell one in a thousand


def test_every_region_stands_beside_cuts_of_its_size(findings) -> None:
    rules = [row[1] for row in tables.regions(findings).rows]
    equal = ["as much of the background, by MET alone", "as much of the background, by m_eff alone"]
    assert rules[2:4] == rules[5:7] == equal
    assert tables.regions(findings).rows[2][2].startswith("MET ")
    rows = tables.signal_in_regions(findings, "resonance").rows
    assert [row[1] for row in rows] == ["every event", *["error", "MET alone", "m_eff alone"] * 2]
    assert rows[0][4] == "100\u00a0%"
    assert all("±" in column for row in rows if "alone" in row[1] for column in row[2:])


def test_files_are_listed_by_name_and_very_many_are_counted(findings, monkeypatch) -> None:
    table = tables.inputs(findings)
    assert [row[:3] for row in table.rows] == [
        [name, name, f"{name}.root"] for name in ("zjets", "ttbar", "resonance", "data")
    ]
    assert table.rows[0][3:] == ["2\u202f000", "1\u202f000"]
    monkeypatch.setattr(tables, "INPUTS_SHOWN", 2)
    assert tables.inputs(findings).rows[2] == [
        "",
        "",
        "2 more files, named in summary.json",
        "2\u202f600",
        "1\u202f300",
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
    assert table.header[5:] == ["Leading kind of cell", "met [GeV]", "m_lll [GeV]", "jets"]
    assert {row[5] for row in table.rows} <= {"MET", "mT", "hL", "ET", "dET", "m", "h"}
    assert [row[3] for row in table.rows] == [str(row["event_number"]) for row in rows]
    rows[0]["m_lll"] = None
    assert tables.candidates(findings, rows).rows[0][7] == NOTHING


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
    assert table.rows[-3][-1] == (
        "no event of zjets is left (< 4.6); too little background to quote a significance"
    )

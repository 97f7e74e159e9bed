import shutil
from pathlib import Path

import pytest

from tailshard.config import Pipeline
from tailshard.errors import ConfigError, InputError
from tailshard.ingest.survey import check_names, configuration, listing, survey
from tailshard.pipeline_files import load, shipped


def test_every_file_is_opened_once_and_cut_into_partitions_that_fit_a_slot(toy_pipeline: Pipeline) -> None:
    surveyed = survey(toy_pipeline)
    assert [each.dataset.channel for each in surveyed] == list(toy_pipeline.channels)
    assert all(not each.quarantine for each in surveyed)
    for each in surveyed:
        assert sum(file.entries for file in each.files) == sum(
            partition.stop - partition.start for partition in each.partitions
        )
        assert all(0 < partition.stop - partition.start <= 512 for partition in each.partitions)


def test_a_bad_file_is_a_row_with_a_reason_and_the_others_go_on(toys: Path, tmp_path: Path) -> None:
    folder = tmp_path / "toys"
    shutil.copytree(toys, folder)
    victim = sorted(folder.glob("zjets_*.root"))[0]
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    (folder / "ttbar_empty.root").write_bytes(b"")
    pipeline = load(shipped("demo"), ["datasets.3.files=no_such_*.root"], str(folder))
    rows = {Path(row.url).name: row.reason for each in survey(pipeline) for row in each.rows}
    assert "truncated" in rows[victim.name]
    assert "0 bytes" in rows["ttbar_empty.root"]
    assert "no file matches" in rows["no_such_*.root"]
    assert len(rows) == 3


def test_a_file_cannot_belong_to_two_datasets(toys: Path) -> None:
    pipeline = load(shipped("demo"), ["datasets.1.files='z*.root'"], str(toys))
    with pytest.raises(InputError, match=r"named by the datasets 'zjets' and 'ttbar'"):
        survey(pipeline)


def test_two_datasets_cannot_hold_copies_of_one_file(toys: Path, tmp_path: Path) -> None:
    shutil.copy(toys / "zjets_0.root", tmp_path / "copy.root")
    pipeline = load(shipped("demo"), [f"datasets.1.files={tmp_path}/copy.root"], str(toys))
    with pytest.raises(InputError, match=r"zjets_0\.root of the dataset 'zjets' and .*copy\.root of 'ttbar'"):
        survey(pipeline)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("selection.name=two_leptons", "there is no selection called 'two_leptons'"),
        ("datasets.0.dialect=atlas-1999", "there is no dialect called 'atlas-1999'"),
        ("datasets.0.dialect=atlas-2016", "sum_of_weights"),
        (
            "datasets.4.dialect=atlas-2016",
            "different collision energies .*'diboson' 13 TeV, .*'data' 8 TeV",
        ),
        ("selection.name=nowhere:cut", "cannot import 'nowhere'"),
        ("selection.jets.b_tag_efficiency=42", "working points"),
        ("histograms.observables={m_xyz: {bins: 3, range: [0, 1]}}", "m_xyz"),
    ],
)
def test_a_name_that_does_not_exist_is_found_before_any_file_is_opened(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_names(load(shipped("demo"), [override], "/nowhere"))


CORRECTION = "corrections=[{file: no.json, name: sf, inputs: {pt: electrons.pt}}]"


@pytest.mark.parametrize(
    ("pipeline", "overrides", "message"),
    [
        ("demo", ["datasets.0.dialect=susy-skim"], "zjets': susy-skim is normalised campaign by campaign"),
        (
            "demo",
            ["campaigns=[{name: a, luminosity: {2015: 0.1}}]"],
            "zjets': atlas-2025 does not store the run that simulation was made for; leave campaigns out",
        ),
        (
            "thesis-2lep",
            ["selection.cuts.trigger_chains={2015: [2mu10], 2016: [2mu10]}"],
            "trigger_chains lists no chain for 2017, 2018, which the pipeline keeps",
        ),
        ("thesis-3lep", ["datasets.2.cross_section=3 pb"], "'Zttjets' must give sum_of_weights"),
        ("demo", ["selection.cuts.remove_bad_samples=true"], "not for this release"),
        (
            "demo",
            [CORRECTION],
            r"correction 'sf': cannot read /nowhere/no.json \(No such file",
        ),
    ],
)
def test_what_does_not_go_together_is_found_before_any_file_is_opened(
    pipeline: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_names(load(shipped(pipeline), overrides, "/nowhere"))


@pytest.mark.parametrize("name", ["thesis-2lep", "thesis-3lep", "benchmark-2lep", "benchmark-3lep"])
def test_the_searches_of_the_thesis_fit_their_dialects(name: str) -> None:
    check_names(load(shipped(name)))


@pytest.mark.parametrize("name", ["benchmark-2lep", "benchmark-3lep"])
def test_a_benchmark_search_reads_each_file_of_the_benchmark_once(name: str, shared_data: Path) -> None:
    surveyed = survey(load(shipped(name), [], str(shared_data)))
    assert all(not each.quarantine for each in surveyed)
    read = [Path(file.url).name for each in surveyed for file in each.files]
    data = f"pseudodata.{name.removeprefix('benchmark-').removesuffix('p')}p.root"
    wanted = [
        path.name
        for path in (shared_data / "benchmark_13TeV").glob("*.root")
        if "pseudodata" not in path.name or path.name.endswith(data)
    ]
    assert sorted(read) == sorted(wanted)


def test_a_correction_is_part_of_the_configuration_by_its_content(toys: Path, tmp_path: Path) -> None:
    path = tmp_path / "sf.json"
    path.write_text("one")
    its = f"corrections=[{{file: {path}, name: sf, inputs: {{pt: electrons.pt}}}}]"
    before = configuration(load(shipped("demo"), [its], str(toys)))
    moved = its.replace("sf.json", "moved.json")
    path.rename(tmp_path / "moved.json")
    assert configuration(load(shipped("demo"), [moved], str(toys))) == before
    (tmp_path / "moved.json").write_text("two")
    assert configuration(load(shipped("demo"), [moved], str(toys))) != before
    assert configuration(load(shipped("demo"), [], str(toys)))["corrections"] == []


def test_the_listing_changes_with_a_file_and_opens_none(toys: Path, tmp_path: Path) -> None:
    folder = tmp_path / "toys"
    shutil.copytree(toys, folder)
    pipeline = load(shipped("demo"), (), str(folder))
    before = listing(pipeline)
    assert before == listing(pipeline)
    victim = sorted(folder.glob("zjets_*.root"))[0]
    victim.write_bytes(b"not ROOT")
    (folder / "zjets_extra.root").write_bytes(b"new")
    after = listing(pipeline)
    assert {url for url in after if after[url] != before.get(url)} == {
        str(victim),
        str(folder / "zjets_extra.root"),
    }

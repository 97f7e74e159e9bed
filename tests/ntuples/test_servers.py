"""Inputs on real servers: what is read of them is what is read of the files."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.clusters import threads_of_this_process
from tests.servers import storage as servers

from tailshard.config import Pipeline
from tailshard.errors import InputError
from tailshard.ingest.arrivals import find_arrivals, recall, remember
from tailshard.ingest.stage import ingest
from tailshard.ingest.survey import listing, survey
from tailshard.pipeline_files import load
from tailshard.places import files_below
from tailshard.store.catalog import Catalog, read_catalog
from tailshard.toys import make_toys

PIPELINE = """
name: served
luminosity: 0.1
datasets:
  - {channel: zjets, kind: background, dialect: atlas-2025, files: PATTERN}
store: {slot: 4096, chunk: 256}
update: {settle: 0}
"""


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    make_toys(folder / "toys", events=500, signal_events=100, files=2)
    return folder / "toys"


@pytest.fixture(scope="module", params=["root", "http"])
def server(
    request: pytest.FixtureRequest, content: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """URL of the folder of toys."""
    kinds = {"root": servers.xrootd, "http": servers.nginx}
    with ExitStack() as stack:
        yield stack.enter_context(kinds[request.param](content, tmp_path_factory.mktemp("server")))


def _pipeline(folder: Path, data_root: str, pattern: str) -> Pipeline:
    path = folder / "served.yaml"
    path.write_text(PIPELINE.replace("PATTERN", pattern))
    return load(path, (), data_root)


def _without_addresses(catalog: Catalog) -> list[object]:
    return [slot.model_copy(update={"url": "", "key": ""}) for slot in catalog.slots]


@pytest.mark.slow
def test_what_a_server_gives_is_what_the_files_hold(server: str, content: Path, tmp_path: Path) -> None:
    names = "[zjets_0.root, zjets_1.root]"
    with threads_of_this_process() as client:
        ingest(_pipeline(tmp_path, str(content), names), tmp_path / "local", client)
        ingest(_pipeline(tmp_path, server, names), tmp_path / "served", client)
    local, served = (read_catalog(tmp_path / each) for each in ("local", "served"))
    assert served.quarantine == ()
    assert sum(slot.selected for slot in served.slots) > 100
    assert all(slot.url.startswith(server) for slot in served.slots)
    assert _without_addresses(served) == _without_addresses(local)
    shards = files_below(tmp_path / "local" / "events.zarr")
    assert shards == files_below(tmp_path / "served" / "events.zarr")
    for name in shards:
        if name != "zarr.json":
            first, second = (tmp_path / each / "events.zarr" / name for each in ("local", "served"))
            assert first.read_bytes() == second.read_bytes(), name


@pytest.mark.slow
def test_files_that_arrive_on_an_xrootd_server_are_found(content: Path, tmp_path: Path) -> None:
    folder, aside = tmp_path / "arriving", tmp_path / "server"
    folder.mkdir()
    aside.mkdir()
    first, second = ((content / f"zjets_{number}.root").read_bytes() for number in (0, 1))
    (folder / "zjets_0.root").write_bytes(first)
    with servers.xrootd(folder, aside) as url:
        pipeline = _pipeline(tmp_path, url, "zjets_*.root")
        remember(tmp_path / "inputs.json", pipeline, listing(pipeline), survey(pipeline))
        memory = recall(tmp_path / "inputs.json")
        assert memory is not None
        assert [Path(each).name for each in memory] == ["zjets_0.root"]
        assert not find_arrivals(pipeline, memory).any
        (folder / "zjets_1.root").write_bytes(second)
        found = find_arrivals(pipeline, memory)
        assert [Path(each).name for each in found.added] == ["zjets_1.root"]
        (folder / "zjets_0.root").unlink()
        assert [Path(each).name for each in find_arrivals(pipeline, memory).gone] == ["zjets_0.root"]


@pytest.mark.slow
def test_a_server_without_byte_ranges_is_refused_with_the_reason(content: Path, tmp_path: Path) -> None:
    with servers.without_ranges(content, tmp_path) as url, threads_of_this_process() as client:
        pipeline = _pipeline(tmp_path, url, "zjets_0.root")
        with pytest.raises(
            InputError, match=r"cannot be read in parts: its server sent [\d,]+ bytes where 4"
        ):
            ingest(pipeline, tmp_path / "store", client)

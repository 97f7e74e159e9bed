"""What has arrived, changed or gone, and what is left because it is still being written."""

import functools
import os
import re
import shutil
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import uproot

from tailshard.config import Pipeline
from tailshard.errors import InputError
from tailshard.ingest import arrivals as module
from tailshard.ingest.arrivals import Arrivals, Remembered, find_arrivals, recall, remember
from tailshard.ingest.survey import listing, survey
from tailshard.pipeline_files import load

PIPELINE = """
name: arriving
luminosity: 0.1
datasets:
  - {channel: zjets, kind: background, dialect: atlas-2025, files: "zjets_*.root"}
  - {channel: data, kind: data, dialect: atlas-2025, files: "data_*.root"}
"""
NAMES = ("data_0.root", "data_1.root", "zjets_0.root", "zjets_1.root")


@pytest.fixture
def folder(toys: Path, tmp_path: Path) -> Path:
    """Four files that were written long ago."""
    (tmp_path / "files").mkdir()
    for name in NAMES:
        shutil.copy(toys / name, tmp_path / "files" / name)
        os.utime(tmp_path / "files" / name, (1e9, 1e9))
    (tmp_path / "arriving.yaml").write_text(PIPELINE)
    return tmp_path / "files"


@pytest.fixture
def pipeline(folder: Path) -> Pipeline:
    return load(folder.parent / "arriving.yaml", data_root=str(folder))


def _remembered(pipeline: Pipeline, folder: Path) -> dict[str, Remembered]:
    remember(folder.parent / "inputs.json", pipeline, listing(pipeline), survey(pipeline))
    memory = recall(folder.parent / "inputs.json")
    assert memory is not None
    return memory


def _names(urls) -> list[str]:
    return [url.rsplit("/", 1)[-1] for url in urls]


def _opened(pipeline: Pipeline, found: Arrivals) -> list[str]:
    """Files that a survey of what was found still has to open."""
    opened: list[str] = []

    def nothing(function, arguments):
        opened.extend(url for url, *_ in arguments)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "in_threads", nothing)
        survey(pipeline, nothing, inputs=found.inputs)
    return _names(opened)


def test_at_first_every_file_has_arrived(pipeline: Pipeline) -> None:
    found = find_arrivals(pipeline, {})
    assert sorted(_names(found.added)) == sorted(NAMES)
    assert (found.changed, found.gone, found.left) == ((), (), {})
    assert found.listing == listing(pipeline)


def test_nothing_has_arrived_where_everything_is_as_it_was(pipeline: Pipeline, folder: Path) -> None:
    found = find_arrivals(pipeline, _remembered(pipeline, folder))
    assert not found.any
    assert _opened(pipeline, found) == []


def test_what_is_new_changed_or_gone_is_told_apart_and_only_that_is_opened(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(folder / "data_1.root", folder.parent / "late.root")
    memory = _remembered(pipeline, folder)
    shutil.move(folder.parent / "late.root", folder / "data_1.root")
    os.utime(folder / "zjets_0.root", (1.1e9, 1.1e9))
    (folder / "zjets_1.root").unlink()
    opened = []

    def inspect(url, *rest):
        opened.append(url)
        return module_inspect(url, *rest)

    module_inspect = module.inspect
    monkeypatch.setattr(module, "inspect", inspect)
    found = find_arrivals(pipeline, memory)
    assert _names(found.added) == ["data_1.root"]
    assert _names(found.changed) == ["zjets_0.root"]
    assert _names(found.gone) == ["zjets_1.root"]
    assert sorted(_names(opened)) == ["data_1.root", "zjets_0.root"]
    assert _opened(pipeline, found) == []


def test_a_file_that_was_modified_a_moment_ago_is_left(pipeline: Pipeline, folder: Path) -> None:
    memory = _remembered(pipeline, folder)
    shutil.copy(folder / "data_0.root", folder / "data_2.root")
    os.utime(folder / "data_2.root")
    found = find_arrivals(pipeline, memory)
    assert not found.any
    assert _names(found.left) == ["data_2.root"]
    assert "less than update.settle (60 s)" in next(iter(found.left.values()))
    assert found.listing == {url: its.fingerprint for url, its in memory.items()}
    os.utime(folder / "data_2.root", (1e9, 1e9))
    assert _names(find_arrivals(pipeline, memory).added) == ["data_2.root"]


def test_an_old_file_that_is_written_to_again_stays_as_it_was_until_it_is_finished(
    pipeline: Pipeline, folder: Path
) -> None:
    memory = _remembered(pipeline, folder)
    content = (folder / "data_0.root").read_bytes()
    (folder / "data_0.root").write_bytes(content[: len(content) // 2])
    os.utime(folder / "data_0.root", (1.1e9, 1.1e9))
    found = find_arrivals(pipeline, memory)
    assert not found.any
    assert "is truncated" in found.left[str(folder / "data_0.root")]
    files = {file.url for each in survey(pipeline, inputs=found.inputs) for file in each.files}
    assert files == set(memory)


@pytest.mark.parametrize(
    "content",
    [b"", b"ro", b"root", bytes(5000), "half"],
    ids=["empty", "two bytes", "four bytes", "room reserved", "cut short"],
)
def test_what_lacks_header_or_end_is_left_and_not_put_into_quarantine(
    pipeline: Pipeline, folder: Path, content: bytes | str
) -> None:
    memory = _remembered(pipeline, folder)
    whole = (folder / "data_0.root").read_bytes()
    (folder / "data_2.root").write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    os.utime(folder / "data_2.root", (1e9, 1e9))
    found = find_arrivals(pipeline, memory)
    assert not found.any
    assert _names(found.left) == ["data_2.root"]
    assert "seems to be still written" in next(iter(found.left.values()))


def test_a_root_file_without_keys_is_left(pipeline: Pipeline, folder: Path) -> None:
    memory = _remembered(pipeline, folder)
    uproot.recreate(folder / "data_2.root").close()
    os.utime(folder / "data_2.root", (1e9, 1e9))
    found = find_arrivals(pipeline, memory)
    assert "holds nothing" in found.left[str(folder / "data_2.root")]


def test_a_finished_file_that_is_no_input_goes_into_quarantine(pipeline: Pipeline, folder: Path) -> None:
    memory = _remembered(pipeline, folder)
    with uproot.recreate(folder / "data_2.root") as file:
        file.mktree("another", {"x": "int32"}).extend({"x": np.arange(3)})
    (folder / "data_3.root").write_text("<html>not found</html>")
    for name in ("data_2.root", "data_3.root"):
        os.utime(folder / name, (1e9, 1e9))
    found = find_arrivals(pipeline, memory)
    assert found.left == {}
    rows = [row for each in survey(pipeline, inputs=found.inputs) for row in each.rows]
    assert sorted(_names(row.url for row in rows)) == ["data_2.root", "data_3.root"]


def test_a_file_that_grows_between_two_looks_is_left(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = _remembered(pipeline, folder)
    shutil.copy(folder / "data_0.root", folder / "data_2.root")
    os.utime(folder / "data_2.root", (1e9, 1e9))
    look = module.look_at

    def look_and_write(urls, afresh=False):
        seen = look(urls, afresh)
        if not afresh:
            with (folder / "data_2.root").open("ab") as file:
                file.write(b"more")
            os.utime(folder / "data_2.root", (1e9, 1e9))
        return seen

    monkeypatch.setattr(module, "look_at", look_and_write)
    found = find_arrivals(pipeline, memory)
    assert "is growing" in found.left[str(folder / "data_2.root")]


def test_a_list_of_names_is_all_that_is_looked_at(pipeline: Pipeline, folder: Path) -> None:
    memory = _remembered(pipeline, folder)
    for name in ("data_2.root", "zjets_2.root"):
        shutil.copy(folder / name.replace("2", "0"), folder / name)
        os.utime(folder / name, (1e9, 1e9))
    (folder / "data_0.root").unlink()
    (folder / "data_1.root").unlink()
    found = find_arrivals(pipeline, memory, [f"file://{folder / 'data_2.root'}", str(folder / "data_0.root")])
    assert _names(found.added) == ["data_2.root"]
    assert _names(found.gone) == ["data_0.root"]
    assert set(_names(found.listing)) == {"data_1.root", "data_2.root", "zjets_0.root", "zjets_1.root"}
    assert not find_arrivals(pipeline, memory, []).any
    with pytest.raises(InputError, match=r"other\.root fits no files of this pipeline"):
        find_arrivals(pipeline, memory, [str(folder / "other.root")])


def test_a_memory_that_cannot_be_read_is_no_memory(tmp_path: Path) -> None:
    assert recall(tmp_path / "inputs.json") is None
    (tmp_path / "inputs.json").write_text('{"version": 99}')
    assert recall(tmp_path / "inputs.json") is None


class _Ranges(SimpleHTTPRequestHandler):
    """Python's own server, which lists folders, with the ranges that it lacks."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match is None or not path.is_file():
            super().do_GET()
            return
        content = path.read_bytes()
        first, last = int(match[1]), min(int(match[2]), len(content) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(content[first : last + 1])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    """URL of a web server that lists the folder."""
    handler = functools.partial(_Ranges, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_web_server_is_listed_and_tells_how_old_its_files_are(folder: Path, server: str) -> None:
    pipeline = load(folder.parent / "arriving.yaml", data_root=server)
    memory = _remembered(pipeline, folder)
    assert sorted(_names(memory)) == sorted(NAMES)
    assert not find_arrivals(pipeline, memory).any
    for name, age in (("data_2.root", 1e6), ("data_3.root", 0)):
        shutil.copy(folder / "data_0.root", folder / name)
        os.utime(folder / name, (time.time() - age,) * 2)
    (folder / "zjets_1.root").unlink()
    found = find_arrivals(pipeline, memory)
    assert found.added == (f"{server}/data_2.root",)
    assert found.gone == (f"{server}/zjets_1.root",)
    assert "less than update.settle" in found.left[f"{server}/data_3.root"]

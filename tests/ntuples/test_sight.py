"""What a file looks like from outside."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from tailshard.ntuples.sight import look_at


def _look(url: Path | str):
    return look_at([str(url)])[str(url)]


def test_size_and_time_of_a_local_file_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    path.write_bytes(b"12345")
    os.utime(path, (1e9, 1e9))
    first = _look(path)
    assert first.fingerprint.startswith("5 bytes ")
    assert (first.modified, first.is_lost) == (1e9, False)
    os.utime(path, (1e9, 2e9 - 5e8))
    assert _look(path).fingerprint != first.fingerprint


def test_a_time_that_is_still_to_come_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    path.touch()
    os.utime(path, (time.time() + 3600,) * 2)
    assert _look(path).modified is None


def test_a_file_that_is_not_there_is_lost_and_a_server_that_is_not_there_tells_nothing(
    tmp_path: Path,
) -> None:
    assert _look(tmp_path / "absent.root").is_lost
    nowhere = _look("http://127.0.0.1:9/absent.root")
    assert nowhere.fingerprint.startswith("cannot be seen")
    assert nowhere.modified is None


@pytest.mark.parametrize(
    "facts",
    [
        {"LastModified": datetime(2024, 1, 1, tzinfo=UTC)},
        {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"},
        {"mtime": datetime(2024, 1, 1, tzinfo=UTC).timestamp()},
    ],
    ids=["s3", "http", "local"],
)
def test_every_kind_of_server_tells_the_time_in_its_own_way(facts, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/a.root", b"123")
    monkeypatch.setattr(type(memory), "info", lambda self, path, **_: {"size": 3, **facts})
    sight = _look("memory://a.root")
    assert sight.modified == datetime(2024, 1, 1, tzinfo=UTC).timestamp()


def test_a_server_that_tells_the_time_only_if_asked_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/asked.root", b"123")
    assert _look("memory://asked.root").modified == pytest.approx(time.time(), abs=60)
    monkeypatch.setattr(type(memory), "modified", lambda self, path: 1_700_000_000)  # as XRootD does
    assert _look("memory://asked.root").modified == 1.7e9


def test_a_web_server_tells_at_least_the_size(write_ntuple, web) -> None:
    path = Path(write_ntuple("good.root"))
    sight = _look(f"{web.url}/good.root")
    assert sight.fingerprint.startswith(f"{path.stat().st_size} bytes")
    assert sight.modified is None

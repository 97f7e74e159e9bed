"""Shards in an object store are read as those in files are, by few requests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tailshard import places
from tailshard.errors import StoreError
from tailshard.places import place
from tailshard.store import shard
from tailshard.store.memory import Scratch
from tailshard.store.shard import open_shard, shard_bytes, write_whole

CHUNKS = [bytes([number]) * (1000 + number) for number in range(40)]


@pytest.fixture
def path(bucket: str) -> Path:
    path = place(f"{bucket}/store/rmm/c/0")
    write_whole(path, shard_bytes(CHUNKS, 64))
    return path


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None]]:
    """Ranges that were asked for."""
    asked: list[tuple[int, int | None]] = []

    def noted(path: Path, start: int, stop: int | None = None) -> bytes:
        asked.append((start, stop))
        return places.read_range(path, start, stop)

    monkeypatch.setattr(shard, "read_range", noted)
    return asked


@pytest.mark.parametrize(
    ("order", "most"),
    [
        (lambda chunks: chunks, 4),
        (lambda chunks: chunks[::-1], 41),
        (lambda chunks: np.random.default_rng(1).permutation(chunks), 41),
    ],
    ids=["one after another", "backwards", "shuffled"],
)
def test_every_chunk_is_read_as_it_was_written(
    path: Path, requests: list[object], order: Callable[[object], object], most: int
) -> None:
    with open_shard(path, 64) as opened:
        assert opened.stored.sum() == 40
        for number in order(np.arange(40)):  # type: ignore[attr-defined]
            assert opened.chunk(int(number), Scratch()).tobytes() == CHUNKS[number]
        with pytest.raises(StoreError, match="has no chunk 40"):
            opened.chunk(40, Scratch())
    assert len(requests) <= most


def test_what_is_asked_for_ahead_is_bounded(
    path: Path, requests: list[tuple[int, int | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "_AHEAD", 5000)
    with open_shard(path, 64) as opened:
        for number in range(40):
            assert opened.chunk(number, Scratch()).tobytes() == CHUNKS[number]
    lengths = [stop - start for start, stop in requests[1:] if stop is not None]
    assert max(lengths) == 5000
    assert len(lengths) <= 14


def test_objects_that_are_gone_or_cut_short_are_named(path: Path) -> None:
    with pytest.raises(StoreError, match=r"s3://.*/c/1 cannot be read .*the slot was not written"):
        open_shard(path.with_name("1"), 64)
    whole = path.read_bytes()
    write_whole(path, whole[:-10])
    with pytest.raises(StoreError, match="the checksum of its index is wrong"):
        open_shard(path, 64)
    write_whole(path, b"")
    with pytest.raises(StoreError, match="is damaged"):
        open_shard(path, 64)
    write_whole(path, whole[: 16 * 64])
    with pytest.raises(StoreError, match="the checksum of its index is wrong"):
        open_shard(path, 64)

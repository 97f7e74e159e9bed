"""What a finished work directory holds, as digests: equal digests are equal results.

Times, host names and process numbers are left out, and what tailshard calls rubbish; nothing else is.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from tailshard.store.catalog import read_catalog
from tailshard.store.stream import Stream

EPOCHS_COMPARED = 3
LIMITS_WITHIN = 1e-2
"""Twice what `search.limits` asks of a scan."""

_TIMES = {"seconds", "validation_seconds", "waited", "events_per_second"}
_EXACT = ("store/events.zarr", "results", "partials")


def digests(workdir: Path, batch_size: int) -> dict[str, str]:
    """Give the digest of everything that a search has found, by what it is.

    Bytes of every file of the store (matrices, errors, statistics, metadata), of the catalog, of the results
    (histograms, regions, cells, summary, candidates) and of the kept sums; tensors of the network and its
    losses epoch by epoch; histograms of the report; events of every batch, in order. Limits are fits, which
    end within their tolerance and not with the same bits: they stand for themselves, and are compared within
    twice the precision of their scan.
    """
    found = dict(_files(workdir))
    found["model/model.pt"] = _network(workdir / "model" / "model.pt")
    lines = (workdir / "model" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [{k: v for k, v in json.loads(line).items() if k not in _TIMES} for line in lines]
    found["model/metrics.jsonl"] = _digest(json.dumps(losses).encode())
    found["results/summary.json"], found["limits"] = _summary(workdir / "results" / "summary.json")
    found["batches"] = _batches(workdir / "store", batch_size)
    if not (workdir / "report" / "index.html").is_file():
        raise AssertionError(f"{workdir} has no page")
    return found


def differences(reference: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Name what is missing, what nobody expects, and what is not equal."""
    names = sorted({*reference, *found})
    return [
        f"{name}: {'missing' if name not in found else 'unexpected' if name not in reference else 'differs'}"
        for name in names
        if not _same(name, reference.get(name), found.get(name))
    ]


def _same(name: str, one: str | None, other: str | None) -> bool:
    if name != "limits" or one is None or other is None:
        return one == other
    (words, numbers), (other_words, other_numbers) = (_taken_apart(json.loads(text)) for text in (one, other))
    return words == other_words and np.allclose(numbers, other_numbers, rtol=LIMITS_WITHIN, atol=0)


def _taken_apart(content: object) -> tuple[str, list[float]]:
    """Give the shape of a JSON value, with the words in it, and its numbers."""
    numbers: list[float] = []

    def taken(value: object) -> object:
        if isinstance(value, dict):
            return {name: taken(its) for name, its in value.items()}
        if isinstance(value, list):
            return [taken(its) for its in value]
        if isinstance(value, float):
            numbers.append(value)
            return "number"
        return value

    return json.dumps(taken(content)), numbers


def _summary(path: Path) -> tuple[str, str]:
    """Give the digest of a summary without its limits, and these."""
    content = json.loads(path.read_text(encoding="utf-8"))
    limits = {name: its.pop("limits", None) for name, its in content.get("signals", {}).items()}
    return _digest(json.dumps(content).encode()), json.dumps(limits)


def _files(workdir: Path) -> Iterator[tuple[str, str]]:
    catalog = read_catalog(workdir / "store")  # a catalog that cannot be read is no result
    slots = {(slot.channel, str(slot.index)) for slot in catalog.slots}
    single = [workdir / "store" / "catalog.json", workdir / "report" / "histograms.uhi.json"]
    for path in (*single, *(file for name in _EXACT for file in sorted((workdir / name).rglob("*")))):
        if path.is_file() and not _is_rubbish(path, workdir, slots):
            yield str(path.relative_to(workdir)), _content(path)


def _content(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return _digest(path.read_bytes())
    try:
        return _members(path)
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        return f"damaged: {error}"


def _members(path: Path) -> str:
    with zipfile.ZipFile(path) as file:  # whose directory holds times, and members in the order of a set
        members = {name: _digest(file.read(name)) for name in sorted(file.namelist())}
    return _digest(json.dumps(members).encode())


def _is_rubbish(path: Path, workdir: Path, slots: set[tuple[str, str]]) -> bool:
    """Tell whether nobody reads a file: what was written aside, and shards of slots without a name."""
    if path.name.startswith(".") or path.name.endswith(".partial"):
        return True
    parts = path.relative_to(workdir).parts
    return (
        parts[:2] == ("store", "events.zarr")
        and parts[4:5] == ("c",)
        and (
            parts[2],
            parts[5],
        )
        not in slots
    )


def _network(path: Path) -> str:
    content = torch.load(path, map_location="cpu", weights_only=True)
    digest = hashlib.sha256()
    _add(digest, content)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", content: object) -> None:
    if isinstance(content, torch.Tensor):
        digest.update(f"{content.dtype}{tuple(content.shape)}".encode())
        digest.update(content.contiguous().numpy().tobytes())
    elif isinstance(content, dict):
        for name, value in content.items():
            digest.update(repr(name).encode())
            _add(digest, value)
    elif isinstance(content, list | tuple):
        for value in content:
            _add(digest, value)
    else:
        digest.update(repr(content).encode())


def _batches(store: Path, batch_size: int) -> str:
    """Digest of the events that training is given, batch by batch."""
    catalog = read_catalog(store)
    channels = [channel.name for channel in catalog.channels if channel.kind == "background"]
    digest = hashlib.sha256()
    stream = Stream(store, channels, "training", batch_size, 1)
    for epoch in range(EPOCHS_COMPARED):
        for batch in stream.epoch(epoch):
            digest.update(np.int64([epoch, batch.number, len(batch.weight)]).tobytes())
            digest.update(batch.islands.cells.tobytes())
            digest.update(batch.weight.tobytes())
    return digest.hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

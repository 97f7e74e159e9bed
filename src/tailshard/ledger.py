"""What exists in a work directory, and what made it.

One JSON file, replaced atomically by the one process that holds the work directory's lock. For each
stage it keeps the parts of the key (configuration, inputs, code version) under which the output was
made; an output is stale exactly when today's parts differ, and the differing parts are the reason.
"""

import errno
import fcntl
import hashlib
import json
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from .checked import dump_checked, load_checked
from .config import content_hash
from .errors import WorkdirError
from .fingerprint import fingerprint
from .places import is_remote, opened_whole

LEDGER_VERSION = 1

CODE_VERSION = {"ingest": 1, "train": 1, "score": 1, "histogram": 1, "report": 1}
"""Raise a stage's number where its output changes though no code of tailshard does: with a library."""

_MODULES = {
    "ingest": "ingest.stage",
    "train": "train.ensemble",
    "score": "search.score",
    "histogram": "search.histogram",
    "report": "report.page",
}

Parts = Mapping[str, Any]
"""Key of an output, by part: JSON values."""

_PACKAGES = (
    "numpy",
    "awkward",
    "uproot",
    "coffea",
    "dask",
    "dask-awkward",
    "zarr",
    "torch",
    "ray",
    "hist",
    "pyhf",
)


def code_of(stage: str) -> dict[str, Any]:
    """Tell by which code a stage makes its output: part of the key of the output."""
    return {"version": CODE_VERSION[stage], "source": fingerprint(_MODULES[stage])}


@dataclass(frozen=True)
class Entry:
    """A finished output of a stage."""

    parts: Parts
    """What it was made from."""
    result: Mapping[str, Any]
    """Small facts the stage reported when it finished."""
    made: Mapping[str, Any]
    """When, and with which versions."""
    outputs: Mapping[str, int] = field(default_factory=dict)
    """Files that it consists of, below the work directory, and their bytes."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each of these files."""

    @property
    def key(self) -> str:
        """Content hash of the parts."""
        return content_hash(self.parts)


@dataclass
class Ledger:
    """The finished stages of one work directory."""

    path: Path
    pipeline: str
    entries: dict[str, Entry] = field(default_factory=dict)
    kept: Mapping[str, Any] | None = None
    """Why the model stays in force though events have come since it was trained: ``decision`` (hash of what
    was decided on), ``why``, and numbers; None where there is nothing to say."""

    @classmethod
    def open(cls, workdir: Path, pipeline: str) -> "Ledger":
        """Read the ledger of a work directory; empty where there is none yet.

        Raises
        ------
        WorkdirError
            The directory belongs to another pipeline, is a file, or its ledger cannot be read.
        """
        path = workdir / "ledger.json"
        try:
            content = load_checked(path.read_text(encoding="utf-8"))
            if content["version"] != LEDGER_VERSION:
                raise WorkdirError(
                    f"{path} has version {content['version']}, this tailshard writes {LEDGER_VERSION}; "
                    "use another --workdir"
                )
            if content["pipeline"] != pipeline:
                raise WorkdirError(
                    f"{workdir} was made by the pipeline '{content['pipeline']}', not '{pipeline}'; "
                    "use another --workdir, or remove this one"
                )
            entries = {name: Entry(**entry) for name, entry in content["stages"].items()}
            return cls(path, pipeline, entries, content.get("kept"))
        except FileNotFoundError:
            return cls(path, pipeline)
        except NotADirectoryError:
            place = next(it for it in (workdir, *workdir.parents) if it.exists())
            raise WorkdirError(
                f"the work directory {workdir} cannot be: {place} is a file; name a folder with --workdir, "
                "or remove the file"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WorkdirError(f"{path} cannot be read ({error}); remove it to start again") from error

    def reasons(self, stage: str, parts: Parts) -> list[str]:
        """Say why the output of a stage does not fit today's parts; an empty list means that it does."""
        entry = self.entries.get(stage)
        if entry is None:
            return ["has not been made yet"]
        return list(_differences(entry.parts, json.loads(json.dumps(parts))))

    def damage(self, stage: str) -> list[str]:
        """Say which files of an output are gone, or are not as they were when it was made."""
        workdir = self.path.parent
        problems = []
        entry = self.entries[stage]
        for name, size in entry.outputs.items():
            if not (workdir / name).is_file():
                problems.append(f"{workdir / name} is gone")
            elif (found := (workdir / name).stat().st_size) != size:
                problems.append(f"{workdir / name} has {found:,} bytes instead of {size:,}")
            elif name in entry.digests and _digest(workdir / name) != entry.digests[name]:
                problems.append(f"{workdir / name} has other content than when it was made")
        return problems

    def record(
        self, stage: str, parts: Parts, result: Mapping[str, Any], outputs: Iterable[Path] = ()
    ) -> None:
        """Enter a finished output and the files that it consists of, and replace the file."""
        files = {str(path.relative_to(self.path.parent)): path for path in outputs}
        sizes = {name: path.stat().st_size for name, path in files.items()}
        digests = {name: _digest(path) for name, path in files.items()}
        self.entries[stage] = Entry(json.loads(json.dumps(parts)), result, provenance(), sizes, digests)
        self._write()

    def keeps(self, decision: str) -> bool:
        """Tell whether it was decided that the model stays in force, for the events and policy of today."""
        return self.kept is not None and self.kept["decision"] == decision and "train" in self.entries

    def keep(self, decision: str, **facts: Any) -> None:
        """Enter that the model stays in force, and replace the file."""
        self.kept = {"decision": decision, **facts}
        self._write()

    def forget(self, stage: str) -> None:
        """Strike out an output, before it is made again."""
        if stage == "train":
            self.kept = None
        if self.entries.pop(stage, None) is not None:
            self._write()

    def restore(self, stage: str, entry: Entry, kept: Mapping[str, Any] | None = None) -> None:
        """Enter an output again that was struck out, if every file of it is as it was, and why it is kept."""
        self.entries[stage] = entry
        if self.damage(stage):
            del self.entries[stage]
        else:
            self.kept = kept
            self._write()

    def _write(self) -> None:
        content = {
            "version": LEDGER_VERSION,
            "pipeline": self.pipeline,
            "kept": self.kept,
            "stages": {
                name: {
                    "parts": entry.parts,
                    "result": entry.result,
                    "made": entry.made,
                    "outputs": entry.outputs,
                    "digests": entry.digests,
                }
                for name, entry in self.entries.items()
            },
        }
        write_atomically(self.path, dump_checked(content, indent=1))


def write_atomically(path: Path, text: str) -> None:
    """Replace a file of text by another, so that it is never seen half-written."""
    with opened_whole(path) as file:
        file.write(text.encode())


_OF_THE_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
)


@contextmanager
def _disk_in_plain_words(workdir: Path) -> Iterator[None]:
    """Turn what a disk refuses, wherever it was met, into an error that a user can mend.

    Raises
    ------
    WorkdirError
        The disk is full, read-only, broken, or not this user's.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        raise WorkdirError(
            f"cannot write {error.filename or workdir}: {error.strerror or error}; make room for {workdir}, "
            "or make it writable, and run the same again: what was finished is kept"
        ) from error


def provenance() -> dict[str, Any]:
    """Time (UTC), version of tailshard and of the packages that decide its results, and the machine."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "tailshard": version("tailshard"),
        "python": platform.python_version(),
        "machine": platform.node(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


@contextmanager
def locked(workdir: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold a work directory, so that no two runs write into it.

    Parameters
    ----------
    workdir
        Made where it is absent; nothing in it is touched.
    wait
        Seconds to wait for another process that holds it.

    Raises
    ------
    WorkdirError
        Another process holds it, or it cannot be written; or the disk refused what was done meanwhile.
    StorageError
        It is in an object store that cannot be reached or written.
    """
    if is_remote(workdir):
        from .object_store import leased

        with leased(workdir, wait):
            yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = (workdir / ".lock").open("a")
    except OSError as error:
        raise WorkdirError(f"cannot write the work directory {workdir}: {error.strerror}") from error
    with file:
        until = time.monotonic() + wait
        while not _lock(file):
            if time.monotonic() >= until:
                waited = f" still, after {wait:g} s," if wait else ""
                raise WorkdirError(
                    f"another tailshard is{waited} at work in {workdir}; wait for it or use another --workdir"
                )
            time.sleep(0.2)
        with _disk_in_plain_words(workdir):
            yield


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    if before == now:
        return
    if isinstance(before, dict) and isinstance(now, dict):
        for name in [*before, *(name for name in now if name not in before)]:
            place = f"{where}.{name}" if where else name
            if name not in now:
                yield f"{place} was removed"
            elif name not in before:
                yield f"{place} is new"
            else:
                yield from _differences(before[name], now[name], place)
        return
    old, new = (json.dumps(value) for value in (before, now))
    yield f"{where} changed from {old} to {new}" if len(old) + len(new) < 80 else f"{where} changed"

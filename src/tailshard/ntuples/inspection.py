"""A look into a file: what it is, or in plain words why it cannot be used. Runs inside Dask workers."""

import glob
import struct
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from textwrap import shorten
from typing import Any

import uproot

from ..config import content_hash
from ..errors import InputError, TailshardError
from .fileset import FileInfo, Quarantined, filesystem_of

# Bytes that ROOT sets aside for the header of a file.
_HEADER = 100


def inspect(
    url: str, tree: str, branches: Iterable[str], dataset: str, attempts: int = 3, pause: float = 0.5
) -> FileInfo | Quarantined:
    """Open a file and see whether it can be used.

    Parameters
    ----------
    url
        Path or URL of a ROOT file.
    tree, branches
        What it must hold; `tree` may be a pattern that one tree of the file fits.
    dataset
        Name for the quarantine.
    attempts
        How often to try where trying again can help: the network, not the file.
    pause
        Seconds before the second attempt; doubles with every further one.
    """
    for attempt in range(1, attempts + 1):
        try:
            file = _look(url, tree, branches)
            if file.entries:
                return file
            return Quarantined(dataset, url, f"tree '{tree}' has no entries", harmless=True)
        except Exception as error:  # noqa: BLE001 - a broken file can fail anywhere in the ROOT reader
            if attempt == attempts or not _passes(error):
                tried = f" (tried {attempt} times)" if attempt > 1 else ""
                return Quarantined(
                    dataset,
                    url,
                    reason(error) + tried,
                    size=_whole_size(url, error),
                    unfinished=isinstance(error, _UnfinishedError),
                )
        time.sleep(pause * 2 ** (attempt - 1))
    raise ValueError(f"attempts must be at least 1, found {attempts}")


class _UnfinishedError(InputError):
    """A file is as one that is still being written."""


class _CutShortError(_UnfinishedError):
    """A file lacks its end; its header says how long it was."""

    def __init__(self, size: int, whole: int) -> None:
        super().__init__(f"is truncated: {size:,} bytes of {whole:,}")
        self.whole = whole


def _whole_size(url: str, error: BaseException) -> int | None:
    """Bytes of a file that could not be read; None for what may be no file of the data set at all."""
    if isinstance(error, _CutShortError):
        return error.whole
    if isinstance(error, TailshardError):
        return None
    try:
        filesystem, path = filesystem_of(url)
        size = filesystem.info(path)["size"]
    except Exception:  # noqa: BLE001 - whatever a remote file system raises: the size is not known
        return None
    return None if size is None else int(size)


def _look(url: str, tree: str, branches: Iterable[str]) -> FileInfo:
    filesystem, path = filesystem_of(url)
    facts = filesystem.info(path)
    size = facts["size"]
    if facts["type"] == "directory":
        raise InputError("is a folder, not a file; name the files in it, for example with *.root")
    if size == 0:
        raise _UnfinishedError("is empty: 0 bytes")
    magic = filesystem.cat_file(path, start=0, end=4)
    if len(magic) > 4:
        raise InputError(
            f"cannot be read in parts: its server sent {len(magic):,} bytes where 4 were asked for; use one "
            "that knows byte ranges, such as nginx or XRootD, or copy the file"
        )
    if magic != b"root":
        # A copy that has reserved its room has zeros where nothing is written yet.
        begun = b"root".startswith(magic) or not magic.strip(b"\0")
        kind = _UnfinishedError if begun else InputError
        raise kind(f"is not a ROOT file: it begins with {magic!r}")
    if size is not None and size < _HEADER:
        raise _UnfinishedError(f"is truncated: {size} bytes, less than the header of a ROOT file")
    # The header is read before anything else, because the rest of a truncated file may fail anyhow.
    with uproot.reading.ReadOnlyFile(url) as file:
        if size is not None and size < file.fEND:
            raise _CutShortError(size, file.fEND)
        directory = _directory(file, tree)
        pattern, tree = tree, _named(tree, directory)
        if tree not in directory:
            raise InputError(f"has no tree '{tree}'; it holds {_listed(directory.keys(cycle=False))}")
        found = directory[tree]
        if not hasattr(found, "num_entries"):
            raise InputError(f"'{tree}' is a {found.classname}, not a tree")
        if missing := sorted(set(branches) - set(found.keys(full_paths=False))):
            raise InputError(f"tree '{tree}' has no {_plural('branch', 'branches', missing)}")
        # Where entries lie inside the description of the tree, as in small files: the whole file.
        tree_bytes = int(getattr(found, "compressed_bytes", 0)) or (size or 0)
        entries = int(found.num_entries)
        content = _content(file, directory.key(tree))
        name = tree if tree != pattern else ""
        return FileInfo(url, size, str(file.uuid), entries, tree_bytes, content, name)


def _directory(file: uproot.reading.ReadOnlyFile, tree: str) -> uproot.ReadOnlyDirectory:
    """Read the list of what a file holds, which is written when the file is closed."""
    try:
        directory = file.root_directory
    except (uproot.DeserializationError, ValueError, struct.error) as error:
        raise _UnfinishedError(f"has no readable list of what it holds ({type(error).__name__})") from error
    if not directory.keys(recursive=False):
        raise _UnfinishedError(f"has no tree '{tree}'; it holds nothing")
    return directory


def _named(pattern: str, directory: Any) -> str:
    """Find the one tree of a file whose name fits a pattern; a name stands for itself."""
    if not glob.has_magic(pattern):
        return pattern
    trees = dict.fromkeys(
        key for key, kind in directory.classnames(cycle=False).items() if kind in ("TTree", "ROOT::RNTuple")
    )
    fitting: list[str] = [name for name in trees if fnmatchcase(name, pattern)]
    if len(fitting) != 1:
        raise InputError(
            f"has {len(fitting) or 'no'} trees that fit '{pattern}' where one is needed; it holds "
            f"{_listed(list(trees))}; set the dataset's tree"
        )
    return fitting[0]


def _content(file: uproot.reading.ReadOnlyFile, key: uproot.reading.ReadOnlyKey) -> str:
    """Hash what every writer changes: where the file ends; when, where and how large the tree was written.

    No time of the file system is in it, so that a file may be copied and touched.
    """
    return content_hash(
        *(int(value) for value in (file.fEND, file.fSeekInfo, file.fSeekFree)),
        *(int(value) for value in (key.fCycle, key.fSeekKey, key.fNbytes, key.fObjlen, key.fDatime)),
    )


def _plural(one: str, many: str, names: Sequence[str]) -> str:
    return f"{one if len(names) == 1 else many} {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:8])
    return (shown or "nothing") + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _cause(error: BaseException) -> BaseException:
    """Look behind fsspec, which says "not found" whatever a web server answers."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and cause is not None and getattr(cause, "status", None) != 404:
        return _cause(cause)
    return error


def _passes(error: BaseException) -> bool:
    """Whether the fault may be gone at the next attempt."""
    error = _cause(error)
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return False
    if isinstance(error, OSError):
        return True
    # aiohttp's own errors are no OSErrors; a status below 500 is the server's last word.
    status = getattr(error, "status", 500)
    return type(error).__module__.startswith("aiohttp") and isinstance(status, int) and status >= 500


_REASONS: Mapping[type[Exception], str] = {
    TailshardError: "{error}",
    FileNotFoundError: "does not exist",
    PermissionError: "may not be read: permission denied",
    TimeoutError: "the server did not answer in time",
    zlib.error: "is damaged: a compressed block cannot be unpacked ({error})",
    uproot.KeyInFileError: "has no '{error.key}'",
    # uproot compares types without a word.
    AssertionError: "a branch seems to have another type than in the first file of the dataset",
}


def reason(error: BaseException) -> str:
    """Say in plain words why a file or a part of it could not be read."""
    error = _cause(error)
    plain = next((text for kind, text in _REASONS.items() if isinstance(error, kind)), None)
    if plain is None:
        message = shorten(str(error), 240, placeholder=" ...") or "no message"
        return f"cannot be read: {type(error).__name__}: {message}"
    return plain.format(error=error)

"""From patterns and URLs to files, and from files to partitions.

::

    expand      patterns, URLs           -> URLs
    inspect     a URL                    -> what the file is, or why it cannot be used
    partitions  files that can be used   -> entry ranges, a pure function of the file set

A file that cannot be used is a row of the quarantine with a plain reason, never an exception: one bad
file must not stop thousands of good ones. `inspect` runs inside Dask workers.
"""

import glob
import os
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import shorten
from typing import Any

import fsspec
import uproot

from ..config import content_hash
from ..errors import InputError, TailshardError

# What to install for an address whose scheme needs a package of its own.
_EXTRAS = {"root": "xrootd", "s3": "s3"}

# Bytes that ROOT sets aside for the header of a file.
_HEADER = 100


@dataclass(frozen=True)
class FileInfo:
    """A file that can be read."""

    url: str
    size: int | None
    """Bytes; None where a server does not tell."""
    uuid: str
    """Identity that ROOT gave the file when it was written."""
    entries: int
    tree_bytes: int = 0
    """Compressed bytes of the entries."""
    content: str = ""
    """Changes when the file is written to again, which leaves its UUID as it is."""


@dataclass(frozen=True)
class Quarantined:
    """Input that is left out, and why."""

    dataset: str
    url: str
    """A file, or a pattern that no file matches."""
    reason: str
    start: int | None = None
    stop: int | None = None
    """Entries left out; None for the whole file."""
    harmless: bool = False
    """No event is lost by it: an empty tree, or a copy of another file."""
    is_file: bool = True
    """False for a pattern that no file matches."""
    size: int | None = None
    """Bytes of the whole file, where it is a ROOT file that is cut short, damaged or out of reach."""


@dataclass(frozen=True)
class Partition:
    """A range of entries of a tree in a file: what one task reads."""

    dataset: str
    url: str
    tree: str
    uuid: str
    start: int
    stop: int
    content: str = ""
    """As in `FileInfo`."""

    @property
    def key(self) -> str:
        """Content hash; the same wherever the file lies."""
        return content_hash(self.dataset, self.tree, self.uuid, self.start, self.stop, self.content)


# -- patterns to URLs ----------------------------------------------------------------------------------


def expand(
    patterns: Sequence[str], published: Sequence[str], data_root: str | None, base: Path, dataset: str
) -> tuple[list[str], list[Quarantined]]:
    """Find the files that a dataset names.

    Parameters
    ----------
    patterns
        Paths, globs (``**`` too) or URLs. A relative one starts at `data_root`. Where there is no data
        root, `published` replaces the relative ones; where that is empty too, they start at `base`.
    published
        URLs of the same files where the public can read them.
    data_root
        A folder, relative to the current one, or a URL.
    base
        Folder of the pipeline file.
    dataset
        Name for the quarantine.

    Returns
    -------
    urls
        Absolute paths and URLs, sorted, each once. One without wildcards passes through unseen.
    quarantined
        The patterns that match nothing.

    Raises
    ------
    InputError
        The scheme of a URL is unknown or needs a package that is not installed.
    """
    absolute = [pattern for pattern in patterns if _is_absolute(pattern)]
    relative = [pattern for pattern in patterns if not _is_absolute(pattern)]
    if data_root is not None and relative:
        absolute += [_join(data_root, pattern) for pattern in relative]
    elif published and (relative or not patterns):
        absolute += published
    else:
        absolute += [_join(str(base), pattern) for pattern in relative]
    urls: set[str] = set()
    unmatched = []
    for pattern in absolute:
        matches = _matches(pattern)
        urls.update(matches)
        if not matches:
            unmatched.append(Quarantined(dataset, pattern, "no file matches this pattern", is_file=False))
    return sorted(urls), unmatched


def _is_absolute(pattern: str) -> bool:
    return "://" in pattern or pattern.startswith(("/", "~"))


def _join(root: str, pattern: str) -> str:
    return f"{root.rstrip('/')}/{pattern}" if "://" in root else str(Path(root) / pattern)


def _matches(pattern: str) -> list[str]:
    pattern = pattern.removeprefix("file://")
    if "://" not in pattern:
        path = os.path.abspath(Path(pattern).expanduser())  # noqa: PTH100 - resolve() would follow links
        if not glob.has_magic(path):
            return [path]
        return glob.glob(path, recursive=True)  # noqa: PTH207 - Path.glob would find hidden files too
    # Only '*' is a wildcard here: '?' and '[' are legal in a URL.
    filesystem, path = _filesystem(pattern)
    if "*" not in pattern:
        return [pattern]
    return [filesystem.unstrip_protocol(match) for match in filesystem.glob(path)]


def _filesystem(url: str) -> tuple[Any, str]:
    scheme, _, _ = url.partition("://")
    try:
        filesystem, path = fsspec.url_to_fs(url)
    except ImportError as error:
        package = f"'tailshard[{_EXTRAS[scheme]}]'" if scheme in _EXTRAS else f"what it asks for ({error})"
        raise InputError(
            f"{url}: reading {scheme}:// needs a package that is not installed; run: pip install {package}"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{url}: nothing is known about {scheme}://; use a path, https://, root:// or s3://"
        ) from error
    return filesystem, path


# -- files ---------------------------------------------------------------------------------------------


def inspect(
    url: str, tree: str, branches: Iterable[str], dataset: str, attempts: int = 3, pause: float = 0.5
) -> FileInfo | Quarantined:
    """Open a file and see whether it can be used.

    Parameters
    ----------
    url
        Path or URL of a ROOT file.
    tree, branches
        What it must hold.
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
                return Quarantined(dataset, url, reason(error) + tried, size=_whole_size(url, error))
        time.sleep(pause * 2 ** (attempt - 1))
    raise ValueError(f"attempts must be at least 1, found {attempts}")


class _CutShortError(InputError):
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
        filesystem, path = _filesystem(url)
        size = filesystem.info(path)["size"]
    except Exception:  # noqa: BLE001 - whatever a remote file system raises: the size is not known
        return None
    return None if size is None else int(size)


def _look(url: str, tree: str, branches: Iterable[str]) -> FileInfo:
    filesystem, path = _filesystem(url)
    facts = filesystem.info(path)
    size = facts["size"]
    if facts["type"] == "directory":
        raise InputError("is a folder, not a file; name the files in it, for example with *.root")
    if size == 0:
        raise InputError("is empty: 0 bytes")
    if (magic := filesystem.cat_file(path, start=0, end=4)) != b"root":
        raise InputError(f"is not a ROOT file: it begins with {magic!r}")
    if size is not None and size < _HEADER:
        raise InputError(f"is truncated: {size} bytes, less than the header of a ROOT file")
    # The header is read before anything else, because the rest of a truncated file may fail anyhow.
    with uproot.reading.ReadOnlyFile(url) as file:
        if size is not None and size < file.fEND:
            raise _CutShortError(size, file.fEND)
        directory = file.root_directory
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
        return FileInfo(url, size, str(file.uuid), entries, tree_bytes, _content(file, directory.key(tree)))


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


def distinct(files: Sequence[FileInfo], dataset: str) -> tuple[list[FileInfo], list[Quarantined]]:
    """Leave out files that are copies of another, by the identity ROOT gave them: no event counts twice."""
    first: dict[str, FileInfo] = {}
    copies = []
    for file in sorted(files, key=lambda file: file.url):
        original = first.setdefault(file.uuid, file)
        if original is not file:
            why = f"is a copy of {original.url} (both have UUID {file.uuid})"
            copies.append(Quarantined(dataset, file.url, why, harmless=True))
    return list(first.values()), copies


# -- partitions ----------------------------------------------------------------------------------------


def partitions(files: Iterable[FileInfo], dataset: str, tree: str, slot: int) -> list[Partition]:
    """Cut files into near-equal entry ranges of at most `slot` entries, in order of URL and entry."""
    cut = []
    for file in sorted(files, key=lambda file: file.url):
        pieces = -(-file.entries // slot)
        edges = [file.entries * piece // pieces for piece in range(pieces + 1)] if pieces else [0]
        cut += [
            Partition(dataset, file.url, tree, file.uuid, start, stop, file.content)
            for start, stop in pairwise(edges)
        ]
    return cut

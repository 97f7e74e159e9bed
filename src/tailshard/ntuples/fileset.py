"""From patterns and URLs to files, and from files to partitions.

::

    expand      patterns, URLs           -> URLs
    inspect     a URL                    -> what the file is, or why it cannot be used (`inspection`)
    partitions  files that can be used   -> entry ranges, a pure function of the file set

A file that cannot be used is a row of the quarantine with a plain reason, never an exception: one bad
file must not stop thousands of good ones.
"""

import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec

from ..config import content_hash
from ..errors import InputError

# What to install for an address whose scheme needs a package of its own.
_EXTRAS = {"root": "xrootd", "s3": "s3"}


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
    tree: str = ""
    """Name of the tree where only a pattern of it was given."""


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
    unfinished: bool = False
    """The file looks as one does that is still being written: without its header, its end or its keys."""


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
        Where relative paths start in the end. (A pipeline that was read from a file has none left by
        then: `pipeline_files.load` has started them at the file's folder.)
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
        The scheme of a URL is unknown or needs a package that is not installed, or ``~name`` is nobody's
        home.
    """
    urls: set[str] = set()
    unmatched = []
    for pattern in locations(patterns, published, data_root, base):
        matches = _matches(pattern)
        urls.update(matches)
        if not matches:
            unmatched.append(Quarantined(dataset, pattern, "no file matches this pattern", is_file=False))
    return sorted(urls), unmatched


def locations(
    patterns: Sequence[str], published: Sequence[str], data_root: str | None, base: Path
) -> list[str]:
    """Say where the patterns of a dataset start; the parameters are those of `expand`."""
    absolute = [pattern for pattern in patterns if _is_absolute(pattern)]
    relative = [pattern for pattern in patterns if not _is_absolute(pattern)]
    if data_root is not None and relative:
        return absolute + [_join(data_root, pattern) for pattern in relative]
    if published and (relative or not patterns):
        return [*absolute, *published]
    return absolute + [_join(str(base), pattern) for pattern in relative]


def fits(url: str, pattern: str) -> bool:
    """Tell by its path or URL alone whether a file is one that an absolute pattern names."""
    pattern = pattern.removeprefix("file://")
    # Only '*' is a wildcard in a URL.
    wanted = re.sub(r"([?[])", r"[\1]", pattern) if "://" in pattern else absolute_path(pattern)
    return _fit(url.split("/"), wanted.split("/"))


def _fit(names: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns or not names:
        return not patterns and not names
    if patterns[0] == "**":
        return any(_fit(names[skipped:], patterns[1:]) for skipped in range(len(names)))
    hidden = names[0].startswith(".") and not patterns[0].startswith(".")
    return not hidden and fnmatch.fnmatchcase(names[0], patterns[0]) and _fit(names[1:], patterns[1:])


def plain(name: str) -> str:
    """Write a path or URL as `expand` does."""
    name = name.removeprefix("file://")
    return name if "://" in name else absolute_path(name)


def absolute_path(path: str) -> str:
    """Make a local path absolute.

    Raises
    ------
    InputError
        It starts at the home of nobody.
    """
    try:
        return os.path.abspath(Path(path).expanduser())  # noqa: PTH100 - resolve() would follow links
    except RuntimeError as error:
        raise InputError(
            f"{path}: there is no user of that name on this machine; write the whole path"
        ) from error


def _is_absolute(pattern: str) -> bool:
    return "://" in pattern or pattern.startswith(("/", "~"))


def _join(root: str, pattern: str) -> str:
    return f"{root.rstrip('/')}/{pattern}" if "://" in root else str(Path(root) / pattern)


def _matches(pattern: str) -> list[str]:
    pattern = pattern.removeprefix("file://")
    if "://" not in pattern:
        path = absolute_path(pattern)
        if not glob.has_magic(path):
            return [path]
        return glob.glob(path, recursive=True)  # noqa: PTH207 - Path.glob would find hidden files too
    # Only '*' is a wildcard here: '?' and '[' are legal in a URL.
    filesystem, path = filesystem_of(pattern)
    if "*" not in pattern:
        return [pattern]
    return [filesystem.unstrip_protocol(match) for match in filesystem.glob(path)]


def filesystem_of(url: str) -> tuple[Any, str]:
    """Give the fsspec file system of a URL, and the path in it.

    Raises
    ------
    InputError
        The scheme is unknown or needs a package that is not installed.
    """
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


# -- copies and partitions -------------------------------------------------------------------------------


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


def partitions(files: Iterable[FileInfo], dataset: str, tree: str, slot: int) -> list[Partition]:
    """Cut files into near-equal entry ranges of at most `slot` entries, in order of URL and entry.

    `tree` is the name of the tree in files that were not looked into for it.
    """
    cut = []
    for file in sorted(files, key=lambda file: file.url):
        pieces = -(-file.entries // slot)
        edges = [file.entries * piece // pieces for piece in range(pieces + 1)] if pieces else [0]
        name = file.tree or tree
        cut += [
            Partition(dataset, file.url, name, file.uuid, start, stop, file.content)
            for start, stop in pairwise(edges)
        ]
    return cut

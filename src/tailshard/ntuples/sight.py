"""What a file looks like from outside: size and time, nothing opened."""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, NamedTuple

from .fileset import filesystem_of

_THREADS = 16
_AHEAD = 60.0
"""Seconds that a server's clock may be ahead of ours before its times are not believed."""


class Sight(NamedTuple):
    """A file at a look."""

    fingerprint: str
    """Differs where the file has been written to; cheap, and no proof that it has not."""
    modified: float | None
    """Seconds since 1970; None where the server does not tell, or tells a time that is still to come."""
    is_lost: bool = False
    """There is no such file."""


def look_at(urls: Iterable[str], afresh: bool = False) -> dict[str, Sight]:
    """Look at files, many at once.

    Parameters
    ----------
    urls
        Paths and URLs; one that does not exist has a fingerprint that says so.
    afresh
        Forget what fsspec remembers of folders that it has listed.
    """
    urls = list(urls)
    if afresh:
        forget_listings(urls)
    with ThreadPoolExecutor(_THREADS) as threads:
        return dict(zip(urls, threads.map(partial(_look, now=time.time()), urls), strict=True))


def forget_listings(urls: Iterable[str]) -> None:
    """Make fsspec list the folders of some URLs anew."""
    for server in {url.split("://")[0]: url for url in urls if "://" in url}.values():
        filesystem_of(server)[0].invalidate_cache()


def _look(url: str, now: float) -> Sight:
    try:
        filesystem, path = filesystem_of(url)
        facts = filesystem.info(path)
        stamp = next(
            (facts[name] for name in ("ETag", "mtime", "LastModified", "Last-Modified") if name in facts),
            None,
        )
        modified = _modified(facts)
        if stamp is None:
            modified = _asked(filesystem, path)
            stamp = "" if modified is None else modified
    except Exception as error:  # noqa: BLE001 - whatever a remote file system raises: it cannot be seen
        return Sight(f"cannot be seen: {type(error).__name__}", None, isinstance(error, FileNotFoundError))
    believed = modified if modified is not None and modified < now + _AHEAD else None
    return Sight(f"{facts.get('size')} bytes {stamp}", believed)


def _modified(facts: Mapping[str, Any]) -> float | None:
    """Find the time of the last change among what file systems tell, each in its own way."""
    for name in ("mtime", "LastModified", "Last-Modified"):
        match facts.get(name):
            case int() | float() as seconds:
                return float(seconds)
            case datetime() as moment:
                return moment.timestamp()
            case str() as text:
                return parsedate_to_datetime(text).timestamp()
    return None


def _asked(filesystem: Any, path: str) -> float | None:
    """Ask a server that tells the time of a change only if asked (XRootD, before fsspec-xrootd told it)."""
    try:
        moment = filesystem.modified(path)
    except (NotImplementedError, AttributeError):
        return None
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)

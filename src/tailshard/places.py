"""Where files are: in folders, or below a prefix of an S3-compatible object store.

A place is a `Path`. One in an object store is a path that behaves like it (`object_store.ObjectPath`, a
`UPath`) and shares what differs: there are no folders, a write is whole or not there, nothing can be renamed,
and every look is a request. The functions here hide that; for a plain folder they do what `pathlib` does.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any, cast
from uuid import uuid4

from .errors import ConfigError

if TYPE_CHECKING:
    from .object_store import ObjectPath

SCHEMES = ("s3://",)
"""Of object stores that can hold a work directory."""


def place(name: "Path | str") -> Path:
    """Give the absolute path of a folder or file, or of a prefix or object in an object store.

    Raises
    ------
    ConfigError
        The scheme is another than those of `SCHEMES`, or the packages that it needs are not installed.
    """
    if not isinstance(name, str):
        return name if is_remote(name) else name.resolve()
    if "://" not in name:
        return Path(name).resolve()
    if not name.startswith(SCHEMES):
        raise ConfigError(f"{name}: a work directory is a folder, or a prefix that starts with s3://")
    try:
        from .object_store import ObjectPath
    except ImportError as error:
        raise ConfigError(
            f"{name} needs packages that are not installed ({error.name}); run: pip install 'tailshard[s3]'"
        ) from error
    path = ObjectPath(name.rstrip("/"))
    if not path.drive:
        raise ConfigError(f"{name} names no bucket; write s3://bucket/prefix")
    return cast(Path, path)


def is_remote(path: object) -> bool:
    """Tell whether a path is one in an object store."""
    return not isinstance(path, (Path, str))


def local(path: Path, what: str) -> Path:
    """Refuse a path in an object store where a folder is needed.

    Raises
    ------
    ConfigError
        It is in an object store.
    """
    if is_remote(path):
        raise ConfigError(f"{what} needs a folder, not {path}; name one of a file system")
    return path


# -- writing and reading whole files -----------------------------------------------------------------


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a new file of this machine to write to; at the end it appears in its place, whole."""
    if is_remote(path):
        with TemporaryDirectory(prefix="tailshard-") as folder:
            aside = Path(folder) / path.name
            yield aside
            remote(path).put_file(str(aside), _key(path))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid4().hex[:12]}")
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)  # on a full disk it would take the room that is left
        raise


@contextmanager
def opened_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing in binary that appears at the end: whole or not at all."""
    with written_whole(path) as aside, aside.open("wb") as file:
        yield file


@contextmanager
def here(path: Path) -> Iterator[Path]:
    """Give a file of this machine with the content of another, for libraries that read plain files."""
    if not is_remote(path):
        yield path
        return
    with TemporaryDirectory(prefix="tailshard-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        yield copy


def copy_file(source: Path, target: Path) -> None:
    """Replace a file by a copy of another."""
    with written_whole(target) as aside:
        aside.write_bytes(source.read_bytes())


def put(path: Path, content: bytes) -> None:
    """Write an object of an object store: whole or not at all."""
    remote(path).pipe_file(_key(path), content)


def read_range(path: Path, start: int, stop: int | None = None) -> bytes:
    """Read bytes ``[start, stop)`` of an object, or as many at its end as `start` is below 0.

    Raises
    ------
    FileNotFoundError
        There is no such object.
    StorageError
        It begins after the range, or the object store cannot be read.
    """
    content: bytes = remote(path).cat_file(_key(path), start=start, end=stop)
    return content


# -- folders -----------------------------------------------------------------------------------------


def make_folder(path: Path) -> None:
    """Make a folder where there is none; object stores have none."""
    if not is_remote(path):
        path.mkdir(parents=True, exist_ok=True)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there."""
    if is_remote(path):
        remote(path).rm_file(_key(path))
    else:
        path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove a folder and all below it, if it is there; what cannot be removed stays."""
    if is_remote(path):
        remote(path).remove_below(_key(path))
    else:
        shutil.rmtree(path, ignore_errors=True)


def files_below(path: Path) -> dict[str, int]:
    """List the files below a folder, at any depth: path relative to it -> bytes, in alphabetical order.

    One request for a thousand objects.
    """
    if is_remote(path):
        prefix = f"{_key(path)}/"
        found = remote(path).find(_key(path), detail=True)
        return {name.removeprefix(prefix): its["size"] for name, its in found.items() if name != prefix}
    return {
        file.relative_to(path).as_posix(): file.stat().st_size
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def existence(folder: Path) -> Callable[[Path], bool]:
    """Give a function that tells whether a file below a folder is there.

    Those of an object store are listed now: a question for each file would be a request for each.
    """
    if not is_remote(folder):
        return Path.exists
    known = {str(folder / name) for name in files_below(folder)}
    return lambda path: str(path) in known


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files that may be there; from an object store by one request for a thousand."""
    paths = list(paths)
    if paths and is_remote(paths[0]):
        remote(paths[0]).remove([_key(path) for path in paths])
    else:
        for path in paths:
            path.unlink(missing_ok=True)


# -- what other libraries need -----------------------------------------------------------------------


def zarr_store(path: Path) -> Any:
    """Give what Zarr opens: the folder, or a Zarr store for a prefix of an object store."""
    if not is_remote(path):
        return path
    from .object_store import zarr_store_of

    return zarr_store_of(path)


def ray_storage(path: Path) -> dict[str, Any]:
    """Give the arguments by which Ray keeps its checkpoints below a folder or prefix."""
    if not is_remote(path):
        return {"storage_path": str(path)}
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return {"storage_path": _key(path), "storage_filesystem": PyFileSystem(FSSpecHandler(remote(path)))}


def remote(path: Path) -> Any:
    """Give the fsspec file system of a path in an object store, one for each process and thread."""
    return cast("ObjectPath", path).fs


def _key(path: Path) -> str:
    """Name of an object as fsspec has it: bucket/key."""
    return str(cast("ObjectPath", path).path)

"""What was computed of single slots, and of groups of them, kept from one run to the next.

A result is kept under the hash of everything that it was made from, one file each. A slot that has not
changed is then never reduced twice, and a group of slots none of which has changed is one file to read:
what a new slot costs grows with the logarithm of their number. Nothing is ever taken out of a sum; where
a slot is gone, the sum is made without it from the parts that stay.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Generic, NamedTuple, TypeVar

import google_crc32c
import hist
import pyarrow as pa
import pyarrow.parquet
import uhi.io.zip

from ..errors import StoreError
from ..places import existence, files_below, remove_file, remove_files, written_whole
from .filling import Filled

Result = TypeVar("Result")


_CHECKSUM_BYTES = 4
"""At the end of each file: CRC32C of what is before."""


class Leaf(NamedTuple):
    """What stands for a slot in a tree of sums."""

    place: int
    """Decides which slots are added first: the slot's number in its channel, which it keeps."""
    key: str
    """Changes with anything that the slot's result depends on, the code included."""


@dataclass
class Partials(Generic[Result]):
    """Results of one kind that are kept in a folder, which all workers see."""

    folder: Path
    write: Callable[[Result, Path], None]
    """Writes a result into a file that does not exist."""
    read: Callable[[IO[bytes]], Result]
    made: int = 0
    """Slots whose result was made since this object was."""
    kept: int = 0
    """Slots whose result, alone or in a sum, was there already."""

    @cached_property
    def _is_there(self) -> Callable[[Path], bool]:
        return existence(self.folder)

    def __contains__(self, key: str) -> bool:
        return self._is_there(self.folder / key)

    def tidy(self, keys: Collection[str]) -> None:
        """Remove every result but these."""
        remove_files(self.folder / name for name in files_below(self.folder) if name not in keys)


def make_and_keep(
    function: Callable[..., Result], write: Callable[[Result, Path], None], path: Path, *arguments: Any
) -> Result:
    """Call a function, and keep its result: whole or not at all."""
    result = function(*arguments)
    with written_whole(path) as aside:
        write(result, aside)
        with aside.open("rb+") as file:
            checksum = google_crc32c.value(file.read())
            file.write(checksum.to_bytes(_CHECKSUM_BYTES, "little"))
    return result


def read_kept(read: Callable[[IO[bytes]], Result], path: Path) -> Result:
    """Read a result.

    Raises
    ------
    StoreError
        The file is damaged; it is removed, so that its content is made anew the next time.
    """
    try:
        stored = path.read_bytes()
        content, checksum = stored[:-_CHECKSUM_BYTES], stored[-_CHECKSUM_BYTES:]
        if int.from_bytes(checksum, "little") != google_crc32c.value(content):
            raise ValueError("its checksum is wrong")
        return read(io.BytesIO(content))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        remove_file(path)
        raise StoreError(
            f"{path}, kept from an earlier run, was damaged ({error}) and is removed; run the same again"
        ) from error


def keep_filled(folder: Path | None, name: str) -> Partials[Filled] | None:
    """Keep histograms bit for bit, compressed."""
    return Partials(folder / name, _write_filled, _read_filled) if folder else None


def keep_tables(folder: Path | None, name: str) -> Partials[pa.Table] | None:
    """Keep tables."""
    return Partials(folder / name, _write_table, pyarrow.parquet.read_table) if folder else None


def keep_json(folder: Path | None, name: str) -> Partials[Any] | None:
    """Keep what JSON can hold."""
    return Partials(folder / name, _write_json, _read_json) if folder else None


def _write_filled(filled: Filled, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, histogram in filled.items():
            uhi.io.zip.write(file, name, histogram)


def _read_filled(stored: IO[bytes]) -> Filled:
    with zipfile.ZipFile(stored) as file:
        names = [name.removesuffix(".json") for name in file.namelist() if name.endswith(".json")]
        return {name: hist.Hist(uhi.io.zip.read(file, name)) for name in names}


def _write_table(table: pa.Table, path: Path) -> None:
    pyarrow.parquet.write_table(table, path)


def _write_json(content: Any, path: Path) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _read_json(stored: IO[bytes]) -> Any:
    return json.load(stored)

"""Disks that are full, and folders that cannot be written: real mounts, gone at the end."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CannotMount(Exception):  # noqa: N818 - a reason to skip, no error
    """This machine lets nobody mount, or not us."""


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Give a folder that is a disk of its own, of some megabytes.

    Raises
    ------
    CannotMount
        Only root may, and not in every container.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write below a folder, root included."""
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,ro,bind", str(folder))
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotMount("there is no program mount") from error
    except subprocess.CalledProcessError as error:
        raise CannotMount(error.stderr.strip()) from error


@contextmanager
def filled_up(folder: Path, leaving: int) -> Iterator[None]:
    """Fill the disk of a folder until some bytes are left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        block = b"x" * 4096
        try:
            while True:
                file.write(block)
        except OSError:
            pass
    size = filler.stat().st_size
    with filler.open("rb+") as file:
        file.truncate(max(0, size - leaving))
    try:
        yield
    finally:
        filler.unlink()

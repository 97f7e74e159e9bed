"""A Dask scheduler and its workers as processes of their own, and the profile that names them."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from .driver import REPOSITORY, WORKERS


class DaskCluster:
    """Started on entry; every process of it is gone on exit.

    Attributes
    ----------
    scheduler : psutil.Process
        The scheduler.
    profile : Path
        A cluster profile of tailshard.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[psutil.Popen] = []

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        notes = self._folder / "scheduler.json"
        notes.unlink(missing_ok=True)
        self.scheduler = self._start(
            *("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"),
            *("--scheduler-file", str(notes)),
        )
        until = time.monotonic() + 60
        while not notes.exists() and time.monotonic() < until and self.scheduler.poll() is None:
            time.sleep(0.1)
        self._start(
            *("worker", "--scheduler-file", str(notes), "--nworkers", str(WORKERS), "--nthreads", "1"),
            *("--no-dashboard", "--local-directory", str(self._folder), "--death-timeout", "20"),
        )
        self.profile = self._folder / "profile.yaml"
        address = _address(notes)
        self.profile.write_text(f"kind: local\ndask: {{address: '{address}'}}\n", encoding="utf-8")
        return self

    def _start(self, *arguments: str) -> psutil.Popen:
        process = psutil.Popen(
            [sys.executable, "-m", "dask", *arguments],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._processes.append(process)
        return process

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        every = [*self._processes]
        for process in self._processes:
            if process.is_running():
                every += process.children(recursive=True)
        for process in every:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(every, timeout=10)


def _address(notes: Path) -> str:
    return str(json.loads(notes.read_text(encoding="utf-8"))["address"])

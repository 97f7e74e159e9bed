"""A run of tailshard as a process of its own: what it tells, what it starts, and how it ends."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
PIPELINE = Path(__file__).with_name("search.yaml")
WORKERS = 2
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what runs in its background ignore it
from tailshard.cli import main
main()
"""

STAGE_OF = {
    "open files": "ingest",
    "fill slots": "ingest",
    "look for repeated events": "ingest",
    "train": "train",
    "scoring": "score",
    "summing errors": "histogram",
    "collecting candidates": "histogram",
    "filling histograms": "histogram",
    "comparing cells": "histogram",
    "fitting limits": "histogram",
    "writing the report": "report",
}
"""What a run says on stderr when it begins with something, in that order -> the stage that it belongs to."""


@dataclass(frozen=True)
class Search:
    """What to search, and where: what all drivers of a campaign have in common."""

    toys: Path
    workdir: Path
    cluster: Path | None = None
    """A cluster profile; this machine where left out."""
    overrides: tuple[str, ...] = ()

    def command(self, verb: str) -> list[str]:
        """Give the command line of a verb."""
        chosen = [argument for each in self.overrides for argument in ("--set", each)]
        if self.cluster is not None:
            chosen += ["--cluster", str(self.cluster)]
        return [
            *(sys.executable, "-c", PROGRAM, verb, str(PIPELINE), "--json"),
            *("--workdir", str(self.workdir), "--data-root", str(self.toys), "--workers", str(WORKERS)),
            *chosen,
        ]


@dataclass(frozen=True)
class End:
    """How a driver ended."""

    code: int
    """Exit code; minus the signal that ended it."""
    output: str
    """What it wrote to stdout."""
    told: str
    """What it wrote to stderr."""

    @property
    def result(self) -> dict[str, Any]:
        """What a run that went well has to say."""
        content = json.loads(self.output)
        assert content["ok"] is True
        found: dict[str, Any] = content["result"]
        return found

    @property
    def clear_error(self) -> str | None:
        """The message, if it ended in one clear error as `tailshard.errors` promises; None if not."""
        try:
            content = json.loads(self.output)
        except ValueError:
            return None
        if self.code != 1 or content.get("ok") is not False or "Traceback (most recent call" in self.told:
            return None
        if self.told.count("error: ") < 1:
            return None
        return f"{content['error']['type']}: {content['error']['message']}"


@dataclass
class Driver:
    """A running verb. Every process that it starts is known, so that none is left."""

    search: Search
    verb: str = "run"
    phases: dict[str, float] = field(default_factory=dict)
    """What it has said that it begins with -> seconds since its start."""

    def __post_init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONUNBUFFERED": "1"}
        self.began = time.monotonic()
        self.process = psutil.Popen(
            self.search.command(self.verb),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=self.search.toys.parent,
        )
        self._told: list[str] = []
        self._output: list[str] = []
        self._known: dict[int, psutil.Process] = {}
        self._news = Condition()
        self._ended = 0
        for read in (self._read_told, self._read_output):
            Thread(target=read, daemon=True).start()

    def _read_told(self) -> None:
        with self.process.stderr as lines:
            for line in lines:
                with self._news:
                    self._told.append(line)
                    name = line.strip().removesuffix(" ...")
                    if line.rstrip().endswith(" ...") and name in STAGE_OF:
                        self.phases.setdefault(name, time.monotonic() - self.began)
                    self._news.notify_all()
        self._end()

    def _read_output(self) -> None:
        with self.process.stdout as file:
            self._output.append(file.read())
        self._end()

    def _end(self) -> None:
        with self._news:
            self._ended += 1
            self._news.notify_all()

    @property
    def is_running(self) -> bool:
        """Whether the driver has not ended."""
        return self.process.poll() is None

    def wait_for(self, phase: str, timeout: float = 300) -> str | None:
        """Wait until it begins with a phase or a later one, and give which; None where it ends before."""
        wanted = list(STAGE_OF)[list(STAGE_OF).index(phase) :]
        until = time.monotonic() + timeout
        while True:
            with self._news:
                if begun := [each for each in wanted if each in self.phases]:
                    return begun[-1]
            if not self.is_running:
                return None
            if time.monotonic() > until:
                raise TimeoutError(f"the driver has not begun '{phase}' in {timeout:g} s: {self._told[-5:]}")
            with self._news:
                self._news.wait(0.1)

    @property
    def phase(self) -> str | None:
        """What it began with last."""
        with self._news:
            return list(self.phases)[-1] if self.phases else None

    def descendants(self) -> list[psutil.Process]:
        """Give the processes that it has started, and those that they have, as far as they are alive."""
        try:
            for process in self.process.children(recursive=True):
                self._known[process.pid] = process
        except psutil.NoSuchProcess:
            pass
        return [process for process in self._known.values() if is_alive(process)]

    def end(self, timeout: float = 240) -> End:
        """Wait for the end of the driver.

        Raises
        ------
        TimeoutError
            It hangs; it and its descendants are killed.
        """
        until = time.monotonic() + timeout
        while self.is_running:
            if time.monotonic() > until:
                self.descendants()
                self.process.kill()
                self.left_behind(0)
                raise TimeoutError(f"the driver hangs in '{self.phase}': {''.join(self._told)[-2000:]}")
            self.descendants()
            time.sleep(0.2)
        code = self.process.wait()
        # Pipes stay open as long as a process that has inherited them lives.
        with self._news:
            self._news.wait_for(lambda: self._ended == 2, timeout=20)
            return End(code, "".join(self._output), "".join(self._told))

    def left_behind(self, patience: float = 30) -> list[str]:
        """Give the descendants that are alive some seconds after the driver's end, and kill them."""
        every = self.descendants()
        waited_for = [process for process in every if not _ends_by_itself(process)]
        _, left = psutil.wait_procs(waited_for, timeout=patience)
        names = [" ".join(process.cmdline())[:80] for process in left if is_alive(process)]
        left = [process for process in every if is_alive(process)]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)
        return names


def _ends_by_itself(process: psutil.Process) -> bool:
    """Tell whether it is a helper of Ray that looks for its dead head for about a minute, and then ends."""
    try:
        return process.name().startswith("ray::") and process.name().endswith("Agent")
    except psutil.NoSuchProcess:
        return True


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs; what is dead and not yet waited for does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

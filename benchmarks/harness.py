"""Contestants, each in a process of its own on cores of its own, run in turns.

A group is a module with ``prepare(settings)``, which makes its data once, and ``tables(settings)``. All
contestants of a table are set up first; then every round runs each of them once, and the order rotates
from round to round, so that a slow minute of the machine hits everyone. Ratios are taken inside a round.

This module imports nothing heavy: a process is pinned to its cores before any library counts them.
"""

import importlib
import importlib.util
import multiprocessing
import os
import signal
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

GROUPS = ("kernel", "ingest", "storage", "stream", "training", "scaling")

PIP = {
    "ROOT": "root==0.1a12",
    "h5py": "h5py",
    "hdf5plugin": "hdf5plugin",
    "litdata": "litdata",
    "pandas": "pandas",
    "streaming": "--no-deps mosaicml-streaming",
    "tables": "tables",
    "zarrs": "zarrs",
}
"""Package to import -> what to ask pip for; benchmarks/requirements.txt has all of them."""

Run = Callable[[], Mapping[str, float]]
"""One run: does the work, times what should be timed, and gives figures by key."""


@dataclass(frozen=True)
class Settings:
    """What decides how much is measured."""

    work: Path
    """Folder for data, stores and logs; data is kept between calls."""
    events: int = 524_288
    repeats: int = 3
    seconds: float = 5.0
    """Longest measurement of a loader that is too slow for an epoch."""
    batch: int = 8192
    chunk: int = 4096
    slot: int = 65_536
    cold: bool = False
    """Drop a run's input files from the page cache before it."""
    only: tuple[str, ...] = ()
    """Run contestants with one of these words in their names, and the limits; all where empty."""
    time_limit: float = 900.0
    """Seconds after which a run has failed."""


@dataclass(frozen=True)
class Contestant:
    """One way of doing what a table measures."""

    name: str
    make: Callable[[Settings], AbstractContextManager[Run]]
    """Entering sets up and warms up, leaving cleans up; neither is timed."""
    cores: int = 1
    needs: tuple[str, ...] = ()
    """Packages to import, keys of `PIP`."""
    missing: str = ""
    """Why it cannot run here, if it is not for a package."""
    fresh: bool = False
    """A new process for every round, for what cannot idle or must not remember."""
    baseline: str = ""
    """Contestant to compare with, in place of the table's."""

    def absent(self) -> str:
        """Say why it cannot run, and what to do; empty where it can."""
        wanted = [PIP[name] for name in self.needs if importlib.util.find_spec(name) is None]
        if wanted:
            return f"pip install {' '.join(wanted)}"
        has = len(os.sched_getaffinity(0))
        return self.missing or (f"needs {self.cores} cores, found {has}" if has < self.cores else "")


@dataclass(frozen=True)
class Figure:
    """A column of a table."""

    key: str
    title: str
    scale: float = 1.0
    """Figures are multiplied with it to be shown."""
    compared: bool = True
    """Show the ratio to the baseline, too."""


@dataclass(frozen=True)
class Goal:
    """What a contestant should reach: a ratio to another one, or a figure by itself."""

    contestant: str
    figure: str
    over: str = ""
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Table:
    """Contestants that do the same work."""

    title: str
    figures: tuple[Figure, ...]
    contestants: tuple[Contestant, ...]
    baseline: str = ""
    """The contestant that the others are compared with, as a rule the limit of the machine."""
    goals: tuple[Goal, ...] = ()
    repeats: int | None = None
    """Fewer rounds than the settings ask for, where runs are long."""


@dataclass
class Outcome:
    """What is known of a contestant."""

    contestant: Contestant
    runs: list[Mapping[str, float]] = field(default_factory=list)
    """Figures by round."""
    absent: str = ""
    failed: str = ""

    def values(self, key: str) -> list[float]:
        """Give a figure of every round that has it."""
        return [run[key] for run in self.runs if key in run]


def ratio(one: Outcome, other: Outcome, key: str) -> float | None:
    """Median over the rounds of the ratio inside the round."""
    pairs = zip(one.runs, other.runs, strict=False)
    ratios = [a[key] / b[key] for a, b in pairs if key in a and b.get(key)]
    return statistics.median(ratios) if ratios else None


def clock(work: Callable[[], object]) -> float:
    """Time one call, in seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def rotated(items: list[Any], by: int) -> list[Any]:
    """Begin with another item in every round."""
    by %= max(len(items), 1)
    return items[by:] + items[:by]


# -- in the contestant's process -----------------------------------------------------------------------


class _Answer(NamedTuple):
    figures: Mapping[str, float] = {}
    error: str = ""


def _at_home(cores: list[int], log: Path) -> None:
    """Pin this process, tell the thread pools, and send all it prints to its log."""
    os.sched_setaffinity(0, cores)
    # This process was spawned; what it starts itself starts as it would in a program of its own.
    multiprocessing.set_start_method(None, force=True)
    for pool in ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR"):
        os.environ[f"{pool}_NUM_THREADS"] = str(len(cores))
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(target, stream)


def _serve(
    connection: Connection, group: str, place: tuple[int, str] | None, settings: Settings, log: Path
) -> None:
    """Make the data of a group, or be the contestant of a table and a name."""
    try:
        cores = connection.recv()
        _at_home(cores, log)
        module = importlib.import_module(f"{__package__}.{group}")
        if place is None:
            module.prepare(settings)
            connection.send(_Answer())
            return
        number, name = place
        contestant = next(each for each in module.tables(settings)[number].contestants if each.name == name)
        with contestant.make(settings) as run:
            connection.send(_Answer())
            while connection.recv():
                connection.send(_Answer({key: float(value) for key, value in run().items()}))
    except EOFError:
        pass
    except BaseException as error:  # noqa: BLE001 - told to the parent, which reports it
        traceback.print_exc()
        connection.send(_Answer(error=f"{type(error).__name__}: {error}".strip()))


# -- in the parent ---------------------------------------------------------------------------------------


class _Worker:
    """A contestant's process, seen from outside."""

    def __init__(
        self, group: str, place: tuple[int, str] | None, settings: Settings, log: Path, cores: int | None
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._limit = settings.time_limit
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_serve, args=(theirs, group, place, settings, log), name=log.stem
        )
        self._process.start()
        theirs.close()
        mine = sorted(os.sched_getaffinity(0))
        self._connection.send(mine[-cores:] if cores else mine)

    def wait_until_ready(self) -> None:
        self._receive({})

    def measure(self) -> Mapping[str, float]:
        peaks: dict[int, int] = {}
        for pid in _tree(self._process.pid):
            # Forget the peak of the set-up; see proc(5).
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._connection.send(True)
        figures = self._receive(peaks)
        return {"peak": float(sum(peaks.values())), **figures}

    def _receive(self, peaks: dict[int, int]) -> Mapping[str, float]:
        until = time.monotonic() + self._limit
        while not self._connection.poll(0.2):
            _note_peaks(self._process.pid, peaks)
            if time.monotonic() > until:
                raise RuntimeError(f"took more than {self._limit:g} s")
        _note_peaks(self._process.pid, peaks)
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(5)
            raise RuntimeError(f"died with exit code {self._process.exitcode}") from None
        if answer.error:
            raise RuntimeError(answer.error)
        return answer.figures

    def close(self) -> None:
        family = list(_tree(self._process.pid))
        with suppress(OSError):
            self._connection.send(False)
        self._process.join(60)
        for pid in family if self._process.is_alive() else ():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self._process.join()
        self._connection.close()


def _tree(pid: int | None) -> Iterator[int]:
    """Give a process and its descendants."""
    if pid is None:
        return
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                yield from _tree(int(child))


def _note_peaks(pid: int | None, peaks: dict[int, int]) -> None:
    """Bytes: the most that each process has held (VmHWM); the sum over them is an upper limit."""
    for each in _tree(pid):
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{each}/status").read_text()
            peaks[each] = 1024 * int(status.split("VmHWM:")[1].split()[0])


Tell = Callable[[str], None]


def prepare(group: str, settings: Settings, tell: Tell) -> None:
    """Make what a group needs, in a process of its own and on all cores.

    Raises
    ------
    RuntimeError
        It failed; the message says why, and the log has more.
    """
    tell(f"{group}: data")
    log = settings.work / "logs" / f"{group}-data.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    worker = _Worker(group, None, settings, log, None)
    try:
        worker.wait_until_ready()
    except RuntimeError as error:
        raise RuntimeError(f"the data of '{group}' cannot be made: {error} (see {log})") from error
    finally:
        worker.close()


def compete(group: str, number: int, table: Table, settings: Settings, tell: Tell) -> list[Outcome]:
    """Run the contestants of a table, which has this number in its group, in turns."""
    outcomes = [
        Outcome(contestant, absent=contestant.absent())
        for contestant in table.contestants
        if _asked_for(contestant, settings) or contestant.name == table.baseline
    ]
    workers: dict[int, _Worker] = {}

    def log(place: int) -> Path:
        name = "".join(letter if letter.isalnum() else "-" for letter in outcomes[place].contestant.name)
        return settings.work / "logs" / f"{group}-{number}-{name}.log"

    def turn(place: int, outcome: Outcome, act: Callable[[_Worker], object]) -> None:
        """Do something with a contestant's process; a failure ends its part in the table."""
        if outcome.failed or outcome.absent:
            return
        try:
            if place not in workers:
                its = outcome.contestant
                workers[place] = _Worker(group, (number, its.name), settings, log(place), its.cores)
                workers[place].wait_until_ready()
            act(workers[place])
        except RuntimeError as error:
            outcome.failed = f"{error} (see {log(place)})"
            workers.pop(place).close()

    try:
        for place, outcome in enumerate(outcomes):
            log(place).unlink(missing_ok=True)
            if not outcome.contestant.fresh:
                tell(f"{table.title}: setting up {outcome.contestant.name}")
                turn(place, outcome, lambda _: None)
        rounds = min(settings.repeats, table.repeats or settings.repeats)
        for round_number in range(rounds):
            for place, outcome in rotated(list(enumerate(outcomes)), round_number):
                tell(f"{table.title}: round {round_number + 1} of {rounds}, {outcome.contestant.name}")
                turn(place, outcome, partial(_measure, outcome))
                if outcome.contestant.fresh and place in workers:
                    workers.pop(place).close()
    finally:
        for worker in workers.values():
            worker.close()
    return outcomes


def is_wanted(table: Table, settings: Settings) -> bool:
    """Say whether any contestant was asked for; what they are compared with runs with them."""
    return any(
        _asked_for(contestant, settings)
        for contestant in table.contestants
        if not settings.only or contestant.name != table.baseline
    )


def _asked_for(contestant: Contestant, settings: Settings) -> bool:
    return not settings.only or any(word in contestant.name for word in settings.only)


def _measure(outcome: Outcome, worker: _Worker) -> None:
    outcome.runs.append(worker.measure())

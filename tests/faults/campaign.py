"""One run undisturbed, then every kind of fault: a record of all that was disturbed."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dask

from tailshard.launch import WORKER_SETTINGS
from tailshard.toys import make_toys

from ..clusters import threads_of_this_process
from .compare import digests
from .damaging import OUTPUTS, Setting, damage_inputs, damage_outputs, damage_shards
from .disk import CannotMount
from .disks import disturb_disks, unmade
from .driver import Driver, Search
from .killing import BATCH_SIZE, Say, kill_drivers, kill_once, kill_schedulers, kill_workers
from .moments import Moment, draw, durations
from .processes import Kind
from .record import Disturbance, Record

HEADS: tuple[Kind, ...] = ("raylet", "Ray GCS")


@dataclass
class Campaign:
    """A folder in which a search was done undisturbed, to be done again in a hundred ways."""

    folder: Path
    seed: int
    say: Say = print
    done: list[Disturbance] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Faults that this machine does not allow, and why."""

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self.toys = self.folder / "toys"
        make_toys(self.toys, events=1500, signal_events=300, files=2, luminosity=0.02)
        self.finished = self.folder / "undisturbed"
        driver = Driver(Search(self.toys, self.finished))
        end = driver.end()
        if end.code:
            raise RuntimeError(f"the undisturbed run ended with {end.code}: {end.told}")
        self.lasted = durations(driver.phases, time.monotonic() - driver.began)
        self.reference = digests(self.finished, BATCH_SIZE)
        self.say(f"undisturbed: {sum(self.lasted.values()):.0f} s")

    def record(self) -> Record:
        """Give what was disturbed so far."""
        return Record(self.seed, tuple(self.done), time.monotonic() - self._began)

    def _search(self, name: str) -> Search:
        return Search(self.toys, self.folder / name)

    def drivers(self, kills: int) -> list[Disturbance]:
        """Kill drivers, in chains that go through all stages."""
        done: list[Disturbance] = []
        chain = 0
        while len(done) < kills and chain < kills:
            search = self._search(f"drivers-{chain}")
            wanted = min(kills - len(done), 10)
            done += kill_drivers(search, self.reference, self.lasted, self.seed + chain, wanted, self.say)
            chain += 1
        return self._took(done)

    def workers(self, kills: int) -> list[Disturbance]:
        """Kill workers of Dask and Ray, in as few runs as that takes."""
        search = self._search(f"workers-{len(self.done)}")
        return self._took(kill_workers(search, self.reference, self.seed, kills, 2.5, self.say))

    def heads(self, rounds: int) -> list[Disturbance]:
        """Kill what Ray has only one of."""
        done: list[Disturbance] = []
        for number in range(rounds):
            moments = draw(self.seed + number, len(HEADS), {"train": self.lasted["train"]})
            for kind, moment in zip(HEADS, moments, strict=True):
                search = self._without("train", len(HEADS) * number + HEADS.index(kind))
                early = Moment(moment.phase, moment.delay / 2)
                done += kill_once(search, self.reference, kind, early, self.say)
        return self._took(done)

    def schedulers(self, kills: int) -> list[Disturbance]:
        """Kill schedulers that are processes of their own."""
        arguments = (self.reference, self.lasted, self.seed, kills, self.folder / "dask", self.say)
        return self._took(kill_schedulers(self._without, *arguments))

    def _without(self, stage: str, number: int) -> Search:
        """Give a finished search without what a stage makes."""
        search = self._search(f"without-{stage}-{number}")
        shutil.copytree(self.finished, search.workdir)
        unmade(search.workdir, stage)
        return search

    def inputs(self, count: int) -> list[Disturbance]:
        """Damage ntuples."""
        with self._setting() as setting:
            return self._took(damage_inputs(setting, count))

    def shards(self, count: int) -> list[Disturbance]:
        """Damage shards of a finished store."""
        with self._setting() as setting:
            return self._took(damage_shards(setting, count))

    def outputs(self, count: int) -> list[Disturbance]:
        """Damage every other file of a finished search."""
        with self._setting() as setting:
            return self._took(damage_outputs(setting, count))

    def disks(self, rounds: int) -> list[Disturbance]:
        """Fill disks, and make folders read-only."""
        try:
            with self._setting() as setting:
                return self._took(disturb_disks(setting, rounds))
        except CannotMount as error:
            self.skipped.append(f"full and read-only disks: cannot mount ({error})")
            return []

    @contextmanager
    def _setting(self) -> Iterator[Setting]:
        with threads_of_this_process(1) as client:  # numpy.load of two may fail before Python 3.12
            yield Setting(self.finished, self.reference, self.toys, self.folder, client, self.seed, self.say)

    def everything(self, kills: int) -> Record:
        """Disturb in every way; about that many kills in all."""
        drivers, schedulers, rounds = max(5, kills // 6), max(2, kills // 25), max(1, kills // 50)
        others = drivers + schedulers + len(HEADS) * rounds
        stages: list[Callable[[], object]] = [
            lambda: self.heads(rounds),
            lambda: self.schedulers(schedulers),
            lambda: self.workers(kills - others),
            lambda: self.drivers(drivers),
            lambda: self.inputs(kills // 2),
            lambda: self.shards(kills // 2),
            lambda: self.outputs(max(2 * len(OUTPUTS), kills // 2)),
            lambda: self.disks(rounds),
        ]
        with dask.config.set(WORKER_SETTINGS):
            for each in stages:
                each()
            if (missing := kills - self.record().kills) > 0:
                self.workers(missing)
        return self.record()

    def _took(self, done: list[Disturbance]) -> list[Disturbance]:
        self.done += done
        return done

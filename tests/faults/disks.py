"""Stages on a disk that fills up, and in a folder that becomes read-only."""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from tailshard.errors import TailshardError
from tailshard.ledger import Ledger
from tailshard.stages import STAGES

from .damaging import Setting
from .disk import filled_up, read_only, small_disk
from .driver import Driver, Search
from .record import Disturbance, Outcome

MEGABYTES = 64
LARGEST_ROOM = {"score": 4_000}
"""Bytes that are left on a disk at most: less than a stage writes, which is `OTHERS_ROOM` for most."""
OTHERS_ROOM = 400_000


def disturb_disks(setting: Setting, rounds: int) -> list[Disturbance]:
    """Let every stage meet a full disk, a read-only store and a read-only work directory; then run again.

    Training, which needs Ray, runs as a process of its own, and others in this one.

    Raises
    ------
    CannotMount
        This machine does not allow it.
    """
    random = np.random.default_rng([setting.seed, 7])
    done = []
    for number in range(rounds):
        for stage in STAGES:
            room = int(random.integers(LARGEST_ROOM.get(stage, OTHERS_ROOM)))
            with small_disk(setting.folder / f"disk-{number}-{stage}", MEGABYTES) as disk:
                workdir = disk / "work"
                shutil.copytree(setting.finished, workdir)
                unmade(workdir, stage)
                outcome, said = _disturbed(filled_up(disk, room), setting, workdir, stage)
            done.append(Disturbance(stage, "disk full", f"{room:,} bytes left", outcome, said))
            setting.say(str(done[-1]))
        for what, stages in (("store", ("ingest", "score")), ("", STAGES)):
            for stage in stages:
                with setting.copied(f"read-only-{number}-{what}-{stage}") as workdir:
                    unmade(workdir, stage)
                    outcome, said = _disturbed(read_only(workdir / what), setting, workdir, stage)
                name = f"{what or 'work directory'} read-only"
                done.append(Disturbance(stage, name, "before it begins", outcome, said))
                setting.say(str(done[-1]))
    return done


def unmade(workdir: Path, stage: str) -> None:
    """Take what a stage has made out of a finished work directory; made again, all is current."""
    Ledger.open(workdir, "faults").forget(stage)
    store = workdir / "store"
    match stage:
        case "ingest":
            shutil.rmtree(store)
            store.mkdir()
            (workdir / "inputs.json").unlink()
            shutil.rmtree(workdir / "partials" / "repeats")
        case "score":
            for errors in store.glob("events.zarr/*/error/c"):
                shutil.rmtree(errors)
        case "train":
            shutil.rmtree(workdir / "model")
        case "histogram":
            shutil.rmtree(workdir / "results")
            for kept in (workdir / "partials").iterdir():
                if kept.name != "repeats":  # those are of ingest
                    shutil.rmtree(kept)
        case "report":
            shutil.rmtree(workdir / "report")


def _disturbed(
    fault: AbstractContextManager[None], setting: Setting, workdir: Path, stage: str
) -> tuple[Outcome, str]:
    try:
        with fault:
            said = _performed(setting, workdir, stage)
    except Exception as error:  # noqa: BLE001 - this is what must not be
        return "wrong", f"{type(error).__name__}: {error}"
    try:
        if again := _performed(setting, workdir, stage):
            return "wrong", f"mended, but {again}"
        with setting.opened(workdir) as work:
            work.perform_all()
    except Exception as error:  # noqa: BLE001 - nor this
        return "wrong", f"mended, but {type(error).__name__}: {error}; {said}"
    if different := setting.different(workdir):
        return "wrong", f"mended, but {different[:4]}; {said}"
    return ("error, then equal", said) if said else ("equal", "")


def _performed(setting: Setting, workdir: Path, stage: str) -> str:
    """Perform a stage, and give its error; an empty string where it went well."""
    if stage == "train":
        # A full disk stays full: as often as for killed workers is too often.
        driver = Driver(Search(setting.toys, workdir, overrides=("training.maximum_restarts=1",)), "train")
        end = driver.end()
        left = driver.left_behind()
        assert not left, left
        assert end.code == 0 or end.clear_error, f"ended with {end.code}: {end.told[-2000:]}"
        return end.clear_error or ""
    try:
        with setting.opened(workdir) as work:
            work.perform(stage)
    except TailshardError as error:
        return f"{type(error).__name__}: {error}"
    return ""

"""Runs whose processes are killed: drivers, Dask workers and schedulers, and everything of Ray."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from .compare import differences, digests
from .dask_cluster import DaskCluster
from .driver import STAGE_OF, Driver, Search
from .moments import Moment, draw
from .processes import Kind, kill, of_kind
from .record import Disturbance, judged

BATCH_SIZE = 32
"""Of the pipeline."""

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
"""What kills a driver: out of memory or power, a batch system, a person."""

MOST_IN_A_STAGE: Mapping[Kind, int] = {"Dask worker": 3, "Ray worker": 8}
"""Of one run: a task is given up with the fourth worker that dies of it, and a small run has few tasks."""

LONGEST_RUN = 600
"""Seconds for which a run is disturbed, at most: then it is waited for, or hangs."""

STAGES_OF_DASK = ("ingest", "score", "histogram")

Say = Callable[[str], None]


def is_equal(search: Search, reference: Mapping[str, str]) -> str:
    """Compare a finished work directory with the undisturbed one; an empty string where they are equal."""
    try:
        different = differences(reference, digests(search.workdir, BATCH_SIZE))
    except Exception as error:  # noqa: BLE001 - whatever cannot be read is not equal
        return f"cannot be compared: {type(error).__name__}: {error}"
    return f"{len(different)} differences: {'; '.join(different[:5])}" if different else ""


def kill_drivers(
    search: Search, reference: Mapping[str, str], lasted: Mapping[str, float], seed: int, kills: int, say: Say
) -> list[Disturbance]:
    """Start a run, kill its driver, start it again ... until it ends; compare what came out."""
    random = np.random.default_rng([seed, 2])
    done: list[Disturbance] = []
    for moment in draw(seed, kills, lasted):
        with_signal = SIGNALS[random.integers(len(SIGNALS))]
        driver = Driver(search)
        phase = driver.wait_for(moment.phase)
        if phase is None:  # it had nothing more to do
            end = driver.end()
            driver.left_behind()
            if end.code:  # what the kills before have left is no good
                return judged(done, "wrong", f"the next run ended with {end.code}: {end.told[-800:]}")
            break
        time.sleep(moment.delay)
        phase = driver.phase or phase
        driver.descendants()
        fault = f"kill driver ({with_signal.name})"
        if not kill(driver.process, with_signal):
            driver.end()
            break
        end = driver.end(60)
        left = driver.left_behind()
        if end.code == 0:  # the signal came when all was done
            say(f"{fault} {moment} came too late, or to nobody")
            break
        said = ""
        if left:
            said = f"left behind: {left}"
        elif with_signal is signal.SIGINT and "Traceback" in end.told:
            said = f"a traceback for Ctrl-C: {end.told[-300:]}"
        done.append(Disturbance(STAGE_OF[phase], fault, str(moment), "wrong", said))
        say(f"{fault} {moment}, in '{phase}' {said}")
    return _concluded(search, reference, done)


def _concluded(
    search: Search, reference: Mapping[str, str], done: list[Disturbance], after_error: bool = False
) -> list[Disturbance]:
    """Run once more, undisturbed, and give the disturbances that outcome."""
    driver = Driver(search)
    end = driver.end()
    left = driver.left_behind()
    if end.code or left:
        return judged(done, "wrong", f"the next run ended with {end.code}, left {left}: {end.told[-500:]}")
    problem = is_equal(search, reference)
    return judged(done, "wrong" if problem else "error, then equal" if after_error else "equal", problem)


def kill_workers(
    search: Search, reference: Mapping[str, str], seed: int, kills: int, pause: float, say: Say
) -> list[Disturbance]:
    """Kill Dask workers and training workers of one run again and again; compare what came out.

    Runs until as many have been killed, each run in a folder of its own.
    """
    random = np.random.default_rng([seed, 3])
    done: list[Disturbance] = []
    for number in range(10):
        if len(done) >= kills:
            break
        each = replace(search, workdir=search.workdir.with_name(f"{search.workdir.name}-{number}"))
        done += _one_run(each, reference, random, kills - len(done), pause, say)
    return done


def _one_run(
    search: Search,
    reference: Mapping[str, str],
    random: np.random.Generator,
    kills: int,
    pause: float,
    say: Say,
) -> list[Disturbance]:
    driver = Driver(search)
    done: list[Disturbance] = []
    until = time.monotonic() + LONGEST_RUN
    while driver.is_running and len(done) < kills and time.monotonic() < until:
        # A training worker takes a while to start, and must get on between.
        longest = 4 * pause if driver.phase == "train" else pause
        delay = float(random.uniform(0.1, longest))
        time.sleep(delay)
        phase = driver.phase
        if phase is None:
            continue
        stage = STAGE_OF[phase]
        kind: Kind = "Ray worker" if stage == "train" else "Dask worker"
        if sum(each.stage == stage for each in done) == MOST_IN_A_STAGE[kind]:
            continue
        found = of_kind(driver.descendants(), kind)
        if not found:
            continue
        victim = found[random.integers(len(found))]
        if driver.is_running and kill(victim):
            seconds = time.monotonic() - driver.began - driver.phases[phase]
            moment = str(Moment(phase, seconds))
            say(f"kill {kind} {moment}")
            done.append(Disturbance(stage, f"kill {kind}", moment))
    return _ended(driver, search, reference, done, say)


def kill_once(
    search: Search,
    reference: Mapping[str, str],
    kind: Kind,
    moment: Moment,
    say: Say,
) -> list[Disturbance]:
    """Kill one process that has no substitute; the run may end well, or in one clear error."""
    driver = Driver(search)
    if driver.wait_for(moment.phase) is None:
        driver.end()
        return []
    found, until = [], time.monotonic() + LONGEST_RUN
    while driver.is_running and not (found := of_kind(driver.descendants(), kind)):
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    time.sleep(moment.delay)
    stage = STAGE_OF[driver.phase or moment.phase]
    if not driver.is_running or not found or not kill(found[0]):
        driver.end()
        return []
    done = [Disturbance(stage, f"kill {kind}", str(moment))]
    say(f"kill {kind} {moment}")
    return _ended(driver, search, reference, done, say)


def _ended(
    driver: Driver, search: Search, reference: Mapping[str, str], done: list[Disturbance], say: Say
) -> list[Disturbance]:
    try:
        end = driver.end()
    except TimeoutError as error:
        return judged(done, "wrong", str(error))
    say(f"ended with {end.code}: {end.clear_error}")
    if left := driver.left_behind():
        return judged(done, "wrong", f"left behind: {left}")
    if end.code == 0:
        problem = is_equal(search, reference)
        return judged(done, "wrong" if problem else "equal", problem)
    error = end.clear_error
    if error is None:
        return judged(done, "wrong", f"ended with {end.code}: {end.output[-300:]} {end.told[-1500:]}")
    assert done, f"undisturbed, but {error}"
    # The kill that was one too many has the error; the others were survived.
    [last] = _concluded(search, reference, done[-1:], after_error=True)
    last = replace(last, said=f"{error}; {last.said}" if last.said else error)
    return [*judged(done[:-1], "wrong" if last.outcome == "wrong" else "equal"), last]


def kill_schedulers(
    begin: Callable[[str, int], Search],
    reference: Mapping[str, str],
    lasted: Mapping[str, float],
    seed: int,
    kills: int,
    folder: Path,
    say: Say,
) -> list[Disturbance]:
    """Kill schedulers that are processes of their own, with their workers going on; run on with another.

    `begin` gives a search of which everything is there but what a stage makes.
    """
    random = np.random.default_rng([seed, 8])
    done: list[Disturbance] = []
    for attempt in range(3 * kills):
        if len(done) == kills:
            break
        stage = STAGES_OF_DASK[len(done) % len(STAGES_OF_DASK)]
        lasting = {phase: seconds for phase, seconds in lasted.items() if STAGE_OF[phase] == stage}
        moment = draw(int(random.integers(2**31)), 1, lasting)[0]
        search = begin(stage, attempt)
        with DaskCluster(folder / f"dask-{attempt}") as cluster:
            driver = Driver(replace(search, cluster=cluster.profile))
            if driver.wait_for(moment.phase):
                time.sleep(moment.delay / 2)
            if STAGE_OF.get(driver.phase or "") != stage or not (
                driver.is_running and kill(cluster.scheduler)
            ):
                say(f"{moment} came too late")
                driver.end()
                driver.left_behind()
                continue
            one = Disturbance(stage, "kill Dask scheduler", f"{moment.delay / 2:.2f} s into '{moment.phase}'")
            say(f"kill Dask scheduler {one.moment}")
            done += _ended(driver, search, reference, [one], say)
    return done

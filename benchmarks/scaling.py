"""(f) Peak memory and time of tailshard's stages as the events grow tenfold; limit: no growth of memory."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from . import data
from .harness import Contestant, Figure, Goal, Run, Settings, Table, clock

STAGES = ("ingest", "train", "score", "histogram")


MOST = 262_144
"""Events of the larger sample at most: enough slots to see memory grow, and an end in sight."""


def _sizes(settings: Settings) -> tuple[int, int]:
    most = min(settings.events, MOST)
    return most // 10, most


def _scaled(settings: Settings) -> Settings:
    """Slots and chunks so small that even the smaller sample fills several of each channel."""
    share = min(data.SHARES.values()) * _sizes(settings)[0]
    chunk = max(16, round(share / 8))
    return replace(settings, slot=4 * chunk, chunk=chunk)


def _pipeline(settings: Settings, events: int) -> Any:
    return data.pipeline(
        settings,
        events,
        ("training.epochs", 1),
        ("training.shuffle_chunks", 8),
        ("training.batch_size", min(settings.batch, 1024)),
        ("splits.training", 0.6),
        ("splits.validation", 0.2),
        ("splits.test", 0.2),
    )


def prepare(settings: Settings) -> None:
    """Make a scored store of each size, from which every stage but ingest begins."""
    for events in _sizes(settings):
        _searched(_scaled(settings), events)


def _searched(settings: Settings, events: int) -> Path:
    from tailshard.ingest.stage import ingest
    from tailshard.search.score import score
    from tailshard.train.distributed import train

    search = _pipeline(settings, events)

    def make(path: Path) -> None:
        path.mkdir()
        with data.dask_workers(2) as client:
            ingest(search, path / "store", client)
            train(search, path / "store", path / "model", in_process=True)
            score(search, path / "store", path / "model" / "model.pt", client)

    return data.once(data.folder(settings, events) / f"search-{settings.slot}-{settings.chunk}", make)


def tables(settings: Settings) -> list[Table]:
    small, large = (f"{events:,} events" for events in _sizes(settings))
    contestants = tuple(
        Contestant(
            f"{stage}, {events:,} events",
            partial(one_stage, stage=stage, events=events),
            cores=2,
            fresh=True,
            baseline=f"{stage}, {small}",
        )
        for stage in STAGES
        for events in _sizes(settings)
    )
    goals = tuple(Goal(f"{stage}, {large}", "peak", f"{stage}, {small}", most=1.10) for stage in STAGES)
    return [
        Table(
            "Ten times the events, one worker; compared with the smaller sample",
            (Figure("peak", "peak memory, MB", 1e-6), Figure("seconds", "s")),
            contestants,
            goals=goals,
            repeats=2,
        )
    ]


@contextmanager
def one_stage(settings: Settings, stage: str, events: int) -> Iterator[Run]:
    """One stage in a process of its own, with one Dask worker where the stage has use for it."""
    from tailshard.ingest.stage import ingest
    from tailshard.search.histogram import histogram
    from tailshard.search.score import score
    from tailshard.train.distributed import train

    settings = _scaled(settings)
    search = _pipeline(settings, events)
    made = _searched(settings, events)
    store, model = made / "store", made / "model" / "model.pt"
    place = settings.work / "scratch" / f"scaling-{stage}-{events}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    with ExitStack() as stack:
        client = stack.enter_context(data.dask_workers(1)) if stage != "train" else None
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        work = {
            "ingest": lambda: ingest(search, place / "store", client),
            "train": lambda: train(search, store, place / "model", in_process=True),
            "score": lambda: score(search, store, model, client, anew=True),
            "histogram": lambda: histogram(search, store, place / "results", client),
        }[stage]

        def run() -> Mapping[str, float]:
            return {"seconds": clock(work)}

        yield run

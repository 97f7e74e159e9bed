"""Data events that are in the store more than once.

Two skims of one period, or two streams, hold common events in files of different identity: only run and
event number tell. The catalog knows which runs a slot holds. A task takes some runs, as many as have about
a slot's worth of events, or a part of one long run, and looks at the events of these runs in every slot
that has any: exact, and in memory that follows the slot.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..config import content_hash
from ..ledger import code_of
from ..progress import Progress
from ..search.partials import Leaf, keep_json
from ..search.reduction import reduce_slots
from ..store.catalog import Catalog, Slot
from ..store.read import read_rows

if TYPE_CHECKING:
    from distributed import Client


class Share(NamedTuple):
    """Events that one task looks at."""

    runs: tuple[int, ...]
    part: int
    """Those whose event number is this modulo `parts`."""
    parts: int


class Repeats(NamedTuple):
    """Rows whose run and event number an earlier row has."""

    rows: int
    example: tuple[int, int, str, str] | None
    """Run and event number of one, and the files of two of its rows."""


def find_repeats(
    store: Path, catalog: Catalog, client: "Client", progress: Progress, kept: Path | None = None
) -> Repeats:
    """Count the data events that are in the store more than once, over all data channels.

    Where a folder `kept` keeps what was found, runs whose slots are all as they were are not read again.
    """
    kinds = {channel.name: channel.kind for channel in catalog.channels}
    slots = [slot for slot in catalog.slots if kinds[slot.channel] == "data" and slot.selected]
    calls: list[tuple[Any, ...]] = []
    leaves = []
    for share in shares(slots, catalog.geometry.slot):
        wanted = set(share.runs)
        rows = [
            (slot.channel, catalog.geometry.first_row(slot.index), slot.selected, slot.url)
            for slot in slots
            if any(run in wanted for run, _ in slot.runs)
        ]
        keys = [slot.key for slot in slots if any(run in wanted for run, _ in slot.runs)]
        leaves.append(Leaf(len(calls), content_hash(code_of("ingest"), share, rows, keys)))
        calls.append((store, share, rows))
    found = reduce_slots(
        client,
        "look for repeated events",
        repeats_of,
        {"data": calls},
        _add,
        progress,
        keep_json(kept, "repeats"),
        {"data": leaves},
        step="repeats",
    )
    return Repeats(*found["data"]) if "data" in found else Repeats(0, None)


def shares(slots: Sequence[Slot], most: int) -> Iterator[Share]:
    """Divide the runs of some slots into shares of at most about `most` events, in rising order."""
    events: Counter[int] = Counter()
    for slot in slots:
        for run, count in slot.runs:
            events[run] += count
    together: list[int] = []
    total = 0
    for run, count in sorted(events.items()):
        if count > most:
            parts = -(-count // most)
            yield from (Share((run,), part, parts) for part in range(parts))
            continue
        if total + count > most:
            yield Share(tuple(together), 0, 1)
            together, total = [], 0
        together.append(run)
        total += count
    if together:
        yield Share(tuple(together), 0, 1)


def repeats_of(store: Path, share: Share, slots: Sequence[tuple[str, int, int, str]]) -> Repeats:
    """Find the repeated events of a share.

    Parameters
    ----------
    store, share
        What to look at.
    slots
        Channel, first row, number of rows and file of each slot that has any of the runs.
    """
    runs, numbers, places = [], [], []
    for place, (channel, first, count, _) in enumerate(slots):
        rows = read_rows(store, channel, ["run", "event_number"], first, first + count)
        chosen = np.isin(rows["run"], np.asarray(share.runs, np.uint64))
        chosen &= rows["event_number"] % np.uint64(share.parts) == share.part
        runs.append(rows["run"][chosen])
        numbers.append(rows["event_number"][chosen])
        places.append(np.full(np.count_nonzero(chosen), place))
    run, number, slot = np.concatenate(runs), np.concatenate(numbers), np.concatenate(places)
    order = np.lexsort((slot, number, run))
    run, number, slot = run[order], number[order], slot[order]
    again = np.flatnonzero((run[1:] == run[:-1]) & (number[1:] == number[:-1]))
    if not again.size:
        return Repeats(0, None)
    first = again[0]
    files = (slots[slot[first]][3], slots[slot[first + 1]][3])
    return Repeats(int(again.size), (int(run[first]), int(number[first]), *files))


def warning_of(repeats: Repeats) -> Iterator[str]:
    """Say that events count more than once, if they do."""
    if repeats.example is not None:
        run, number, one, other = repeats.example
        where = f"twice in {one}" if one == other else f"in {one} and in {other}"
        yield (
            f"Data events are in the store more than once: {repeats.rows:,} rows repeat another, such as "
            f"run {run}, event {number} {where}. They count as often; name every event's file once."
        )


def _add(parts: list[Repeats]) -> Repeats:
    # What was kept comes back as a list.
    known = [Repeats(*part) for part in parts]
    examples: Iterator[Any] = (tuple(part.example) for part in known if part.example is not None)
    return Repeats(sum(part.rows for part in known), next(examples, None))

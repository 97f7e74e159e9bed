"""One task for each slot on the Dask workers, and one fixed tree that adds their results."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..config import content_hash
from ..errors import ClusterError, scheduler_gone
from ..naming import task_key
from ..progress import Progress
from .partials import Leaf, Partials, make_and_keep, read_kept

if TYPE_CHECKING:
    from distributed import Client

Result = TypeVar("Result")

FAN_IN = 8
"""Results that one task adds; with the order of the slots it fixes the order of every addition."""


def reduce_slots(
    client: "Client",
    what: str,
    function: Callable[..., Result],
    calls: Mapping[str, Sequence[tuple[Any, ...]]],
    add: Callable[[list[Result]], Result],
    progress: Progress,
    partials: Partials[Result] | None = None,
    leaves: Mapping[str, Sequence[Leaf]] | None = None,
    tidy: bool = True,
    step: str = "",
) -> dict[str, Result]:
    """Call a function for every slot, and add the results of each channel.

    The shape of the tree depends on the places of the slots alone, so that sums of floating-point numbers
    are the same bit by bit for any number of workers, and whether or not parts of them were kept. Dask
    walks the tree depth first: a worker holds a few partial results, however many slots there are.

    Parameters
    ----------
    client
        The workers.
    what
        What is being done, for progress.
    function
        Plain function of one slot; small arguments, small result.
    calls
        Channel -> arguments of the function for each of its slots, in slot order.
    add
        Adds a list of results, in the order of the list.
    progress
        Told the number of slots that are done.
    partials
        Where results of slots and groups are kept; nothing that is there is made again.
    leaves
        Channel -> places and keys of the calls, in rising order of the places; counted from 0 where left
        out. Needed for `partials`.
    tidy
        Remove what `partials` keeps of other slots than these.
    step
        What the tasks are called on Dask's dashboard, before the channel; `what` where left out.

    Returns
    -------
    dict
        Channel -> sum; channels without slots are left out.

    Raises
    ------
    ClusterError
        Workers died too often.
    TailshardError
        Whatever the function raised.
    """
    from dask.delayed import delayed
    from distributed import CancelledError, KilledWorker, as_completed
    from distributed.comm.core import CommClosedError

    trees = {
        channel: _tree(its_calls, leaves[channel] if leaves else None)
        for channel, its_calls in calls.items()
        if its_calls
    }
    groups: list[Any] = []
    slots_of_group: dict[str, int] = {}

    def task(its: Callable[..., Result]) -> Any:
        keeping = its if partials is None else partial(make_and_keep, its, partials.write)
        return delayed(keeping, pure=False)

    call, combine = task(function), task(add)
    read = delayed(partial(read_kept, partials.read), pure=False) if partials is not None else None
    kept = partials if partials is not None else ()

    def planned(channel: str, node: _Node) -> Any:
        """Make the task of a node; of parts that are kept already, the task that reads them."""
        path = () if partials is None else (partials.folder / node.key,)
        named = partial(task_key, step or what, channel)
        if read is not None and node.key in kept:
            return read(*path, dask_key_name=named("kept"))
        if not node.parts:
            return call(*path, *node.arguments, dask_key_name=named())
        parts = [planned(channel, part) for part in node.parts]
        made = combine(*path, parts, dask_key_name=named("sum"))
        if new := sum(not part.parts and part.key not in kept for part in node.parts):
            groups.append(made)
            slots_of_group[made.key] = new
        return made

    roots = {channel: planned(channel, tree) for channel, tree in trees.items()}
    if not roots:
        return {}
    total = sum(slots_of_group.values())
    done = 0
    if total:
        progress(what, done, total)
    futures = client.compute([*groups, *roots.values()], optimize_graph=False)
    results, waiting = futures[len(groups) :], as_completed(futures[: len(groups)])
    del futures
    try:
        for future in waiting:
            if future.status == "error":
                break
            done += slots_of_group[future.key]
            progress(what, done, total)
        found = dict(zip(roots, client.gather(results), strict=True))
    except KilledWorker as error:
        raise ClusterError(
            f"{what}: a Dask worker died again and again ({error}); give the workers more memory, or make "
            "store.slot smaller and ingest again"
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise scheduler_gone(what) from error
    if partials is not None:
        partials.made += total
        partials.kept += sum(map(len, calls.values())) - total
        if tidy:
            partials.tidy({key for tree in trees.values() for key in tree.every_key()})
    return found


class _Node(NamedTuple):
    """A slot, or a sum of neighbouring slots."""

    key: str
    parts: "tuple[_Node, ...]" = ()
    """What is added; none for a slot."""
    arguments: tuple[Any, ...] = ()
    """Of the call for a slot."""

    def every_key(self) -> Iterator[str]:
        """Keys of everything that was kept on the way."""
        yield self.key
        for part in self.parts:
            yield from part.every_key()


def _tree(calls: Sequence[tuple[Any, ...]], leaves: Sequence[Leaf] | None) -> _Node:
    if leaves is None:
        leaves = [Leaf(place, str(place)) for place in range(len(calls))]
    level = {
        leaf.place: _Node(leaf.key, (), arguments) for leaf, arguments in zip(leaves, calls, strict=True)
    }
    while True:
        groups: dict[int, list[_Node]] = {}
        for place, node in level.items():
            groups.setdefault(place // FAN_IN, []).append(node)
        level = {
            place: _Node(content_hash([part.key for part in parts]), tuple(parts))
            for place, parts in groups.items()
        }
        if len(level) == 1:
            return next(iter(level.values()))

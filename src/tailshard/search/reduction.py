"""One task for each slot on the Dask workers, and one fixed tree that adds their results."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ClusterError
from ..progress import Progress

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
) -> dict[str, Result]:
    """Call a function for every slot, and add the results of each channel.

    The shape of the tree depends on the number of slots alone, so that sums of floating-point numbers
    are the same bit by bit for any number of workers. Dask walks the tree depth first: a worker holds a
    few partial results, however many slots there are.

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
    from distributed import KilledWorker, as_completed

    call, combine = delayed(function, pure=False), delayed(add, pure=False)
    roots: dict[str, Any] = {}
    groups: list[Any] = []
    slots_of_group: dict[str, int] = {}
    for channel, its_calls in calls.items():
        level = []
        for group in _in_groups(its_calls):
            level.append(combine([call(*arguments) for arguments in group]))
            slots_of_group[level[-1].key] = len(group)
        groups += level
        while len(level) > 1:
            level = [combine(group) for group in _in_groups(level)]
        if level:
            roots[channel] = level[0]
    if not roots:
        return {}
    total = sum(slots_of_group.values())
    done = 0
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
        return dict(zip(roots, client.gather(results), strict=True))
    except KilledWorker as error:
        raise ClusterError(
            f"{what}: a Dask worker died again and again ({error}); give the workers more memory, or make "
            "store.slot smaller and ingest again"
        ) from error


def _in_groups(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + FAN_IN] for start in range(0, len(items), FAN_IN)]

"""A function called for every slot on the Dask workers; what one slot meets does not stop the others."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from ..errors import ClusterError, TailshardError, scheduler_gone
from ..naming import task_key
from ..progress import Progress
from .catalog import Slot

if TYPE_CHECKING:
    from distributed import Client, Future

_STOP_SECONDS = 60

Result = TypeVar("Result")


def each_slot(
    client: "Client",
    what: str,
    function: Callable[[Slot], Result],
    slots: Sequence[Slot],
    progress: Progress,
) -> Iterator[tuple[Slot, Result | TailshardError]]:
    """Call a function for every slot, and give its results as they come.

    Parameters
    ----------
    client
        The workers.
    what
        What is being done, for progress.
    function
        Can be pickled, and gives something small. It may run more than once where a worker dies.
    slots
        In any order.
    progress
        Told the number of slots that are done.

    A caller that stops early gets back control when no task writes any more.

    Yields
    ------
    slot, result
        What the function gave; a TailshardError that it raised; or a ClusterError where the workers
        died of it.
    """
    from distributed import CancelledError, KilledWorker, as_completed

    pending = {
        client.submit(function, slot, key=task_key(what, slot.channel), pure=False): slot for slot in slots
    }
    progress(what, 0, len(slots))
    try:
        for done, future in enumerate(as_completed(list(pending)), start=1):
            slot = pending.pop(future)  # its result leaves the cluster with the future
            try:
                yield slot, future.result()
            except TailshardError as error:
                yield slot, error
            except KilledWorker as error:
                where = f"slot {slot.index} of channel '{slot.channel}'"
                why = f"{what}: workers died of {where} again and again ({error}); give them more memory"
                yield slot, ClusterError(why)
            except CancelledError as error:
                raise scheduler_gone(what) from error
            progress(what, done, len(slots))
    finally:
        _stop(client, list(pending))


def _stop(client: "Client", futures: "Sequence[Future]") -> None:
    """Cancel tasks. Those that have begun cannot be stopped, and may write: they are waited for."""
    from distributed import CancelledError, wait

    if not futures or client.status != "running":
        return
    with suppress(CancelledError, TimeoutError, OSError):
        begun = {key for keys in client.processing().values() for key in keys}
        client.cancel([future for future in futures if future.key not in begun])
        wait([future for future in futures if future.key in begun], timeout=_STOP_SECONDS)
    client.cancel(list(futures))

"""From partitions to lazy events, and from lazy events to small records.

::

    open_partitions   partitions, branches  -> lazy events, one Dask partition each
    map_partitions    function, events      -> lazy records, one fused task each
    results           client, records       -> records or faults, as they arrive

This is the only module that knows uproot.dask and dask-awkward. A task carries an address and an entry
range, never an array; what it returns is any small Python object.
"""

import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import dask_awkward.lib.core as dak
import numpy as np
import uproot
from dask_awkward.lib.io.io import from_map
from distributed import CancelledError, Client, Future, KilledWorker, as_completed, futures_of

from ..errors import ClusterError, InputError, ProcessingError, TailshardError, scheduler_gone
from .fileset import Partition
from .inspection import reason


def open_partitions(partitions: Sequence[Partition], branches: Sequence[str]) -> dak.Array:
    """Describe the events of partitions without reading them.

    One file is opened, the first that can be, to learn the types of the branches; partitions of other
    files may fail when they are read, and only those.

    Parameters
    ----------
    partitions
        Of one dataset, in any order; each becomes one partition of the result.
    branches
        All that the result has, and all that is ever read.

    Raises
    ------
    InputError
        No file can be opened, or none has the branches.
    """
    files = [
        {partition.url: {"object_path": partition.tree, "steps": [[partition.start, partition.stop]]}}
        for partition in partitions
    ]
    events: dak.Array = uproot.dask(files, open_files=False, known_base_form=_form(partitions, branches))
    return events


def _form(partitions: Sequence[Partition], branches: Sequence[str]) -> ak.forms.Form:
    faults = []
    for url, tree in dict.fromkeys((partition.url, partition.tree) for partition in partitions):
        try:
            form = uproot.dask({url: tree}, open_files=False, filter_name=list(branches)).layout.form
        except Exception as error:  # noqa: BLE001 - a broken file can fail anywhere in the ROOT reader
            faults.append(f"  {url}: {reason(error)}")
            continue
        if not (missing := set(branches) - set(form.fields)):
            return form
        faults.append(f"  {url}: tree '{tree}' has no branches {sorted(missing)}")
    raise InputError("none of these files can be used:\n" + "\n".join(faults))


def stored_bytes(partition: Partition, branches: Sequence[str]) -> float:
    """Compressed bytes of each entry of a partition's file, in some branches.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        with uproot.open(partition.url) as file:
            tree = file[partition.tree]
            return float(sum(tree[name].compressed_bytes for name in branches) / max(tree.num_entries, 1))
    except Exception as error:
        raise InputError(f"{partition.url} cannot be read: {reason(error)}") from error


class _Job(NamedTuple):
    unit: Any
    entries: int


def map_partitions(
    function: Callable[[ak.Array, Any], Any],
    events: dak.Array,
    units: Sequence[Any],
    name: str = "process",
) -> dak.Array:
    """Apply a function to every partition, as one task that reads and computes.

    Parameters
    ----------
    function
        Takes the branches of a partition, ``(entries,)`` records, and its unit; gives a small object
        that can be pickled. It is tried again where it raises an OSError or MemoryError, and it may run
        more than once where a worker dies, so writing twice must do no harm.
    events
        From `open_partitions`.
    units
        What the function should know of each partition, in order; small and picklable.
    name
        What the tasks are called on Dask's dashboard; see `tailshard.naming`.

    Returns
    -------
    records
        For `results`; only in name an array.
    """
    jobs = from_map(_Job, units, np.diff(events.defined_divisions).tolist(), meta=_opaque(), label="unit")
    # A name of its own for every call, or Dask would hand out the records of an earlier, equal one
    # instead of writing again.
    return dak.map_partitions(
        partial(_process, function), events, jobs, meta=_opaque(), label=name, token=uuid.uuid4().hex
    )


def _opaque() -> ak.Array:
    """Stand for something that dask-awkward need not look into."""
    return ak.Array(ak.Array([0]).layout.to_typetracer(forget_length=True))


def _process(function: Callable[[ak.Array, Any], Any], branches: ak.Array, job: _Job) -> Any:
    if ak.backend(branches) == "typetracer":  # dask-awkward asks which branches are needed: all of them
        ak.typetracer.touch_data(branches)
        return _opaque()
    if len(branches) != job.entries:
        raise InputError(f"gave {len(branches)} events instead of {job.entries}")
    try:
        return function(branches, job.unit)
    except TailshardError as error:
        return error  # returned, not raised, so that Dask does not try what would fail again
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}, in {last.name}"
        fault = ProcessingError(f"{type(error).__name__}: {error} ({where})")
        if isinstance(error, OSError | MemoryError):
            raise fault from error  # it may pass: let Dask try again
        return fault


def results(
    client: Client, collections: Sequence[dak.Array], retries: int = 2
) -> Iterator[tuple[int, Any | Exception]]:
    """Run the tasks and give their records in the order in which they finish.

    Parameters
    ----------
    client
        The cluster to run on.
    collections
        From `map_partitions`; partitions are numbered through all of them in order.
    retries
        How often a task that raised is tried again.

    Yields
    ------
    number
        Of the partition.
    record
        What the function returned, or the exception: a `ProcessingError` where the function is at
        fault, a `TailshardError` that it raised, a `ClusterError` where the workers died of it, or
        whatever the reading of the partition met (`inspection.reason` says it in plain words). The other
        partitions go on.

    Raises
    ------
    ClusterError
        The connection to the cluster is lost.
    """
    keys = [(collection.name, i) for collection in collections for i in range(collection.npartitions)]
    numbers = {key: number for number, key in enumerate(keys)}
    pending = {
        future.key: future for future in futures_of(client.persist(list(collections), retries=retries))
    }
    try:
        for future in as_completed(list(pending.values())):
            del pending[future.key]  # its record leaves the cluster when the caller is done with it
            yield numbers[future.key], _record(future)
    finally:
        client.cancel(list(pending.values()))


def _record(future: Future) -> Any | Exception:
    try:
        return future.result()  # where the worker that held it has died by now: waits for the next to do it
    except KilledWorker as error:
        return ClusterError(
            f"{error.allowed_failures + 1} workers died while they ran it, most likely for want of memory; "
            "use a smaller store.slot or workers with more memory"
        )
    except CancelledError as error:
        raise scheduler_gone("fill slots") from error
    except Exception as error:  # noqa: BLE001 - whatever the task met is the caller's to judge
        return error

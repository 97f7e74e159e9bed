"""The verbs of a store, with its pipeline or alone: `inspect`, `verify`, `export`; `verbs` has them, too."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from .errors import StoreError
from .launch import ClusterProfile, dask_client, load_profile
from .ledger import locked
from .options import Json, Options, open_search, takes_options
from .pipeline import Search
from .places import is_remote, place
from .progress import silent

if TYPE_CHECKING:
    from distributed import Client


def find_store(pipeline: Path | str, **options: Unpack[Options]) -> tuple[Path, Search | None]:
    """Find the store of a pipeline, or at a folder: that of a store or a work directory.

    Returns
    -------
    store, search
        The search is None where a folder was given.

    Raises
    ------
    ConfigError, WorkdirError
        As in `open_search`.
    StoreError
        There is no store in that folder.
    """
    named = place(pipeline)
    if not (is_remote(named) or named.is_dir()):
        search = open_search(pipeline, **options)
        return search.store, search
    for store in (named, named / "store"):
        if (store / "catalog.json").is_file():
            return store, None
    raise StoreError(
        f"{named} is neither a store nor a work directory (catalog.json is absent); "
        "name a pipeline file, or a folder that tailshard ingest has written"
    )


@takes_options
def verify(pipeline: Path | str, **options: Unpack[Options]) -> Json:
    """Read every shard of a store, and name everything that is not as the catalog says.

    `pipeline` may be the folder of a store; nobody should write to it meanwhile.
    """
    from .store.verify import verify

    store, search = find_store(pipeline, **options)
    with _workers_on(store, search, options) as client:
        result = verify(store, client, options.get("progress", silent))
    return {"store": str(store), **result.to_dict()}


@takes_options
def inspect(pipeline: Path | str, *, mixing: bool = False, **options: Unpack[Options]) -> Json:
    """Say what a store holds; with `mixing`, also how well batches of training events are mixed.

    `pipeline` may be the folder of a store. The stream is then the one that a pipeline without any
    settings of its own would train on: all backgrounds, default batches and windows.
    """
    from .learning import Training
    from .store.catalog import read_catalog
    from .store.inspection import inspect_mixing, inspect_store

    store, search = find_store(pipeline, **options)
    result = inspect_store(store, options.get("progress", silent))
    if mixing:
        if search is not None:
            training, channels = search.pipeline.training, search.pipeline.training_channels
        else:
            known = read_catalog(store).channels
            training, channels = Training(), tuple(each.name for each in known if each.kind == "background")
        result["mixing"] = inspect_mixing(
            store, channels, training.batch_size, training.shuffle_chunks, training.seed, training.sampling
        )
    return {"store": str(store), **result}


@takes_options
def export(pipeline: Path | str, *, dense: Path | str, **options: Unpack[Options]) -> Json:
    """Write a copy of a store whose matrices any Zarr reader opens, without tailshard.

    `pipeline` may be the folder of a store; `dense` is the folder of the copy, which must not be there.
    """
    from .store.export import export_dense

    store, search = find_store(pipeline, **options)
    with _workers_on(store, search, options) as client:
        result = export_dense(store, place(dense), client, options.get("progress", silent))
    return result.to_dict()


@contextmanager
def _workers_on(store: Path, search: Search | None, options: Options) -> Iterator["Client"]:
    """Start Dask workers for a store that is there, and let no other run change it meanwhile."""
    from .store.catalog import read_catalog

    read_catalog(store)
    profile: ClusterProfile = load_profile(options.get("cluster"), options.get("workers"))
    with ExitStack() as stack:
        if search is not None:
            stack.enter_context(locked(search.workdir))
        yield stack.enter_context(dask_client(profile, progress=options.get("progress", silent)))

"""Every error a user can meet.

::

    TailshardError
    ├── ConfigError       the pipeline file or an option is wrong: key, type, unit, name
    ├── InputError        ntuples that are missing, broken or not what the pipeline says they are
    ├── ProcessingError   a selection, dialect or feature of the user failed on a partition
    ├── StoreError        the shard store is absent, damaged or was made for something else
    ├── StateError        a stream or training state that does not fit this store
    ├── StorageError      an object store cannot be reached, refuses, or lacks the bucket
    ├── WorkdirError      the work directory belongs to another pipeline or lacks an earlier stage
    └── ClusterError      workers that do not start, or die

Each message says what went wrong, where, what was found and what to do. The command line prints the
message alone; anything that is not a `TailshardError` is a defect of tailshard and keeps its traceback.
"""


class TailshardError(Exception):
    """Base of all errors that a user can cause and mend."""


class ConfigError(TailshardError):
    """The pipeline file, a cluster profile or a command-line option is wrong."""


class InputError(TailshardError):
    """Input ntuples are missing, broken or not what the pipeline says they are."""


class ProcessingError(TailshardError):
    """Code named by the pipeline failed on a partition that could be read."""


class StoreError(TailshardError):
    """The shard store is absent, damaged or was made for something else."""


class StateError(TailshardError):
    """A saved stream or training state does not fit the store it is asked to continue on."""


class StorageError(TailshardError):
    """An object store cannot be reached, refuses the credentials, or has no such bucket."""


class WorkdirError(TailshardError):
    """The work directory belongs to another pipeline, or an earlier stage has not run."""


class ClusterError(TailshardError):
    """Workers did not start, or were lost more often than they may be."""


def scheduler_gone(what: str) -> ClusterError:
    """Say that nobody cancelled a task, while `what` was done: no scheduler knows it any more."""
    return ClusterError(f"{what}: the Dask scheduler is gone or was restarted; run the same again")

"""Take the steps of a run, one after the other.

Runs in a pod of its own (`__main__`), so that nobody has to wait for it. What is there already is taken as it
is: a conductor that takes over from a lost one goes on where that was.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ...errors import ClusterError
from .api import Api, UnreachableError
from .pods import Object
from .states import ending_of
from .watch import LOOK_SECONDS, Say, follow


def conduct(api: Api, run: str, after: Sequence[str], steps: Sequence[Mapping[str, Any]], say: Say) -> None:
    """Start what each step needs, follow it to its end, and remove workers that no later step needs.

    Where a step fails nothing of it goes on: a driver that has not ended would hold the work directory.

    Parameters
    ----------
    api
        The namespace of the run.
    run
        Its name, that of the Job that owns all it starts.
    after
        Names of runs that must have succeeded first.
    steps
        As `manifests.Step`: ``stage``, ``cluster`` (or None) and ``driver``.
    say
        Takes every line of the account.

    Raises
    ------
    ClusterError
        A step failed: with the reason, and what was printed last.
    UnreachableError
        Kubernetes does not answer. All that was started goes on, for the next conductor to follow.
    """
    owner = api.find("batch/v1", "Job", run)
    if owner is None:
        raise ClusterError(f"there is no Job {run} in namespace {api.namespace}")
    for name in after:
        _wait(api, name, say)
    clusters = [step["cluster"] for step in steps]
    for number, step in enumerate(steps):
        cluster, driver = step["cluster"], step["driver"]
        if _has_succeeded(api, driver):
            say(f"{step['stage']}: was done before")
        else:
            try:
                if cluster is not None:
                    api.apply(owned(cluster, owner))
                api.create(owned(driver, owner))
                follow(api, run, step, say)
            except UnreachableError:
                raise
            except ClusterError:
                # Whatever may not be removed must not hide why.
                with suppress(ClusterError):
                    _stop(api, driver)
                with suppress(ClusterError):
                    _remove(api, cluster)
                raise
        if cluster not in clusters[number + 1 :]:
            _remove(api, cluster)


def owned(wanted: Object, owner: Object) -> Object:
    """Let an object go when another goes."""
    reference = {
        **{key: owner[key] for key in ("apiVersion", "kind")},
        **{key: owner["metadata"][key] for key in ("name", "uid")},
    }
    return {**wanted, "metadata": {**wanted["metadata"], "ownerReferences": [reference]}}


def _has_succeeded(api: Api, wanted: Object) -> bool:
    found = api.find(*_identity(wanted))
    ended = None if found is None else ending_of(found)
    return ended is not None and ended.succeeded


def _stop(api: Api, driver: Object) -> None:
    """Remove a driver that may go on; one that has ended stays, so that its log can be read."""
    found = api.find(*_identity(driver))
    if found is not None and ending_of(found) is None:
        api.delete(*_identity(driver))


def _identity(wanted: Object) -> tuple[str, str, str]:
    return wanted["apiVersion"], wanted["kind"], wanted["metadata"]["name"]


def _remove(api: Api, cluster: Object | None) -> None:
    if cluster is not None:
        api.delete(*_identity(cluster))


def _wait(api: Api, name: str, say: Say) -> None:
    """Wait for another run; its own Job bounds the time."""
    say(f"waits for run {name}")
    while (job := api.find("batch/v1", "Job", name)) is not None:
        ended = ending_of(job)
        if ended is not None and ended.succeeded:
            return
        if ended is not None:
            raise ClusterError(f"run {name}, which must be done before, has failed: {ended.reason}")
        time.sleep(LOOK_SECONDS)
    raise ClusterError(f"run {name}, which must be done before, does not exist any more; launch again")

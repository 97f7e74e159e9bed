"""Follow a stage on Kubernetes: what its pods do and print, and what is wrong with them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...errors import ClusterError
from .api import Api
from .states import (
    Found,
    component_of,
    ending_of,
    has_refused,
    in_words,
    is_queued,
    is_running,
    trouble_of,
)

Say = Callable[[str], None]

LOOK_SECONDS = 2.0
"""Between two looks."""

_PATIENCE_SECONDS = 60.0
_LINES_OF_A_FAILURE = 15
_LOOKS_AT_A_REFUSAL = 3
_OF_RAY = ("head", "node", "submitter")


def follow(api: Api, run: str, step: Mapping[str, Any], say: Say) -> None:
    """Follow the driver of a step to its end, and pass on what it prints. Its deadline bounds the time.

    Raises
    ------
    ClusterError
        It failed, or waits for what will not come.
    """
    wanted = step["driver"]
    cluster = step["cluster"]["metadata"]["name"] if step["cluster"] is not None else None
    watch = _Watch(api, run, step["stage"], cluster, say)
    refusals = 0
    while True:
        driver = api.find(wanted["apiVersion"], wanted["kind"], wanted["metadata"]["name"])
        if driver is None:
            raise ClusterError(f"{step['stage']}: {wanted['kind']} {wanted['metadata']['name']} was deleted")
        # Before its pods: a driver that has ended has printed everything.
        ended = ending_of(driver)
        refusals += watch.look(is_queued(driver), ended is None)
        if ended is not None and ended.succeeded:
            return
        # Its Job ends a moment later; before Kubernetes 1.26 it would try again.
        if ended is not None or refusals > _LOOKS_AT_A_REFUSAL:
            raise ClusterError(watch.account(ended.reason if ended else "its verb failed"))
        time.sleep(LOOK_SECONDS)


class _Watch:
    """Looks at the pods of one step, and tells what is new."""

    def __init__(self, api: Api, run: str, stage: str, cluster: str | None, say: Say) -> None:
        self._api, self._stage, self._cluster = api, stage, cluster
        self._labels = {"app.kubernetes.io/instance": run}
        self._say: Say = lambda line: say(f"{stage}: {line}")
        self._printed: dict[str, list[str]] = {}
        self._told: set[str] = set()
        self._since: dict[tuple[str, str], float] = {}
        self._began = time.monotonic()

    def look(self, queued: bool, live: bool) -> bool:
        """Tell of pods, troubles and lines that are new; a trouble that lasts is an error.

        Gives whether the verb has ended with an error.
        """
        pods = [pod for pod in self._api.labelled("v1", "Pod", self._labels) if self._concerns(pod)]
        if live:
            self._tell("waits in the queue" if queued else in_words(pods))
        for line in self._new_lines(pods):
            self._say(line)
        refused = any(component_of(pod) == self._stage and has_refused(pod) for pod in pods)
        if live and not refused:
            self._judge(pods)
            if not queued:
                self._look_for_an_operator(pods)
        return refused

    def account(self, reason: str) -> str:
        """Say why the step failed: in words of its verb where it said something, else of Kubernetes."""
        lines = [line for lines in self._printed.values() for line in lines][-_LINES_OF_A_FAILURE:]
        errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
        killed = [line for line in self._told if "ran out of its memory" in line]
        if errors and not killed:
            # What follows belongs to the same message.
            said = "\n".join(lines[errors[-1] :])
            return f"{self._stage} failed: {said.removeprefix('error: ')}"
        why = "; ".join(killed) or reason
        return "\n".join([f"{self._stage} failed: {why}", *(f"  {line}" for line in lines)])

    def _tell(self, line: str) -> None:
        if line and line not in self._told:
            self._told.add(line)
            self._say(line)

    def _concerns(self, pod: Found) -> bool:
        its = (pod["metadata"].get("labels") or {}).get("dask.org/cluster-name")
        if its is not None:
            return bool(its == self._cluster)
        component = component_of(pod)
        return component == self._stage or (self._stage == "train" and component in _OF_RAY)

    def _new_lines(self, pods: Sequence[Found]) -> Iterator[str]:
        for pod in pods:
            if component_of(pod) in (self._stage, "submitter"):
                name = pod["metadata"]["name"]
                before = self._printed.get(name, [])
                lines = self._api.log(name).splitlines() or before
                self._printed[name] = lines
                yield from lines[len(before) :]

    def _judge(self, pods: Sequence[Found]) -> None:
        """Tell of troubles; one that lasts is an error, unless others of its kind do the work."""
        troubles = {(its.pod, its.reason): its for its in map(trouble_of, pods) if its is not None}
        self._since = {key: self._since.get(key, time.monotonic()) for key in troubles}
        for key, trouble in troubles.items():
            self._tell(trouble.text)
            old = time.monotonic() - self._since[key]
            others = (pod for pod in pods if component_of(pod) == trouble.component)
            if trouble.lasting and old > _PATIENCE_SECONDS and not any(map(is_running, others)):
                raise ClusterError(f"{self._stage}: {trouble.text}")

    def _look_for_an_operator(self, pods: Sequence[Found]) -> None:
        waited = time.monotonic() - self._began
        if self._cluster is None or waited < _PATIENCE_SECONDS:
            return
        if not any(component_of(pod) == "scheduler" for pod in pods):
            raise ClusterError(
                f"{self._stage}: nobody has taken up DaskCluster {self._cluster} in {waited:.0f} s; is the "
                "Dask operator running, and does it look after this namespace?"
            )

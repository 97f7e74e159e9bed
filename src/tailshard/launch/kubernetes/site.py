"""Kubernetes as a place to hand in jobs: one job for a whole run, whose pod starts the others."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ...errors import ClusterError
from ...progress import Progress, silent
from ..profile import KubernetesProfile
from ..site import Job, JobState, Order
from .api import Api, UnreachableError, connect
from .conduct import owned
from .manifests import Step, as_yaml, certificate, conductor, parcel, shared, steps
from .parcel import unpack
from .pods import Object
from .run import STEPS_FILE, run_of
from .states import component_of, ending_of, has_refused, has_succeeded, in_words, stays, trouble_of
from .watch import LOOK_SECONDS

_CONDUCTOR = ("batch/v1", "Job")
_LOOKS_AT_WHAT_IS_LEFT = 5


class KubernetesSite:
    """A namespace of a Kubernetes cluster, as its profile has it."""

    def __init__(self, profile: KubernetesProfile) -> None:
        self.profile = profile

    @cached_property
    def _api(self) -> Api:
        return connect(self.profile.namespace, self.profile.context)

    def jobs(self, stages: Sequence[str]) -> list[Job]:
        """Give one job for all stages: its pod starts those of each stage with that stage's resources."""
        return [Job(tuple(stages), self.profile.stages.of(stages[0]))] if stages else []

    def text(self, job: Job, order: Order, after: Sequence[str]) -> str:
        """Give the manifests of a run: what is applied at once, then what its conductor starts."""
        run = run_of(self.profile, order)
        its = steps(self.profile, run, job.stages)
        config = shared(self.profile, run, its, after)
        config["data"][STEPS_FILE] = "# DaskClusters, Jobs and RayJobs below\n"
        secret = certificate(self.profile, run, "made by launch", "made by launch, shown to nobody")
        later = [each for step in its for each in _objects(step)]
        objects = [conductor(self.profile, run, job.stages), config, secret, *_once(later)]
        return "---\n".join(as_yaml(each) for each in objects)

    def submit(self, job: Job, order: Order, after: Sequence[str]) -> str:
        """Start the conductor of a run; what it needs goes when its Job goes. Gives the name of that Job."""
        run = run_of(self.profile, order)
        its = steps(self.profile, run, job.stages)
        self._check(its)
        public, private = _key_pair()
        owner = self._api.create(conductor(self.profile, run, job.stages))
        try:
            self._api.create(owned(certificate(self.profile, run, public, private), owner))
            self._api.apply(owned(shared(self.profile, run, its, after), owner))
        except ClusterError:
            self._api.delete(*_CONDUCTOR, run.name)
            raise
        return run.name

    def states(self, identifiers: Sequence[str]) -> Mapping[str, JobState]:
        """Look up the conductors of runs, and what their pods do."""
        found = {}
        for name in identifiers:
            job = self._api.find(*_CONDUCTOR, name)
            if job is not None:
                found[name] = self._state(name, job)
        return found

    def cancel(self, identifiers: Sequence[str]) -> None:
        """Remove the conductors of runs, and with them all that they have started."""
        for name in identifiers:
            self._api.delete(*_CONDUCTOR, name)

    def follow(self, identifier: str, progress: Progress = silent) -> None:
        """Wait for a run, and pass on what its conductor says; the deadline of its Job bounds the time."""
        # That may be hours, in which a control plane is upgraded.
        self._api = connect(self.profile.namespace, self.profile.context, patient=True)
        try:
            self._follow(identifier, progress)
        except UnreachableError as error:
            raise UnreachableError(
                f"{error}; run {identifier} goes on by itself: launch again with --follow to listen to it"
            ) from error

    def _follow(self, identifier: str, progress: Progress) -> None:
        told: dict[str, int] = {}
        looks = 0
        while (job := self._api.find(*_CONDUCTOR, identifier)) is not None:
            state = self._state(identifier, job)
            for pod in self._pods_of(identifier, "conductor"):
                name = pod["metadata"]["name"]
                lines = self._api.log(name).splitlines()
                for line in lines[told.get(name, 0) :]:
                    progress(line, 0, 0)
                told[name] = max(told.get(name, 0), len(lines))
            # What was removed with the step that failed is gone a moment later.
            looks += state.remains
            if state.word == "Failed" and (not state.remains or looks > _LOOKS_AT_WHAT_IS_LEFT):
                raise ClusterError(f"run {identifier} failed: {state.detail}")
            if state.word == "Succeeded":
                return
            time.sleep(LOOK_SECONDS)
        raise ClusterError(f"run {identifier} was cancelled")

    def collect(self, identifier: str, order: Order) -> list[Path]:
        """Fetch the page and the numbers of a run into the work directory, where the pods have another."""
        run = run_of(self.profile, order)
        owner = self._api.find(*_CONDUCTOR, identifier)
        if owner is None or run.workdir == str(order.workdir):
            return []
        wanted = parcel(self.profile, replace(run, name=identifier))
        self._api.create(owned(wanted, owner))
        while (job := self._api.find(*_CONDUCTOR, wanted["metadata"]["name"])) is not None:
            ended = ending_of(job)
            if ended is not None and ended.succeeded:
                # The last one: pods before it were lost.
                done = [pod for pod in self._pods_of(identifier, "parcel") if has_succeeded(pod)]
                if done:
                    return unpack(self._api.log(done[-1]["metadata"]["name"]), order.workdir)
            if ended is not None:
                break
            time.sleep(LOOK_SECONDS)
        raise ClusterError(
            f"the results of run {identifier} cannot be fetched; pods see them in {run.workdir}. Launch "
            "again with --follow, which does nothing anew, or look at "
            f"'kubectl -n {self.profile.namespace} describe job/{wanted['metadata']['name']}'"
        )

    def _pods(self, name: str) -> list[Object]:
        return self._api.labelled("v1", "Pod", {"app.kubernetes.io/instance": name})

    def _pods_of(self, name: str, component: str) -> list[Object]:
        return [pod for pod in self._pods(name) if component_of(pod) == component]

    def _state(self, name: str, job: Object) -> JobState:
        ended, pods = ending_of(job), self._pods(name)
        conductors = [pod for pod in pods if component_of(pod) == "conductor"]
        if ended is not None and ended.succeeded:
            return JobState("Succeeded", live=False)
        if ended is not None or any(map(has_refused, conductors)):
            detail = self._why(conductors) or (ended.reason if ended else "")
            left = self._goes_on(name, pods)
            told = [
                detail,
                *(["what it has started goes on, until 'tailshard cancel' ends it"] if left else []),
            ]
            return JobState("Failed", live=False, detail="; ".join(told), remains=left)
        troubles = [its.text for its in map(trouble_of, pods) if its is not None]
        word = "Running" if len(pods) > len(conductors) else "Pending"
        return JobState(word, live=True, detail="; ".join([in_words(pods), *troubles]))

    def _goes_on(self, name: str, pods: Sequence[Object]) -> bool:
        """Tell whether anything of a run that has failed still runs or waits: its conductor was cut short."""
        jobs = self._api.labelled("batch/v1", "Job", {"app.kubernetes.io/instance": name})
        # Its own Job ends a moment after its pod.
        others = [job for job in jobs if job["metadata"]["name"] != name]
        return any(ending_of(job) is None for job in others) or any(map(stays, pods))

    def _why(self, conductors: Sequence[Object]) -> str:
        """Give what a conductor said at its end, or what has become of its pod."""
        for pod in reversed(conductors):
            _, marked, said = f"\n{self._api.log(pod['metadata']['name'])}".rpartition("\nerror: ")
            if marked:
                return said.strip()
            if (trouble := trouble_of(pod)) is not None:
                return trouble.text
        return ""

    def _check(self, its: Sequence[Step]) -> None:
        """Refuse what would only be found out when pods wait for it."""
        needed = [("v1", "ServiceAccount", self.profile.service_account, "service_account")]
        for claim, key in ((self.profile.work_claim, "work_claim"), (self.profile.data_claim, "data_claim")):
            if claim is not None:
                needed.append(("v1", "PersistentVolumeClaim", claim, key))
        for version, kind, name, key in needed:
            if self._api.find(version, kind, name) is None:
                raise ClusterError(
                    f"namespace {self.profile.namespace} has no {kind} {name}; make it as deploy/kubernetes "
                    f"does, or name another with {key} of the profile"
                )
        for version, kind in {(each["apiVersion"], each["kind"]) for step in its for each in _objects(step)}:
            self._api.require(version, kind)


def _objects(step: Step) -> list[Object]:
    return [each for each in (step.cluster, step.driver) if each is not None]


def _once(objects: Sequence[Object]) -> list[Object]:
    return list({(each["kind"], each["metadata"]["name"]): each for each in objects}.values())


def _key_pair() -> tuple[str, str]:
    """Make a certificate for the Dask of one run, and its key: PEM."""
    from distributed.security import Security

    try:
        security = Security.temporary()
    except ImportError as error:
        raise ClusterError(
            "cryptography, which makes certificates for Dask, is not installed; "
            "pip install 'tailshard[kubernetes]'"
        ) from error
    return str(security.tls_ca_file), str(security.tls_client_key)

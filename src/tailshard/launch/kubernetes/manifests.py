"""What a run puts into Kubernetes: pure functions from a profile and a search to objects.

A Job conducts: it starts a Job with the verb of each stage, one after the other, and the workers that these
need. Neighbours of equal resources share a DaskCluster, whose connections are encrypted with a certificate
that only this run has. Training is a Job with a private Ray in its pod, or a RayJob where it has several
nodes. What belongs to the site (namespace, claims, network policy, updates at intervals) is in
deploy/kubernetes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import yaml

from ...stages import STAGES
from ..profile import KubernetesProfile, Resources
from ..reach import NAMESPACE
from .dask_cluster import dask_cluster, dask_environment
from .pods import Object, PodPlan, pod_spec
from .ray_job import TRIES, ray_job
from .run import (
    PIPELINE_FILE,
    QUEUE,
    SCHEDULER_PORT,
    STEPS_FILE,
    WITH_DASK,
    Run,
    cluster_names,
    longest,
    metadata,
    metadata_of_pods,
    metadata_of_work,
    of_one_process,
    on_several_nodes,
)
from .states import REFUSALS

_PYTHON = ("python", "-m", "tailshard.launch.kubernetes")
_KEPT_SECONDS = 24 * 3600
_MARGIN_SECONDS = 3600


@dataclass(frozen=True)
class Step:
    """One stage: the workers that it needs, if any, and the Job that does it."""

    stage: str
    cluster: Object | None
    """The DaskCluster; neighbours may have the same."""
    driver: Object
    """A Job or a RayJob."""


def shared(profile: KubernetesProfile, run: Run, its: Sequence[Step], after: Sequence[str]) -> Object:
    """Give the ConfigMap that the pods of a run read.

    It holds the pipeline, a cluster profile for each stage, and the steps that the conductor takes, `after`
    runs of these names have succeeded.
    """
    where: dict[str, Object] = {stage: {"kind": "local", "metrics": profile.metrics} for stage in STAGES}
    for stage, cluster in cluster_names(profile, run).items():
        address = f"tls://{cluster}-scheduler:{SCHEDULER_PORT}"
        # Work begins with the first worker, and the others join. Where the cluster is full it waits for that
        # one, and says so before the time of its own pod is over.
        seconds = profile.stages.of(stage).walltime.total_seconds()
        where[stage]["dask"] = {"address": address, "workers": 1, "start_timeout": seconds}
    ray = profile.ray.model_dump(mode="json")
    where["train"]["ray"] = {**ray, "address": "auto"} if on_several_nodes(profile) else ray
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(profile, run, run.name, "pipeline"),
        "data": {
            PIPELINE_FILE: run.text,
            STEPS_FILE: as_yaml({"after": list(after), "steps": [asdict(step) for step in its]}),
            **{f"{step.stage}.yaml": as_yaml(where[step.stage]) for step in its},
        },
    }


def as_yaml(content: Any) -> str:
    """Write YAML without anchors, as people expect it of Kubernetes."""
    dumper = type("Plain", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})
    return yaml.dump(content, Dumper=dumper, sort_keys=False, allow_unicode=True)


def certificate(profile: KubernetesProfile, run: Run, public: str, private: str) -> Object:
    """Give the Secret with the certificate of a run's Dask. It is made by `launch`, and is in no file."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": metadata(profile, run, run.certificate, "certificate"),
        "stringData": {"tls.crt": public, "tls.key": private},
    }


def steps(profile: KubernetesProfile, run: Run, stages: Sequence[str]) -> list[Step]:
    """Give what each of some stages needs, in order."""
    names = cluster_names(profile, run)
    return [
        Step(
            stage,
            dask_cluster(profile, run, names[stage], profile.stages.of(stage)) if stage in names else None,
            _driver(profile, run, stage),
        )
        for stage in stages
    ]


def conductor(profile: KubernetesProfile, run: Run, stages: Sequence[str]) -> Object:
    """Give the Job that takes the steps of a run. It alone may speak to Kubernetes, and owns all the rest.

    Its deadline comes after those of all that it starts. What a queue holds back has none meanwhile; that may
    take as long again.
    """
    tries = {"train": TRIES} if on_several_nodes(profile) else {}
    seconds = sum(longest(profile, stage) * tries.get(stage, 1) for stage in stages)
    if profile.queue is not None:
        seconds *= 2
    command = (*_PYTHON, "conduct", profile.namespace, run.name)
    plan = PodPlan("conductor", command, profile.image, Resources(memory="1GB"), store=False)
    job = _job(profile, run, plan, _MARGIN_SECONDS + seconds)
    job["metadata"]["name"] = run.name
    job["metadata"]["labels"].pop(QUEUE, None)  # what it starts is queued
    job["spec"]["template"]["spec"] |= {
        "serviceAccountName": profile.service_account,
        "automountServiceAccountToken": True,
    }
    return job


def parcel(profile: KubernetesProfile, run: Run) -> Object:
    """Give the Job that prints the results of a run."""
    command = (*_PYTHON, "parcel", run.workdir)
    plan = PodPlan("parcel", command, profile.image, Resources(memory="1GB"))
    return _job(profile, run, plan, _MARGIN_SECONDS)


def _driver(profile: KubernetesProfile, run: Run, stage: str) -> Object:
    """Give the Job or RayJob that runs a stage's verb."""
    resources, command = profile.stages.of(stage), run.command(stage)
    if stage == "train" and on_several_nodes(profile):
        return ray_job(profile, run, command)
    plan = PodPlan(stage, command, profile.image, resources, {NAMESPACE: profile.namespace})
    if stage == "train":
        plan = replace(plan, image=profile.gpu_image or profile.image)
    if stage in WITH_DASK:
        plan = replace(
            plan,
            resources=of_one_process(resources),
            environment={**dask_environment(), **plan.environment},
            certificate=run.certificate,
        )
    return _job(profile, run, plan, longest(profile, stage))


def _job(profile: KubernetesProfile, run: Run, plan: PodPlan, seconds: int) -> Object:
    """Give a Job. Where its pod is lost, the next one goes on; a verb that fails is not tried again."""
    component = plan.component
    failed = {"containerName": component, "operator": "In", "values": list(REFUSALS)}
    lost = {"type": "DisruptionTarget", "status": "True"}
    spec: Object = {
        "backoffLimit": 2,
        "activeDeadlineSeconds": seconds,
        "ttlSecondsAfterFinished": _KEPT_SECONDS,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": failed},
                {"action": "Ignore", "onPodConditions": [lost]},
            ]
        },
        "template": {
            "metadata": metadata_of_pods(run, component, profile.metrics if component in STAGES else None),
            "spec": pod_spec(profile, replace(plan, pipeline=run.name, restart="Never")),
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata_of_work(profile, run, f"{run.name}-{component}", component),
        "spec": spec,
    }

"""Training on several nodes: a RayJob of KubeRay."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

from ..profile import KubernetesProfile, Resources
from ..reach import NAMESPACE
from .pods import Object, PodPlan, pod_spec
from .run import Run, longest, metadata_of_pods, metadata_of_work

_OBJECT_STORE_BYTES = 100 * 2**20  # batches never pass through Ray
_KEPT_SECONDS = 3600

TRIES = 2
"""How often KubeRay tries; each has the deadline of a RayJob anew."""


def ray_job(profile: KubernetesProfile, run: Run, command: Sequence[str]) -> Object:
    """Give a RayJob: a head that only leads, and nodes that train. KubeRay makes the token they share.

    KubeRay adds what the containers run. It looks after its pods with wget, which the image must have.
    """
    resources = profile.stages.train
    node = PodPlan("node", (), profile.gpu_image or profile.image, resources, pipeline=run.name)
    head = replace(
        node,
        component="head",
        resources=resources.model_copy(update={"cpus": 2, "gpus": 0, "workers": 1}),
        environment={NAMESPACE: profile.namespace},  # the verb runs here
    )
    submitter = replace(
        node, component="submitter", resources=Resources(memory="1GB"), store=False, restart="Never"
    )

    def template(plan: PodPlan, metrics: str | None = None) -> Object:
        return {"metadata": metadata_of_pods(run, plan.component, metrics), "spec": pod_spec(profile, plan)}

    start = {"object-store-memory": str(_OBJECT_STORE_BYTES)}
    spec: Object = {
        "entrypoint": shlex.join(command),
        "submissionMode": "K8sJobMode",
        "submitterPodTemplate": template(submitter),
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": _KEPT_SECONDS,
        "activeDeadlineSeconds": longest(profile, "train"),
        # A lost head or node: training goes on after the last epoch that was finished. KubeRay does not tell
        # it from an error of the verb, which is made twice, too.
        "backoffLimit": TRIES - 1,
        "rayClusterSpec": {
            "rayVersion": version("ray"),
            "authOptions": {"mode": "token"},
            "headGroupSpec": {
                "rayStartParams": {**start, "num-cpus": "0", "dashboard-host": "0.0.0.0"},
                "template": template(head, profile.metrics),
            },
            "workerGroupSpecs": [
                {
                    "groupName": "nodes",
                    **dict.fromkeys(("replicas", "minReplicas", "maxReplicas"), resources.workers),
                    "rayStartParams": start,
                    "template": template(node),
                }
            ],
        },
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": metadata_of_work(profile, run, f"{run.name}-train", "train"),
        "spec": spec,
    }

"""What all pods of a run have in common: no rights, a root that cannot be written, and what they may see.

Pure functions: profile -> parts of Kubernetes objects, as dictionaries.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..profile import KubernetesProfile, Resources

Object = dict[str, Any]
"""A Kubernetes object, or a part of one."""

PIPELINE_FOLDER = "/etc/tailshard"
"""Where a pod finds the pipeline and its cluster profiles."""
CERTIFICATE_FOLDER = "/etc/tailshard-tls"
"""Where the pods of Dask find their certificate."""
WORK_FOLDER = "/work"
DATA_FOLDER = "/data"

_SCRATCH_BYTES = 4 * 10**9
_RAY_SHARED_BYTES = 2**30

WITHOUT_RIGHTS: Object = {
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
"""Security context of every container."""

NOBODY_SPECIAL: Object = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""Security context of every pod; the image's user has these numbers."""

ENVIRONMENT = {
    # Nothing is written outside of /work and /tmp.
    "HOME": "/tmp",
    "NUMBA_CACHE_DIR": "/tmp/numba",
    "MPLCONFIGDIR": "/tmp/matplotlib",
}
"""Environment of every container."""


def quantity(memory: str) -> str:
    """Write an amount of memory, such as ``4GB``, as Kubernetes does: ``4G``."""
    from dask.utils import parse_bytes

    if (told := re.fullmatch(r"\s*(\d+)\s*([kMGTP]|[KMGT]i)B\s*", memory)) is not None:
        return told[1] + told[2]
    return str(int(parse_bytes(memory)))


@dataclass(frozen=True)
class PodPlan:
    """What one kind of pod does, and what it gets."""

    component: str
    """Name of its container, and label of the pod."""
    command: Sequence[str]
    image: str
    resources: Resources
    environment: Mapping[str, str] = field(default_factory=dict)
    pipeline: str | None = None
    """Name of the ConfigMap with the pipeline; None for pods that do not read it."""
    certificate: str | None = None
    """Name of the Secret with the certificate of the run's Dask."""
    store: bool = True
    """Whether it sees the work directory and the ntuples."""
    restart: str = "Always"
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the container: ports, probes."""


def pod_spec(profile: KubernetesProfile, plan: PodPlan) -> Object:
    """Give the specification of a pod with one container.

    Requests and limits are equal, so that the pod gets what the profile says and Dask, Ray and PyTorch see
    how many CPUs they have.
    """
    volumes, mounts = _volumes(profile, plan)
    container: Object = {
        "name": plan.component,
        "image": plan.image,
        "imagePullPolicy": "IfNotPresent",
        **({"command": list(plan.command)} if plan.command else {}),
        "env": [
            {"name": name, "value": value} for name, value in {**ENVIRONMENT, **plan.environment}.items()
        ],
        "securityContext": WITHOUT_RIGHTS,
        "resources": {"requests": _amounts(plan.resources), "limits": _amounts(plan.resources)},
        "volumeMounts": mounts,
        **plan.details,
    }
    if profile.secret is not None and plan.store:
        container["envFrom"] = [{"secretRef": {"name": profile.secret}}]
    spec: Object = {
        "restartPolicy": plan.restart,
        "automountServiceAccountToken": False,
        # Variables for every service of the namespace, some of which Dask would take for settings.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": NOBODY_SPECIAL,
        "containers": [container],
        "volumes": volumes,
    }
    if profile.node_selector:
        spec["nodeSelector"] = dict(profile.node_selector)
    if profile.tolerations:
        spec["tolerations"] = [dict(each) for each in profile.tolerations]
    return spec


def _amounts(resources: Resources) -> Object:
    amounts: Object = {"cpu": str(resources.cpus), "memory": quantity(resources.memory)}
    if resources.gpus:
        amounts["nvidia.com/gpu"] = str(resources.gpus)
    return amounts


def _volumes(profile: KubernetesProfile, plan: PodPlan) -> tuple[list[Object], list[Object]]:
    """Give the volumes of a pod, and where its container has them."""
    from dask.utils import parse_bytes

    volumes: list[Object] = []
    mounts: list[Object] = []

    def add(name: str, path: str, source: Object, read_only: bool = False) -> None:
        volumes.append({"name": name, **source})
        mounts.append({"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})})

    if plan.pipeline is not None:
        add("pipeline", PIPELINE_FOLDER, {"configMap": {"name": plan.pipeline}}, read_only=True)
    if plan.certificate is not None:
        secret = {"secretName": plan.certificate, "defaultMode": 0o440}
        add("certificate", CERTIFICATE_FOLDER, {"secret": secret}, read_only=True)
    if plan.store and profile.data_claim is not None:
        claim = {"claimName": profile.data_claim, "readOnly": True}
        add("data", DATA_FOLDER, {"persistentVolumeClaim": claim}, read_only=True)
    if plan.store and profile.work_claim is not None:
        add("work", WORK_FOLDER, {"persistentVolumeClaim": {"claimName": profile.work_claim}})
    # Dask spills here what memory does not hold.
    scratch = max(_SCRATCH_BYTES, int(parse_bytes(plan.resources.memory)))
    add("tmp", "/tmp", {"emptyDir": {"sizeLimit": str(scratch)}})
    # Ray's object store, and what PyTorch's processes share; the container's own is too small.
    add("shm", "/dev/shm", {"emptyDir": {"medium": "Memory", "sizeLimit": str(_RAY_SHARED_BYTES)}})
    return volumes, mounts

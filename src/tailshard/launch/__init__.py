"""Where to run: a cluster profile becomes a Dask client, and an address for Ray.

A pipeline says what to search; a profile says where to run. The results do not depend on it.
"""

from .dask import SCHEDULER_SETTINGS, WORKER_SETTINGS, dask_client
from .performance import performance_log
from .profile import (
    ClusterProfile,
    DaskProfile,
    Driver,
    KubernetesProfile,
    LocalProfile,
    RayProfile,
    Resources,
    SlurmProfile,
    load_profile,
)
from .ray import ray_profile
from .takeover import patience

__all__ = [
    "SCHEDULER_SETTINGS",
    "WORKER_SETTINGS",
    "ClusterProfile",
    "DaskProfile",
    "Driver",
    "KubernetesProfile",
    "LocalProfile",
    "RayProfile",
    "Resources",
    "SlurmProfile",
    "dask_client",
    "load_profile",
    "patience",
    "performance_log",
    "ray_profile",
]

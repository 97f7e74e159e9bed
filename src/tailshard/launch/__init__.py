"""Where to run: a cluster profile becomes a Dask client, and an address for Ray.

A pipeline says what to search; a profile says where to run. The results do not depend on it.
"""

from .dask import WORKER_SETTINGS, dask_client
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
from .slurm import in_job

__all__ = [
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
    "in_job",
    "load_profile",
    "ray_profile",
]

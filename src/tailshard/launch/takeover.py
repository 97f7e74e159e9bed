"""How a process that may replace a lost one begins."""

import os

from .profile import ClusterProfile, SlurmProfile
from .reach import NAMESPACE
from .slurm import in_job

_SECONDS = 180.0


def patience(profile: ClusterProfile) -> float:
    """Give the seconds to wait for a work directory that another process holds.

    None where somebody sits at this machine. A job of SLURM and a pod that drives a stage may replace one
    whose node is lost, and a file server forgets its lock late: NFS after a lease of 90 s, as a rule.
    """
    job = isinstance(profile, SlurmProfile) and in_job()
    return _SECONDS if job or NAMESPACE in os.environ else 0.0

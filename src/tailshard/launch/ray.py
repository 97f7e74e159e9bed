"""Where training finds its Ray.

    python -m tailshard.launch.ray HOST:PORT NODES

ends with exit code 0 where that many nodes of a Ray cluster are there: jobs wait with it for their own.
"""

import os
import socket
import sys

from ..errors import ClusterError
from .profile import ClusterProfile, RayProfile, SlurmProfile
from .slurm import in_job

ADDRESS = "TAILSHARD_RAY_ADDRESS"
"""Environment variable with the address of the Ray cluster that a job has started for itself."""


def ray_profile(profile: ClusterProfile) -> RayProfile:
    """Say where training runs: on the Ray of the job, of the profile, or a private one on this machine.

    Raises
    ------
    ClusterError
        The profile is a cluster's, and this is not one of its jobs: training would run on a login node.
    """
    address = os.environ.get(ADDRESS, profile.ray.address)
    if address is None and isinstance(profile, SlurmProfile) and not in_job():
        raise ClusterError(
            "the network is trained in a job of SLURM, and this is not in one; use 'tailshard launch', which "
            "submits whatever is stale, or name a Ray cluster that runs already as ray.address of the profile"
        )
    return profile.ray.model_copy(update={"address": address})


def alive_nodes(address: str, timeout: float = 10) -> int:
    """Count the nodes of a Ray cluster that have registered and are alive.

    An open port does not tell: what connects before the first node has registered fails. Nothing is started,
    as a driver of Ray would; Ray's own command line asks in this way.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined] # its stub leaves it out

    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=timeout).close()
    nodes = GcsClient(address=address).get_all_node_info(timeout=timeout)
    return sum(node.state == 0 for node in nodes.values())  # ALIVE


if __name__ == "__main__":
    try:
        found = alive_nodes(sys.argv[1])
    except Exception as error:  # noqa: BLE001 - whatever it is, the cluster is not there yet
        sys.exit(f"no Ray at {sys.argv[1]}: {error}")
    if found < int(sys.argv[2]):
        sys.exit(f"{found} of {sys.argv[2]} nodes of Ray are there")

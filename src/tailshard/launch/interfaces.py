"""Addresses of this machine. ``python -m tailshard.launch.interfaces [NAME]`` prints one."""

import sys

from ..errors import ClusterError


def address_of(interface: str | None) -> str:
    """IP address of a network interface of this machine; of the one that leads out where it is None.

    Raises
    ------
    ClusterError
        There is no such interface.
    """
    from distributed.utils import get_ip, get_ip_interface

    if interface is None:
        return str(get_ip())
    try:
        return str(get_ip_interface(interface))
    except ValueError as error:
        raise ClusterError(
            f"this machine has no network interface '{interface}' with an address: {error}; name it with "
            "'interface' (nodes) or 'scheduler_interface' (this machine, if it is no node) of the profile"
        ) from error


if __name__ == "__main__":
    try:
        print(address_of(sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] else None))
    except ClusterError as error:
        sys.exit(f"error: {error}")

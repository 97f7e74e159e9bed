"""How to open a page that only the machine where it is served can see: the exact command to type."""

import getpass
import os
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from ..progress import Progress

NAMESPACE = "TAILSHARD_NAMESPACE"
"""Variable of a pod that drives a stage: the namespace of its services."""

_SSH_PORT = "22"


def how_to_reach(link: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Give the command that brings a page to the user's own machine: of ssh or of kubectl.

    Parameters
    ----------
    link
        Such as ``http://127.0.0.1:8787/status``.
    environment
        Variables of this process; the real ones where left out. ``SSH_CONNECTION`` says that somebody has
        logged in from elsewhere, ``SLURM_JOB_ID`` that this is a job; ``SLURM_SUBMIT_HOST`` is the machine
        that a node of the cluster is reached through; `NAMESPACE` says that this is a pod.

    Returns
    -------
    str or None
        None where the page can be opened as it is: whoever started this sits at this machine, or the
        page is open to others.
    """
    environment = os.environ if environment is None else environment
    page = urlsplit(link)
    host, port = page.hostname or "", page.port or 80
    if NAMESPACE in environment:  # Dask's link has the name of the service
        return f"kubectl --namespace {environment[NAMESPACE]} port-forward service/{host} {port}:{port}"
    if host not in ("127.0.0.1", "localhost", "::1"):
        return None
    if "SLURM_JOB_ID" in environment:
        user = _user(environment)
        node = environment.get("SLURMD_NODENAME") or socket.gethostname()
        login = environment.get("SLURM_SUBMIT_HOST", node)
        options = [] if login == node else ["-J", f"{user}@{login}"]
        return _tunnel(port, [*options, f"{user}@{node}"])
    if connection := environment.get("SSH_CONNECTION", "").split():
        # Address and port that this very user has reached the machine by.
        *_, address, ssh_port = connection
        return _tunnel(
            port, [*(["-p", ssh_port] if ssh_port != _SSH_PORT else []), f"{_user(environment)}@{address}"]
        )
    return None


def announce(link: str | None, progress: Progress) -> None:
    """Tell where the Dask dashboard is, and the command that brings it to the user's own machine.

    While that runs, the page has the same address there.
    """
    if link:
        progress(announcement(link, how_to_reach(link)), 0, 0)


def announcement(link: str, command: str | None) -> str:
    """Put into words where a dashboard is."""
    if command is None:
        return f"Dask dashboard: {link}"
    page = urlsplit(link)
    here = f"http://127.0.0.1:{page.port}{page.path}"
    return f"Dask dashboard: {here}, once this runs on your own machine:\n  {command}"


def _user(environment: Mapping[str, str]) -> str:
    return environment.get("USER") or getpass.getuser()


def _tunnel(port: int, where: list[str]) -> str:
    return " ".join(["ssh", "-N", "-L", f"{port}:127.0.0.1:{port}", *where])

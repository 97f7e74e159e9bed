"""A cluster profile becomes a Dask client, and an address for Ray.

A pipeline says what to search; a profile says where to run. The results do not depend on it.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from .errors import ClusterError, ConfigError
from .parts import Part, Positive

if TYPE_CHECKING:
    from distributed import Client

WORKER_SETTINGS = {
    "distributed.worker.memory.terminate": 0.98,
    "distributed.admin.log-length": 100,
    # The profiler asks for the frames of all threads every 10 ms; before Python 3.12 that may deadlock:
    # https://github.com/python/cpython/issues/106883
    "distributed.worker.profile.enabled": sys.version_info >= (3, 12),
}
"""Dask's configuration wherever tailshard starts workers."""


class DaskProfile(Part):
    """Worker processes for ingest, scoring and histogramming."""

    workers: Positive | Literal["auto"] = "auto"
    """auto: one for each CPU."""
    memory_limit: str = "auto"
    """Of each worker, such as 4GB; auto: the machine's memory over the workers."""
    dashboard: str = "127.0.0.1:8787"
    """Loopback by default: whoever reaches the dashboard can see and disturb the run."""
    start_timeout: float = Field(default=120, gt=0)
    """Seconds to wait for the workers."""

    @field_validator("memory_limit")
    @classmethod
    def _is_memory(cls, text: str) -> str:
        from dask.utils import parse_bytes

        try:
            enough = text == "auto" or parse_bytes(text) > 0
        except ValueError:
            enough = False
        if not enough:
            raise ValueError(f"'{text}' is no amount of memory; write for example '4GB', or 'auto'")
        return text

    @field_validator("dashboard")
    @classmethod
    def _is_address(cls, address: str) -> str:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"'{address}' is no address; write host:port, for example '127.0.0.1:8787'")
        return address


class RayProfile(Part):
    """Where training runs."""

    address: str | None = None
    """Address of a running Ray cluster; a private one is started where left out."""
    cpus_per_trial: Positive | Literal["auto"] = "auto"
    """CPUs of one trial of `tailshard tune`; as many trials run at once as fit. auto: all of a machine that
    has no GPUs, else a GPU's share of them."""
    gpus_per_trial: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """auto: 1 where there are GPUs and training.use_gpu allows it, else 0. Parts share a GPU: 0.5."""


class ClusterProfile(Part):
    """Where to run."""

    kind: Literal["local"] = "local"
    dask: DaskProfile = DaskProfile()
    ray: RayProfile = RayProfile()


def load_profile(path: Path | None, workers: int | None = None) -> ClusterProfile:
    """Read a cluster profile; this machine where `path` is None. `workers` overrides the Dask workers.

    Raises
    ------
    ConfigError
        The file is absent or says something that cannot be.
    """
    content: dict[str, object] = {}
    if path is not None:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"cannot read the cluster profile {path}: {error}") from error
    try:
        profile = ClusterProfile.model_validate(content)
        if workers is None:
            return profile
        dask = DaskProfile.model_validate({**profile.dask.model_dump(), "workers": workers})
        return profile.model_copy(update={"dask": dask})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in problem["loc"])
        raise ConfigError(f"cluster profile {path or ''} {where}: {problem['msg']}") from None


@contextmanager
def dask_client(profile: ClusterProfile) -> Iterator["Client"]:
    """Start worker processes and give a client; stop them at the end.

    Raises
    ------
    ClusterError
        The workers do not start in time.
    """
    import dask
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    workers = CPU_COUNT if profile.dask.workers == "auto" else profile.dask.workers
    with (
        dask.config.set(WORKER_SETTINGS),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            memory_limit=profile.dask.memory_limit,
            dashboard_address=_free_address(profile.dask.dashboard),
            silence_logs="CRITICAL",
        ) as cluster,
        Client(cluster) as client,
    ):
        try:
            client.wait_for_workers(workers, timeout=profile.dask.start_timeout)
        except TimeoutError as error:
            raise ClusterError(
                f"only {len(client.scheduler_info()['workers'])} of {workers} Dask workers started in "
                f"{profile.dask.start_timeout:g} s; ask for fewer with --workers"
            ) from error
        yield client


def _free_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        try:
            probe.bind((host, int(port)))
        except OSError:
            return f"{host}:0"
    return address

"""What a cluster profile may say: this machine, a SLURM cluster or Kubernetes. Checked like a pipeline."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, field_validator

from ..errors import ConfigError
from ..parts import Part, Positive
from ..stages import STAGES


def _is_memory(text: str) -> str:
    from dask.utils import parse_bytes

    try:
        enough = text == "auto" or parse_bytes(text) > 0
    except ValueError:
        enough = False
    if not enough:
        raise ValueError(f"'{text}' is no amount of memory; write for example '4GB', or 'auto'")
    return text


Memory = Annotated[str, AfterValidator(_is_memory)]
"""Such as ``4GB`` (powers of ten) or ``4GiB`` (of two)."""


def _is_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"'{address}' is no address; write host:port, for example '127.0.0.1:8787'")
    return address


Metrics = Annotated[str, AfterValidator(_is_address)] | None
"""Where the process that drives a run serves Prometheus metrics, such as 127.0.0.1:9464."""


# -- this machine ----------------------------------------------------------------------------------


class DaskProfile(Part):
    """Worker processes for ingest, scoring and histogramming."""

    workers: Positive | Literal["auto"] = "auto"
    """auto: one for each CPU."""
    memory_limit: Memory = "auto"
    """Of each worker, such as 4GB; auto: the machine's memory over the workers."""
    address: str | None = None
    """Of a scheduler that runs already, such as tcp://10.0.0.1:8786; its workers are used as they are."""
    dashboard: Annotated[str, AfterValidator(_is_address)] = "127.0.0.1:8787"
    """Loopback by default: whoever reaches the dashboard can see and disturb the run."""
    start_timeout: float = Field(default=120, gt=0)
    """Seconds to wait for the workers."""


class RayProfile(Part):
    """Where training runs."""

    address: str | None = None
    """Address of a running Ray cluster; a private one is started where left out."""
    cpus_per_trial: Positive | Literal["auto"] = "auto"
    """CPUs of one trial of `tailshard tune`; as many trials run at once as fit. auto: all of a machine that
    has no GPUs, else a GPU's share of them."""
    gpus_per_trial: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """auto: 1 where there are GPUs and training.use_gpu allows it, else 0. Parts share a GPU: 0.5."""


class LocalProfile(Part):
    """Run on this machine."""

    kind: Literal["local"] = "local"
    metrics: Metrics = None
    dask: DaskProfile = DaskProfile()
    ray: RayProfile = RayProfile()


# -- clusters --------------------------------------------------------------------------------------


def _given(memory: str) -> str:
    if memory == "auto":
        raise ValueError("a cluster must know the memory; write for example '4GB'")
    return memory


class Resources(Part):
    """What one stage gets. Its workers are Dask's; those of training are nodes of a Ray cluster."""

    workers: Positive = 1
    cpus: Positive = 1
    """Of each worker."""
    gpus: int = Field(default=0, ge=0)
    """Of each worker."""
    memory: Memory = "4GB"
    """Of each worker."""
    walltime: timedelta = Field(default=timedelta(hours=4), gt=timedelta(0))
    """Longest time of the stage, such as 04:00:00. What is unfinished then goes on in the next job."""
    partition: str | None = None
    """Of SLURM; the cluster's default where left out."""
    options: tuple[str, ...] = ()
    """Further options for sbatch, such as ``--constraint=a100``; those of SLURM's workers."""

    @field_validator("memory")
    @classmethod
    def _is_given(cls, text: str) -> str:
        return _given(text)


class Stages(Part):
    """What each stage gets. Neighbours that get the same share one job."""

    ingest: Resources = Resources()
    train: Resources = Resources()
    score: Resources = Resources()
    histogram: Resources = Resources()
    report: Resources = Resources()

    def of(self, stage: str) -> Resources:
        """Give the resources of a stage, of `STAGES`."""
        if stage not in STAGES:
            raise KeyError(stage)
        its: Resources = getattr(self, stage)
        return its


class Driver(Part):
    """The job that leads the workers of a stage, and makes the report. It computes little."""

    cpus: Positive = 1
    memory: Memory = "4GB"
    partition: str | None = None
    """That of the stage where left out."""

    @field_validator("memory")
    @classmethod
    def _is_given(cls, text: str) -> str:
        return _given(text)


class SlurmProfile(Part):
    """Run on a SLURM cluster whose nodes share a file system."""

    kind: Literal["slurm"]
    account: str | None = None
    qos: str | None = None
    options: tuple[str, ...] = ()
    """Further options for sbatch, of every job, such as ``--reservation=school``."""
    setup: tuple[str, ...] = ()
    """Lines of shell that every job runs first: modules, a virtual environment."""
    scratch: str = "/tmp"
    """Folder of each node for temporary files; may name variables, such as $TMPDIR."""
    interface: str | None = None
    """Network interface of the nodes, such as ib0; the system's choice where left out."""
    scheduler_interface: str | None = None
    """Network interface of the machine where the scheduler runs, where it has another name."""
    dashboard: Annotated[str, AfterValidator(_is_address)] = "127.0.0.1:8787"
    """On the machine where the scheduler runs; loopback by default."""
    metrics: Metrics = None
    start_timeout: float = Field(default=86_400, gt=0)
    """Seconds to wait for the first worker of a stage: the time that its job may queue. Workers that cannot
    start are an error at once."""
    driver: Driver = Driver()
    stages: Stages = Stages()
    ray: RayProfile = RayProfile()


class KubernetesProfile(Part):
    """Run on a Kubernetes cluster with the Dask operator, and KubeRay where training has several nodes."""

    kind: Literal["kubernetes"]
    namespace: str = "tailshard"
    context: str | None = None
    """Of the kubeconfig; the current one where left out."""
    image: str
    """Container image with tailshard, of a fixed version."""
    gpu_image: str | None = None
    """Of training; `image` where left out."""
    work_claim: str | None = None
    """Persistent volume claim that holds the work directory (mounted at /work). Not needed on S3."""
    data_claim: str | None = None
    """Persistent volume claim with the ntuples (mounted at /data, read-only)."""
    secret: str | None = None
    """Secret whose keys become environment variables of every pod, such as AWS_ACCESS_KEY_ID."""
    service_account: str = "tailshard"
    """Of the pod that starts the others, which alone may speak to Kubernetes; deploy/kubernetes makes it."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    queue: str | None = None
    """Local queue of Kueue that admits the pods together."""
    metrics: Metrics = None
    """Where the pod that drives a stage serves Prometheus metrics, such as 0.0.0.0:9464."""
    start_timeout: float = Field(default=600, gt=0)
    """Seconds that the pods of a stage may wait for nodes, added to its walltime."""
    stages: Stages = Stages()
    ray: RayProfile = RayProfile()

    @field_validator("metrics")
    @classmethod
    def _is_seen(cls, address: str | None) -> str | None:
        if address is not None and address.rpartition(":")[0] in ("127.0.0.1", "localhost", "[::1]", "::1"):
            raise ValueError(f"Prometheus does not reach '{address}' of a pod; write '0.0.0.0:9464'")
        return address


ClusterProfile = LocalProfile | SlurmProfile | KubernetesProfile
"""Where to run."""

_PROFILES: TypeAdapter[ClusterProfile] = TypeAdapter(Annotated[ClusterProfile, Field(discriminator="kind")])


def load_profile(path: Path | None, workers: int | None = None) -> ClusterProfile:
    """Read a cluster profile; this machine where `path` is None. `workers` overrides the Dask workers.

    Raises
    ------
    ConfigError
        The file is absent or says something that cannot be.
    """
    content: Any = {}
    if path is not None:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"cannot read the cluster profile {path}: {error}") from error
    if isinstance(content, dict):
        content = {"kind": "local", **content}
    try:
        profile = _PROFILES.validate_python(content)
        return profile if workers is None else _with_workers(profile, workers)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        # The first step names the kind of profile, which the file says itself.
        kinds = {"local", "slurm", "kubernetes"}
        where = ".".join(str(step) for step in problem["loc"] if step not in kinds)
        raise ConfigError(f"cluster profile {path or ''} {where}: {problem['msg']}") from None


def _with_workers(profile: ClusterProfile, workers: int) -> ClusterProfile:
    """Ask for that many Dask workers; training keeps its own."""
    if isinstance(profile, LocalProfile):
        dask = DaskProfile.model_validate({**profile.dask.model_dump(), "workers": workers})
        return profile.model_copy(update={"dask": dask})
    stages = {
        stage: profile.stages.of(stage).model_copy(update={} if stage == "train" else {"workers": workers})
        for stage in STAGES
    }
    return profile.model_copy(update={"stages": Stages(**stages)})

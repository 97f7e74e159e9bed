"""A search as the pods of a cluster see it, and the names of its objects."""

import hashlib
import re
from dataclasses import dataclass
from itertools import groupby

import yaml

from ...errors import ConfigError
from ...places import is_remote
from ...stages import STAGES
from ..profile import KubernetesProfile, Resources
from ..site import Order
from .pods import DATA_FOLDER, PIPELINE_FOLDER, WORK_FOLDER, Object

WITH_DASK = ("ingest", "score", "histogram")
"""Stages whose work is done by Dask workers."""

PIPELINE_FILE = "pipeline.yaml"
STEPS_FILE = "steps.yaml"

QUEUE = "kueue.x-k8s.io/queue-name"
"""Label by which Kueue knows what it admits."""

SCHEDULER_PORT = 8786

_LONGEST_NAME = 24  # nine characters and a stage's name are appended, and KubeRay takes at most 47


@dataclass(frozen=True)
class Run:
    """A search as the pods of a cluster see it."""

    search: str
    """Name of the pipeline."""
    text: str
    """Its YAML."""
    workdir: str
    """Where outputs live, for the pods."""
    name: str
    """Name of its objects, which no other run has."""
    strict: bool = False

    @property
    def certificate(self) -> str:
        """Name of the Secret with the certificate of its Dask."""
        return f"{self.name}-tls"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of all its objects and pods."""
        return {"app.kubernetes.io/name": "tailshard", "app.kubernetes.io/instance": self.name}

    def command(self, stage: str) -> tuple[str, ...]:
        """Give the command line of a stage in a pod."""
        return (
            *("tailshard", stage, f"{PIPELINE_FOLDER}/{PIPELINE_FILE}"),
            *("--workdir", self.workdir, "--cluster", f"{PIPELINE_FOLDER}/{stage}.yaml"),
            *(("--strict",) if self.strict and stage == "ingest" else ()),
        )


def run_of(profile: KubernetesProfile, order: Order) -> Run:
    """Say how pods see a search that is handed in.

    A prefix of an object store is the same everywhere. So is a work directory below /work, where the pods
    have a claim; for another one of this machine, theirs is below /work by the name of the search.

    Raises
    ------
    ConfigError
        The stages have no place in common, or inputs are where no pod can read them.
    """
    if is_remote(order.workdir):
        workdir = str(order.workdir)
    elif profile.work_claim is None:
        raise ConfigError(
            "every stage is a pod of its own, and these need a work directory in common; name a persistent "
            "volume claim in the profile: 'work_claim: tailshard-work', or a prefix: --workdir s3://..."
        )
    else:
        inside = order.workdir.is_relative_to(WORK_FOLDER)
        workdir = str(order.workdir) if inside else f"{WORK_FOLDER}/{order.search}"
    _check_inputs(profile, order)
    name = run_name(order.search, f"{order.workdir}\n{order.folder}")
    return Run(order.search, order.pipeline, workdir, name, order.strict)


def run_name(search: str, distinct: str) -> str:
    """Give a search a name that Kubernetes allows, with a part that follows from what no other run has."""
    plain = re.sub(r"[^a-z0-9]+", "-", search.lower()).strip("-")
    if not plain[:1].isalpha():  # as the names of services must begin
        plain = f"search-{plain}"
    return f"{plain[:_LONGEST_NAME].rstrip('-')}-{hashlib.sha256(distinct.encode()).hexdigest()[:8]}"


def _check_inputs(profile: KubernetesProfile, order: Order) -> None:
    """Refuse inputs on a disk of this machine."""
    content = yaml.safe_load(order.pipeline)
    root = content.get("data_root")
    places = {
        place if "://" in place or place.startswith("/") or root is None else f"{root}/{place}"
        for dataset in content["datasets"]
        for place in dataset["files"]
    }
    seen = (*((f"{DATA_FOLDER}/",) if profile.data_claim is not None else ()), f"{WORK_FOLDER}/")
    for place in sorted(places):
        if place.startswith("/") and not place.startswith(seen):
            raise ConfigError(
                f"no pod can read {place}: pods see the claim of the profile's data_claim as {DATA_FOLDER}; "
                f"say where the files are there, with --data-root {DATA_FOLDER} or a URL"
            )


def metadata(profile: KubernetesProfile, run: Run, name: str, component: str) -> Object:
    """Give the metadata of an object of a run."""
    labels = {**run.labels, "app.kubernetes.io/component": component}
    return {"name": name, "namespace": profile.namespace, "labels": labels}


def metadata_of_pods(run: Run, component: str, metrics: str | None = None) -> Object:
    """Give the metadata of a template of pods; `metrics` is where a verb in one serves them."""
    its: Object = {"labels": {**run.labels, "app.kubernetes.io/component": component}}
    if metrics is not None:
        port = metrics.rpartition(":")[2]
        its["annotations"] = {"prometheus.io/scrape": "true", "prometheus.io/port": port}
    return its


def metadata_of_work(profile: KubernetesProfile, run: Run, name: str, component: str) -> Object:
    """Give the metadata of what starts pods: it can be queued."""
    its = metadata(profile, run, name, component)
    if profile.queue is not None:
        its["labels"][QUEUE] = profile.queue
    return its


def cluster_names(profile: KubernetesProfile, run: Run) -> dict[str, str]:
    """Give each stage with Dask workers the name of their cluster: that of the first of equal neighbours."""
    named: dict[str, str] = {}
    for needed, group in groupby(STAGES, key=lambda stage: stage in WITH_DASK and profile.stages.of(stage)):
        first, *others = group
        if needed:
            named |= dict.fromkeys((first, *others), f"{run.name}-{first}")
    return named


def on_several_nodes(profile: KubernetesProfile) -> bool:
    """Tell whether training needs a Ray cluster of its own."""
    return profile.stages.train.workers > 1 and profile.ray.address is None


def longest(profile: KubernetesProfile, stage: str) -> int:
    """Give the seconds that the pod of a verb may take, waiting for nodes and workers included."""
    return int(profile.stages.of(stage).walltime.total_seconds() + profile.start_timeout)


def of_one_process(resources: Resources) -> Resources:
    """Give what a scheduler or a driver gets: one CPU, and the memory of a worker."""
    return resources.model_copy(update={"cpus": 1, "gpus": 0, "workers": 1})

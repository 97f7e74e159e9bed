"""Dask workers for stages of a run: a DaskCluster of the Dask operator."""

from dataclasses import replace

from ..dask import SCHEDULER_SETTINGS, WORKER_SETTINGS
from ..profile import KubernetesProfile, Resources
from .pods import CERTIFICATE_FOLDER, Object, PodPlan, pod_spec
from .run import SCHEDULER_PORT, Run, metadata_of_work, of_one_process

DASHBOARD_PORT = 8787

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def dask_environment() -> dict[str, str]:
    """Give Dask's configuration as variables, TLS with the run's certificate included."""
    certificate, key = f"{CERTIFICATE_FOLDER}/tls.crt", f"{CERTIFICATE_FOLDER}/tls.key"
    settings = {
        **WORKER_SETTINGS,
        **SCHEDULER_SETTINGS,
        "distributed.comm.require-encryption": True,
        "distributed.comm.tls.ca-file": certificate,
    }
    for role in ("scheduler", "worker", "client"):
        settings[f"distributed.comm.tls.{role}.cert"] = certificate
        settings[f"distributed.comm.tls.{role}.key"] = key
    return {
        f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": str(value)
        for name, value in settings.items()
    }


def dask_cluster(profile: KubernetesProfile, run: Run, name: str, resources: Resources) -> Object:
    """Give a DaskCluster: a scheduler, and pods with one worker process for each CPU."""
    plan = PodPlan(
        component="worker",
        command=_worker(name, resources),
        image=profile.image,
        resources=resources,
        environment={**_ONE_THREAD, **dask_environment()},
        certificate=run.certificate,
    )
    spec = {
        "scheduler": {"spec": pod_spec(profile, _scheduler(plan)), "service": _service(name)},
        "worker": {"replicas": resources.workers, "spec": pod_spec(profile, plan)},
    }
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": metadata_of_work(profile, run, name, "dask"),
        "spec": spec,
    }


def _worker(cluster: str, resources: Resources) -> list[str]:
    from dask.utils import parse_bytes

    return [
        *("dask", "worker", f"tls://{cluster}-scheduler:{SCHEDULER_PORT}"),
        *("--name", "$(DASK_WORKER_NAME)"),  # by which the operator knows it
        *("--nworkers", str(resources.cpus), "--nthreads", "1"),
        *("--memory-limit", str(int(parse_bytes(resources.memory)) // resources.cpus)),
        *("--local-directory", "/tmp/dask", "--no-dashboard"),
    ]


def _scheduler(worker: PodPlan) -> PodPlan:
    health = {"httpGet": {"path": "/health", "port": "http-dashboard"}, "timeoutSeconds": 5}
    return replace(
        worker,
        component="scheduler",
        command=[
            *("dask", "scheduler", "--protocol", "tls", "--port", str(SCHEDULER_PORT)),
            *("--dashboard-address", f":{DASHBOARD_PORT}"),
        ],
        resources=of_one_process(worker.resources),
        store=False,
        details={
            "ports": [
                {"name": "tcp-comm", "containerPort": SCHEDULER_PORT, "protocol": "TCP"},
                {"name": "http-dashboard", "containerPort": DASHBOARD_PORT, "protocol": "TCP"},
            ],
            "readinessProbe": {**health, "periodSeconds": 5},
            "livenessProbe": {**health, "periodSeconds": 30, "failureThreshold": 10},
        },
    )


def _service(cluster: str) -> Object:
    ports = (("tcp-comm", SCHEDULER_PORT), ("http-dashboard", DASHBOARD_PORT))
    return {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": cluster, "dask.org/component": "scheduler"},
        "ports": [
            {"name": name, "port": number, "targetPort": name, "protocol": "TCP"} for name, number in ports
        ],
    }

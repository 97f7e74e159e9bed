"""A real Kubernetes for tests: etcd, API server, controllers and scheduler, a node, and the Dask operator."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from .crds import DASK_CRDS

TOOLS = Path("tools") / "kubernetes"
KUBELET = Path(__file__).with_name("kubelet.py")
REPOSITORY = Path(__file__).parents[3]


def environment(folder: Path) -> dict[str, str]:
    """Variables under which kubectl and the scripts of the control plane find what they need."""
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "B": str(folder), "KUBECONFIG": str(folder / "kubeconfig"), "PATH": path}


@contextmanager
def control_plane(folder: Path, tools: Path) -> Iterator[Path]:
    """Start etcd, API server, controllers and scheduler; give the kubeconfig of an administrator."""
    if os.geteuid() != 0:
        pytest.skip("only root can make the network namespaces of pods")
    for program in ("etcd", "ip", "openssl", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here (tests/debian-packages.txt)")
    its = environment(folder)
    with ExitStack() as stack:
        stack.callback(
            subprocess.run, ["bash", tools / "k8s_down.sh"], env=its, capture_output=True, check=False
        )
        subprocess.run(["bash", tools / "k8s_up.sh"], env=its, check=True, capture_output=True, timeout=180)
        yield folder / "kubeconfig"


@contextmanager
def node(folder: Path) -> Iterator[None]:
    """Start a kubelet."""
    with _process(folder, "node", [sys.executable, str(KUBELET), str(folder)], patience=60) as log:
        _wait_for(lambda: "ready" in log.read_text(), 30, log)
        yield


@contextmanager
def dask_operator(folder: Path, namespace: str) -> Iterator[None]:
    """Start the Dask operator."""
    command = ["kopf", "run", "-m", "dask_kubernetes.operator.controller", "-n", namespace]
    with _process(folder, "operator", command) as log:
        _wait_for(lambda: "Initial authentication has finished" in log.read_text(), 60, log)
        yield


@contextmanager
def _process(folder: Path, name: str, command: list[str], patience: float = 5) -> Iterator[Path]:
    """Start a program; at its end it has some seconds to clean up."""
    path = folder / "log" / f"{name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            command, env=environment(folder), stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield path
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(condition: Any, seconds: float, log: Path) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            pytest.fail(f"not ready in {seconds:g} s; {log}:\n{log.read_text()[-3000:]}")
        time.sleep(0.1)


def for_old_servers(manifest: dict[str, Any]) -> dict[str, Any]:
    """Take out what Kubernetes 1.20 does not know yet, which refuses it where newer ones take it."""
    text = yaml.safe_dump(manifest)
    old: dict[str, Any] = yaml.safe_load(text)
    if old["kind"] == "CronJob":
        old["apiVersion"] = "batch/v1beta1"
    if old["kind"] == "Job":
        old["spec"].pop("podFailurePolicy", None)
    return old


def site(claims: dict[str, Path]) -> Iterator[dict[str, Any]]:
    """Give a site's part of Kubernetes (deploy/kubernetes), and volumes for its claims: folders of here."""
    overlay = REPOSITORY / "deploy" / "kubernetes" / "overlays" / "no-gpu"
    kubectl = Path(sysconfig.get_path("scripts")) / "kubectl"
    rendered = subprocess.run(
        [kubectl, "kustomize", overlay], capture_output=True, text=True, check=True
    ).stdout
    # A namespace comes before what is in it.
    for manifest in sorted(yaml.safe_load_all(rendered), key=lambda each: each["kind"] != "Namespace"):
        if manifest["kind"] == "CronJob":
            manifest["spec"]["suspend"] = True
        if manifest["kind"] == "PersistentVolumeClaim":
            spec, name = manifest["spec"], manifest["metadata"]["name"]
            spec["storageClassName"] = ""
            yield {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    "capacity": spec["resources"]["requests"],
                    "accessModes": spec["accessModes"],
                    "hostPath": {"path": str(claims[name])},
                    "claimRef": {"namespace": manifest["metadata"]["namespace"], "name": name},
                },
            }
        yield for_old_servers(manifest)


def crds(tools: Path) -> Iterator[dict[str, Any]]:
    """Give what teaches Kubernetes the objects of the Dask operator and of KubeRay (for Kubernetes 1.20)."""
    for path in sorted(DASK_CRDS.glob("*.yaml")):
        yield yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    yield json.loads((tools / "crds" / "ray_rayjobs.120.json").read_text())

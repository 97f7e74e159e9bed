"""The schemas that the Dask operator and KubeRay give Kubernetes, made strict: no field but theirs."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

DASK_CRDS = Path(str(files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator/crds"))
"""As the operator's own Helm chart installs them."""


def check(manifest: dict[str, Any], crds: Path) -> None:
    """Raise where Kubernetes, or one of the operators, would refuse an object; `crds` is KubeRay's folder."""
    if "." not in manifest["apiVersion"].split("/")[0] or manifest["apiVersion"].endswith("k8s.io/v1"):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
        return
    path = {
        "DaskCluster": DASK_CRDS / "daskcluster.yaml",
        "RayJob": crds / "ray_rayjobs.yaml",
    }[manifest["kind"]]
    jsonschema.Draft202012Validator(schema_of(path)).validate(manifest)


@cache
def schema_of(path: Path) -> dict[str, Any]:
    content = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    (version,) = (each for each in content["spec"]["versions"] if each["name"] == "v1")
    return _strict(version["schema"]["openAPIV3Schema"], top=True)


def _strict(schema: Any, top: bool = False) -> Any:
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: {name: _strict(each) for name, each in value.items()} if key == "properties" else _strict(value)
        for key, value in schema.items()
    }
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if "properties" in schema and not open_ended:
        made["additionalProperties"] = False
    if top:  # which Kubernetes itself looks after
        made["properties"] |= {"metadata": {"type": "object"}, "apiVersion": {}, "kind": {}}
    return made

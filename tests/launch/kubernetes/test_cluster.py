"""Runs on a real Kubernetes: API server, controllers, scheduler, RBAC, Dask operator; a node of our own."""

import os
import re
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.servers import storage as servers

from tailshard import verbs
from tailshard.errors import ClusterError
from tailshard.launch import KubernetesProfile
from tailshard.launch.kubernetes.api import Api, connect
from tailshard.launch.kubernetes.manifests import certificate, conductor, parcel, shared, steps
from tailshard.launch.kubernetes.run import Run
from tailshard.launch.kubernetes.states import component_of
from tailshard.pipeline_files import shipped
from tailshard.places import place
from tailshard.stages import STAGES
from tailshard.toys import make_toys

from .cluster import TOOLS, control_plane, crds, dask_operator, for_old_servers, node, site
from .kubelet import GATEWAY

pytestmark = pytest.mark.slow

OVERRIDES = ["training.epochs=1", "training.batch_size=128", "store.slot=512", "store.chunk=128"]
PROFILE = """
kind: kubernetes
image: tests/tailshard:0.1.0  # the node of the tests has no images
work_claim: tailshard-work
data_claim: ntuples
start_timeout: 120
stages:
  ingest: &two {workers: 2, memory: 2GB}
  train: {cpus: 2, memory: 4GB}
  score: *two
  histogram: *two
  report: {memory: 2GB}
"""
TEXT = "name: toys\n"
RUN = Run("toys", TEXT, "/work/toys", "toys-12345678")


@dataclass(frozen=True)
class Kubernetes:
    folder: Path
    claims: dict[str, Path]
    admin: Api
    """With all rights."""
    profile: Path
    """Of a search."""


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Kubernetes]:
    """A Kubernetes with the site's part, and a user who has the rights that it gives to users."""
    folder, tools = tmp_path_factory.mktemp("kubernetes"), shared / TOOLS
    if not tools.is_dir():
        pytest.skip(f"there is no {tools}")
    claims = {"tailshard-work": folder / "work", "ntuples": folder / "ntuples"}
    for path in claims.values():
        path.mkdir()
        path.chmod(0o777)
    profile = folder / "profile.yaml"
    profile.write_text(PROFILE)
    with control_plane(folder, tools) as kubeconfig, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kubeconfig))
        admin = connect("tailshard")
        for manifest in crds(tools):
            admin.create(manifest)
        for manifest in site(claims):
            admin.apply(manifest)
        admin.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "users", "namespace": "tailshard"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "Role",
                    "name": "tailshard-user",
                },
                "subjects": [{"kind": "Group", "name": "analysts", "apiGroup": "rbac.authorization.k8s.io"}],
            }
        )
        config = yaml.safe_load(kubeconfig.read_text())
        as_user = folder / "kubeconfig-of-a-user"
        as_user.write_text(yaml.safe_dump({**config, "current-context": "analyst"}))
        patch.setenv("KUBECONFIG", str(as_user))
        with node(folder), dask_operator(folder, "tailshard"):
            _until(lambda: _bound(admin), 30)
            yield Kubernetes(folder, claims, admin, profile)


def _bound(api: Api) -> bool:
    claims = api.labelled("v1", "PersistentVolumeClaim", {"app.kubernetes.io/part-of": "tailshard"})
    return [claim["status"].get("phase") for claim in claims] == ["Bound"] * 2


def _until(condition: Callable[[], Any], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"did not come about in {seconds:g} s"
        time.sleep(0.3)


def _of(api: Api, run: str) -> list[str]:
    """Name what is there of a run."""
    kinds = {
        "v1": ["Pod", "ConfigMap", "Secret"],
        "batch/v1": ["Job"],
        "kubernetes.dask.org/v1": ["DaskCluster"],
    }
    labels = {"app.kubernetes.io/instance": run}
    return [
        f"{kind} {each['metadata']['name']}"
        for version, names in kinds.items()
        for kind in names
        for each in api.labelled(version, kind, labels)
    ]


def _is_gone(api: Api, run: str) -> bool:
    return _of(api, run) == []


SEVERAL_NODES = {"workers": 2, "gpus": 1}


@pytest.mark.parametrize("train", [{}, SEVERAL_NODES], ids=["one pod", "several nodes"])
def test_the_api_server_takes_everything(kubernetes: Kubernetes, train: dict[str, Any]) -> None:
    content = {**yaml.safe_load(PROFILE), "queue": "physics", "secret": "s3"}
    content["stages"]["train"] |= train
    profile = KubernetesProfile.model_validate(content)
    its = steps(profile, RUN, STAGES)
    objects = [conductor(profile, RUN, STAGES), shared(profile, RUN, its, []), parcel(profile, RUN)]
    objects.append(certificate(profile, RUN, "public", "private"))
    objects += [each for step in its for each in (step.cluster, step.driver) if each is not None]
    answered = [kubernetes.admin.apply(for_old_servers(each), dry_run=True) for each in objects]
    for wanted, answer in zip(objects, answered, strict=True):
        assert (answer["kind"], answer["metadata"]["name"]) == (wanted["kind"], wanted["metadata"]["name"])
        assert answer["metadata"]["managedFields"][0]["manager"] == "tailshard"
    assert _of(kubernetes.admin, RUN.name) == []
    wrong = for_old_servers(its[0].driver)
    wrong["spec"]["backoffLimit"] = "two"
    with pytest.raises(ClusterError, match=f"cannot apply Job {RUN.name}-ingest"):
        kubernetes.admin.apply(wrong, dry_run=True)


def test_a_user_has_no_rights_beyond_launching(kubernetes: Kubernetes) -> None:
    user = connect("tailshard")
    with pytest.raises(ClusterError, match=r"cannot list Secrets .*forbidden.*\(403\)"):
        user.labelled("v1", "Secret", {})


def test_what_is_not_there_is_said_before_anything_starts(kubernetes: Kubernetes, tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text(PROFILE.replace("work_claim: tailshard-work", "work_claim: elsewhere"))
    with pytest.raises(ClusterError, match=r"has no PersistentVolumeClaim elsewhere.*work_claim"):
        verbs.launch(shipped("demo"), cluster=profile, data_root="/data", workdir=tmp_path / "work")
    assert kubernetes.admin.labelled("batch/v1", "Job", {"app.kubernetes.io/name": "tailshard"}) == []


@pytest.fixture(scope="module")
def searched(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the same search finds on one machine: texts of its results, with paths as pods see them."""
    ntuples, here = kubernetes.claims["ntuples"], tmp_path_factory.mktemp("here")
    make_toys(ntuples, events=2000, signal_events=400, files=1)
    # The machine code that is compiled here is that of the pods, too.
    tailshard = Path(sysconfig.get_path("scripts")) / "tailshard"
    command = [tailshard, "run", shipped("demo"), "--workers", "2", "--workdir", here, "--data-root", ntuples]
    command += [word for override in OVERRIDES for word in ("--set", override)]
    numba = {"NUMBA_CACHE_DIR": str(kubernetes.folder / "numba")}
    subprocess.run(command, env={**os.environ, **numba}, check=True)
    files = ("histograms.json", "regions.json", "candidates.csv")
    return {name: (here / "results" / name).read_text().replace(str(ntuples), "/data") for name in files}


def test_a_search_is_that_of_one_machine_though_a_worker_is_lost(
    kubernetes: Kubernetes, searched: dict[str, str], tmp_path: Path
) -> None:
    options = {"cluster": kubernetes.profile, "data_root": "/data", "overrides": OVERRIDES}
    options["workdir"] = tmp_path / "there"
    (launched,) = verbs.launch(shipped("demo"), **options)["submitted"]
    run = launched["id"]
    _until(lambda: "ingest: fill slots" in _log(kubernetes, run), 90)
    workers = [pod for pod in _pods(kubernetes, run) if component_of(pod) == "worker"]
    lost = workers[0]["metadata"]["name"]
    kubernetes.admin.delete("v1", "Pod", lost)

    said: list[str] = []
    result = verbs.launch(
        shipped("demo"), follow=True, progress=lambda line, *_: said.append(line), **options
    )
    assert result["submitted"] == []  # it was at work already
    assert [job["id"] for job in result["live"]] == [run]
    assert any(line.startswith("train: ") for line in said)
    assert f"kubectl --namespace tailshard port-forward service/{run}-" in _log(kubernetes, run)
    there = kubernetes.claims["tailshard-work"] / "demo"
    assert {name: (there / "results" / name).read_text() for name in searched} == searched
    assert (there / "model" / "model.pt").stat().st_uid == 1000

    # What a person reads came to this machine, which does not see the pods' disk.
    assert {str(Path(path).relative_to(tmp_path / "there")) for path in result["collected"]} >= {
        "report/index.html",
        "results/summary.json",
    }
    fetched = tmp_path / "there" / "report" / "index.html"
    assert fetched.read_bytes() == (there / "report" / "index.html").read_bytes()
    (row,) = verbs.status(shipped("demo"), **options)["jobs"]
    assert (row["state"], row["live"]) == ("Succeeded", False)

    # Workers are gone; the rest is there to be read, and goes with the conductor.
    left = _of(kubernetes.admin, run)
    assert not any(each.startswith("DaskCluster") or "worker" in each for each in left), left
    assert f"Job {run}-train" in left
    kubernetes.admin.delete("batch/v1", "Job", run)
    _until(lambda: _of(kubernetes.admin, run) == [], 60)


def test_a_search_is_that_of_one_machine_in_a_bucket(
    kubernetes: Kubernetes, searched: dict[str, str], tmp_path: Path
) -> None:
    content = {**yaml.safe_load(PROFILE), "secret": "keys"}
    del content["work_claim"], content["data_claim"]
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump(content))
    with (
        servers.moto(tmp_path, GATEWAY) as environment,
        servers.new_bucket(environment, "searches") as bucket,
    ):
        secret: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "stringData": dict(environment)}
        kubernetes.admin.apply({**secret, "metadata": {"name": "keys", "namespace": "tailshard"}})
        for ntuple in kubernetes.claims["ntuples"].glob("*.root"):
            place(f"{bucket}/ntuples/{ntuple.name}").write_bytes(ntuple.read_bytes())
        options = {"cluster": profile, "data_root": f"{bucket}/ntuples", "overrides": OVERRIDES}
        options["workdir"] = f"{bucket}/deep/demo"
        result = verbs.launch(shipped("demo"), follow=True, **options)
        assert result["collected"] == []  # this machine sees what the pods see
        there = place(options["workdir"])
        for name, expected in searched.items():
            found = (there / "results" / name).read_text()
            assert found.replace(options["data_root"], "/data") == expected
        status = verbs.status(shipped("demo"), **options)
        assert [stage["state"] for stage in status["stages"]] == ["current"] * len(STAGES)
        (row,) = status["jobs"]
        assert (row["state"], row["live"]) == ("Succeeded", False)
        assert verbs.launch(shipped("demo"), **options)["submitted"] == []
    kubernetes.admin.delete("batch/v1", "Job", row["id"])
    _until(lambda: _of(kubernetes.admin, row["id"]) == [], 60)


def _pods(kubernetes: Kubernetes, run: str) -> list[dict[str, Any]]:
    return kubernetes.admin.labelled("v1", "Pod", {"app.kubernetes.io/instance": run})


def _log(kubernetes: Kubernetes, run: str) -> str:
    pods = [pod["metadata"]["name"] for pod in _pods(kubernetes, run) if component_of(pod) == "conductor"]
    return "".join(map(kubernetes.admin.log, pods))


def test_a_failure_is_told_in_the_words_of_the_verb_and_cancelling_leaves_nothing(
    kubernetes: Kubernetes, tmp_path: Path
) -> None:
    options = {"cluster": kubernetes.profile, "workdir": tmp_path / "work"}
    with pytest.raises(ClusterError, match=r"(?s)run demo-\w+ failed: ingest failed: .*/data/nothing"):
        verbs.launch(shipped("demo"), follow=True, data_root="/data/nothing", **options)
    (row,) = verbs.status(shipped("demo"), data_root="/data/nothing", **options)["jobs"]
    assert row["state"] == "Failed"
    assert "/data/nothing" in row["detail"]

    (launched,) = verbs.launch(shipped("demo"), data_root="/data/nothing", **options)["submitted"]
    _until(lambda: f"Job {launched['id']}-ingest" in _of(kubernetes.admin, launched["id"]), 60)
    cancelled = verbs.cancel(shipped("demo"), data_root="/data/nothing", **options)["cancelled"]
    # An old Kubernetes may try the first one again.
    assert launched["id"] in [job["id"] for job in cancelled]
    for job in cancelled:
        _until(partial(_is_gone, kubernetes.admin, job["id"]), 60)


def test_what_is_hopeless_is_stopped_and_what_is_left_is_cancelled(
    kubernetes: Kubernetes, tmp_path: Path
) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text(f"{PROFILE}\nsecret: not-there\n")
    options = {"cluster": profile, "workdir": tmp_path / "work", "data_root": "/data"}
    (launched,) = verbs.launch(shipped("demo"), **options)["submitted"]
    driver = ("batch/v1", "Job", f"{launched['id']}-ingest")
    _until(lambda: kubernetes.admin.find(*driver), 60)
    made = kubernetes.admin.find(*driver)["metadata"]["uid"]
    # It would hold the work directory once it could start. The conductor has a minute of patience; before
    # Kubernetes 1.26 it is tried again, too, and makes another.
    _until(lambda: made not in str(kubernetes.admin.find(*driver)), 120)
    _until(lambda: verbs.status(shipped("demo"), **options)["jobs"][0]["state"] == "Failed", 30)
    (row,) = verbs.status(shipped("demo"), **options)["jobs"]
    assert re.search(r"ingest: .*CreateContainerConfigError.*not-there", row["detail"])
    # This one is: its second conductor makes another driver, which nobody stops where there is no third one.
    remains = "until 'tailshard cancel' ends it"
    _until(lambda: remains in verbs.status(shipped("demo"), **options)["jobs"][0]["detail"], 60)
    assert [job["id"] for job in verbs.cancel(shipped("demo"), **options)["cancelled"]] == [row["id"]]
    _until(partial(_is_gone, kubernetes.admin, row["id"]), 60)

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from dask.config import collect_env
from dask.config import get as get_setting

from tailshard import cli, verbs
from tailshard.errors import ConfigError
from tailshard.launch import KubernetesProfile, LocalProfile, load_profile
from tailshard.launch.kubernetes import KubernetesSite
from tailshard.launch.kubernetes.manifests import certificate, conductor, shared, steps
from tailshard.launch.kubernetes.pods import quantity
from tailshard.launch.kubernetes.run import Run, run_name, run_of
from tailshard.launch.site import Job, Order
from tailshard.pipeline_files import shipped
from tailshard.places import place
from tailshard.stages import STAGES

from .crds import check

Object = dict[str, Any]

MANY = {"workers": 8, "cpus": 4, "memory": "16GB"}
SEVERAL_NODES = {"workers": 4, "cpus": 8, "gpus": 2, "memory": "64GiB", "walltime": "08:00:00"}
TEXT = "name: two-leptons\nluminosity: 1 fb^-1\ndata_root: /data\ndatasets: [{files: [mc.root]}]\n"
RUN = Run("two-leptons", TEXT, "/work/two-leptons", "two-leptons-12345678")
KUBERAY = Path("tools") / "kubernetes" / "crds"


def _profile(**stages: object) -> KubernetesProfile:
    return KubernetesProfile.model_validate(
        {
            "kind": "kubernetes",
            "image": "registry.example.org/tailshard:1",
            "gpu_image": "registry.example.org/tailshard:1-gpu",
            "work_claim": "work",
            "data_claim": "ntuples",
            "secret": "s3",
            "queue": "physics",
            "node_selector": {"pool": "batch"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "stages": {"ingest": MANY, "score": MANY, "histogram": MANY, **stages},
        }
    )


def _everything(profile: KubernetesProfile, run: Run = RUN) -> list[Object]:
    its = steps(profile, run, STAGES)
    objects = [each for step in its for each in (step.cluster, step.driver) if each is not None]
    fixed = [
        conductor(profile, run, STAGES),
        shared(profile, run, its, []),
        certificate(profile, run, "a", "b"),
    ]
    return [*fixed, *objects]


def _pods(manifest: Object) -> list[Object]:
    """Find the specifications of pods, wherever in an object."""
    if isinstance(manifest, list):
        return [pod for each in manifest for pod in _pods(each)]
    if not isinstance(manifest, dict):
        return []
    found = [manifest] if "containers" in manifest else []
    return [*found, *(pod for each in manifest.values() for pod in _pods(each))]


def _templates(manifest: Object) -> list[Object]:
    """Find the templates of pods, wherever in an object."""
    if isinstance(manifest, list):
        return [its for each in manifest for its in _templates(each)]
    if not isinstance(manifest, dict):
        return []
    found = [manifest] if {"metadata", "spec"} == manifest.keys() else []
    return [*found, *(its for each in manifest.values() for its in _templates(each))]


@pytest.fixture
def kuberay(shared: Path) -> Path:
    return shared / KUBERAY


def _named(objects: list[Object]) -> list[str]:
    return [f"{each['kind']} {each['metadata']['name'].removeprefix(RUN.name)}" for each in objects]


def _local_profiles(profile: KubernetesProfile) -> dict[str, LocalProfile]:
    data = shared(profile, RUN, steps(profile, RUN, STAGES), [])["data"]
    return {stage: LocalProfile.model_validate(yaml.safe_load(data[f"{stage}.yaml"])) for stage in STAGES}


def _deadline(manifest: Object) -> int:
    return int(manifest["spec"]["activeDeadlineSeconds"])


@pytest.mark.parametrize("train", [{}, SEVERAL_NODES], ids=["one pod", "several nodes"])
def test_a_run_waits_for_a_full_cluster_as_long_as_its_deadlines_allow(train: Object) -> None:
    profile = _profile(train=train).model_copy(update={"start_timeout": 7200.0})
    its = {step.stage: step.driver for step in steps(profile, RUN, STAGES)}
    where = _local_profiles(profile)
    for stage, driver in its.items():
        walltime = profile.stages.of(stage).walltime.total_seconds()
        assert _deadline(driver) == walltime + 7200
        if stage in ("ingest", "score", "histogram"):
            assert where[stage].dask.start_timeout == _deadline(driver) - profile.start_timeout
    tries = its["train"]["spec"]["backoffLimit"] + 1 if train else 1
    assert tries == (2 if train else 1)
    longest = sum(map(_deadline, its.values())) + (tries - 1) * _deadline(its["train"])
    # A queue stops the clocks of all but the conductor.
    assert _deadline(conductor(profile, RUN, STAGES)) > 2 * longest
    free = profile.model_copy(update={"queue": None})
    assert 2 * longest > _deadline(conductor(free, RUN, STAGES)) > longest


@pytest.mark.parametrize("train", [{}, SEVERAL_NODES], ids=["one pod", "several nodes"])
def test_prometheus_finds_the_pods_that_drive(train: Object, kuberay: Path) -> None:
    profile = KubernetesProfile.model_validate(
        {**_profile(train=train).model_dump(), "metrics": "0.0.0.0:9999"}
    )
    assert {its.metrics for its in _local_profiles(profile).values()} == {"0.0.0.0:9999"}
    found = []
    for manifest in _everything(profile):
        check(manifest, kuberay)
        for template in _templates(manifest):
            if "annotations" in template["metadata"]:
                expected = {"prometheus.io/scrape": "true", "prometheus.io/port": "9999"}
                assert template["metadata"]["annotations"] == expected
                found.append(template["spec"]["containers"][0]["name"])
    assert found == ["ingest", "head" if train else "train", "score", "histogram", "report"]
    assert all(its.metrics is None for its in _local_profiles(_profile(train=train)).values())


def test_metrics_that_prometheus_could_not_reach_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("kind: kubernetes\nimage: i:1\nmetrics: 127.0.0.1:9464\n")
    with pytest.raises(ConfigError, match=r"metrics: .*does not reach '127\.0\.0\.1:9464'.*0\.0\.0\.0:9464"):
        load_profile(path)


def test_neighbours_of_equal_resources_share_workers() -> None:
    found = {step.stage: step for step in steps(_profile(), RUN, STAGES)}
    assert found["score"].cluster == found["histogram"].cluster
    assert found["ingest"].cluster["metadata"]["name"] == f"{RUN.name}-ingest"
    assert found["score"].cluster["metadata"]["name"] == f"{RUN.name}-score"
    assert found["train"].cluster is found["report"].cluster is None
    other = {step.stage: step for step in steps(_profile(histogram={"workers": 2}), RUN, STAGES)}
    assert other["histogram"].cluster["metadata"]["name"] == f"{RUN.name}-histogram"
    assert other["histogram"].cluster["spec"]["worker"]["replicas"] == 2


@pytest.mark.parametrize("train", [{"gpus": 1}, {}], ids=["one GPU", "no GPU"])
def test_training_in_one_pod_is_a_plain_job(train: Object) -> None:
    profile = _profile(train=train)
    (step,) = steps(profile, RUN, ["train"])
    assert step.driver["kind"] == "Job"
    (pod,) = _pods(step.driver)
    limits = pod["containers"][0]["resources"]["limits"]
    assert limits.get("nvidia.com/gpu") == ("1" if train else None)
    assert pod["containers"][0]["image"] == "registry.example.org/tailshard:1-gpu"
    where = shared(profile, RUN, [step], [])["data"]["train.yaml"]
    assert yaml.safe_load(where)["ray"]["address"] is None  # Ray in the pod, and nobody else's


def test_training_on_several_nodes_is_a_ray_job_with_a_token_that_ends() -> None:
    profile = _profile(train=SEVERAL_NODES)
    (step,) = steps(profile, RUN, ["train"])
    spec = step.driver["spec"]
    assert step.driver["kind"] == "RayJob"
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    (nodes,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert (nodes["replicas"], nodes["minReplicas"], nodes["maxReplicas"]) == (4, 4, 4)
    (container,) = nodes["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "2"}
    head = spec["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"  # it leads, and does not train
    assert "nvidia.com/gpu" not in head["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert shlex.split(spec["entrypoint"])[:2] == ["tailshard", "train"]
    assert len(step.driver["metadata"]["name"]) <= 47
    where = shared(profile, RUN, [step], [])["data"]["train.yaml"]
    assert yaml.safe_load(where)["ray"]["address"] == "auto"


@pytest.mark.parametrize("train", [{}, {"gpus": 1}, SEVERAL_NODES], ids=["no GPU", "one GPU", "many GPUs"])
def test_pods_have_no_rights_and_write_only_where_they_are_meant_to(train: Object) -> None:
    for manifest in _everything(_profile(train=train)):
        for pod in _pods(manifest):
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] > 0
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            (container,) = pod["containers"]
            assert pod["automountServiceAccountToken"] is (container["name"] == "conductor")
            assert ("serviceAccountName" in pod) is (container["name"] == "conductor")
            assert container["securityContext"] == {
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            writable = {its["mountPath"] for its in container["volumeMounts"] if not its.get("readOnly")}
            assert writable - {"/work"} == {"/tmp", "/dev/shm"}
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert not container["image"].endswith(":latest")


def test_secrets_are_referred_to_and_never_written() -> None:
    objects = _everything(_profile(train=SEVERAL_NODES))
    text = yaml.safe_dump([each for each in objects if each["kind"] != "Secret"])
    assert "PRIVATE KEY" not in text
    with_secret = [
        pod["containers"][0]["name"] for each in objects for pod in _pods(each) if "envFrom" in str(pod)
    ]
    assert set(with_secret) == {*STAGES, "worker", "head", "node"} - {"train"}
    order = Order("s", Path("/work/s"), Path("/work/s/jobs/1"), TEXT, "")
    said = KubernetesSite(_profile()).text(Job(STAGES, _profile().stages.ingest), order, [])
    (secret,) = (each for each in yaml.safe_load_all(said) if each["kind"] == "Secret")
    assert secret["stringData"] == {"tls.crt": "made by launch", "tls.key": "made by launch, shown to nobody"}


def test_everything_dask_is_encrypted_and_found_by_its_name() -> None:
    profile = _profile()
    its = steps(profile, RUN, ["ingest"])
    (step,) = its
    dask = step.cluster["spec"]
    name = step.cluster["metadata"]["name"]
    address = f"tls://{name}-scheduler:8786"
    (worker,) = dask["worker"]["spec"]["containers"]
    assert address in worker["command"]
    where = yaml.safe_load(shared(profile, RUN, its, [])["data"]["ingest.yaml"])
    assert where["dask"]["address"] == address
    assert isinstance(LocalProfile.model_validate(where), LocalProfile)
    assert dask["scheduler"]["service"]["selector"] == {
        "dask.org/cluster-name": name,
        "dask.org/component": "scheduler",
    }
    for pod in _pods([step.cluster, step.driver]):
        (container,) = pod["containers"]
        variables = {each["name"]: each["value"] for each in container["env"]}
        assert variables["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "True"
        settings = collect_env(variables)
        routes = get_setting("distributed.scheduler.http.routes", config=settings)
        assert "distributed.http.health" in routes  # which readiness asks for
        assert "distributed.http.proxy" not in routes  # see SECURITY.md
        mounts = {each["mountPath"] for each in container["volumeMounts"]}
        for role in ("SCHEDULER", "WORKER", "CLIENT"):
            for what in ("CERT", "KEY"):
                file = variables[f"DASK_DISTRIBUTED__COMM__TLS__{role}__{what}"]
                assert file.rpartition("/")[0] in mounts


def test_a_worker_pod_has_a_process_for_each_cpu_and_their_memory_fits_it() -> None:
    (step,) = steps(_profile(), RUN, ["score"])
    (worker,) = step.cluster["spec"]["worker"]["spec"]["containers"]
    words = worker["command"]
    assert words[words.index("--nworkers") + 1] == "4"
    assert words[words.index("--nthreads") + 1] == "1"
    assert 4 * int(words[words.index("--memory-limit") + 1]) == 16 * 10**9
    assert worker["resources"]["limits"] == {"cpu": "4", "memory": "16G"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_a_command_that_tailshard_understands(stage: str, tmp_path: Path) -> None:
    run = Run("s", TEXT, str(tmp_path / "work"), "s-1", strict=True)
    (step,) = steps(_profile(), run, [stage])
    program, *arguments = _pods(step.driver)[0]["containers"][0]["command"]
    assert program == "tailshard"
    answer = CliRunner().invoke(cli.main, arguments)
    assert answer.exit_code == 1  # not 2, wrong usage: there is no such pipeline here
    assert "cannot read the pipeline /etc/tailshard/pipeline.yaml" in answer.output


def test_a_verb_that_fails_is_not_tried_again_and_a_lost_pod_is() -> None:
    (step,) = steps(_profile(), RUN, ["report"])
    failed, lost = step.driver["spec"]["podFailurePolicy"]["rules"]
    assert (failed["action"], failed["onExitCodes"]["values"]) == ("FailJob", [1, 2])
    assert (lost["action"], lost["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert step.driver["spec"]["backoffLimit"] > 0


def test_what_starts_pods_can_be_queued_and_the_conductor_is_not() -> None:
    queued = {
        f"{each['kind']} {each['metadata']['labels']['app.kubernetes.io/component']}"
        for each in _everything(_profile(train=SEVERAL_NODES))
        if each["metadata"]["labels"].get("kueue.x-k8s.io/queue-name") == "physics"
    }
    jobs = {f"Job {stage}" for stage in STAGES if stage != "train"}
    assert queued == {"DaskCluster dask", "RayJob train", *jobs}


@pytest.mark.parametrize("train", [{}, SEVERAL_NODES], ids=["one pod", "several nodes"])
def test_kubernetes_and_both_operators_accept_everything(train: Object, kuberay: Path) -> None:
    found = set()
    for manifest in _everything(_profile(train=train)):
        check(manifest, kuberay)
        found.add(manifest["kind"])
    assert found == {"Job", "ConfigMap", "Secret", "DaskCluster"} | ({"RayJob"} if train else set())


def test_a_wrong_field_is_found(kuberay: Path) -> None:
    profile = _profile(train=SEVERAL_NODES)
    for step, path in zip(
        steps(profile, RUN, ["train", "ingest"]),
        ("rayClusterSpec.headGroupSpec.template.spec", "worker.spec"),
        strict=True,
    ):
        manifest = step.cluster or step.driver
        part = manifest["spec"]
        for key in path.split("."):
            part = part[key]
        part["restartPolcy"] = "Never"
        with pytest.raises(jsonschema.ValidationError, match="restartPolcy"):
            check(manifest, kuberay)


def test_names_are_those_of_kubernetes_and_of_one_order_alone() -> None:
    long = run_name("3L: Z' -> ee (2026) with everything in it", "jobs/1")
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", long)
    assert len(f"{long}-histogram") <= 53  # of a DaskCluster
    assert len(f"{long}-train") <= 47  # of a RayJob
    assert run_name("a", "jobs/1") != run_name("a", "jobs/2")


def _order(workdir: str, data_root: str = "/data") -> Order:
    text = yaml.safe_dump({"data_root": data_root, "datasets": [{"files": ["a.root"]}]})
    return Order("a", Path(workdir), Path(workdir) / "jobs/1", text, "")


def test_pods_have_their_own_view_of_the_work_directory() -> None:
    assert run_of(_profile(), _order("/work/deep/a")).workdir == "/work/deep/a"
    assert run_of(_profile(), _order("/home/me/tailshard-work/a")).workdir == "/work/a"


def test_a_work_directory_in_a_bucket_is_everywhere_the_same_and_needs_no_claim() -> None:
    profile = _profile().model_copy(update={"work_claim": None, "secret": "keys"})
    workdir = place("s3://searches/deep/a")
    run = run_of(profile, replace(_order("/work/a"), workdir=workdir, folder=workdir / "jobs" / "1"))
    assert run.workdir == "s3://searches/deep/a"
    for manifest in _everything(profile):
        for pod in _pods(manifest):
            (container,) = pod["containers"]
            assert "/work" not in {its["mountPath"] for its in container["volumeMounts"]}


def test_what_no_pod_can_see_is_refused() -> None:
    with pytest.raises(ConfigError, match="work_claim"):
        run_of(_profile().model_copy(update={"work_claim": None}), _order("/work/a"))
    with pytest.raises(ConfigError, match=r"no pod can read /home/me/a\.root.*--data-root /data"):
        run_of(_profile(), _order("/work/a", data_root="/home/me"))
    assert run_of(_profile(), _order("/work/a", data_root="s3://ntuples"))


@pytest.mark.parametrize(
    ("memory", "written"),
    [("4GB", "4G"), ("64 GiB", "64Gi"), ("1.5GB", "1500000000"), ("500MB", "500M"), ("100kB", "100k")],
)
def test_memory_is_written_as_kubernetes_does(memory: str, written: str) -> None:
    from kubernetes.utils.quantity import parse_quantity

    assert quantity(memory) == written
    assert parse_quantity(written) > 0


def test_a_dry_run_prints_what_would_be_applied_and_asks_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kuberay: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    profile = Path(__file__).parents[3] / "cluster" / "kubernetes.yaml"
    assert isinstance(load_profile(profile), KubernetesProfile)
    options = [str(shipped("demo")), "--cluster", str(profile), "--data-root", "/data", "--dry-run"]
    answer = CliRunner().invoke(cli.main, ["launch", *options, "--workdir", str(tmp_path / "work")])
    assert answer.exit_code == 0, answer.output
    printed = list(yaml.safe_load_all(answer.stdout))
    for manifest in printed:
        check(manifest, kuberay)
    kinds = [each["kind"] for each in printed]
    assert kinds == [
        "Job",
        "ConfigMap",
        "Secret",
        "DaskCluster",
        "Job",
        "Job",
        "DaskCluster",
        "Job",
        "Job",
        "Job",
    ]
    assert not (tmp_path / "work" / "jobs.json").exists()
    planned = verbs.plan(shipped("demo"), cluster=profile, data_root="/data", workdir=tmp_path / "work")
    assert [job["stages"] for job in planned["jobs"]] == [STAGES]

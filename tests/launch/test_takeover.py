import pytest

from tailshard.launch import LocalProfile, SlurmProfile, patience
from tailshard.launch.kubernetes.manifests import steps
from tailshard.launch.kubernetes.run import Run
from tailshard.launch.profile import KubernetesProfile
from tailshard.stages import STAGES


@pytest.fixture(autouse=True)
def _at_a_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "TAILSHARD_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


def test_nobody_waits_at_a_desk_and_a_job_waits_for_the_one_it_replaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slurm = SlurmProfile(kind="slurm")
    assert patience(LocalProfile()) == patience(slurm) == 0
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert patience(slurm) > 90  # a lease of NFS
    assert patience(LocalProfile()) == 0  # somebody's own allocation


@pytest.mark.parametrize("nodes", [1, 2])
def test_every_pod_with_a_verb_waits_for_the_one_it_replaces(
    nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = KubernetesProfile.model_validate(
        {"kind": "kubernetes", "image": "i:1", "stages": {"train": {"workers": nodes}}}
    )
    for step in steps(profile, Run("demo", "", "/work/demo", "demo-1"), STAGES):
        spec = step.driver["spec"]
        if step.driver["kind"] == "RayJob":  # whose verb runs on the head
            spec = spec["rayClusterSpec"]["headGroupSpec"]
        (container,) = spec["template"]["spec"]["containers"]
        with monkeypatch.context() as pod:
            for variable in container["env"]:
                pod.setenv(variable["name"], variable["value"])
            assert patience(LocalProfile()) > 90

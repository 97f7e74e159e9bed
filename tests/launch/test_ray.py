import pytest

from tailshard.errors import ClusterError
from tailshard.launch import LocalProfile, RayProfile, SlurmProfile, ray_profile
from tailshard.launch.ray import ADDRESS, alive_nodes


@pytest.fixture(autouse=True)
def outside_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ADDRESS, "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


def test_a_login_node_does_not_train(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray_profile(LocalProfile()).address is None
    with pytest.raises(ClusterError, match="tailshard launch"):
        ray_profile(SlurmProfile(kind="slurm"))
    named = SlurmProfile(kind="slurm", ray=RayProfile(address="10.0.0.1:6379", gpus_per_trial=0.5))
    assert ray_profile(named) == named.ray
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert ray_profile(SlurmProfile(kind="slurm")).address is None  # a private one, on the job's node


def test_the_ray_of_the_job_comes_before_that_of_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS, "10.0.0.2:6017")
    named = SlurmProfile(kind="slurm", ray=RayProfile(address="10.0.0.1:6379", gpus_per_trial=0.5))
    assert ray_profile(named) == RayProfile(address="10.0.0.2:6017", gpus_per_trial=0.5)


def test_a_ray_that_is_not_there_is_found_out_at_once() -> None:
    with pytest.raises(ConnectionRefusedError):
        alive_nodes("127.0.0.1:1")

import pytest

from tailshard.errors import ConfigError
from tailshard.launch import RayProfile
from tailshard.tune.under_ray import share_of

LAPTOP = [{"CPU": 2.0, "memory": 1e9}]
CLUSTER = [{"CPU": 8.0}, {"CPU": 64.0, "GPU": 4.0}]


@pytest.mark.parametrize(
    ("machines", "use_gpu", "profile", "share"),
    [
        (LAPTOP, "auto", {}, {"cpu": 2, "gpu": 0}),
        (LAPTOP, "auto", {"cpus_per_trial": 1}, {"cpu": 1, "gpu": 0}),
        (CLUSTER, "auto", {}, {"cpu": 16, "gpu": 1}),
        (CLUSTER, False, {}, {"cpu": 64, "gpu": 0}),
        (CLUSTER, True, {"gpus_per_trial": 0.5}, {"cpu": 8, "gpu": 0.5}),
        (CLUSTER, True, {"gpus_per_trial": 2, "cpus_per_trial": 3}, {"cpu": 3, "gpu": 2}),
    ],
)
def test_a_trial_has_its_share_of_a_machine(machines, use_gpu, profile, share):
    assert share_of(machines, use_gpu, RayProfile(**profile)) == share


@pytest.mark.parametrize("profile", [{"cpus_per_trial": 3}, {"gpus_per_trial": 1}])
def test_more_than_a_machine_has_is_refused(profile):
    with pytest.raises(ConfigError, match="the largest machine has 2 and 0"):
        share_of(LAPTOP, "auto", RayProfile(**profile))

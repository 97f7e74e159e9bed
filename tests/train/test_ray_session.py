import os

import psutil
import pytest

from tailshard.errors import ClusterError, ConfigError
from tailshard.learning import Training
from tailshard.train.ray_session import head_processes, lay_out, ray_session, require_alive


@pytest.mark.parametrize(
    ("training", "resources", "workers", "threads", "cpus"),
    [
        pytest.param({}, {"CPU": 2}, 1, 2, 1.0, id="laptop"),
        pytest.param({}, {"CPU": 1}, 1, 1, 1.0, id="one_cpu"),
        pytest.param({}, {"CPU": 8}, 4, 2, 1.0, id="one_for_every_two_cpus"),
        pytest.param({}, {"CPU": 64}, 4, 16, 1.0, id="no_more_than_the_batch_feeds"),
        pytest.param({"batch_size": 8192}, {"CPU": 64}, 32, 2, 1.0, id="a_large_batch_feeds_more"),
        pytest.param({"batch_size": 16}, {"CPU": 8}, 1, 8, 1.0, id="a_small_batch_feeds_one"),
        pytest.param({"workers": 3}, {"CPU": 8}, 3, 2, 1.0, id="as_many_as_asked_for"),
        pytest.param({"workers": 4}, {"CPU": 2}, 4, 1, 0.5, id="workers_share_cpus"),
        pytest.param({"workers": 3}, {"CPU": 2}, 3, 1, 0.6666, id="shares_never_exceed_the_cpus"),
        pytest.param({}, {"CPU": 16, "GPU": 4}, 4, 4, 1.0, id="one_for_each_gpu"),
        pytest.param({"use_gpu": False}, {"CPU": 8, "GPU": 4}, 4, 2, 1.0, id="gpus_left_alone"),
    ],
)
def test_workers_follow_the_machine(training, resources, workers, threads, cpus):
    layout = lay_out(Training(**training), resources)
    assert (layout.workers, layout.threads, layout.cpus) == (workers, threads, cpus)
    assert layout.use_gpu == ("GPU" in resources and training.get("use_gpu") is not False)


@pytest.mark.parametrize(
    ("training", "resources"),
    [
        pytest.param({"use_gpu": True}, {"CPU": 8}, id="there_is_none"),
        pytest.param({"workers": 4}, {"CPU": 8, "GPU": 2}, id="there_are_fewer"),
    ],
)
def test_gpus_that_are_not_there_are_a_configuration_error(training, resources):
    with pytest.raises(ConfigError, match=r"training\.use_gpu asks for"):
        lay_out(Training(**training), resources)


@pytest.mark.slow
def test_a_ray_of_the_caller_is_used_and_left_running(capfd):
    import ray

    before = dict(os.environ)
    with ray_session() as outer:
        with ray_session() as inner:
            assert inner["CPU"] == outer["CPU"] > 0
        assert ray.is_initialized()
    assert not ray.is_initialized()
    assert os.environ == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no address", "ray://127.0.0.1:1"])
def test_an_address_without_a_cluster_is_a_cluster_error(address):
    with (
        pytest.raises(ClusterError, match=f"cannot connect to the Ray cluster at {address}:"),
        ray_session(address),
    ):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gcs_server", "raylet"])
def test_a_lost_head_is_noticed_before_ray_ends_this_process(name):
    with ray_session():
        head = head_processes()
        assert {process.name() for process in head} == {"gcs_server", "raylet"}
        require_alive(head)
        next(process for process in head if process.name() == name).kill()
        psutil.wait_procs(head, timeout=1)
        with pytest.raises(ClusterError, match="has lost its head"):
            require_alive(head)

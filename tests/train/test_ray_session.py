import os
import subprocess
import sys

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


_ASK = (
    "import sys; from ray._raylet import GcsClient; "
    "print(GcsClient(address=sys.argv[1]).internal_kv_keys(b'', namespace=None, timeout=10))"
)


@pytest.mark.slow
def test_nobody_without_its_token_can_talk_to_a_private_ray(tmp_path):
    import psutil
    import ray

    def ask(token):
        """Ask from another process for what Ray knows: the ports are open to the whole network."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment = {**others, "HOME": str(tmp_path)}
        if token:
            environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        command = [sys.executable, "-c", _ASK, address]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    with ray_session():
        address, token = ray.get_runtime_context().gcs_address, os.environ["RAY_AUTH_TOKEN"]
        allowed = ask(token)
        assert allowed.returncode == 0, allowed.stderr
        assert "session_name" in allowed.stdout
        wrong = ask("0" * len(token))
        assert wrong.returncode != 0
        assert "Authentication token is missing or incorrect" in wrong.stderr
        assert ask(None).returncode != 0
        commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
        assert token not in str(commands)
    assert "RAY_AUTH_TOKEN" not in os.environ


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

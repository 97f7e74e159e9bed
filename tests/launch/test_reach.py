import pytest

from tailshard.launch.reach import announce, announcement, how_to_reach, port_forward

LINK = "http://127.0.0.1:8787/status"


def test_whoever_sits_at_the_machine_opens_the_page_as_it_is() -> None:
    assert how_to_reach(LINK, {"USER": "ada"}) is None
    assert announcement(LINK, None) == f"Dask dashboard: {LINK}"


def test_a_page_that_is_open_to_others_needs_no_tunnel() -> None:
    assert how_to_reach("http://10.0.0.7:8787/status", {"SSH_CONNECTION": "10.0.0.1 5 10.0.0.7 22"}) is None


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        (
            {"SSH_CONNECTION": "192.0.2.1 50022 192.0.2.9 22"},
            "ssh -N -L 8787:127.0.0.1:8787 ada@192.0.2.9",
        ),
        (
            {"SSH_CONNECTION": "192.0.2.1 50022 192.0.2.9 2222"},
            "ssh -N -L 8787:127.0.0.1:8787 -p 2222 ada@192.0.2.9",
        ),
        (
            {"SLURM_JOB_ID": "17", "SLURMD_NODENAME": "n042", "SLURM_SUBMIT_HOST": "login1"},
            "ssh -N -L 8787:127.0.0.1:8787 -J ada@login1 ada@n042",
        ),
        (  # a job may have been started from a session that came by ssh: the job decides
            {
                "SLURM_JOB_ID": "17",
                "SLURMD_NODENAME": "login1",
                "SLURM_SUBMIT_HOST": "login1",
                "SSH_CONNECTION": "192.0.2.1 50022 192.0.2.9 22",
            },
            "ssh -N -L 8787:127.0.0.1:8787 ada@login1",
        ),
    ],
    ids=["ssh", "ssh_port", "job", "job_on_the_submit_host"],
)
def test_from_elsewhere_the_exact_command_is_told(environment: dict[str, str], command: str) -> None:
    assert how_to_reach(LINK, {"USER": "ada", **environment}) == command
    told: list[str] = []
    announce(LINK, lambda what, done, total: told.append(what), command)
    assert told == [f"Dask dashboard: {LINK}, once this runs on your own machine:\n  {command}"]


def test_a_service_of_kubernetes_is_forwarded() -> None:
    assert (
        port_forward("lhc", "demo-scheduler")
        == "kubectl --namespace lhc port-forward service/demo-scheduler 8787:8787"
    )
    assert " --context cern " in port_forward("lhc", "demo-scheduler", context="cern")

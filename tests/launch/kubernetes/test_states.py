from typing import Any

import pytest

from tailshard.launch.kubernetes.states import (
    Ending,
    component_of,
    ending_of,
    has_refused,
    has_succeeded,
    in_words,
    is_queued,
    is_running,
    stays,
    trouble_of,
)

Object = dict[str, Any]


def _pod(state: Object | None = None, *, component: str = "worker", **status: Any) -> Object:
    containers = [] if state is None else [{"name": component, "state": {}, **state}]
    limits = {"limits": {"memory": "16G"}}
    return {
        "metadata": {"name": f"demo-{component}-x"},
        "spec": {"containers": [{"name": component, "resources": limits}]},
        "status": {"phase": "Pending", "containerStatuses": containers, **status},
    }


def _waiting(reason: str, message: str = "") -> Object:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


RUNNING = {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}


@pytest.mark.parametrize(
    ("reason", "message", "advice"),
    [
        ("ImagePullBackOff", 'Back-off pulling image "x:1"', "check image and gpu_image"),
        ("CreateContainerConfigError", 'secret "s3" not found', "the secret that the profile names"),
    ],
)
def test_what_will_not_pass_is_told_with_what_to_do(reason: str, message: str, advice: str) -> None:
    trouble = trouble_of(_pod(_waiting(reason, message)))
    assert trouble is not None
    assert (trouble.component, trouble.reason, trouble.lasting) == ("worker", reason, True)
    assert f"pod demo-worker-x: {reason}: {message}" in trouble.text
    assert advice in trouble.text


def test_a_pod_that_ran_out_of_memory_says_how_much_it_had() -> None:
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    for status in ({"state": ended}, {"lastState": ended, **_waiting("CrashLoopBackOff")}):
        trouble = trouble_of(_pod(status))
        assert trouble is not None
        assert trouble.reason == "OOMKilled"
        assert "ran out of its memory (16G)" in trouble.text
        assert not has_refused(_pod(status))


def test_a_pod_that_waits_for_a_node_may_still_get_one() -> None:
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    trouble = trouble_of(_pod(conditions=[condition]))
    assert trouble is not None
    assert trouble.lasting is False
    assert "3 Insufficient nvidia.com/gpu; ask for less" in trouble.text


def test_a_pod_that_was_evicted_or_crashes_says_why() -> None:
    evicted = trouble_of(_pod(phase="Failed", reason="Evicted", message="The node was low on disk."))
    assert evicted is not None
    assert evicted.text == "pod demo-worker-x: Evicted: The node was low on disk."
    crash = {
        **_waiting("CrashLoopBackOff"),
        "lastState": {"terminated": {"exitCode": 127, "reason": "Error"}},
    }
    trouble = trouble_of(_pod(crash))
    assert trouble is not None
    assert "CrashLoopBackOff: exit code 127, Error" in trouble.text


@pytest.mark.parametrize("state", [None, RUNNING, _waiting("ContainerCreating"), _waiting("PodInitializing")])
def test_a_pod_that_runs_or_begins_is_no_trouble(state: Object | None) -> None:
    assert trouble_of(_pod(state)) is None


@pytest.mark.parametrize(("code", "refused"), [(0, False), (1, True), (2, True), (137, False), (143, False)])
def test_an_error_of_the_verb_is_told_from_a_lost_pod(code: int, refused: bool) -> None:
    pod = _pod({"state": {"terminated": {"exitCode": code}}}, phase="Failed" if code else "Succeeded")
    assert has_refused(pod) is refused


def test_pods_are_counted_in_words() -> None:
    pods = [_pod(RUNNING), _pod(_waiting("ContainerCreating")), _pod(RUNNING, component="scheduler")]
    done = _pod({"state": {"terminated": {"exitCode": 0}}}, component="ingest", phase="Succeeded")
    assert in_words([*pods, done]) == "scheduler, worker 1/2"
    assert [is_running(pod) for pod in pods] == [True, False, True]
    assert component_of(pods[0]) == "worker"


def test_a_pod_stays_until_it_has_ended_or_is_removed() -> None:
    done = _pod({"state": {"terminated": {"exitCode": 0}}}, phase="Succeeded")
    removed = _pod(RUNNING, phase="Running")
    removed["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    pods = [_pod(), _pod(RUNNING, phase="Running"), removed, done, _pod(phase="Failed")]
    assert [stays(pod) for pod in pods] == [True, True, False, False, False]
    assert [has_succeeded(pod) for pod in pods] == [False, False, False, True, False]


def _job(kind: str, spec: Object | None = None, **status: Any) -> Object:
    return {"kind": kind, "spec": spec or {}, "status": status}


@pytest.mark.parametrize(
    ("work", "ending"),
    [
        (_job("Job", active=1), None),
        (_job("Job", conditions=[{"type": "Complete", "status": "True"}]), Ending(True)),
        (_job("Job", conditions=[{"type": "FailureTarget", "status": "True"}]), None),
        (
            _job(
                "Job",
                conditions=[
                    {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}
                ],
            ),
            Ending(False, "DeadlineExceeded: too long"),
        ),
        (_job("RayJob", jobDeploymentStatus="Running", jobStatus="RUNNING"), None),
        (_job("RayJob", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED"), Ending(True, "SUCCEEDED")),
        (
            _job("RayJob", jobDeploymentStatus="Failed", reason="AppFailed", message="exit code 1"),
            Ending(False, "AppFailed: exit code 1"),
        ),
        (_job("RayJob", jobDeploymentStatus="Retrying", jobStatus="FAILED"), None),
        (_job("RayJob", jobDeploymentStatus="Suspended", jobStatus=""), None),
        (_job("RayJob", jobDeploymentStatus="Complete", jobStatus="STOPPED"), Ending(False, "STOPPED")),
        (
            _job(
                "RayJob",
                jobDeploymentStatus="ValidationFailed",
                reason="ValidationFailed",
                message="too long",
            ),
            Ending(False, "ValidationFailed: too long"),
        ),
    ],
)
def test_an_ending_is_read_from_what_its_controller_writes(work: Object, ending: Ending | None) -> None:
    assert ending_of(work) == ending


def test_what_a_queue_holds_back_is_known() -> None:
    assert is_queued(_job("Job", {"suspend": True}))
    assert not is_queued(_job("RayJob", {"suspend": False}))

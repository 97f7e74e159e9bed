"""What Jobs, RayJobs and pods say of themselves: pure functions on objects as Kubernetes gives them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Found = Mapping[str, Any]
"""An object as Kubernetes gives it."""

REFUSALS = (1, 2)
"""Exit codes of tailshard: an error that it told, or wrong usage."""

_HOPELESS = {
    "InvalidImageName": "image",
    "ErrImageNeverPull": "image",
    "ImagePullBackOff": "image",
    "ErrImagePull": "image",
    "CreateContainerConfigError": "configuration",
    "CreateContainerError": "configuration",
    "RunContainerError": "configuration",
    "CrashLoopBackOff": "crash",
}
_ADVICE = {
    "image": "check image and gpu_image of the profile, and that the cluster may pull them",
    "configuration": "check the claims and the secret that the profile names, and the image",
    "crash": "its log says why",
    "Unschedulable": "ask for less in the profile's stages, or look for free nodes",
}


@dataclass(frozen=True)
class Ending:
    """How a Job or RayJob has ended."""

    succeeded: bool
    reason: str = ""


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not run, or did not."""

    pod: str
    component: str
    reason: str
    """In Kubernetes's own word, such as ImagePullBackOff."""
    text: str
    """A sentence, with what to do."""
    lasting: bool
    """It will not pass by itself; a pod that waits for a node may still get one."""


def ending_of(work: Found) -> Ending | None:
    """Tell how a Job or RayJob has ended; None while it has not."""
    status = work.get("status") or {}
    if work["kind"] == "RayJob":
        deployment, job = status.get("jobDeploymentStatus"), status.get("jobStatus")
        if deployment == "Complete":
            return Ending(job in (None, "SUCCEEDED"), _sentence(job, status.get("message")))
        if deployment in ("Failed", "ValidationFailed"):  # KubeRay looks at neither again
            return Ending(False, _sentence(status.get("reason") or job, status.get("message")))
        return None
    for condition in status.get("conditions") or ():
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            reason = _sentence(condition.get("reason"), condition.get("message"))
            return Ending(condition["type"] == "Complete", reason)
    return None


def is_queued(work: Found) -> bool:
    """Tell whether a queue holds it back."""
    return bool((work.get("spec") or {}).get("suspend"))


def component_of(pod: Found) -> str:
    """Tell what a pod is: a stage, scheduler, worker, head, node, submitter or conductor."""
    containers = pod["spec"].get("containers") or [{}]
    return str(containers[0].get("name", ""))


def trouble_of(pod: Found) -> Trouble | None:
    """Tell why a pod does not run, or how it has failed; None where nothing is wrong."""
    status, name, component = pod.get("status") or {}, pod["metadata"]["name"], component_of(pod)
    for container in status.get("containerStatuses") or ():
        killed = _terminated(container)
        if killed is not None and killed.get("reason") == "OOMKilled":
            limit = _memory_of(pod)
            text = f"pod {name} ran out of its memory ({limit}); give its stage more in the profile"
            return Trouble(name, component, "OOMKilled", text, lasting=False)
        waiting = (container.get("state") or {}).get("waiting") or {}
        if (reason := waiting.get("reason")) in _HOPELESS:
            said = _ended(killed) if reason == "CrashLoopBackOff" else waiting.get("message")
            text = f"pod {name}: {_sentence(reason, said)}; {_ADVICE[_HOPELESS[reason]]}"
            return Trouble(name, component, reason, text, lasting=True)
    if status.get("phase") == "Failed":
        reason = status.get("reason") or "Failed"
        said = status.get("message") or _ended(_terminated(*(status.get("containerStatuses") or ({},))[:1]))
        return Trouble(name, component, reason, f"pod {name}: {_sentence(reason, said)}", lasting=False)
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            said = f"pod {name} has no node: {condition.get('message', '')}".rstrip(". ")
            text = f"{said}; {_ADVICE['Unschedulable']}"
            return Trouble(name, component, "Unschedulable", text, lasting=False)
    return None


def has_refused(pod: Found) -> bool:
    """Tell whether its verb ended with an error, which the next pod would end with, too.

    Kubernetes 1.26 and later end the Job for that; older ones would try again.
    """
    ended = (pod.get("status") or {}).get("containerStatuses") or ()
    return any((_terminated(each) or {}).get("exitCode") in REFUSALS for each in ended)


def has_succeeded(pod: Found) -> bool:
    """Tell whether it has done what it was for."""
    return bool((pod.get("status") or {}).get("phase") == "Succeeded")


def stays(pod: Found) -> bool:
    """Tell whether it runs or waits, and nobody has removed it."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Pending", "Running") and "deletionTimestamp" not in pod["metadata"]


def is_running(pod: Found) -> bool:
    """Tell whether its container runs."""
    states = (pod.get("status") or {}).get("containerStatuses") or ()
    return bool(states) and all("running" in (each.get("state") or {}) for each in states)


def in_words(pods: Sequence[Found]) -> str:
    """Count the pods of each component: ``4 workers, 1 of them waiting``."""
    counts: dict[str, list[bool]] = {}
    for pod in pods:
        if (pod.get("status") or {}).get("phase") in ("Pending", "Running"):
            counts.setdefault(component_of(pod), []).append(is_running(pod))
    told = []
    for component, running in sorted(counts.items()):
        waiting = len(running) - sum(running)
        told.append(
            f"{component} {sum(running)}/{len(running)}" if waiting or len(running) > 1 else component
        )
    return ", ".join(told)


def _terminated(container: Found) -> Found | None:
    for key in ("state", "lastState"):
        if its := (container.get(key) or {}).get("terminated"):
            found: Found = its
            return found
    return None


def _ended(terminated: Found | None) -> str:
    if terminated is None:
        return ""
    said = str(terminated.get("message") or terminated.get("reason") or "")
    return f"exit code {terminated.get('exitCode')}" + (f", {said.strip()}" if said else "")


def _memory_of(pod: Found) -> str:
    containers = pod["spec"].get("containers") or [{}]
    return str(((containers[0].get("resources") or {}).get("limits") or {}).get("memory", "unknown"))


def _sentence(*parts: str | None) -> str:
    return ": ".join(str(part).strip() for part in parts if part)

"""The Kubernetes API, in the few calls that a run needs. Every call is bounded in time."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from ...errors import ClusterError
from .pods import Object

_MANAGER = "tailshard"
_SECONDS = (10, 60)  # to connect, to answer
_BUSY = (429, 500, 502, 503, 504)
_LONGEST_PAUSE = 30.0
_RETRIES = 3  # six seconds of pauses: somebody waits
_PATIENT_RETRIES = 24  # ten minutes of pauses: a control plane may be upgraded
_NEEDED = {
    "DaskCluster": "the Dask operator (https://kubernetes.dask.org)",
    "RayJob": "KubeRay (https://docs.ray.io/en/latest/cluster/kubernetes)",
}


class UnreachableError(ClusterError):
    """Kubernetes did not answer, however often it was asked: nothing is wrong with what it was asked for."""


class Api:
    """One namespace of a cluster.

    All methods raise ClusterError where the cluster refuses, and UnreachableError where it does not answer.
    """

    def __init__(self, client: Any, namespace: str) -> None:
        """Take a connected ``kubernetes.client.ApiClient``."""
        from kubernetes.client import ApiClient
        from kubernetes.dynamic import DynamicClient

        self.namespace = namespace
        with _told(f"reach Kubernetes at {client.configuration.host}"):
            # It would keep what a cluster knows in a file of /tmp that everybody can guess, and write.
            self._dynamic = DynamicClient(client, cache_file=f"{os.devnull}/none")
        # A log may be on a node that is lost, which is an error of the server, too, and no reason to wait.
        settings = deepcopy(client.configuration)
        if settings.retries is not None:
            settings.retries = settings.retries.new(total=1, status_forcelist=())
        self._logs = ApiClient(settings)

    def apply(self, wanted: Object, dry_run: bool = False) -> Object:
        """Make an object, or change it to what is wanted (server-side apply)."""
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        return self._call(
            f"apply {kind} {name}",
            self._resource(wanted["apiVersion"], kind).server_side_apply,
            body=wanted,
            name=name,
            namespace=self.namespace,
            field_manager=_MANAGER,
            force_conflicts=True,
            **({"dry_run": "All"} if dry_run else {}),
        )

    def create(self, wanted: Object) -> Object:
        """Make an object that cannot be changed later; one that is there already is given as it is."""
        from kubernetes.dynamic.exceptions import ConflictError

        version, kind, name = wanted["apiVersion"], wanted["kind"], wanted["metadata"]["name"]
        resource = self._resource(version, kind)
        try:
            return self._call(f"create {kind} {name}", resource.create, body=wanted, namespace=self.namespace)
        except ClusterError as error:
            found = self.find(version, kind, name) if isinstance(error.__cause__, ConflictError) else None
            if found is None:
                raise
            return found

    def find(self, version: str, kind: str, name: str) -> Object | None:
        """Give an object; None where there is none of that name."""
        from kubernetes.dynamic.exceptions import NotFoundError

        resource = self._resource(version, kind)
        try:
            return self._call(f"read {kind} {name}", resource.get, name=name, namespace=self.namespace)
        except ClusterError as error:
            if isinstance(error.__cause__, NotFoundError):
                return None
            raise

    def labelled(self, version: str, kind: str, labels: Mapping[str, str]) -> list[Object]:
        """Give all objects with some labels, in the order of their creation."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        resource = self._resource(version, kind)
        found = self._call(f"list {kind}s", resource.get, namespace=self.namespace, label_selector=selector)[
            "items"
        ]
        return sorted(found, key=lambda each: str(each["metadata"]["creationTimestamp"]))

    def delete(self, version: str, kind: str, name: str) -> None:
        """Remove an object and all that it owns; one that is gone already is no error."""
        from kubernetes.dynamic.exceptions import NotFoundError

        resource = self._resource(version, kind)
        body = {"propagationPolicy": "Background"}
        try:
            self._call(
                f"delete {kind} {name}", resource.delete, name=name, namespace=self.namespace, body=body
            )
        except ClusterError as error:
            if not isinstance(error.__cause__, NotFoundError):
                raise

    def log(self, pod: str) -> str:
        """Give what a pod has printed; empty where it has not begun, is gone, or cannot be asked."""
        from kubernetes.client import CoreV1Api
        from kubernetes.client.exceptions import ApiException

        try:
            with _told(f"read the log of pod {pod}"):
                response: Any = CoreV1Api(self._logs).read_namespaced_pod_log(
                    pod, self.namespace, _preload_content=False, _request_timeout=_SECONDS
                )
                return str(response.data.decode(errors="replace"))
        except UnreachableError:
            return ""  # whether Kubernetes itself is away, the next look at an object tells
        except ClusterError as error:
            cause = error.__cause__
            if isinstance(cause, ApiException) and cause.status in (400, 404):
                return ""
            raise

    def require(self, version: str, kind: str) -> None:
        """Refuse a cluster that does not know a kind of object."""
        self._resource(version, kind)

    def _resource(self, version: str, kind: str) -> Any:
        from kubernetes.dynamic.exceptions import ResourceNotFoundError

        try:
            with _told(f"ask Kubernetes for {kind}s"):
                # Without the prefix it would look for 'v1' in all groups that there are.
                prefix = "apis" if "/" in version else "api"
                return self._dynamic.resources.get(prefix=prefix, api_version=version, kind=kind)
        except ResourceNotFoundError as error:
            needed = _NEEDED.get(kind, "a newer version of it")
            raise ClusterError(f"this Kubernetes knows no {kind}; it needs {needed}") from error

    def _call(self, what: str, call: Callable[..., Any], **arguments: Any) -> Object:
        from urllib3.exceptions import ProtocolError, ReadTimeoutError

        with _told(f"{what} in namespace {self.namespace}"):
            try:
                answer = call(**arguments, _request_timeout=_SECONDS)
            except (ProtocolError, ReadTimeoutError):
                # It broke off in the middle: what is tried again below is only what has not begun.
                answer = call(**arguments, _request_timeout=_SECONDS)
        plain: Object = answer.to_dict()
        return plain


def connect(namespace: str, context: str | None = None, *, patient: bool = False) -> Api:
    """Connect as the user of the kubeconfig, or as the service account of the pod that this is.

    What is not answered is asked again, for some seconds; for ten minutes and more with `patient`.

    Raises
    ------
    ClusterError
        The client is not installed, or there is no such context.
    UnreachableError
        The cluster cannot be reached.
    """
    with _told("find a Kubernetes cluster"):
        from kubernetes import client, config
        from urllib3 import Retry

        settings = client.Configuration()
        # All that is asked for may be asked for twice: objects have names, and `create` takes what is there.
        settings.retries = Retry(
            total=_PATIENT_RETRIES if patient else _RETRIES,
            allowed_methods=None,
            status_forcelist=_BUSY,
            raise_on_status=False,
            backoff_factor=1,
            backoff_max=_LONGEST_PAUSE,
            # A server that wants an hour does not get it, and one that wants a second gets more.
            respect_retry_after_header=False,
        )
        if not patient:  # each try is a line of the log, which nobody has asked for
            logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        files = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
        here = any(Path(file).is_file() for file in files.split(os.pathsep))
        if context is None and not here and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(files, context, client_configuration=settings)
        return Api(client.ApiClient(settings), namespace)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say in a sentence what Kubernetes refuses, or why it cannot be reached."""
    try:
        import urllib3.exceptions
        from kubernetes.client.exceptions import ApiException
        from kubernetes.config import ConfigException
        from kubernetes.dynamic.exceptions import DynamicApiError
    except ImportError as error:
        raise ClusterError(
            "the Kubernetes client is not installed; pip install 'tailshard[kubernetes]'"
        ) from error
    try:
        yield
    except ConfigException as error:
        raise ClusterError(f"cannot {what}: {error}; check context of the profile and KUBECONFIG") from error
    except (DynamicApiError, ApiException) as error:
        said = _message(error.body) or error.reason
        advice = {
            401: "; log in again",
            403: "; deploy/kubernetes/base/account.yaml lists the rights that are needed",
        }.get(error.status, "")
        kind = UnreachableError if error.status in _BUSY else ClusterError
        raise kind(f"cannot {what}: {said} ({error.status}){advice}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnreachableError(f"cannot {what}: {error}") from error


def _message(body: Any) -> str:
    try:
        return str(json.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        return ""

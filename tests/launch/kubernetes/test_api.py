"""What is asked of Kubernetes when it stutters, over real connections to a server that does."""

import http.server
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.ports import free_port

from tailshard.errors import ClusterError
from tailshard.launch.kubernetes import __main__ as pods
from tailshard.launch.kubernetes import api as its
from tailshard.launch.kubernetes.api import Api, UnreachableError, connect
from tailshard.launch.kubernetes.run import STEPS_FILE
from tailshard.launch.kubernetes.states import REFUSALS

Object = dict[str, Any]

JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "demo"}}
POD = "/api/v1/namespaces/tailshard/pods/demo/log"
JOBS = "/apis/batch/v1/namespaces/tailshard/jobs"


def _resources(version: str, kind: str) -> Object:
    resource = {"name": f"{kind.lower()}s", "kind": kind, "namespaced": True, "verbs": ["get", "create"]}
    return {"kind": "APIResourceList", "groupVersion": version, "resources": [resource]}


BATCH = {
    "name": "batch",
    "versions": [{"groupVersion": "batch/v1", "version": "v1"}],
    "preferredVersion": {"groupVersion": "batch/v1", "version": "v1"},
}
ANSWERS: dict[str, Object | str] = {
    "/version": {"major": "1", "minor": "30"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": _resources("v1", "Pod"),
    "/apis/batch/v1": _resources("batch/v1", "Job"),
    "/apis": {"kind": "APIGroupList", "groups": [BATCH]},
    f"{JOBS}/demo": JOB,
    JOBS: JOB,
    POD: "first\nsecond\n",
}


class Server(http.server.ThreadingHTTPServer):
    """Answers as an API server does, after it has failed in the ways of `troubles` for a path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.troubles: dict[str, list[int | str]] = {}
        self.asked: Counter[str] = Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        self.server.asked[path] += 1
        troubles = self.server.troubles.get(path, [])
        trouble = troubles.pop(0) if troubles else 200
        if trouble == "hangs up":
            return
        answer = ANSWERS[path] if trouble == 200 else {"message": "leader changed"}
        body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(trouble if isinstance(trouble, int) else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) + (trouble == "breaks off")))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that the library looks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        _look_at(server.server_address[1], tmp_path, monkeypatch)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def _look_at(port: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "ada", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "ada"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("KUBECONFIG", str(folder / "kubeconfig"))


@pytest.fixture
def api(server: Server, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setattr(its, "_RETRIES", 1)  # which comes at once
    return connect("tailshard")


@pytest.mark.parametrize("trouble", [429, 500, 503, "hangs up", "breaks off"])
def test_what_a_server_does_not_answer_is_asked_again(server: Server, api: Api, trouble: int | str) -> None:
    server.troubles = {f"{JOBS}/demo": [trouble], JOBS: [trouble]}
    assert api.find("batch/v1", "Job", "demo") == JOB
    assert api.create(JOB) == JOB
    assert server.asked[f"{JOBS}/demo"] == server.asked[JOBS] == 2


def test_a_server_that_is_busy_for_long_is_told_from_one_that_refuses(server: Server, api: Api) -> None:
    server.troubles = {f"{JOBS}/demo": [503, 503, 403]}
    with pytest.raises(UnreachableError, match=r"cannot read Job demo .*: leader changed \(503\)"):
        api.find("batch/v1", "Job", "demo")
    with pytest.raises(ClusterError, match=r"\(403\); .*account\.yaml") as refused:
        api.find("batch/v1", "Job", "demo")
    assert not isinstance(refused.value, UnreachableError)


def test_a_log_is_read_once_and_empty_where_its_node_is_lost(server: Server, api: Api) -> None:
    assert api.log("demo") == "first\nsecond\n"
    server.troubles = {POD: [500]}
    assert api.log("demo") == ""
    assert server.asked[POD] == 2
    server.troubles = {POD: ["hangs up"]}
    assert api.log("demo") == "first\nsecond\n"
    server.troubles = {POD: ["breaks off"]}
    assert api.log("demo") == ""


def test_a_conductor_that_cannot_reach_kubernetes_leaves_the_run_to_the_next_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _look_at(free_port(), tmp_path, monkeypatch)
    (tmp_path / STEPS_FILE).write_text("{after: [], steps: []}")
    monkeypatch.setattr(pods, "PIPELINE_FOLDER", str(tmp_path))
    monkeypatch.setattr(its, "_PATIENT_RETRIES", 1)
    code = pods.main("conduct", "tailshard", "demo")
    assert code == os.EX_TEMPFAIL
    assert code not in REFUSALS
    assert "error: cannot reach Kubernetes at http://127.0.0.1:" in capsys.readouterr().out

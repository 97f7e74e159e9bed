"""A node for tests: runs the pods that a real scheduler binds to it, without images or a container engine.

Every pod has its own network, mount, process and host name namespaces. What would be its image is this
machine's /usr, and the Python environment and the sources of the tests; the rest is as the pod says: user and
groups, no capabilities, a read-only root, volumes from ConfigMaps, Secrets, claims (hostPath) and
emptyDirs, variables, restarts, and logs that the API server can ask for. Probes and limits are not looked
after. All pods share the machine code of numba in /tmp/numba.

    python kubelet.py FOLDER    with KUBECONFIG; FOLDER/pki has api.crt and api.key; ends with SIGTERM
"""

import base64
import http.server
import itertools
import json
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

NODE, BRIDGE, GATEWAY = "node-of-tests", "tailshard0", "10.98.0.1"
PORT, API_PORT = 10250, 16443
GRACE_SECONDS = 5
REPOSITORY = Path(__file__).parents[3]
SOFTWARE = [Path(sys.prefix), Path(sys.base_prefix), REPOSITORY / "src", REPOSITORY / "tests"]
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ssl", "nsswitch.conf", "localtime", "mime.types")

Object = dict[str, Any]


def sh(*words: str, check: bool = True) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=check).stdout


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Pod:
    name: str
    namespace: str
    spec: Object
    labels: dict[str, str]
    folder: Path
    address: str
    space: str
    started: str = field(default_factory=now)
    process: subprocess.Popen[bytes] | None = None
    gone: bool = False


class Kubelet:
    def __init__(self, folder: Path) -> None:
        config.load_kube_config()
        self.core = client.CoreV1Api()
        self.folder = folder
        self.pods: dict[str, Pod] = {}
        self.numbers = itertools.count(10)
        self.stopped = threading.Event()
        (folder / "numba").mkdir(exist_ok=True)
        (folder / "numba").chmod(0o777)

    # -- the node ----------------------------------------------------------------------------------

    def serve(self) -> None:
        sh("ip", "link", "add", BRIDGE, "type", "bridge")
        sh("ip", "addr", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        sh("ip", "link", "set", BRIDGE, "up")
        try:
            threading.Thread(target=self._serve_logs, daemon=True).start()
            threading.Thread(target=_pass_on_to_the_api, daemon=True).start()
            self._register()
            print("ready", flush=True)
            while not self.stopped.wait(0.4):
                try:
                    self._look()
                except Exception as error:  # noqa: BLE001 - a node goes on
                    print("look:", repr(error)[:500], flush=True)
        finally:
            for uid in list(self.pods):
                self._stop(uid, grace=0)
            sh("ip", "link", "del", BRIDGE, check=False)

    def _register(self) -> None:
        amounts = {"cpu": "64", "memory": "256Gi", "pods": "100"}
        self.core.create_node({"metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}}})
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
        status = {
            "capacity": amounts,
            "allocatable": amounts,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
            "conditions": [{**condition, "lastHeartbeatTime": now(), "lastTransitionTime": now()}],
        }
        self.core.patch_node_status(NODE, {"status": status})

    def _look(self) -> None:
        found = self.core.list_pod_for_all_namespaces(
            field_selector=f"spec.nodeName={NODE}", _preload_content=False
        )
        items = {each["metadata"]["uid"]: each for each in json.loads(found.data)["items"]}
        for uid, item in items.items():
            metadata = item["metadata"]
            if "deletionTimestamp" in metadata:
                self._stop(uid)
                try:
                    self.core.delete_namespaced_pod(
                        metadata["name"], metadata["namespace"], grace_period_seconds=0
                    )
                except ApiException as error:
                    if error.status != 404:
                        raise
            elif uid not in self.pods and item["status"].get("phase") == "Pending":
                number = next(self.numbers)
                folder = self.folder / "pods" / metadata["name"]
                folder.mkdir(parents=True, exist_ok=True)
                pod = Pod(
                    metadata["name"],
                    metadata["namespace"],
                    item["spec"],
                    metadata.get("labels") or {},
                    folder,
                    f"10.98.0.{number}",
                    f"tailshard-pod{number}",
                )
                self.pods[uid] = pod
                threading.Thread(target=self._run, args=(pod,), daemon=True).start()
        for uid in self.pods.keys() - items.keys():
            self._stop(uid)
        self._write_hosts()

    def _write_hosts(self) -> None:
        """Name services and pods; the file stays the same one, so that pods see it change."""
        lines = ["127.0.0.1 localhost", f"{GATEWAY} kubernetes.default.svc"]
        alive = [pod for pod in self.pods.values() if not pod.gone]
        for service in self.core.list_service_for_all_namespaces().items:
            selector = (service.spec.selector or {}).items()
            for pod in alive:
                if (
                    selector
                    and selector <= pod.labels.items()
                    and pod.namespace == service.metadata.namespace
                ):
                    name, namespace = service.metadata.name, service.metadata.namespace
                    lines.append(
                        f"{pod.address} {name} {name}.{namespace} {name}.{namespace}.svc.cluster.local"
                    )
                    break
        lines += [f"{pod.address} {pod.name}" for pod in alive]
        text = "\n".join(lines) + "\n"
        for pod in alive:
            path = pod.folder / "hosts"
            if not path.exists() or path.read_text() != text:
                path.write_text(text)

    # -- a pod -------------------------------------------------------------------------------------

    def _run(self, pod: Pod) -> None:
        try:
            self._prepare_network(pod)
            (container,) = pod.spec["containers"]
            (pod.folder / "hosts").touch()
            self._write_hosts()
            restarts, policy = 0, pod.spec["restartPolicy"]
            while not pod.gone:
                base = {"name": container["name"], "image": container["image"], "imageID": ""}
                base["restartCount"] = restarts
                try:
                    script = self._script(pod, container)
                    variables = self._variables(pod, container)
                except LookupError as error:
                    waiting = {"reason": "CreateContainerConfigError", "message": str(error).strip("'\"")}
                    self._tell(pod, "Pending", {**base, "ready": False, "state": {"waiting": waiting}})
                    time.sleep(1)
                    continue
                code = self._execute(pod, container, script, variables, base)
                if pod.gone:
                    return
                ended = {"exitCode": code, "reason": "Error" if code else "Completed"}
                ended |= {"startedAt": pod.started, "finishedAt": now()}
                state = {"terminated": ended}
                if policy == "Never" or (policy == "OnFailure" and code == 0):
                    phase = "Failed" if code else "Succeeded"
                    self._tell(pod, phase, {**base, "ready": False, "state": state})
                    return
                restarts += 1
                waiting = {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}
                base["restartCount"] = restarts
                self._tell(
                    pod,
                    "Running",
                    {**base, "ready": False, "state": {"waiting": waiting}, "lastState": state},
                )
                time.sleep(min(2**restarts, 10))
        except Exception as error:  # noqa: BLE001 - seen in the log of the node
            print("pod", pod.name, repr(error)[:1000], flush=True)

    def _prepare_network(self, pod: Pod) -> None:
        other = f"ts{pod.address.rpartition('.')[2]}"
        sh("ip", "netns", "add", pod.space)
        sh("ip", "-n", pod.space, "link", "set", "lo", "up")
        sh("ip", "link", "add", other, "type", "veth", "peer", "name", "eth0", "netns", pod.space)
        sh("ip", "link", "set", other, "master", BRIDGE, "up")
        sh("ip", "-n", pod.space, "addr", "add", f"{pod.address}/24", "dev", "eth0")
        sh("ip", "-n", pod.space, "link", "set", "eth0", "up")

    def _execute(
        self, pod: Pod, container: Object, script: str, variables: dict[str, str], base: Object
    ) -> int:
        with (pod.folder / f"{container['name']}.log").open("ab") as log:
            pod.process = subprocess.Popen(
                [
                    *(
                        "nsenter",
                        f"--net=/run/netns/{pod.space}",
                        "--",
                        "unshare",
                        "--uts",
                        "--mount",
                        "--ipc",
                    ),
                    *("--pid", "--fork", "--kill-child", "--", "sh", "-euc", script),
                ],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            running = {"running": {"startedAt": now()}}
            self._tell(pod, "Running", {**base, "ready": True, "started": True, "state": running})
            code = pod.process.wait()
        return code if code >= 0 else 128 - code

    def _variables(self, pod: Pod, container: Object) -> dict[str, str]:
        variables = {
            "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
            "PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}",  # of which the image has a copy
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOSTNAME": pod.name,
            "KUBERNETES_SERVICE_HOST": "kubernetes.default.svc",
            "KUBERNETES_SERVICE_PORT": str(API_PORT),
        }
        for source in container.get("envFrom") or ():
            variables |= {
                name: value.decode() for name, value in self._data(pod, source["secretRef"]["name"])
            }
        for each in container.get("env") or ():
            value = str(each.get("value", ""))
            variables[each["name"]] = re.sub(r"\$\((\w+)\)", lambda its: variables.get(its[1], its[0]), value)
        return variables

    def _data(self, pod: Pod, name: str, kind: str = "secret") -> list[tuple[str, bytes]]:
        read = self.core.read_namespaced_secret if kind == "secret" else self.core.read_namespaced_config_map
        try:
            data = read(name, pod.namespace).data or {}
        except ApiException as error:
            if error.status != 404:
                raise
            raise LookupError(f'{kind} "{name}" not found') from error
        return [
            (key, base64.b64decode(its) if kind == "secret" else its.encode()) for key, its in data.items()
        ]

    def _script(self, pod: Pod, container: Object) -> str:
        """Write a shell script that builds the root of a pod, loses all rights and becomes its command."""
        root = pod.folder / "root"
        root.mkdir(exist_ok=True)
        variables = self._variables(pod, container)
        words = [*(container.get("command") or ()), *(container.get("args") or ())]
        command = [re.sub(r"\$\((\w+)\)", lambda its: variables.get(its[1], its[0]), each) for each in words]
        lines = [f"hostname {pod.name}", f"R={root}", "mount -t tmpfs -o mode=755 root $R", "cd /"]
        lines.append("mkdir -p $R/proc $R/dev $R/tmp $R/run $R/etc $R/var $R/sys")
        lines.append("ln -s ../run $R/var/run")
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                lines.append(f"ln -s {Path('/', name).readlink()} $R/{name}")
            elif Path("/", name).exists():
                lines.append(f"mkdir $R/{name}; mount --rbind -o ro /{name} $R/{name}")
        lines.append("mkdir $R/usr; mount --rbind -o ro /usr $R/usr")
        lines.append("mount -t proc proc $R/proc; mount --rbind /dev $R/dev; mount --rbind -o ro /sys $R/sys")
        lines += [f"cp -a /etc/{name} $R/etc/" for name in ETC if Path("/etc", name).exists()]
        lines.append("echo tailshard:x:1000:1000::/tmp:/usr/sbin/nologin >$R/etc/passwd")
        lines.append("echo tailshard:x:1000: >$R/etc/group; touch $R/etc/hosts")
        lines.append(f"mount --bind {pod.folder}/hosts $R/etc/hosts")
        volumes = {each["name"]: each for each in pod.spec.get("volumes") or ()}
        for mount in container["volumeMounts"]:
            volume, path = volumes[mount["name"]], f"$R{mount['mountPath']}"
            lines.append(f"mkdir -p {path}")
            if volume.get("emptyDir", {}).get("medium") == "Memory":
                lines.append(f"mount -t tmpfs -o mode=1777,size={volume['emptyDir']['sizeLimit']} shm {path}")
            else:
                lines.append(f"mount --bind {self._volume(pod, volume)} {path}")
            if mount.get("readOnly"):
                lines.append(f"mount -o remount,bind,ro {path}")
        # Last: a claim mounted at /work may lie above.
        for path in SOFTWARE:
            lines.append(
                f"mkdir -p $R{path}; mount --bind {path} $R{path}; mount -o remount,bind,ro $R{path}"
            )
        if (pod.folder / "volumes" / "tmp").exists():
            lines.append(f"mkdir -p $R/tmp/numba; mount --bind {self.folder}/numba $R/tmp/numba")
        if container.get("securityContext", {}).get("readOnlyRootFilesystem"):
            lines.append("mount -o remount,ro $R")
        who = pod.spec.get("securityContext") or {}
        user, group = who.get("runAsUser", 0), who.get("runAsGroup", 0)
        without = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"] if user else []
        lines.append(
            shlex.join(
                [
                    *(
                        "exec",
                        "/usr/sbin/chroot",
                        str(root),
                        "setpriv",
                        f"--reuid={user}",
                        f"--regid={group}",
                    ),
                    *(f"--groups={who.get('fsGroup', group)}", *without, "--"),
                    *("env", "--chdir=/tmp", *command),
                ]
            )
        )
        return "\n".join(lines)

    def _volume(self, pod: Pod, volume: Object) -> Path:
        """Give the folder of a volume, made where it is not there."""
        folder = pod.folder / "volumes" / volume["name"]
        if "persistentVolumeClaim" in volume:
            claim = self.core.read_namespaced_persistent_volume_claim(
                volume["persistentVolumeClaim"]["claimName"], pod.namespace
            )
            return Path(self.core.read_persistent_volume(claim.spec.volume_name).spec.host_path.path)
        folder.mkdir(parents=True, exist_ok=True)
        group = (pod.spec.get("securityContext") or {}).get("fsGroup", 0)
        if "emptyDir" in volume:
            os.chown(folder, 0, group)
            folder.chmod(0o2777)
            return folder
        data = (
            self._data(pod, volume["secret"]["secretName"])
            if "secret" in volume
            else self._data(pod, volume["configMap"]["name"], "configmap")
        )
        mode = volume.get("secret", {}).get("defaultMode", 0o644)
        for name, content in data:
            (folder / name).write_bytes(content)
            os.chown(folder / name, 0, group)
            (folder / name).chmod(mode)
        return folder

    def _tell(self, pod: Pod, phase: str, container: Object) -> None:
        ready = "True" if container["ready"] else "False"
        conditions = [
            {"type": name, "status": value, "lastTransitionTime": now()}
            for name, value in (
                *(("Initialized", "True"), ("PodScheduled", "True")),
                *(("Ready", ready), ("ContainersReady", ready)),
            )
        ]
        status = {"phase": phase, "podIP": pod.address, "hostIP": "127.0.0.1", "startTime": pod.started}
        status |= {"conditions": conditions, "containerStatuses": [container]}
        try:
            self.core.patch_namespaced_pod_status(pod.name, pod.namespace, {"status": status})
        except ApiException as error:
            if error.status != 404:
                raise

    def _stop(self, uid: str, grace: float = GRACE_SECONDS) -> None:
        pod = self.pods.get(uid)
        if pod is None or pod.gone:
            return
        pod.gone = True
        process = pod.process
        if process is not None and process.poll() is None:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for child in map(int, children):
                os.kill(child, signal.SIGTERM)
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        sh("ip", "netns", "del", pod.space, check=False)

    # -- logs --------------------------------------------------------------------------------------

    def _serve_logs(self) -> None:
        folder = self.folder

        class Logs(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                its = re.match(r"/containerLogs/[^/]+/([^/]+)/([^/?]+)", self.path)
                path = folder / "pods" / its[1] / f"{its[2]}.log" if its else folder
                body = path.read_bytes() if path.is_file() else b""
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Logs)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "pki" / "api.crt", folder / "pki" / "api.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.serve_forever()


def _pass_on_to_the_api() -> None:
    """Let pods reach the API server, which listens on this machine alone."""
    with socket.create_server((GATEWAY, API_PORT), backlog=64) as listening:
        while True:
            inside, _ = listening.accept()
            outside = socket.create_connection(("127.0.0.1", API_PORT))
            for one, other in ((inside, outside), (outside, inside)):
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def main() -> None:
    kubelet = Kubelet(Path(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: kubelet.stopped.set())
    kubelet.serve()


if __name__ == "__main__":
    main()

"""Real servers on loopback, each a process of its own on a free port, for as long as a test needs it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def free_port() -> int:
    """Find a port of the loopback interface that nobody listens at."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(
    command: Sequence[str], port: int, log: Path, address: str = "127.0.0.1", seconds: float = 60
) -> Iterator[None]:
    """Run a server until the end, from when something answers at its port."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + seconds
        while True:
            with suppress(OSError), closing(socket.create_connection((address, port), 1)):
                break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} does not answer at port {port}:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def program(name: str, package: str) -> str:
    """Find a server's program, wherever Debian puts it; skip the test where it is not installed."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package {package}; see tests/debian-packages.txt)")
    return found


@contextmanager
def moto(folder: Path, address: str = "127.0.0.1") -> Iterator[Mapping[str, str]]:
    """Run moto's S3 server; gives the environment by which clients find it."""
    pytest.importorskip("moto")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", address, "-p", str(port)]
    with _running(command, port, folder / "moto.log", address):
        yield {"AWS_ENDPOINT_URL": f"http://{address}:{port}", **CREDENTIALS}


@contextmanager
def ceph(tools: Path, folder: Path) -> Iterator[Mapping[str, str]]:
    """Run Ceph's S3 server with a store in memory; gives the environment by which clients find it."""
    program("radosgw", "radosgw")
    program("ceph-osd", "ceph-osd")
    environment = {**os.environ, "B": str(folder / "ceph")}
    up, down = (["bash", str(tools / "s3" / f"ceph_rgw_{it}.sh")] for it in ("up", "down"))
    try:
        log = (folder / "ceph.log").open("wb")
        subprocess.run(up, env=environment, stdout=log, stderr=subprocess.STDOUT, check=True, timeout=180)
        yield {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:19002",
            "AWS_ACCESS_KEY_ID": "LHCKEY",
            "AWS_SECRET_ACCESS_KEY": "LHCSECRET",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        log.close()
        subprocess.run(down, env=environment, check=False, timeout=60, capture_output=True)


@contextmanager
def new_bucket(server: Mapping[str, str], name: str) -> Iterator[str]:
    """Make a bucket, which all clients of this process find for a while; gives its URL."""
    import s3fs
    from fsspec.asyn import sync as in_loop_of_fsspec
    from zarr.core.sync import sync as in_loop_of_zarr

    from tailshard.object_store import ObjectStore

    with pytest.MonkeyPatch.context() as environment:
        for variable, value in server.items():
            environment.setenv(variable, value)
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir(name)
        yield f"s3://{name}"
    # Whatever stays open would talk to this server where another is meant.
    for each in ObjectStore._cache.values():
        if each._s3 is not None:
            if each.asynchronous:
                in_loop_of_zarr(each._s3.close())
            else:
                in_loop_of_fsspec(each.loop, each._s3.close)
    ObjectStore.clear_instance_cache()


@contextmanager
def nginx(content: Path, folder: Path) -> Iterator[str]:
    """Serve a folder over http with byte ranges; gives the URL of the folder."""
    path, port = program("nginx", "nginx-light"), free_port()
    scratch = "\n".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
        events {{}}
        http {{
          {scratch}
          access_log {folder}/access.log;
          server {{ listen 127.0.0.1:{port}; root {content}; autoindex on; }}
        }}
        """
    )
    with _running([path, "-c", f"{folder}/nginx.conf", "-p", str(folder)], port, folder / "nginx.log"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def without_ranges(content: Path, folder: Path) -> Iterator[str]:
    """Serve a folder over http by Python's own server, which knows no ranges."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "-b", "127.0.0.1", "-d", str(content)]
    with _running(command, port, folder / "http.log"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def xrootd(content: Path, folder: Path) -> Iterator[str]:
    """Serve a folder by XRootD; gives the URL of the folder."""
    path, port = program("xrootd", "xrootd-server"), free_port()
    pytest.importorskip("fsspec_xrootd")
    (folder / "admin").mkdir()
    (folder / "xrootd.cfg").write_text(
        f"""
        xrd.port {port}
        xrd.network nodnr
        all.export {content} nolock
        all.adminpath {folder}/admin
        all.pidpath {folder}/admin
        oss.localroot /
        """
    )
    # It refuses to be root.
    user = ["-R", "nobody"] if os.geteuid() == 0 else []
    if user:
        for each in (folder, folder / "admin"):
            shutil.chown(each, "nobody")
        _let_others_read(content)
        _let_others_read(folder)
    command = [path, "-c", f"{folder}/xrootd.cfg", "-l", f"{folder}/xrootd.log", *user]
    with _running(command, port, folder / "start.log"):
        yield f"root://127.0.0.1:{port}/{content}"


def _let_others_read(folder: Path) -> None:
    """Open the folders on the way to some files, and the files, to every user of this machine."""
    for each in (folder, *folder.parents):
        if each.owner() == "root" and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o055)
    for each in folder.rglob("*"):
        each.chmod(each.stat().st_mode | (0o055 if each.is_dir() else 0o044))

"""Small ntuples, and a web server that serves them in ranges, as uproot asks for them."""

import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import awkward as ak
import numpy as np
import pytest
import uproot

WriteNtuple = Callable[..., str]


@pytest.fixture
def write_ntuple(tmp_path: Path) -> WriteNtuple:
    """``write(name, entries)`` writes a tree 'analysis' whose met counts the entries; gives the path."""

    def write(name: str, entries: int = 100, met_type: type = np.float32) -> str:
        counts = np.arange(entries) % 4
        with uproot.recreate(tmp_path / name) as file:
            tree = file.mktree("analysis", {"met": met_type, "run": np.uint32, "jet_pt": "var * float32"})
            # Two baskets a branch, so that a range of entries is less than the file.
            for part in (slice(0, entries // 2), slice(entries // 2, entries)):
                number = np.arange(entries)[part]
                jets = ak.unflatten(np.arange(counts[part].sum(), dtype=np.float32), counts[part])
                tree.extend({"met": number.astype(met_type), "run": number.astype(np.uint32), "jet_pt": jets})
            file["a_histogram"] = np.histogram([1.0, 2.0])
        return str(tmp_path / name)

    return write


class WebServer(ThreadingHTTPServer):
    """Serves the files of a folder."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.failures = 0
        """Requests still to be answered with 503."""
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        self.server.requests += 1
        path = self.server.folder / self.path.lstrip("/")
        status, content, headers = 200, b"", {}
        if self.server.failures:
            self.server.failures -= 1
            status = 503
        elif path.is_dir():
            content = "".join(f'<a href="{each.name}">{each.name}</a>' for each in path.iterdir()).encode()
        elif not path.is_file():
            status = 404
        else:
            content = path.read_bytes()
            headers["Accept-Ranges"] = "bytes"
            if match := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                first, last = int(match[1]), min(int(match[2]), len(content) - 1)
                status = 206
                headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
                content = content[first : last + 1]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    """A web server of the test's temporary folder."""
    server = WebServer(tmp_path)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()

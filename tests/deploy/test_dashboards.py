"""The dashboards while a real ingest runs: Dask's in a browser, Grafana's questions put to Prometheus."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed import Client
from tests.ports import free_port

from tailshard.monitoring.metrics import HELP

REPOSITORY = Path(__file__).parents[2]
DASHBOARDS = REPOSITORY / "deploy" / "dashboards"
CHROMIUM = "/usr/bin/chromium"


def panels() -> list[dict[str, Any]]:
    return json.loads((DASHBOARDS / "tailshard.json").read_text(encoding="utf-8"))["panels"]


def questions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", ())]


def asked_for(prefix: str) -> set[str]:
    return {name for question in questions() for name in re.findall(rf"\b{prefix}_\w+", question)}


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def named_in(exposition: str) -> set[str]:
    return set(re.findall(r"^([a-z_]+)(?=[{ ])", exposition, re.MULTILINE))


# -- what is written down --------------------------------------------------------------------------


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    content = json.loads((DASHBOARDS / "tailshard.json").read_text(encoding="utf-8"))
    assert {variable["name"] for variable in content["templating"]["list"]} == {"datasource", "search"}
    assert len({panel["id"] for panel in content["panels"]}) == len(content["panels"])
    taken = set()
    for panel in content["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"panel '{panel['title']}' covers another"
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


def test_every_metric_of_tailshard_is_shown_and_exists() -> None:
    shown = asked_for("tailshard")
    assert shown <= set(HELP)
    assert set(HELP) - shown == {"tailshard_info"}  # it fills the list of searches


def test_every_metric_of_dask_is_in_a_real_scrape(dask_workers: Client) -> None:
    scheduler = dask_workers.dashboard_link.removesuffix("/status")
    script = [str(DASHBOARDS / "dask-workers.sh"), scheduler]
    (group,) = json.loads(subprocess.run(script, capture_output=True, text=True, check=True).stdout)
    assert len(group["targets"]) == 2
    held = [
        dask_workers.submit(os.getpid, workers=[worker])
        for worker in dask_workers.scheduler_info()["workers"]
    ]
    assert len(dask_workers.gather(held)) == 2
    pages = [get(f"{scheduler}/metrics"), *(get(f"http://{worker}/metrics") for worker in group["targets"])]
    found = set().union(*map(named_in, pages))
    assert asked_for("dask") <= found
    assert asked_for("dask")


def test_every_metric_of_ray_is_one_of_its_own_dashboards() -> None:
    import ray

    folder = Path(ray.__file__).parent / "dashboard" / "modules" / "metrics" / "dashboards"
    known = {name for file in folder.glob("*.py") for name in re.findall(r"\bray_\w+", file.read_text())}
    assert asked_for("ray") <= known
    assert asked_for("ray")


# -- a run to look on -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """An ingest that goes on."""

    workdir: Path
    dashboard: str
    metrics: str
    """``host:port``."""
    printed: Path
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def run(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("run")
    dashboard, metrics = (f"127.0.0.1:{free_port()}" for _ in range(2))
    profile = {"dask": {"workers": 2, "dashboard": dashboard}, "metrics": metrics}
    (folder / "here.yaml").write_text(yaml.safe_dump(profile))
    printed = folder / "printed"
    command = [
        *(sys.executable, "-c", "from tailshard.cli import main; main()", "ingest"),
        *(REPOSITORY / "pipelines" / "demo.yaml", "--data-root", toys, "--workdir", folder / "work"),
        *("--cluster", folder / "here.yaml", "--set", "selection.name=tests.deploy.slowly:slowly"),
        *("--set", "store.slot=256", "--set", "store.chunk=128"),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    environment |= {"SSH_CONNECTION": "192.0.2.1 50022 192.0.2.9 22", "USER": "ada"}
    environment.pop("SLURM_JOB_ID", None)
    with printed.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        try:
            run = Run(folder / "work", f"http://{dashboard}", metrics, printed, process)
            wait_until(run, lambda: done(run) >= 4)
            yield run
        finally:
            process.terminate()
            process.wait(30)


def done(run: Run) -> float:
    text = get(f"http://{run.metrics}/metrics")
    found = re.search(r'^tailshard_progress_done\{.*step="fill slots"\} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def wait_until(run: Run, condition: Any, seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert run.process.poll() is None, run.printed.read_text()
        assert time.monotonic() < until, run.printed.read_text()
        time.sleep(0.2)


@pytest.mark.slow
def test_the_address_is_printed_with_the_command_that_brings_it_home(run: Run) -> None:
    port = urllib.parse.urlsplit(run.dashboard).port
    first, second, *_ = run.printed.read_text().splitlines()
    assert first == f"Dask dashboard: {run.dashboard}/status, once this runs on your own machine:"
    assert second.strip() == f"ssh -N -L {port}:127.0.0.1:{port} ada@192.0.2.9"


@pytest.mark.slow
def test_a_browser_shows_the_tasks_by_channel(run: Run, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser: {CHROMIUM} is absent")
    from PIL import Image

    with sync_api.sync_playwright() as playwright:
        # Root may start it only without its sandbox; it opens nothing but our own page.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{run.dashboard}/status")
        page.wait_for_selector(".bk-Canvas", timeout=60_000)
        page.wait_for_function(
            "JSON.stringify(Bokeh.documents.map(each => each.to_json())).includes('ingest-zjets')",
            timeout=60_000,
        )
        shown = page.evaluate("JSON.stringify(Bokeh.documents.map(each => each.to_json()))")
        page.wait_for_timeout(2000)  # for what is drawn
        canvases = page.locator(".bk-Canvas").count()
        page.screenshot(path=tmp_path / "dashboard.png")
        browser.close()
    assert faults == []
    assert canvases >= 5
    assert {f"ingest-{channel}" for channel in ("zjets", "ttbar", "diboson", "data")} <= set(
        re.findall(r"ingest-\w+", shown)
    )
    assert all(url.startswith(run.dashboard) for url in asked if not url.startswith(("ws:", "data:")))
    with Image.open(tmp_path / "dashboard.png") as picture:
        stream = picture.convert("RGB").crop((350, 90, 1260, 420))  # where tasks are drawn as bars
        colours = stream.getcolors(1 << 24)
    largest = max(colours)[0]
    assert sum(count for count, _ in colours) - largest > 0.01 * sum(count for count, _ in colours)


@contextmanager
def prometheus(run: Run, folder: Path) -> Iterator[str]:
    """Start Prometheus with the configuration that is shipped, but for ports and patience."""
    script = [str(DASHBOARDS / "dask-workers.sh"), run.dashboard]
    (folder / "dask-workers.json").write_bytes(subprocess.run(script, capture_output=True, check=True).stdout)
    text = (DASHBOARDS / "prometheus.yml").read_text(encoding="utf-8").replace("15s", "1s")
    text = text.replace("127.0.0.1:9464", run.metrics)
    text = text.replace("127.0.0.1:8787", urllib.parse.urlsplit(run.dashboard).netloc)
    (folder / "prometheus.yml").write_text(text)
    address = f"127.0.0.1:{free_port()}"
    command = [
        *("prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--web.listen-address={address}"),
        f"--storage.tsdb.path={folder / 'data'}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no Prometheus on this machine")
def test_prometheus_answers_every_question_of_the_dashboard(run: Run, tmp_path: Path) -> None:
    with prometheus(run, tmp_path) as server:

        def answers(question: str) -> list[Any]:
            url = f"{server}/api/v1/query?query={urllib.parse.quote(question.replace('$search', '.*'))}"
            content = json.loads(get(url))
            assert content["status"] == "success", question
            return list(content["data"]["result"])

        wait_until(run, lambda: answers("tailshard_progress_done") and answers("dask_worker_tasks"))
        time.sleep(3)  # two points at least, for what is counted per second
        answered = {question: answers(question) for question in questions()}
        assert run.process.poll() is None, "the run ended too soon"
    expected = (
        "tailshard_running",
        "tailshard_progress",
        "tailshard_disk",
        "dask_scheduler_w",
        "dask_worker",
    )
    empty = [
        question
        for question, found in answered.items()
        if not found and any(name in question for name in expected)
    ]
    assert empty == []
    spent = next(found for question, found in answered.items() if "tasks_compute_seconds" in question)
    assert "ingest-zjets" in {row["metric"]["task_prefix_name"] for row in spent}

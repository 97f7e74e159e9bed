"""Files that arrive in a bucket; runs where moto's S3 server and s3fs are installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tailshard.ingest.arrivals import find_arrivals, recall, remember
from tailshard.ingest.survey import listing, survey
from tailshard.pipeline_files import load

pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")

PIPELINE = """
name: arriving
luminosity: 0.1
datasets:
  - {channel: zjets, kind: background, dialect: atlas-2025, files: "s3://ntuples/mc/zjets_*.root"}
update: {settle: 0}
"""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of an S3 server with an empty bucket 'ntuples'."""
    import s3fs

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in (
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", "nothing"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("ntuples")
    yield url
    s3fs.S3FileSystem.clear_instance_cache()
    running.stop()


@pytest.mark.usefixtures("bucket")
def test_a_bucket_is_listed_anew_and_tells_how_old_its_files_are(toys: Path, tmp_path: Path) -> None:
    import s3fs

    filesystem = s3fs.S3FileSystem()
    filesystem.put(str(toys / "zjets_0.root"), "ntuples/mc/zjets_0.root")
    (tmp_path / "arriving.yaml").write_text(PIPELINE)
    pipeline = load(tmp_path / "arriving.yaml")
    remember(tmp_path / "inputs.json", pipeline, listing(pipeline), survey(pipeline))
    memory = recall(tmp_path / "inputs.json")
    assert memory is not None
    assert list(memory) == ["s3://ntuples/mc/zjets_0.root"]
    assert not find_arrivals(pipeline, memory).any

    filesystem.put(str(toys / "zjets_1.root"), "ntuples/mc/zjets_1.root")
    found = find_arrivals(pipeline, memory)
    assert found.added == ("s3://ntuples/mc/zjets_1.root",)
    settled = load(tmp_path / "arriving.yaml", ["update.settle=3600"])
    left = find_arrivals(settled, memory)
    assert not left.any
    assert list(left.left) == ["s3://ntuples/mc/zjets_1.root"]
    filesystem.rm("ntuples/mc/zjets_0.root")
    assert find_arrivals(pipeline, memory).gone == ("s3://ntuples/mc/zjets_0.root",)

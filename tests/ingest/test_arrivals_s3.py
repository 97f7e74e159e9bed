"""Files that arrive in a bucket of an S3 server."""

from pathlib import Path

from tailshard.ingest.arrivals import find_arrivals, recall, remember
from tailshard.ingest.survey import listing, survey
from tailshard.pipeline_files import load

PIPELINE = """
name: arriving
luminosity: 0.1
datasets:
  - {channel: zjets, kind: background, dialect: atlas-2025, files: "BUCKET/mc/zjets_*.root"}
update: {settle: 0}
"""


def test_a_bucket_is_listed_anew_and_tells_how_old_its_files_are(
    bucket: str, toys: Path, tmp_path: Path
) -> None:
    import s3fs

    filesystem = s3fs.S3FileSystem()
    filesystem.put(str(toys / "zjets_0.root"), f"{bucket}/mc/zjets_0.root")
    (tmp_path / "arriving.yaml").write_text(PIPELINE.replace("BUCKET", bucket))
    pipeline = load(tmp_path / "arriving.yaml")
    remember(tmp_path / "inputs.json", pipeline, listing(pipeline), survey(pipeline))
    memory = recall(tmp_path / "inputs.json")
    assert memory is not None
    assert list(memory) == [f"{bucket}/mc/zjets_0.root"]
    assert not find_arrivals(pipeline, memory).any

    filesystem.put(str(toys / "zjets_1.root"), f"{bucket}/mc/zjets_1.root")
    found = find_arrivals(pipeline, memory)
    assert found.added == (f"{bucket}/mc/zjets_1.root",)
    settled = load(tmp_path / "arriving.yaml", ["update.settle=3600"])
    left = find_arrivals(settled, memory)
    assert not left.any
    assert list(left.left) == [f"{bucket}/mc/zjets_1.root"]
    filesystem.rm(f"{bucket}/mc/zjets_0.root")
    assert find_arrivals(pipeline, memory).gone == (f"{bucket}/mc/zjets_0.root",)

from datetime import timedelta
from pathlib import Path

import pytest

from tailshard.errors import ConfigError
from tailshard.launch import LocalProfile, SlurmProfile, load_profile

REPOSITORY = Path(__file__).parents[2]


def test_the_shipped_profile_is_this_machine() -> None:
    assert load_profile(REPOSITORY / "cluster" / "local.yaml") == LocalProfile()


def test_workers_of_the_command_line_win(tmp_path: Path) -> None:
    assert load_profile(None, workers=3).dask.workers == 3
    path = tmp_path / "cluster.yaml"
    path.write_text("kind: slurm\nstages: {train: {workers: 4}, score: {workers: 7, cpus: 2}}")
    profile = load_profile(path, workers=3)
    assert [profile.stages.of(stage).workers for stage in ("ingest", "train", "score")] == [3, 4, 3]
    assert profile.stages.score.cpus == 2


def test_each_stage_has_its_resources(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    # YAML itself reads a time as seconds where the hours are written with one digit or two.
    path.write_text(
        "kind: slurm\n"
        "stages:\n"
        "  ingest: &few {workers: 2, walltime: 1:30:00, partition: cpu}\n"
        "  train: {gpus: 1, memory: 64GB, walltime: '08:00:00', partition: gpu}\n"
        "  score: *few\n"
    )
    profile = load_profile(path)
    assert isinstance(profile, SlurmProfile)
    assert profile.stages.ingest.walltime == timedelta(hours=1.5)
    assert profile.stages.train.walltime == timedelta(hours=8)
    assert profile.stages.score == profile.stages.ingest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dask: {wrokers: 3}", "dask.wrokers"),
        ("kind: moon", "moon"),
        ("dask: [", "cannot read"),
        ("dask: {memory_limit: lots}", "'lots' is no amount of memory"),
        ("dask: {memory_limit: -4GB}", "'-4GB' is no amount of memory"),
        ("dask: {dashboard: foo}", "'foo' is no address"),
        ("dask: {dashboard: 'here:70000'}", "'here:70000' is no address"),
        ("dask: {start_timeout: .inf}", "finite"),
        ("[1, 2]", "cluster profile"),
        ("kind: slurm\nstages: {ingest: {memory: auto}}", "stages.ingest.memory.*a cluster must know"),
        ("kind: slurm\nstages: {train: {walltime: 0}}", "stages.train.walltime"),
        ("kind: slurm\nstages: {tarin: {}}", "stages.tarin"),
        ("kind: kubernetes", "image"),
    ],
)
def test_a_wrong_profile_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_profile(path)

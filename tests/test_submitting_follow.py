"""Waiting for jobs of a cluster that does not tell what they print."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tailshard import submitting
from tailshard.config import Pipeline
from tailshard.errors import ClusterError
from tailshard.launch.site import Job, JobState, Order
from tailshard.pipeline import Search


class Queue:
    """A cluster that takes one job, lets it wait, and forgets it."""

    def __init__(self) -> None:
        self.looks = iter([JobState("PENDING", True, "Priority"), JobState("RUNNING", True, "n1")])

    def states(self, identifiers: Sequence[str]) -> Mapping[str, JobState]:
        state = next(self.looks, None)
        return {} if state is None else dict.fromkeys(identifiers, state)

    def jobs(self, stages: Sequence[str]) -> list[Job]:
        raise NotImplementedError

    def text(self, job: Job, order: Order, after: Sequence[str]) -> str:
        raise NotImplementedError

    def submit(self, job: Job, order: Order, after: Sequence[str]) -> str:
        raise NotImplementedError

    def cancel(self, identifiers: Sequence[str]) -> None:
        raise NotImplementedError


def test_a_job_that_ended_without_its_stage_is_an_error(
    toy_pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue()
    monkeypatch.setattr(submitting, "site_of", lambda _: queue)
    monkeypatch.setattr(submitting, "_LOOK_SECONDS", 0.0)
    said: list[str] = []
    search = Search(toy_pipeline, tmp_path, progress=lambda line, *_: said.append(line))
    with pytest.raises(ClusterError, match="job 17 has ended, and has not done ingest, train"):
        submitting.follow(search, [{"id": "17", "stages": ["ingest", "train"]}])
    assert said == ["job 17: PENDING Priority", "job 17: RUNNING n1"]
    assert submitting.follow(search, []) == []

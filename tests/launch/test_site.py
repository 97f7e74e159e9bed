"""Clusters that are silent for a while."""

import pytest

from tailshard.errors import ClusterError
from tailshard.launch import site
from tailshard.launch.site import Patience


def silent() -> str:
    raise ClusterError("SLURM did not answer 'squeue' in 120 s; try again")


def test_looks_may_fail_until_there_has_been_no_answer_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 500.0, 500.0, 1000.0, 1000.0, 1600.0])
    monkeypatch.setattr(site, "monotonic", lambda: next(clock))
    patience = Patience(seconds=600)
    for _ in range(2):
        assert patience.ask(silent) is None
        assert patience.ask(lambda: "RUNNING") == "RUNNING"
    with pytest.raises(ClusterError, match="silent for 10 min: SLURM did not answer 'squeue'"):
        patience.ask(silent)

"""The small store of the trainings, and a pipeline that seeks settings for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.train.conftest import write_store

from tailshard.config import Pipeline


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two background channels and a signal."""
    return write_store(
        tmp_path / "store", {"diboson": (300, 60, 10), "top": (120, 30, 10), "signal": (5, 5, 5)}
    )


@pytest.fixture
def pipeline() -> Callable[..., Pipeline]:
    """Make a pipeline; keywords change its part `tune`."""

    def make(**tune: Any) -> Pipeline:
        kinds = {"diboson": "background", "top": "background", "signal": "signal"}
        return Pipeline.model_validate(
            {
                "name": "small",
                "luminosity": 1,
                "datasets": [
                    {"channel": channel, "kind": kind, "dialect": "atlas-2025", "files": f"{channel}.root"}
                    for channel, kind in kinds.items()
                ],
                "model": {"name": "ae", "widths": [8], "latent": 2},
                "training": {
                    "epochs": 50,
                    "batch_size": 64,
                    "shuffle_chunks": 8,
                    "learning_rate": 0.01,
                    "use_gpu": False,
                },
                "score": {"kind": "relative"},
                "tune": {"space": {"model.latent": [1, 4]}, "trials": 2, "epochs": 3, **tune},
            }
        )

    return make

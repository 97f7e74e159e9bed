"""Hand-made canonical events."""

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest

LEPTON = {
    "eta": (0.0, np.float64),
    "phi": (0.0, np.float64),
    "energy": (None, np.float64),
    "flavour": (11, np.int32),
    "charge": (1, np.int32),
    "trigger_matched": (True, np.bool_),
    "loose": (True, np.bool_),
    "medium": (True, np.bool_),
    "tight": (True, np.bool_),
    "isolated_loose": (True, np.bool_),
    "isolated_tight": (True, np.bool_),
    "d0_significance": (0.0, np.float64),
    "z0": (0.0, np.float64),
    "passes_overlap": (True, np.bool_),
    "pt": (None, np.float64),
}
JET = {
    "eta": (0.0, np.float64),
    "phi": (0.0, np.float64),
    "energy": (None, np.float64),
    "b_tag": (1.0, np.float64),
    "passes_vertex": (True, np.bool_),
    "jvt": (1.0, np.float64),
    "passes_overlap": (True, np.bool_),
    "pt": (None, np.float64),
}


def particles(template: dict[str, tuple[Any, type]], rows: list[list[dict[str, Any]]]) -> ak.Array:
    """Records with the fields of the template; massless where no energy is given."""
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    flat = [particle for row in rows for particle in row]
    for particle in flat:
        particle.setdefault("energy", particle["pt"] * np.cosh(particle.get("eta", 0.0)))
    columns = {
        name: np.array([particle.get(name, default) for particle in flat], dtype=dtype)
        for name, (default, dtype) in template.items()
    }
    return ak.zip({name: ak.unflatten(column, counts) for name, column in columns.items()})


@pytest.fixture(scope="session")
def make_events() -> Callable[..., ak.Array]:
    """``make_events(leptons, jets, met=...)``: lists of dicts with at least pt -> canonical events."""

    def make(
        leptons: list[list[dict[str, Any]]],
        jets: list[list[dict[str, Any]]] | None = None,
        **fields: Any,
    ) -> ak.Array:
        size = len(leptons)
        defaults = {
            "met": np.zeros(size),
            "met_phi": np.zeros(size),
            "run": np.full(size, 284500, dtype=np.uint64),
            "event": np.arange(size, dtype=np.uint64),
        }
        return ak.zip(
            {
                **defaults,
                **{name: np.asarray(values) for name, values in fields.items()},
                "leptons": particles(LEPTON, leptons),
                "jets": particles(JET, jets or [[] for _ in range(size)]),
            },
            depth_limit=1,
        )

    return make

"""What the robustness tests have found, as one table of the page; they have a page of their own beside it."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..search.filling import BASELINES, ERROR
from .blocks import Block, Note, Table, Text
from .findings import Findings
from .wording import NOTHING, measured

_NAMES: Mapping[str, str] = {
    "control": "nothing done to them (control)",
    "swap_leptons": "electrons and muons swapped",
    "swap_jets": "light jets and b jets swapped",
    "shuffled": "cells shuffled among events",
    "gaussian": "Gaussian cells",
    "in_islands": "Gaussian cells of real objects",
    "noise": "uniform cells",
}


def name_of(disturbance: str) -> str:
    """Say what was done to disturbed events."""
    if disturbance.startswith("momentum_"):
        return f"pT of the leading e and μ × {disturbance.removeprefix('momentum_')}"
    return _NAMES.get(disturbance, disturbance)


def robustness(findings: Findings) -> Iterator[Block]:
    """Make the blocks of the section: nothing but a note where there were no tests."""
    content = findings.robustness
    if content is None:
        yield Note("This search was not put to the test; 'tailshard stress' does it.")
        return
    full = content["networks"].get("full", {})
    if full.get("model") != findings.network.digest:
        yield Note("The network has changed since it was put to the test; run 'tailshard stress' again.")
        return
    yield Text(
        "What the network makes of events that it should find anomalous; no signal has a part in it. "
        "Figures, and how it was done, are in stress.html beside this page. An AUC of 0.5 is chance."
    )
    rows = [
        (f"{channel}, by a network that never saw it", its["row"])
        for channel, its in content["removed"].items()
    ]
    rows += [("test events, " + name_of("control"), full["control"])] if full.get("control") else []
    rows += [(f"test events, {name_of(name)}", row) for name, row in full.get("disturbed", {}).items()]
    small = content["networks"].get("small", {})
    rows += [
        (f"the same, trained on {content['share']:.3g} of the events: {name_of(name)}", row)
        for name, row in small.get("disturbed", {}).items()
    ]
    yield Table(
        "Separation from the background",
        ("what", "AUC, error", "AUC, MET alone", "AUC, m_eff alone"),
        [[what, *(_measured(row["auc"].get(score)) for score in (ERROR, *BASELINES))] for what, row in rows],
    )


def _measured(area: Mapping[str, Any] | None) -> str:
    return NOTHING if area is None else measured(area["value"], area["uncertainty"])

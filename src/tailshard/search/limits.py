"""Upper limits on the strength of signals: the network's error beside MET and m_eff alone.

pyhf fits the workspaces; limits are those of CLs at 95 % confidence (A. L. Read, J. Phys. G 28 (2002) 2693)
in the asymptotic approximation (arXiv:1007.1727). Expected ones are for no signal, after the background was
fitted to what was observed. A fit that fails is said to have failed, and costs nothing but its own limit.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import Pipeline
from ..errors import scheduler_gone
from ..inference import Limits
from ..ledger import write_atomically
from ..naming import task_key
from ..places import remove_file
from ..progress import Progress, silent
from .filling import BASELINES, ERROR, Filled, fine
from .tail import Tail, tail_of
from .workspaces import STRENGTH, workspace

if TYPE_CHECKING:
    from distributed import Client

LEVEL = 0.05
"""1 - confidence."""

FOLDER = "workspaces"
_PRECISION = 5e-3  # relative, of a limit
_REACHES = (10.0, 100.0)  # in units of a rough estimate of the limit


def find_limits(
    pipeline: Pipeline, histograms: Filled, client: "Client", progress: Progress = silent
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Compute the limits on every signal by every score, one Dask task each.

    Returns
    -------
    limits
        Signal -> score -> edges, signal, background, background_uncertainty, data, expected, observed and
        why_not, as in the summary; empty where the pipeline wants none.
    workspaces
        Name of a file -> workspace.

    Raises
    ------
    ClusterError
        The scheduler is gone.
    """
    from distributed import CancelledError

    limits: dict[str, dict[str, Any]] = {signal: {} for signal in pipeline.channels_of("signal")}
    spaces: dict[str, Any] = {}
    if pipeline.limits is None or not limits:
        return {}, {}
    tails: dict[tuple[str, str], Tail] = {}
    for signal, its in limits.items():
        for score in (ERROR, *BASELINES):
            if fine(score) not in histograms:
                continue
            tail = tail_of(pipeline, histograms[fine(score)], signal)
            its[score] = _described(tail)
            if not isinstance(tail, str):
                tails[signal, score] = tail
                name = signal if score == ERROR else f"{signal}-{score}"
                reach = _REACHES[0] * max(1.0, rough_limit(tail, pipeline.limits))
                spaces[f"{name}.json"] = workspace(tail, score, signal, pipeline.limits, reach=reach)
    futures = {
        (signal, score): client.submit(
            upper_limits, tail, score, signal, pipeline.limits, key=task_key("limits", signal), pure=False
        )
        for (signal, score), tail in tails.items()
    }
    for done, ((signal, score), future) in enumerate(futures.items()):
        progress("fitting limits", done, len(futures))
        try:
            limits[signal][score] |= future.result()
        except CancelledError as error:
            raise scheduler_gone("fitting limits") from error
        except Exception as error:  # noqa: BLE001 - a worker that died of a fit must not cost the search
            limits[signal][score]["why_not"] = f"the fit failed ({type(error).__name__}: {error})"
    if futures:
        progress("fitting limits", len(futures), len(futures))
    return limits, spaces


def _described(tail: Tail | str) -> dict[str, Any]:
    nothing = {"expected": None, "observed": None, "why_not": tail if isinstance(tail, str) else None}
    if isinstance(tail, str):
        names = ("edges", "signal", "background", "background_uncertainty", "data")
        return {**dict.fromkeys(names), **nothing}
    return {
        "edges": tail.edges,
        "signal": tail.signal.values,
        "background": tail.background.values,
        "background_uncertainty": tail.background.uncertainties,
        "data": tail.data,
        **nothing,
    }


def upper_limits(tail: Tail, name: str, signal: str, limits: Limits) -> dict[str, Any]:
    """Fit one model.

    Parameters
    ----------
    tail, name, signal, limits
        As of `workspace`.

    Returns
    -------
    dict
        ``expected``: limits on the strength at -2, -1, 0, 1 and 2 standard deviations, or None;
        ``observed``: the limit where there is data; ``why_not``: why there is none.
    """
    from pyhf import Workspace, set_backend
    from pyhf.infer.intervals.upper_limits import toms748_scan

    set_backend("numpy", default=True)
    unit = rough_limit(tail, limits)
    problem = ""
    for reach in _REACHES:
        content = workspace(tail, name, signal, limits, unit, reach)
        try:
            # Fits walk through places where logarithms are not defined; what they end with is checked below.
            with np.errstate(all="ignore"):
                space = Workspace(content)
                model = space.model()
                found = toms748_scan(space.data(model), model, 0.0, reach, LEVEL, rtol=_PRECISION)
        except Exception as error:  # noqa: BLE001 - see the module
            problem = f"{type(error).__name__}: {error}"
            continue
        observed, expected = float(found[0]) * unit, [float(value) * unit for value in found[1]]
        if all(math.isfinite(value) and value > 0 for value in (observed, *expected)):
            return {
                "expected": expected,
                "observed": None if tail.data is None else observed,
                "why_not": None,
            }
        problem = f"{STRENGTH} has no finite limit"
    return {"expected": None, "observed": None, "why_not": f"pyhf could not fit the counts ({problem})"}


def rough_limit(tail: Tail, limits: Limits) -> float:
    """Estimate a limit, so that fits search where it lies: Gaussian bins, and never below 3 signal events."""
    background = tail.background
    variance = background.values + background.variances
    variance += (limits.background_uncertainty * background.values) ** 2
    information = float(np.sum(tail.signal.values**2 / variance))
    return max(2 / math.sqrt(information), 3 / float(tail.signal.values.sum()))


def write_workspaces(out: Path, workspaces: Mapping[str, Any]) -> None:
    """Replace the workspaces in the folder of the results; those of another search go."""
    folder = out / FOLDER
    for old in sorted(folder.glob("*.json")):
        if old.name not in workspaces:
            remove_file(old)
    for name, content in workspaces.items():
        write_atomically(folder / name, json.dumps(content, indent=1, allow_nan=False) + "\n")

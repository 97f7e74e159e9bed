"""A claim, and then the truth.

``claims.json`` in the folder of a blind test holds every claim that was made, in the order of time, each
written before the seal was opened for it. Only the first one was made without knowing; later ones are
marked.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from pydantic import Field, ValidationError, model_validator

from ..errors import ConfigError, StoreError, WorkdirError
from ..ledger import locked, provenance, write_atomically
from ..parts import Part
from ..search.filling import ERROR, log10_error
from ..search.histogram import write_json
from ..search.significance import asimov
from ..search.summary import finite_or_none
from ..store.catalog import read_catalog
from ..store.read import read_rows
from .folder import PUBLIC
from .mix import BLIND
from .page import write_page
from .seal import open_seal

CLAIMS = "claims.json"


class Claim(Part):
    """What a physicist says of a blind sample."""

    signal: str | None = None
    """Channel that is in it; None for nothing."""
    events: float | None = Field(default=None, ge=0)
    """Selected signal events."""
    strength: float | None = Field(default=None, ge=0)
    """The same in units of the signal's expected yield, in place of `events`."""
    uncertainty: float | None = Field(default=None, gt=0)
    """Standard deviation of whichever of the two is claimed."""
    by: str = ""
    comment: str = ""

    @model_validator(mode="after")
    def _says_one_thing(self) -> "Claim":
        amounts = [amount for amount in (self.events, self.strength) if amount is not None]
        if self.signal is None and any(amounts):
            raise ValueError("claims an amount of no signal; name the signal, or leave the amount out")
        if self.signal is not None and len(amounts) != 1:
            raise ValueError("give the amount of the signal once: as events, or as strength")
        return self


def read_claim(path: Path) -> Claim:
    """Read a claim from a JSON file.

    Raises
    ------
    ConfigError
        It is absent, or no claim.
    """
    try:
        return make_claim(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read the claim {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error


def make_claim(content: Any) -> Claim:
    """Check a claim.

    Raises
    ------
    ConfigError
        It is none.
    """
    try:
        return Claim.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in problem["loc"])
        raise ConfigError(f"the claim{f', {where}' if where else ''}: {problem['msg']}") from None


def unblind(folder: Path, claim: Claim) -> dict[str, Any]:
    """Record a claim, open the seal, and compare.

    Parameters
    ----------
    folder
        Of a blind test.
    claim
        What to compare the truth with.

    Returns
    -------
    dict
        ``claim``, ``truth``, ``verdict``, ``regions`` and ``candidates`` (null where the search has not come
        so far), ``after_unblinding``. Also in ``results/unblinded.json`` and on ``report/unblinded.html``.

    Raises
    ------
    WorkdirError
        The folder is no blind test, or its truth was changed; the claim is recorded all the same.
    ConfigError
        The claim names a signal that cannot be in it.
    """
    public = read_public(folder)
    if claim.signal is not None and claim.signal not in public["signals"]:
        raise ConfigError(
            f"'{claim.signal}' cannot be in this sample; it holds nothing or one of "
            f"{', '.join(public['signals'])}"
        )
    with locked(folder):
        claims = _read_claims(folder)
        is_late = bool(claims)
        claims.append(
            {
                "claim": claim.model_dump(mode="json"),
                "sha256": public["sha256"],
                "after_unblinding": is_late,
                "made": provenance(),
            }
        )
        write_atomically(folder / CLAIMS, json.dumps(claims, indent=1) + "\n")
        truth = open_seal(folder, public["sha256"])
        result = finite_or_none(
            {
                "claim": claim.model_dump(mode="json"),
                "truth": {
                    name: value for name, value in truth.items() if name not in ("salt", "event_numbers")
                },
                "verdict": verdict(claim, truth, public["signals"]),
                **_search_results(folder, truth, float(public.get("to_data", 1.0))),
                "after_unblinding": is_late,
                "sha256": public["sha256"],
            }
        )
        write_json(folder / "results" / "unblinded.json", result)
        write_page(folder / "report" / "unblinded.html", public["pipeline"], result, provenance())
    return dict(result)


def read_public(folder: Path) -> dict[str, Any]:
    """Read what everybody may know of a blind test.

    Raises
    ------
    WorkdirError
        The folder is none.
    """
    try:
        content = json.loads((folder / PUBLIC).read_text(encoding="utf-8"))
        names = {name: str(content[name]) for name in ("pipeline", "sha256")}
        return {**content, **names, "signals": dict(content["signals"])}
    except (FileNotFoundError, NotADirectoryError):
        raise WorkdirError(
            f"{folder} holds no blind test ({PUBLIC} is absent); name a folder that 'tailshard blind' "
            "has made"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkdirError(f"{folder / PUBLIC} cannot be read ({error})") from error


def _read_claims(folder: Path) -> list[Any]:
    try:
        content = json.loads((folder / CLAIMS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise WorkdirError(
            f"{folder / CLAIMS} cannot be read ({error}): who claimed what is not known"
        ) from error
    if not isinstance(content, list):
        raise WorkdirError(f"{folder / CLAIMS} is no list of claims: who claimed what is not known")
    return content


def verdict(claim: Claim, truth: Mapping[str, Any], yields: Mapping[str, float]) -> dict[str, Any]:
    """Compare a claim with the truth.

    Parameters
    ----------
    claim
        Of a signal and its amount.
    truth
        ``signal`` and ``events``.
    yields
        Expected events of each signal, by which a strength becomes a number of events.

    Returns
    -------
    dict
        ``presence_right``, ``signal_right``; ``claimed``, ``uncertainty`` and ``injected`` numbers of events;
        ``pull``, (claimed - injected) / uncertainty: null without an uncertainty, or of another signal.
    """
    unit = yields[claim.signal] if claim.signal is not None and claim.strength is not None else 1.0
    amount = claim.events if claim.strength is None else claim.strength
    claimed = unit * (amount or 0.0)
    uncertainty = None if claim.uncertainty is None else unit * claim.uncertainty
    is_right = claim.signal == truth["signal"]
    return {
        "presence_right": (claim.signal is not None) == (truth["signal"] is not None),
        "signal_right": is_right,
        "claimed": claimed,
        "uncertainty": uncertainty,
        "injected": truth["events"],
        "pull": (claimed - truth["events"]) / uncertainty if uncertainty and is_right else None,
    }


def _search_results(folder: Path, truth: Mapping[str, Any], to_data: float) -> dict[str, Any]:
    """Say what the search found in the sample, as far as it has come."""
    try:
        summary = json.loads((folder / "results" / "summary.json").read_text(encoding="utf-8"))
        errors = hidden_errors(folder / "store", truth["event_numbers"])
    except (OSError, ValueError, StoreError):
        return {"regions": None, "candidates": None}
    regions = [in_region(region, errors, to_data) for region in summary["regions"]]
    return {"regions": regions, "candidates": _in_candidates(folder, truth["event_numbers"])}


def hidden_errors(store: Path, event_numbers: Any) -> Any:
    """Give log10 error of the hidden signal events, slot by slot.

    Raises
    ------
    StoreError
        The sample has not been scored.
    """
    catalog, hidden = read_catalog(store), np.asarray(event_numbers, np.uint64)
    found = [np.zeros(0)]
    for slot in catalog.slots_of(BLIND):
        first = catalog.geometry.first_row(slot.index)
        rows = read_rows(store, BLIND, ["event_number", ERROR], first, first + slot.selected)
        found.append(log10_error(rows[ERROR][np.isin(rows["event_number"], hidden)]))
    return np.concatenate(found)


def in_region(region: Mapping[str, Any], hidden_errors: Any, to_data: float = 1.0) -> dict[str, Any]:
    """Say what a region shows, and what is in it.

    Parameters
    ----------
    region
        Of ``summary.json``.
    hidden_errors
        log10 error of the hidden events.
    to_data
        Factor on simulation: luminosity of the sample over that of the search.

    Returns
    -------
    dict
        ``observed`` events, ``background`` and its uncertainty, ``excess`` and its uncertainty, its
        ``significance`` with the background known to its statistical uncertainty (0 for a deficit; null
        where the background is too small), and how many ``injected`` events are there.
    """
    observed, background = region["data"], region["background"]
    value, sigma = background["value"] * to_data, (background["uncertainty"] or 0.0) * to_data
    threshold = -math.inf if region["threshold"] is None else region["threshold"]
    told = region["quotable"] and observed is not None
    return {
        "name": region["name"],
        "observed": observed,
        "background": value,
        "background_uncertainty": sigma,
        "excess": observed - value if told else None,
        "excess_uncertainty": math.sqrt(observed + sigma**2) if told else None,
        "significance": float(asimov(observed - value, value, sigma)) if told else None,
        "injected": int(np.count_nonzero(hidden_errors >= threshold)),
    }


def _in_candidates(folder: Path, event_numbers: Any) -> dict[str, int] | None:
    path = folder / "results" / "candidates.parquet"
    try:
        numbers = pyarrow.parquet.read_table(path, columns=["event_number"])["event_number"].to_numpy()
    except (OSError, KeyError, pyarrow.ArrowInvalid):
        return None
    return {
        "count": len(numbers),
        "signal": int(np.isin(numbers, np.asarray(event_numbers, np.uint64)).sum()),
    }

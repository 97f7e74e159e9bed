"""Arriving data: ingest what is new, score it with the model in force, add it to the histograms.

In the order of the work::

    files that have arrived  ──> their slots  ──> is the model still good? ──> errors of new slots, or of all
                                                                                    │
             report, history <── histograms: what was kept of old slots + new slots <┘

Nothing arrived and nothing else is stale: nothing is touched. Every step is found finished, or finished, by
the next update after one that died.
"""

import json
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from .config import Update
from .ingest.arrivals import Arrivals, Remembered, find_arrivals, recall
from .pipeline import Search
from .search.drift import Drift, error_drift, feature_drift
from .search.history import add_to_history
from .stages import Listing, StageOutcome, StageState
from .store.catalog import Catalog, read_catalog
from .train.in_force import PREVIOUS, TrainedOn, set_aside, trained_on

Json = dict[str, Any]


def update(search: Search, names: Iterable[str] | None = None, wait: float = 0.0) -> Json:
    """Bring a search up to date with the files that have arrived, changed or gone.

    Parameters
    ----------
    search
        Pipeline and work directory.
    names
        Paths and URLs of the files to look at; None looks at everything that the pipeline names.
    wait
        Seconds to wait where another process holds the work directory.

    Returns
    -------
    dict
        JSON: ``did``, ``files`` (added, changed, gone, left), ``partitions`` (read, kept, freed), ``scored``
        slots, ``histograms`` (slots filled, kept), ``model`` (retrained, why, drift, trained_on,
        training_events), ``stages`` and ``report``.

    Raises
    ------
    WorkdirError
        Another process holds the work directory.
    TailshardError
        Whatever a stage raises.
    """
    search.ray()  # it may have to train
    with search.working(wait):
        arrivals = find_arrivals(search.pipeline, _memory(search), names, search.progress)
        states = search.states(arrivals.listing)
        if all(state.current for state in states):
            return _told(
                search, arrivals, [StageOutcome(s.stage, False, s.result or {}) for s in states], None
            )
        if not states[1].exists:
            search.check_model()  # now, not after everything is read
        files = arrivals.listing
        with ExitStack() as cluster:
            if any(not state.current for state in states[:-1]):  # one for all that the report is made of
                cluster.enter_context(search.dask("ingest"))
            outcomes = [search.perform_locked("ingest", files, inputs=arrivals.inputs)]
            verdict, trained = _model_in_force(search, files, cluster)
            scored = search.perform_locked("score", files)
            if scored.did:
                verdict["scored"] = scored.result["slots"]["scored"]
            outcomes += [trained, scored, search.perform_locked("histogram", files)]
        _note(search, verdict)
        outcomes.append(search.perform_locked("report", files))
        return _told(search, arrivals, outcomes, verdict)


def _memory(search: Search) -> dict[str, Remembered]:
    known = recall(search.workdir / "inputs.json")
    if known is not None:
        return known
    entry = search.ledger.entries.get("ingest")
    return {url: Remembered(seen, "", None) for url, seen in entry.parts["files"].items()} if entry else {}


# -- the model -------------------------------------------------------------------------------------


def _model_in_force(search: Search, files: Listing, cluster: ExitStack) -> tuple[Json, StageOutcome]:
    """Train, or find that the model stays in force; say why, and what came of it."""

    def trained(why: str, warm_start: bool, drift: Json | None = None) -> tuple[Json, StageOutcome]:
        cluster.close()  # training has workers of its own
        result = _trained(search, files, why, warm_start, drift)
        cluster.enter_context(search.dask("ingest"))
        return result

    strict = next(state for state in search.states(files, keep_model=False) if state.stage == "train")
    entry = search.ledger.entries.get("train")
    if entry is None:
        unfinished = (search.model / PREVIOUS).exists()
        why = "an earlier update had begun to train" if unfinished else "there was no finished model"
        return trained(why, unfinished)
    catalog = read_catalog(search.store)
    if not search.ledger.damage("train") and not _differences(search, files, "began with"):
        return _kept(search, catalog, strict, "no event that it could learn from has come or gone")
    if _differences(search, files, "began with", "events"):
        return trained("; ".join(strict.reasons), warm_start=False)
    if search.ledger.keeps(search.decision) and (kept := search.ledger.kept) and kept["why"]:
        return _kept(search, catalog, strict, kept["why"], kept["drift"])
    found = trained_on(search.model, catalog, search.pipeline.training_channels)
    retrain, why, drift, scored = _decided(search, files, catalog, found)
    if retrain:
        return trained(why, search.pipeline.update.warm_start, drift)
    _keep(search, found, why, drift)
    verdict, outcome = _kept(search, catalog, strict, why, drift)
    return {**verdict, "scored": scored}, outcome


def _differences(search: Search, files: Listing, *apart: str) -> list[str]:
    """Say how the network in force differs from what would be trained now, but for some parts of its key."""
    before = search.ledger.entries["train"].parts
    now = search.parts("train", files, keep_model=False)
    return search.ledger.reasons("train", {**now, **{name: before.get(name) for name in apart}})


def _decided(
    search: Search, files: Listing, catalog: Catalog, found: TrainedOn
) -> tuple[bool, str, Json, int]:
    """Ask the pipeline's policy, the cheapest measure first: answer, reason, measures and slots scored."""
    policy, pipeline = search.pipeline.update, search.pipeline
    drift: Json = {}
    retrain, words = _too_many(policy, found)
    if not retrain and policy.feature_drift is not None:
        measured = feature_drift(pipeline, search.store, catalog, found.trained, found.new)
        drift["features"] = measured and measured._asdict()
        retrain, more = _drifted("features", measured, policy.feature_drift)
        words = more if retrain else f"{words}; {more}"
    if retrain:
        return True, words, drift, 0
    # The model stays in force for the time of a look at the errors of what is new.
    _keep(search, found, None, drift)
    outcome = search.perform_locked("score", files)
    with search.dask("score") as client:
        measured = error_drift(
            pipeline,
            search.store,
            catalog,
            found.trained,
            found.new,
            client,
            search.progress,
            search.partials,
        )
    drift["errors"] = measured and measured._asdict()
    retrain, more = _drifted("errors", measured, policy.error_drift)
    scored = outcome.result["slots"]["scored"] if outcome.did else 0
    return retrain, more if retrain else f"{words}; {more}", drift, scored


def _keep(search: Search, found: TrainedOn, why: str | None, drift: Json) -> None:
    counts = {"trained_on": found.events, "training_events": found.present_events}
    search.ledger.keep(search.decision, why=why, drift=drift, **counts)


def _too_many(policy: Update, found: TrainedOn) -> tuple[bool, str]:
    share = (found.new_events + found.gone_events) / max(found.events, 1)
    gone = f" and {found.gone_events:,} gone" if found.gone_events else ""
    told = f"{found.new_events:,} new{gone} of {found.events:,} training events ({share:.1%})"
    if policy.new_events is None:
        return False, f"{told}, and update.new_events sets no limit"
    if share > policy.new_events:
        return True, f"{told}, more than update.new_events ({policy.new_events:.1%})"
    return False, f"{told}, not more than update.new_events ({policy.new_events:.1%})"


def _drifted(what: str, measured: Drift | None, threshold: float | None) -> tuple[bool, str]:
    name = f"update.{'error' if what == 'errors' else 'feature'}_drift"
    if measured is None:
        return False, f"no drift of the {what} can be measured"
    told = f"stability index of the {what} {measured.value:.3g} ({measured.where})"
    if threshold is None:
        return False, f"{told}, and {name} sets no limit"
    if measured.exceeds(threshold):
        return True, f"{told}, more than {name} ({threshold:g})"
    if measured.value > threshold:
        return False, f"{told}, more than {name} ({threshold:g}), but within chance for so few events"
    return False, f"{told}, not more than {name} ({threshold:g})"


def _trained(
    search: Search, files: Listing, why: str, warm_start: bool, drift: Json | None = None
) -> tuple[Json, StageOutcome]:
    if warm_start and "train" in search.ledger.entries:
        set_aside(search.model)
    outcome = search.perform_locked("train", files, keep_model=False, warm_start=warm_start)
    events = trained_on(search.model, read_catalog(search.store), search.pipeline.training_channels).events
    began = "beginning with the network in force" if warm_start else "anew"
    verdict = {
        "retrained": True,
        "why": f"trained {began}: {why}",
        "drift": drift or {},
        "trained_on": events,
        "training_events": events,
    }
    return verdict, outcome


def _kept(
    search: Search, catalog: Catalog, state: StageState, why: str, drift: Json | None = None
) -> tuple[Json, StageOutcome]:
    found = trained_on(search.model, catalog, search.pipeline.training_channels)
    verdict = {
        "retrained": False,
        "why": f"kept: {why}",
        "drift": drift or {},
        "trained_on": found.events,
        "training_events": found.present_events,
    }
    return verdict, StageOutcome("train", False, state.result or {})


# -- what is said ----------------------------------------------------------------------------------


def _note(search: Search, verdict: Json) -> None:
    """Add a line to the history."""
    facts = {name: verdict[name] for name in ("trained_on", "training_events", "retrained", "why", "drift")}
    add_to_history(
        search.results,
        read_catalog(search.store),
        json.loads((search.results / "summary.json").read_text(encoding="utf-8")),
        search.ledger.entries["histogram"].key,
        {"model": search.ledger.entries["train"].result["model"], **facts},
    )


def _told(search: Search, arrivals: Arrivals, outcomes: list[StageOutcome], verdict: Json | None) -> Json:
    by_stage = {outcome.stage: outcome for outcome in outcomes}
    ingest, histogram = by_stage["ingest"], by_stage["histogram"]
    slots = ingest.result["slots"]
    whole = slots["written"] + slots["kept"]
    filled = histogram.result["slots"]
    return {
        "pipeline": search.pipeline.name,
        "workdir": str(search.workdir),
        "did": any(outcome.did for outcome in outcomes),
        "files": arrivals.to_dict(),
        "partitions": {
            "read": slots["written"] if ingest.did else 0,
            "kept": slots["kept"] if ingest.did else whole,
            "freed": slots["freed"] if ingest.did else 0,
        },
        "scored": (verdict or {}).get("scored", 0),
        "histograms": {
            "filled": filled["filled"] if histogram.did else 0,
            "kept": filled["kept"] if histogram.did else filled["filled"] + filled["kept"],
        },
        "model": {name: its for name, its in (verdict or {}).items() if name != "scored"} or None,
        "stages": {outcome.stage: {"did": outcome.did, **outcome.result} for outcome in outcomes},
        "report": str(search.report_page),
    }

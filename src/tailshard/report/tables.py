"""The tables of a page: numbers of the summary, rounded and in order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..search.candidates import LEADING
from ..search.comparison import BACKGROUND_EFFICIENCIES
from ..search.filling import ERROR
from ..search.separation import share
from ..search.significance import Spectrum
from ..store.layout import SPLITS
from .blocks import Table
from .curves import scan_label
from .figures import quantity_label, quantity_name, region_label, score_label
from .findings import Findings
from .wording import NOTHING, count, fixed, measured, number, observed, percent, plural

CANDIDATES_SHOWN = 20
INPUTS_SHOWN = 100
_CUTFLOW_COLUMNS = 10
_SIGNIFICANCES = ("s/√b", "Asimov", "Asimov, background uncertain")


def samples(findings: Findings) -> Table:
    """List the events of every channel by split, and what they stand for."""
    rows = [
        [
            name,
            its["kind"],
            "all" if len(its["splits"]) == len(SPLITS) else " + ".join(its["splits"]),
            *(count(its["events"][split]) for split in SPLITS),
            _yield(its),
        ]
        for name, its in findings.summary["channels"].items()
    ]
    background = findings.summary["regions"][0]["background"]
    rows.append(["all background", "", "", *[""] * len(SPLITS), _pair(background)])
    header = ["Channel", "Kind", "Quoted from", *(split.capitalize() for split in SPLITS), "Events"]
    return Table("Selected events by split; expected (data: observed) events", header, rows, text_columns=3)


def _yield(channel: Mapping[str, Any]) -> str:
    if channel["kind"] == "data":
        return observed(channel["yield"])
    return measured(channel["yield"], channel["yield_uncertainty"])


def cutflows(findings: Findings) -> Iterator[Table]:
    """List the events left after each cut, raw and weighted, a few channels in each table."""
    channels = findings.summary["channels"]
    steps = max(([step["name"] for step in its["cutflow"]] for its in channels.values()), key=len)
    header, columns = ["After"], [steps]
    for name, its in channels.items():
        simulated = its["kind"] != "data"
        if len(header) + 1 + simulated > _CUTFLOW_COLUMNS:
            yield _cutflow(header, columns)
            header, columns = ["After"], [steps]
        raw = {step["name"]: count(step["raw"]) for step in its["cutflow"]}
        header.append(f"{name}, raw" if simulated else name)
        columns.append([raw.get(step, NOTHING) for step in steps])
        if simulated:
            weighted = {step["name"]: number(step["weighted"], 4) for step in its["cutflow"]}
            header.append("weighted")
            columns.append([weighted.get(step, NOTHING) for step in steps])
    yield _cutflow(header, columns)


def _cutflow(header: list[str], columns: list[list[str]]) -> Table:
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Table("Events left after each cut", header, rows)


def inputs(findings: Findings) -> Table:
    """List the files that were read, without their folders; the first ones of very many."""
    found = findings.summary["inputs"]
    rows = [
        [
            row["dataset"],
            row["channel"],
            row["url"].rpartition("/")[2],
            count(row["entries"]),
            count(row["selected"]),
        ]
        for row in found[:INPUTS_SHOWN]
    ]
    if len(found) > INPUTS_SHOWN:
        rest = found[INPUTS_SHOWN:]
        sums = (count(sum(row[name] for row in rest)) for name in ("entries", "selected"))
        rows.append(["", "", f"{plural(len(rest), 'more file')}, named in summary.json", *sums])
    return Table("Files that were read", ["Data set", "Channel", "File", "Events", "Selected"], rows, 3)


def regions(findings: Findings) -> Table:
    """List thresholds, background and data of every region, and of simple cuts of the same size."""
    found = findings.summary["regions"]
    has_data = found[0]["data"] is not None
    limits = [_limits(region) for region in found]
    limited = any(limits)
    rows = []
    for region, limit in zip(found, limits, strict=True):
        error = "" if region["threshold"] is None else f"error {number(region['threshold'], 4)}"
        cuts = [(region_label(region["name"]), region["rule"], error or NOTHING, region, limit)]
        for quantity, its in region["baselines"].items():
            equal = f"as much of the background, by {score_label(quantity)}"
            cuts.append(("", equal, _cut(quantity, its["threshold"]), its, ""))
        rows += [
            [
                name,
                rule,
                cut,
                _pair(its["background"]),
                *([observed(its["data"])] if has_data else []),
                *([why or NOTHING] if limited else []),
            ]
            for name, rule, cut, its, why in cuts
        ]
    pipeline = findings.pipeline
    recorded = "" if findings.to_data == 1 else f" ({pipeline.data_luminosity:.4g} fb⁻¹)"
    header = ["Region", "Rule", "From", "Background", *([f"Data{recorded}"] if has_data else [])]
    header += ["Limited by simulation"] if limited else []
    return Table("Signal regions (error: log10), and cuts of the same size", header, rows, text_columns=2)


def _cut(quantity: str, smallest: float) -> str:
    name = "MET" if quantity == "met" else quantity
    return f"{name} {number(smallest)}\u00a0{quantity_label(quantity)[1]}"


def _limits(region: Mapping[str, Any]) -> str:
    """Say where the simulation is too small for the background it gives."""
    limits = []
    for channel in region["simulation_ends"]:
        limit = region["yields"][channel]["upper_limit"]
        limits.append(
            f"no event of {channel} is left" + ("" if limit is None else f" (< {number(limit, 2)})")
        )
    if not region["quotable"]:
        limits.append("too little background to quote a significance")
    return "; ".join(limits)


def signal_in_regions(findings: Findings, signal: str) -> Table:
    """List what is expected of a signal in every region, and by simple cuts of the same size."""
    found = findings.summary["regions"]
    whole = found[0]["signals"][signal]
    rows = []
    for region in found:
        cuts = {ERROR: region, **region["baselines"]}
        for score, cut in cuts.items():
            its = cut["signals"][signal]
            name = region_label(region["name"]) if score == ERROR else ""
            by = "every event" if region["threshold"] is None else score_label(score)
            rows.append([name, by, _pair(its), _pair(cut["background"]), _efficiency(its, whole)])
            rows[-1] += _significances(its)
    header = ["Region", "By", "Signal", "Background", "Efficiency", *_SIGNIFICANCES]
    return Table(f"{signal} in the regions, without a further cut", header, rows, text_columns=2)


def _efficiency(part: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """Write the share of a signal above a cut, in per cent."""
    values = np.array([part["value"], whole["value"] - part["value"]])
    variances = np.array([part["uncertainty"] ** 2, whole["uncertainty"] ** 2 - part["uncertainty"] ** 2])
    above, below = (Spectrum(*pair) for pair in zip(values, np.maximum(variances, 0), strict=True))
    found = share(above, below)
    return measured(100 * float(found.values), 100 * float(found.uncertainties)) + "\u00a0%"


def scans(findings: Findings, signal: str) -> Table:
    """List the cuts that validation events chose, and what test events say of them."""
    header = ["Region", "Cut", "Cuts tried", "Promised by validation", "Signal", "Background"]
    header += _SIGNIFICANCES
    rows = []
    for name, scan in findings.summary["signals"][signal]["scans"].items():
        if scan["quoted"] is None:
            rows.append([scan_label(name), *[NOTHING] * (len(header) - 1)])
            continue
        chosen, quoted = scan["chosen"], scan["quoted"]
        rows.append(
            [
                scan_label(name),
                _cut(scan["variable"], quoted["cut"]),
                count(scan["tried"]),
                number(chosen["asimov_with_background_uncertainty"]),
                measured(quoted["signal"], quoted["signal_uncertainty"]),
                measured(quoted["background"], quoted["background_uncertainty"]),
                *_significances(quoted),
            ]
        )
    caption = f"{signal}: cuts chosen on validation events, all but 'promised' quoted on test events"
    return Table(caption, header, rows)


def separation(findings: Findings, signals: Sequence[str]) -> Table:
    """List AUC, and signal efficiency at fixed background efficiencies, of the error and of the baselines."""
    rows = []
    for signal in signals:
        its = findings.summary["signals"][signal]
        for score, found in its["efficiencies"].items():
            rows.append(
                [signal, score_label(score), _pair(its["auc"][score]), *(_pair(row) for row in found)]
            )
    header = ["Signal", "Score", "AUC", *(f"at {efficiency:g}" for efficiency in BACKGROUND_EFFICIENCIES)]
    caption = "AUC, and signal efficiency at fixed background efficiencies, on test events"
    return Table(caption, header, rows, text_columns=2)


def network(findings: Findings) -> Table:
    """List what was trained, and how fast."""
    its, epochs = findings.network, findings.epochs
    rows = [
        ["network", f"{its.name}, {count(its.parameters)} parameters"],
        ["scaler", its.scaler],
        ["best epoch", f"{its.best_epoch} of {len(epochs)}"],
        ["validation loss at the best epoch", number(its.validation_loss, 4)],
    ]
    if epochs:
        seconds = sum(epoch.seconds for epoch in epochs)
        waited = sum(epoch.waited for epoch in epochs)
        speed = sum(epoch.events_per_second for epoch in epochs) / len(epochs)
        rows += [
            [
                "trained on",
                f"{plural(epochs[-1].workers, 'worker')} ({epochs[-1].device}), {number(seconds)} s",
            ],
            ["speed", f"{number(speed)} events/s"],
            ["time waited for events", percent(waited / seconds, 2) if seconds else NOTHING],
        ]
    return Table("The network", ["", "Value"], rows, text_columns=2)


def candidates(findings: Findings, rows: Sequence[Mapping[str, Any]]) -> Table:
    """List candidates with the observables of the pipeline; there must be at least one."""
    units = {
        name: quantity_label(name)[1] for name in findings.pipeline.histograms.observables if name in rows[0]
    }
    blocks = LEADING in rows[0]
    header = [
        "Rank",
        "Channel",
        "Run",
        "Event",
        "log10(error)",
        *(["Leading kind of cell"] if blocks else []),
    ]
    header += [quantity_name(name) + ("" if unit == "1" else f" [{unit}]") for name, unit in units.items()]
    cells = [
        [
            str(rank),
            row["channel"],
            str(row["run"]),
            str(row["event_number"]),
            fixed(row["log10_error"], 3),
            *([row[LEADING]] if blocks else []),
            *(_kinematic(row[name], unit) for name, unit in units.items()),
        ]
        for rank, row in enumerate(rows, start=1)
    ]
    return Table("The most anomalous data events", header, cells, text_columns=2)


def quarantine(findings: Findings) -> Table:
    """List the inputs that could not be used."""
    rows = [
        [
            row["dataset"],
            row["url"],
            "all" if row.get("start") is None else f"{row['start']} to {row['stop']}",
            row["reason"],
        ]
        for row in findings.summary["quarantine"]
    ]
    return Table("Inputs in quarantine", ["Dataset", "Input", "Entries", "Reason"], rows, text_columns=4)


def provenance(facts: Mapping[str, Any]) -> Table:
    """List what made the numbers: one row for each fact, and one for a mapping of facts."""
    return Table("What made this page", ["", "Value"], list(_flat(facts)), text_columns=2)


def _flat(facts: Mapping[str, Any], above: str = "") -> Iterator[list[str]]:
    for name, value in facts.items():
        if not isinstance(value, Mapping):
            yield [f"{above}{name}", str(value)]
            continue
        nested = {key: item for key, item in value.items() if isinstance(item, Mapping)}
        if plain := [f"{key} {item}" for key, item in value.items() if key not in nested]:
            yield [f"{above}{name}", ", ".join(plain)]
        yield from _flat(nested, f"{above}{name}, ")


def _pair(its: Mapping[str, float | None]) -> str:
    return measured(its["value"], its["uncertainty"])


def _significances(its: Mapping[str, float | None]) -> list[str]:
    return [
        measured(its["s_over_sqrt_b"], its["s_over_sqrt_b_uncertainty"]),
        measured(its["asimov"], its["asimov_uncertainty"]),
        measured(
            its["asimov_with_background_uncertainty"], its["asimov_with_background_uncertainty_uncertainty"]
        ),
    ]


def _kinematic(value: float | None, unit: str) -> str:
    if value is None:
        return NOTHING
    return f"{value:.3g}" if unit == "1" else number(value, 4)

"""The section of an ensemble: how far the numbers of a search hang on the seed of its training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..search.comparison import BACKGROUND_EFFICIENCIES
from . import plots
from .blocks import Block, Note, Picture, Pictures, Table, Text, picture
from .canvas import DASHED, lines
from .figures import region_label
from .findings import Findings
from .plots import Curve
from .wording import NOTHING, count, listed, measured, number, plural

_SIGNIFICANCES = ("s_over_sqrt_b", "asimov", "asimov_with_background_uncertainty")


def ensemble(findings: Findings) -> Iterator[Block]:
    """Show every network of an ensemble and their spread."""
    its = findings.summary["ensemble"]
    seeds, spread = its["seeds"], its["spread"]
    yield Text(
        f"{plural(len(seeds), 'network')} learned from the same events, with {_named(seeds)}. The seed "
        "decides the weights that training begins with and the order of events, and nothing else. All "
        f"other sections are of the first, seed {seeds[0]}. Each network has its own regions, by the same "
        "rules. Spreads are the standard deviation of one network, over the seeds; what the statistics of "
        "the simulation allow comes on top of them and stands beside single seeds."
    )
    drawable = [
        signal
        for signal, found in spread["signals"].items()
        if found["auc"]["standard_deviation"] is not None
    ]
    if drawable:
        yield Pictures([roc_picture(findings, drawable)])
        yield separation(findings)
    for signal in spread["signals"]:
        if signal in drawable:
            yield in_regions(findings, signal)
        else:
            yield Note(
                f"{signal}: too few events of it, or of the background, were selected to compare seeds."
            )
    if not spread["signals"]:
        yield Note("No signal sample is named in this pipeline, so the thresholds alone can be compared.")
    yield thresholds(findings)


def in_one_sentence(findings: Findings, signal: str) -> Iterator[str]:
    """Say how far the AUC of a signal hangs on the seed; nothing where there is one network."""
    its = findings.summary.get("ensemble")
    if its is None:
        return
    area = its["spread"]["signals"][signal]["auc"]
    if area["mean"] is not None:
        yield (
            f"Over {plural(area['seeds'], 'seed')} of the training, the AUC is "
            f"{measured(area['mean'], area['standard_deviation'])} (mean and standard deviation, "
            f"{_range(area)}); the numbers here are those of seed {its['seeds'][0]}."
        )


def roc_picture(findings: Findings, signals: Sequence[str]) -> Picture:
    """Draw the mean of the ROC curves of all networks with their spread, and the curve of the first."""
    its = findings.summary["ensemble"]
    curves = []
    for signal, colour in zip(signals, lines(len(signals)), strict=True):
        found = its["spread"]["signals"][signal]
        points, area = found["roc"], found["auc"]
        mean = _array(points["mean"])
        told = np.isfinite(mean)
        curves.append(
            Curve(
                f"{signal}, {plural(area['seeds'], 'seed')}: "
                f"{measured(area['mean'], area['standard_deviation'])}",
                _array(points["background_efficiency"])[told],
                mean[told],
                colour,
                error=_array(points["standard_deviation"])[told],
            )
        )
        first = findings.summary["signals"][signal]["roc"]["error"]
        background = _array(first["background_efficiency"])
        told = background >= max(first["resolution"] or 0, np.finfo(float).tiny)
        curves.append(
            Curve(
                f"{signal}, seed {its['seeds'][0]}",
                background[told],
                _array(first["signal_efficiency"])[told],
                colour,
                line=DASHED,
            )
        )
    figure = plots.roc(curves, title=findings.title)
    words = listed([curve.label for curve in curves[::2]])
    return picture(
        figure,
        f"Signal efficiency against background efficiency, mean over seeds. AUC: {words}.",
        "ROC on test events: mean over the seeds, the band is the standard deviation of one network; broken, "
        "the first seed. The numbers are AUC, mean and standard deviation.",
    )


def separation(findings: Findings) -> Table:
    """List AUC and signal efficiencies of every seed, and their spread."""
    its = findings.summary["ensemble"]
    rows = []
    for signal, spread in its["spread"]["signals"].items():
        columns = [spread["auc"], *spread["efficiencies"]]
        rows.append(
            [
                signal,
                "mean ± spread",
                *(measured(each["mean"], each["standard_deviation"]) for each in columns),
            ]
        )
        rows.append(["", "smallest to largest", *(_range(each) for each in columns)])
        for seed in its["seeds"]:
            found = its["members"][str(seed)]["signals"][signal]
            numbers = [found["auc"], *found["efficiencies"]]
            rows.append(
                ["", f"seed {seed}", *(measured(each["value"], each["uncertainty"]) for each in numbers)]
            )
    header = ["Signal", "", "AUC", *(f"at {efficiency:g}" for efficiency in BACKGROUND_EFFICIENCIES)]
    caption = (
        "AUC, and signal efficiency at fixed background efficiencies, over "
        f"{plural(len(its['seeds']), 'seed')}; ± of a seed is the statistics of the simulation"
    )
    return Table(caption, header, rows, text_columns=2)


def in_regions(findings: Findings, signal: str) -> Table:
    """List what is expected of a signal in every region, with the spread over the seeds."""
    its = findings.summary["ensemble"]
    rows = [
        [
            region_label(name),
            *(_measured(each) for each in (spread["signals"][signal]["value"], spread["background"])),
            *(_measured(spread["signals"][signal][quantity]) for quantity in _SIGNIFICANCES),
        ]
        for name, spread in its["spread"]["regions"].items()
    ]
    header = ["Region", "Signal", "Background", "s/√b", "Asimov", "Asimov, background uncertain"]
    caption = f"{signal} in the regions: mean ± spread over {plural(len(its['seeds']), 'seed')}"
    return Table(caption, header, rows)


def thresholds(findings: Findings) -> Table:
    """List where the regions of every network begin."""
    its = findings.summary["ensemble"]
    rows = []
    for place, region in enumerate(findings.summary["regions"]):
        if region["threshold"] is None:
            continue
        same = [its["members"][str(seed)]["regions"][place] for seed in its["seeds"]]
        rows.append([region_label(region["name"]), *(number(one["threshold"], 4) for one in same)])
    header = ["Region", *(f"seed {seed}" for seed in its["seeds"])]
    return Table("Where the regions of every network begin (log10 of its error)", header, rows)


def _measured(spread: Mapping[str, Any]) -> str:
    return measured(spread["mean"], spread["standard_deviation"])


def _range(spread: Mapping[str, Any]) -> str:
    if spread["minimum"] is None:
        return NOTHING
    return f"{number(spread['minimum'])} to {number(spread['maximum'])}"


def _named(seeds: Sequence[int]) -> str:
    return f"the {'seed' if len(seeds) == 1 else 'seeds'} {listed([count(seed) for seed in seeds])}"


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

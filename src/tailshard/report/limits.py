"""What the counts in the tail say: upper limits on signals, and a bump in a mass."""

from collections.abc import Iterator
from typing import Any

from ..search.filling import BUMP, ERROR
from .blocks import Block, Note, Picture, Pictures, Table, picture
from .distributions import distribution
from .figures import corner, quantity_label, quantity_name, region_label, score_label, stacks
from .findings import Findings
from .spectra import total
from .wording import NOTHING, count, measured, number, observed, probability


def limits_table(findings: Findings) -> Table:
    """List expected and observed limits on the strength of every signal, by error and baselines alone."""
    rows = []
    has_data = bool(findings.pipeline.channels_of("data"))
    for signal, its in findings.summary["signals"].items():
        for score, limit in its["limits"].items():
            unit = "" if score == ERROR else f"\u00a0{quantity_label(score)[1]}"
            edges, expected = limit["edges"], limit["expected"]
            cut = NOTHING if edges is None else f"{number(edges[0], 4)}{unit}"
            rows.append([signal, score_label(score), cut, NOTHING if edges is None else count(len(edges))])
            low2, low1, median, high1, high2 = expected or [None] * 5
            rows[-1] += [number(median), _band(low1, high1), _band(low2, high2)]
            rows[-1] += [number(limit["observed"])] if has_data else []
    header = ["Signal", "By", "From", "Bins", "Expected", "68 % of experiments", "95 % of experiments"]
    header += ["Observed"] if has_data else []
    caption = "Upper limits on the strength of the signal at 95 % confidence (1: its cross-section here)"
    return Table(caption, header, rows, text_columns=2)


def _band(low: float | None, high: float | None) -> str:
    return NOTHING if low is None or high is None else f"{number(low)} to {number(high)}"


def reasons(findings: Findings) -> Iterator[Note]:
    """Say of every limit that does not exist why it does not."""
    for signal, its in findings.summary["signals"].items():
        for score, limit in its["limits"].items():
            if limit["why_not"]:
                yield Note(f"{signal} by {score_label(score)}: no limit, because {limit['why_not']}.")


def bump_blocks(findings: Findings) -> Iterator[Block]:
    """Show the scan for a local excess."""
    bump = findings.summary["bump"]
    yield Pictures([bump_picture(findings)], wide=True)
    if bump["window"] is None:
        yield Note(f"Nothing was found: {bump['why_not']}.")
    else:
        yield bump_table(bump)


def bump_picture(findings: Findings) -> Picture:
    """Draw the scanned quantity, and shade the window that was found."""
    bump, pipeline = findings.summary["bump"], findings.pipeline
    label, unit = quantity_label(bump["quantity"])
    backgrounds, signals, data = stacks(findings, BUMP, bump["region"])
    window = bump["window"]
    figure = distribution(
        backgrounds,
        signals,
        total(data),
        label=label,
        unit=unit,
        title=f"{findings.title}: {region_label(bump['region'])}",
        corner=corner(findings, pipeline.data_luminosity),
        window=None if window is None else (window[0], window[1]),
        wide=True,
    )
    what = f"{quantity_name(bump['quantity'])} in the region {region_label(bump['region'])}"
    where = (
        "" if window is None else f" The window from {number(window[0])} to {number(window[1])} is shaded."
    )
    caption = f"Scan of {what}.{where} The first and last bins include what lies outside; the scan does not."
    return picture(figure, f"Stacked histogram of {what}, with data as points.{where}", caption)


def bump_table(bump: dict[str, Any]) -> Table:
    """List the window that stands out most, and how unlikely it is."""
    window, tried = bump["window"], bump["pseudo_experiments"]
    unit = quantity_label(bump["quantity"])[1]
    chance = measured(bump["global_p_value"], bump["global_p_value_uncertainty"])
    rows = [
        ["window", f"{number(window[0])} to {number(window[1])}" + ("" if unit == "1" else f" {unit}")],
        ["data in it", observed(bump["data"])],
        ["background in it", measured(bump["expected"], bump["expected_uncertainty"])],
        ["local p-value", probability(bump["local_p_value"])],
        ["global p-value", chance if bump["global_p_value"] else f"below {number(1 / tried, 2)}"],
        ["pseudo-experiments", count(tried)],
    ]
    return Table("The window that stands out most", ["", "Value"], rows, text_columns=2)

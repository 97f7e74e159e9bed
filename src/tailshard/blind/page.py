"""The page of an opened blind test: what was claimed, what is true, and what the search shows of it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..ledger import write_atomically
from ..report.blocks import Block, Note, Section, Table, Text
from ..report.figures import region_label
from ..report.page import compose
from ..report.sections import section
from ..report.tables import provenance as provenance_table
from ..report.wording import count, measured, number, percent

Result = Mapping[str, Any]


def write_page(path: Path, pipeline: str, result: Result, provenance: Mapping[str, Any]) -> None:
    """Write the page.

    Parameters
    ----------
    path
        The file.
    pipeline
        Name of the search.
    result
        What `tailshard.blind.unblind.unblind` gives.
    provenance
        What made it.
    """
    text = compose(
        title=f"{pipeline}: blind test, opened",
        description="",
        facts=f"sealed with the SHA-256 {result['sha256']}",
        headline=headline(result),
        sections=list(_sections(result, provenance)),
    )
    write_atomically(path, text)


def headline(result: Result) -> str:
    """Say in a sentence or two how claim and truth compare."""
    claim, truth, verdict = result["claim"], result["truth"], result["verdict"]
    claimed = _named(claim["signal"], verdict["claimed"], verdict["uncertainty"])
    told = [f"Claimed was {claimed}, hidden was {_named(truth['signal'], verdict['injected'])}."]
    if verdict["pull"] is not None:
        told.append(f"The number is off by {number(verdict['pull'], 2)} standard deviations.")
    if result["after_unblinding"]:
        told.append("The claim was made after the truth had been opened: it counts for nothing.")
    return " ".join(told)


def _named(signal: str | None, events: float, uncertainty: float | None = None) -> str:
    if signal is None:
        return "nothing"
    return f"{signal} with {measured(events, uncertainty) if uncertainty else count(events)} events"


def _sections(result: Result, provenance: Mapping[str, Any]) -> Iterator[Section]:
    yield section("Claim and truth", _claim(result))
    yield section("What the search shows", _regions(result))
    yield section("Provenance", [provenance_table({**provenance, "seed": result["truth"].get("seed")})])


def _claim(result: Result) -> Iterator[Block]:
    claim, truth, verdict = result["claim"], result["truth"], result["verdict"]
    rows = [
        ["claimed", claim["signal"] or "nothing", measured(verdict["claimed"], verdict["uncertainty"])],
        ["true", truth["signal"] or "nothing", count(verdict["injected"])],
    ]
    yield Table("Signal in the sample", ("", "signal", "events"), rows, text_columns=2)
    if claim["by"] or claim["comment"]:
        yield Text(". ".join(part for part in (claim["by"], claim["comment"]) if part))


def _regions(result: Result) -> Iterator[Block]:
    if result["regions"] is None:
        yield Note("The sample had not been scored and histogrammed when the truth was opened.")
        return
    yield Text(
        "The excess of the sample over the simulated background, its significance with the background known "
        "to its statistical uncertainty, and how many events of the hidden signal are in the region. "
        "The background is quoted from the events that pseudo-data was drawn from."
    )
    yield Table(
        "Signal regions",
        ("region", "observed", "background", "excess", "significance", "hidden signal"),
        [
            [
                region_label(its["name"]),
                count(its["observed"]),
                measured(its["background"], its["background_uncertainty"]),
                measured(its["excess"], its["excess_uncertainty"]),
                number(its["significance"]),
                count(its["injected"]),
            ]
            for its in result["regions"]
        ],
    )
    found = result["candidates"]
    if found and found["count"]:
        share = percent(found["signal"] / found["count"])
        yield Text(
            f"Of the {count(found['count'])} candidates, {count(found['signal'])} are signal ({share})."
        )

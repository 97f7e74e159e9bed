"""The page of the robustness tests: one self-contained file, like that of the search."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Pipeline
from ..ledger import write_atomically
from ..report.blocks import Block, Note, Pictures, Section, Table, Text, picture
from ..report.canvas import DASHED, DOTTED, SOLID, lines
from ..report.page import compose
from ..report.plots import Curve
from ..report.robustness import name_of
from ..report.sections import section
from ..report.tables import provenance as provenance_table
from ..report.wording import NOTHING, count, listed, measured, percent
from ..search.comparison import BACKGROUND_EFFICIENCIES
from ..search.filling import BASELINES, ERROR
from . import figures
from .disturbances import FACTORS, MOMENTUM
from .results import UNDISTURBED

NETWORKS: Mapping[str, str] = {"full": "full training", "small": "part of the events"}
_SCORES: Mapping[str, str] = {ERROR: "error", "met": "MET alone", "m_eff": "m_eff alone"}
_LINES = {ERROR: SOLID, **dict(zip(BASELINES, (DASHED, DOTTED), strict=True))}

Content = Mapping[str, Any]


def write_page(path: Path, pipeline: Pipeline, content: Content, provenance: Mapping[str, Any]) -> None:
    """Write the page.

    Parameters
    ----------
    path
        The file.
    pipeline
        The search.
    content
        What `tailshard.stress.results` documents.
    provenance
        What made it.
    """
    write_atomically(path, render(pipeline, content, provenance))


def render(pipeline: Pipeline, content: Content, provenance: Mapping[str, Any]) -> str:
    """Compose the page; see `write_page`."""
    title = f"{pipeline.report.title or pipeline.name}: robustness"
    return compose(
        title=title,
        description="What the network makes of events that it should, or should not, find anomalous. "
        "No signal has a part in any of these tests.",
        facts=f"{pipeline.name} · score {pipeline.score.kind} · background {listed(content['background'])}",
        headline=headline(content),
        sections=list(_sections(content, provenance)),
    )


def headline(content: Content) -> str:
    """Say in a sentence or two what came out."""
    sentences = []
    if found := {name: its["row"]["auc"][ERROR] for name, its in content["removed"].items()}:
        told = [f"{name} {_measured(area)}" for name, area in found.items()]
        sentences.append(f"AUC of background channels that the network never saw: {listed(told)}.")
    rows = content["networks"].get("full", {}).get("disturbed", {})
    if told := [
        f"{name_of(name)} {_measured(row['auc'][ERROR])}" for name, row in rows.items() if name in MOMENTUM
    ]:
        sentences.append(f"AUC of disturbed events: {listed(told)}.")
    return " ".join(sentences) or "Nothing was disturbed yet."


def _sections(content: Content, provenance: Mapping[str, Any]) -> Iterator[Section]:
    yield section("Channel removal", _removal(content))
    yield section("Scaled momenta", _momenta(content))
    yield section("Unphysical events", _unphysical(content))
    yield section("Fewer training events", _small(content))
    yield section("Signals for comparison", _signals(content))
    models = {name: its["model"] for name, its in content["networks"].items()}
    models |= {f"without {name}": its["model"] for name, its in content["removed"].items()}
    yield section("Provenance", [provenance_table({**provenance, "seed": content["seed"], "models": models})])


def _removal(content: Content) -> Iterator[Block]:
    yield Text(
        "For each background channel a network was trained without it, with the same code and settings, and "
        "shown the channel's test events against those of the other backgrounds. Beside it stands the "
        "network that knew the channel: what the first finds and the second does not is found because it "
        "is unknown, and not because such events are anomalous anyhow."
    )
    if not content["removed"]:
        yield Note("No channel was removed: it was not asked for, or there is only one to learn from.")
        return
    known = content["networks"].get("full", {}).get("channels", {})
    yield Table(
        "Test events of a removed channel against the other backgrounds",
        (
            "channel",
            "events",
            "AUC, never seen",
            "AUC, seen in training",
            *(f"AUC, {_SCORES[name]}" for name in BASELINES),
            *_efficiency_headers(),
        ),
        [
            [
                channel,
                count(its["row"]["events"]["signal"]),
                _measured(its["row"]["auc"][ERROR]),
                _measured(known[channel]["auc"][ERROR]) if channel in known else NOTHING,
                *(_measured(its["row"]["auc"][name]) for name in BASELINES),
                *_efficiencies(its["row"]),
            ]
            for channel, its in content["removed"].items()
        ],
    )
    yield Table(
        "The networks",
        ("trained without", "training events", "epochs", "best epoch", "validation loss"),
        [[name, *_training(its["training"])] for name, its in content["removed"].items()],
    )


def _momenta(content: Content) -> Iterator[Block]:
    yield Text(
        "The pT of the leading electron and of the leading muon was multiplied in half of the test events, "
        "directions and masses kept, what the leptons gained taken from MET as a vector, and the whole "
        "matrix computed again. The other half is the background. As MET grows with the leptons, MET and "
        "m_eff alone are the baselines to beat."
    )
    full = content["networks"].get("full", {})
    rows = {name: row for name, row in full.get("disturbed", {}).items() if name in MOMENTUM}
    if not rows:
        yield Note("Not done: it was not asked for.")
        return
    its = content["networks"].get("small", {})
    small = {"control": its["control"], **its["disturbed"]} if its else {}
    shapes = _shape_picture(content, full["distributions"], list(rows))
    yield Pictures([shapes, _area_picture({"control": full["control"], **rows}, small)])
    yield _table("Scaled momenta against undisturbed events", {"control": full["control"], **rows})


def _unphysical(content: Content) -> Iterator[Block]:
    yield Text(
        "Events that cannot be: particles of one type in the place of another; cells shuffled among the "
        "events of a slot, which keeps each distribution and loses all correlations; cells drawn from normal "
        "distributions with the mean and variance of the training events, in all cells or only in those of "
        "a real event's objects; and cells drawn uniformly within the range of the training events. Where "
        "half of the test events was changed the other half is the background, otherwise all of them."
    )
    rows = {
        name: row
        for name, row in content["networks"].get("full", {}).get("disturbed", {}).items()
        if name not in MOMENTUM
    }
    if not rows:
        yield Note("Not done: it was not asked for.")
        return
    yield Pictures([_shape_picture(content, content["networks"]["full"]["distributions"], list(rows))])
    yield _table("Unphysical events against undisturbed events", rows)


def _small(content: Content) -> Iterator[Block]:
    share = percent(content["share"])
    yield Text(
        f"A second network saw {share} of the training events, the same ones in every epoch, as many times "
        "more often: the number of steps is that of the full training. Its scaling, and the yardstick of "
        "scores that have one, still come from all training events."
    )
    if "small" not in content["networks"]:
        yield Note("Not done: it was not asked for.")
        return
    full, small = (content["networks"][name] for name in ("full", "small"))
    rows = []
    for what in ("disturbed", "channels", "signals"):
        for name, row in small[what].items():
            if name in full[what]:
                areas = [_measured(each["auc"][ERROR]) for each in (full[what][name], row)]
                rows.append([name_of(name), what, *areas])
    yield Table("AUC by the error", ("events", "kind", *NETWORKS.values()), rows, text_columns=2)
    header = ("network", "training events", "epochs", "best epoch", "validation loss")
    yield Table(
        "The networks",
        header,
        [[NETWORKS[name], *_training(its["training"])] for name, its in content["networks"].items()],
    )


def _signals(content: Content) -> Iterator[Block]:
    rows = content["networks"].get("full", {}).get("signals", {})
    if not rows:
        yield Note("No signal sample is named in this pipeline; none is needed here.")
        return
    yield Text("The pipeline's signals by the same measure. Nothing above was chosen with them.")
    yield _table("Signals against the background", rows)


def _table(caption: str, rows: Mapping[str, Any]) -> Table:
    return Table(
        caption,
        ("events", "number", *(f"AUC, {label}" for label in _SCORES.values()), *_efficiency_headers()),
        [
            [
                name_of(name),
                count(row["events"]["signal"]),
                *(_measured(row["auc"].get(score)) for score in _SCORES),
                *_efficiencies(row),
            ]
            for name, row in rows.items()
        ],
    )


def _efficiency_headers() -> list[str]:
    return [f"efficiency at {percent(target)}" for target in BACKGROUND_EFFICIENCIES]


def _efficiencies(row: Mapping[str, Any]) -> list[str]:
    return [_measured(its) for its in row["efficiencies"]]


def _training(facts: Mapping[str, Any]) -> list[str]:
    numbers = (sum(facts["events"].values()), facts["epochs"], facts["best_epoch"])
    return [*(count(number) for number in numbers), f"{facts['validation_loss']:.4g}"]


def _measured(found: Mapping[str, Any] | None) -> str:
    return NOTHING if found is None else measured(found["value"], found["uncertainty"])


def _shape_picture(content: Content, distributions: Mapping[str, Any], names: Sequence[str]) -> Any:
    chosen = [name for name in (UNDISTURBED, *names) if distributions[name]["values"]]
    colours = ["black", *lines(len(chosen))]
    curves = {
        name: Curve(
            name_of(name),
            np.zeros(0),
            np.array(distributions[name]["values"]),
            colour,
            error=np.array(distributions[name]["uncertainties"]),
        )
        for name, colour in zip(chosen, colours, strict=False)
    }
    figure = figures.shapes(curves, np.array(content["edges"]), "Test events of the background")
    words = listed([curve.label for curve in curves.values()])
    return picture(
        figure, f"Distributions of the error: {words}.", f"Error of {words}, each normalised to 1."
    )


def _area_picture(rows: Mapping[str, Any], small: Mapping[str, Any]) -> Any:
    wanted = [(rows, score, _SCORES[score], _LINES[score]) for score in _SCORES]
    if all(name in small for name in rows):
        wanted.append((small, ERROR, f"error, {NETWORKS['small']}", SOLID))
    factors = {"control": 1.0, **dict(zip(MOMENTUM, FACTORS, strict=True))}
    curves = [
        Curve(
            label,
            np.array([factors[name] for name in rows]),
            np.array([_number(its[name]["auc"][score]["value"]) for name in rows]),
            colour,
            line,
            error=np.array([_number(its[name]["auc"][score]["uncertainty"]) for name in rows]),
        )
        for (its, score, label, line), colour in zip(wanted, lines(len(wanted)), strict=True)
    ]
    figure = figures.areas(curves, "Scaled against undisturbed events")
    words = listed([curve.label for curve in curves])
    return picture(figure, f"AUC against the factor: {words}.", f"AUC by {words}.")


def _number(value: float | None) -> float:
    return np.nan if value is None else value

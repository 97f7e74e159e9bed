"""Toy samples: simulation and data, written as ROOT files."""

import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import uproot

from ..config import content_hash
from ..errors import InputError
from ..progress import Progress, silent
from .detector import detect
from .layouts import LAYOUTS, Block, Layout
from .processes import DIBOSON, RESONANCE, TTBAR, ZJETS, Process
from .truth import ToySample, ToyTruth, read_truth, write_truth

SHARES: Mapping[Process, float] = {ZJETS: 0.40, TTBAR: 0.42, DIBOSON: 0.18}
"""Of the simulated background events."""

SIMULATION_RUN = 284500
FIRST_DATA_RUN = 276262

_BLOCK = 50_000  # events generated at once: bounds the memory, however large the sample
_PB_IN_FB = 1000.0
_SCALE_FACTORS = {"PILEUP": 0.08, "ELE": 0.01, "MUON": 0.01, "LepTRIGGER": 0.02, "FTAG": 0.04, "JVT": 0.01}
_FIRST_EVENT = 1_000_000


def make_toys(
    folder: Path,
    events: int = 60_000,
    seed: int = 1,
    *,
    signal_events: int = 10_000,
    luminosity: float = 0.1,
    injected: int = 30,
    files: int = 3,
    layout: str = "atlas-2025",
    progress: Progress = silent,
) -> ToyTruth:
    """Write toy ntuples; a folder that holds these very toys already is left as it is.

    Memory does not grow with the number of events.

    Parameters
    ----------
    folder
        Where ``zjets_0.root`` ... ``data_2.root`` and ``truth.json`` go.
    events, signal_events
        About how many simulated background and signal events the files will hold.
    seed
        Of all random numbers; not negative.
    luminosity
        fb^-1 of the data: 0.1 gives about 5000 events.
    injected
        Signal events in the data, exactly; the signal's cross-section gives about 30 at 0.1 fb^-1.
    files
        Files of each sample.
    layout
        One of `layouts.LAYOUTS`: what branches there are, and what they are called.

    Raises
    ------
    InputError
        The folder holds something else, or there is no such layout.
    """
    folder = Path(folder)
    if layout not in LAYOUTS:
        raise InputError(f"there are no toys in a layout '{layout}'; use one of {', '.join(LAYOUTS)}")
    code = [module.read_text(encoding="utf-8") for module in sorted(Path(__file__).parent.glob("*.py"))]
    recipe = content_hash([events, seed, signal_events, luminosity, injected, files, layout], code)
    if (existing := read_truth(folder, recipe)) is not None:
        return existing
    _clear(folder)
    work = _Work(folder, recipe, seed, luminosity, files, LAYOUTS[layout])
    wanted = {process: share * events for process, share in SHARES.items()} | {RESONANCE: signal_events}
    samples = {}
    for done, (process, number) in enumerate(wanted.items()):
        progress("Toy samples", done, len(wanted) + 1)
        samples[process.name] = _simulate(work, process, max(files, round(number / process.in_skim)))
    progress("Toy samples", len(wanted), len(wanted) + 1)
    samples["data"], numbers = _collect(work, injected)
    progress("Toy samples", len(wanted) + 1, len(wanted) + 1)
    truth = ToyTruth(recipe, seed, luminosity, numbers, samples)
    write_truth(folder, truth)
    return truth


class _Work(NamedTuple):
    folder: Path
    recipe: str
    seed: int
    luminosity: float
    files: int
    layout: Layout


def _write(work: _Work, sample: str, generated: int, make: Callable[[int, int], Block]) -> Iterator[Block]:
    """Write the files of a sample block by block, and hand every block on when it is written.

    ``make(block, blocks)`` makes one of as many blocks as keep each of them small.
    """
    per_file = max(1, math.ceil(generated / (work.files * _BLOCK)))
    for number, name in enumerate(_names(work, sample)):
        identity = uuid.uuid5(uuid.NAMESPACE_URL, f"tailshard toys {work.recipe} {name}")
        with uproot.recreate(
            work.folder / name, compression=uproot.ZLIB(1), uuid_function=lambda identity=identity: identity
        ) as file:
            tree = None
            for block in range(number * per_file, (number + 1) * per_file):
                made = make(block, work.files * per_file)
                columns = {field: made.events[field] for field in made.events.fields}
                if tree is None:
                    types = {field: ak.type(column).content for field, column in columns.items()}
                    tree = file.mktree(
                        work.layout.tree(sample),
                        types,
                        counter_name=work.layout.counter,
                        field_name=work.layout.field,
                    )
                if len(made.events):
                    tree.extend(columns)
                yield made


def _names(work: _Work, sample: str) -> tuple[str, ...]:
    return tuple(f"{sample}_{index}.root" for index in range(work.files))


def _range(total: int, block: int, blocks: int) -> tuple[int, int]:
    return total * block // blocks, total * (block + 1) // blocks


def _simulate(work: _Work, process: Process, generated: int) -> ToySample:
    scale = work.luminosity * _PB_IN_FB * process.total_cross_section / process.sum_of_weights(generated)
    stored, expected, variance = 0, 0.0, 0.0
    for made in _write(work, process.name, generated, partial(_simulated, work, process, generated)):
        weight = scale * made.weight
        stored += len(weight)
        expected += float(weight.sum())
        variance += float((weight**2).sum())
    return ToySample(
        files=_names(work, process.name),
        events=stored,
        generated=generated,
        cross_section=process.total_cross_section,
        sum_of_weights=process.sum_of_weights(generated),
        expected=expected,
        uncertainty=math.sqrt(variance),
        origins={process.name: stored},
    )


def _simulated(work: _Work, process: Process, generated: int, block: int, blocks: int) -> Block:
    start, stop = _range(generated, block, blocks)
    rng = np.random.default_rng([work.seed, process.channel, 0, block])
    events, in_skim = detect(rng, process.generate(rng, stop - start))
    number = np.arange(start, stop)[in_skim]
    generator_weight = process.weights(number)
    factors = {
        f"ScaleFactor_{what}": rng.normal(1, width, len(number)).astype(np.float32)
        for what, width in _SCALE_FACTORS.items()
    }
    variables = {
        **factors,
        "ScaleFactor_BTAG": factors["ScaleFactor_FTAG"],
        "mcWeight": generator_weight.astype(np.float32),
        "xsec": process.cross_section,
        "kfac": process.k_factor,
        "filteff": process.filter_efficiency,
        "sum_of_weights": process.sum_of_weights(generated),
        "sum_of_weights_squared": generated * process.weight**2,
        "num_events": float(generated),
        "channelNumber": np.uint32(process.channel),
        "runNumber": np.uint32(SIMULATION_RUN),
        "eventNumber": (number + 1).astype(np.uint64),
    }
    weight = generator_weight * np.prod(list(factors.values()), axis=0, dtype=np.float64)
    made = Block(_with(events[in_skim], variables), weight, np.full(len(number), process.channel))
    dressing = np.random.default_rng([work.seed, process.channel, 4, block])
    return work.layout.simulation(dressing, made, process, generated)


def _collect(work: _Work, injected: int) -> tuple[ToySample, tuple[int, ...]]:
    """Write the data; give what is known of it, and the numbers of its signal events."""
    rng = np.random.default_rng([work.seed, 1])
    collisions = {
        process: int(rng.poisson(work.luminosity * _PB_IN_FB * process.total_cross_section))
        for process in SHARES
    }
    total = sum(collisions.values()) + injected
    signal = _signal(work.seed, injected)
    origins = {process.channel: 0 for process in (*SHARES, RESONANCE)}
    numbers: list[int] = []
    for made in _write(work, "data", total, partial(_collected, work, collisions, signal)):
        for channel in origins:
            origins[channel] += int((made.origin == channel).sum())
        numbers += made.events[work.layout.event_number][made.origin == RESONANCE.channel].tolist()
    stored = sum(origins.values())
    sample = ToySample(
        files=_names(work, "data"),
        events=stored,
        generated=total,
        cross_section=0.0,
        sum_of_weights=1.0,
        expected=float(stored),
        uncertainty=math.sqrt(stored),
        origins={process.name: origins[process.channel] for process in (*SHARES, RESONANCE)},
    )
    return sample, tuple(numbers)


def _signal(seed: int, injected: int) -> ak.Array:
    """Exactly so many signal events that pass the skim."""
    rng = np.random.default_rng([seed, 2])
    events, in_skim = detect(rng, RESONANCE.generate(rng, 2 * injected + 100))
    return events[in_skim][:injected]


def _collected(
    work: _Work, collisions: Mapping[Process, int], signal: ak.Array, block: int, blocks: int
) -> Block:
    parts, in_skim, origin, first = [], [], [], 0
    for process, total in collisions.items():
        start, stop = _range(total, block, blocks)
        rng = np.random.default_rng([work.seed, process.channel, 1, block])
        seen, passing = detect(rng, process.generate(rng, stop - start))
        parts.append(seen)
        in_skim.append(passing)
        origin.append(np.full(stop - start, process.channel))
        first += start
    start, stop = _range(len(signal), block, blocks)
    parts.append(signal[start:stop])
    in_skim.append(np.ones(stop - start, bool))
    origin.append(np.full(stop - start, RESONANCE.channel))
    # As they come: in no order, and numbered before the skim.
    order = np.random.default_rng([work.seed, 3, block]).permutation(sum(map(len, parts)))
    number = first + start + np.arange(len(order), dtype=np.uint64) + _FIRST_EVENT
    kept = np.concatenate(in_skim)[order]
    run = np.uint32(FIRST_DATA_RUN + block)
    variables = {
        **dict.fromkeys((f"ScaleFactor_{what}" for what in (*_SCALE_FACTORS, "BTAG")), np.float32(1)),
        "mcWeight": np.float32(1),
        **dict.fromkeys(("xsec", "kfac", "filteff"), np.float32(0)),
        **dict.fromkeys(("sum_of_weights", "sum_of_weights_squared", "num_events"), 1.0),
        "channelNumber": run,
        "runNumber": run,
        "eventNumber": number[kept],
    }
    events = ak.concatenate(parts)[order[kept]]
    made = Block(_with(events, variables), np.ones(len(events)), np.concatenate(origin)[order[kept]])
    return work.layout.data(np.random.default_rng([work.seed, 5, block]), made)


def _with(events: ak.Array, variables: Mapping[str, Any]) -> ak.Array:
    """Add variables of the event; numbers stand for columns of that number."""
    columns = {name: np.broadcast_to(values, len(events)) for name, values in variables.items()}
    return ak.zip({**{name: events[name] for name in events.fields}, **columns}, depth_limit=1)


def _clear(folder: Path) -> None:
    """Take earlier toys away, and mark the folder as one of unfinished toys."""
    folder.mkdir(parents=True, exist_ok=True)
    write_truth(folder, None)
    for name in (*(process.name for process in (*SHARES, RESONANCE)), "data"):
        for file in folder.glob(f"{name}_[0-9]*.root"):
            file.unlink()

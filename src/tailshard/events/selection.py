"""Named selections of events, each with its cutflow.

Object cuts (`events.objects`) include their threshold; event cuts must be exceeded ("met > 30 GeV").
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from ..chains import ELECTRON
from ..cuts import EventCuts, Selection
from ..data_taking import year_of
from ..errors import ConfigError, ProcessingError
from ..registry import resolve
from .kinematics import leading, mass_of_leading
from .objects import Objects, count_baseline_leptons
from .samples import is_bad, is_held_twice
from .triggers import chains_in_force, fired_chain, fired_trigger

Mask = NDArray[np.bool_]

SELECTIONS: Mapping[str, EventCuts] = {
    "two_jets_two_leptons": EventCuts(minimum_leptons=2, maximum_leptons=2, minimum_jets=2, minimum_met=30),
    "two_lepton": EventCuts(minimum_leptons=2, lepton_pt=(25, 25), minimum_m_ll=70),
    "three_lepton": EventCuts(minimum_leptons=3, maximum_leptons=3, lepton_pt=(20, 20)),
    "four_lepton": EventCuts(minimum_leptons=4, flavour_pairs=True, total_charge_zero=True),
}
"""What the named selections ask for; `Selection.cuts` overrides them field by field.

two_jets_two_leptons
    The 2J2LMET30 skim of the 2025 release, with exactly two leptons: a dilepton search with jets.
two_lepton
    At least two leptons above 25 GeV and a pair above the low-mass resonances.
three_lepton
    Exactly three leptons, two of them above 20 GeV: electroweak production of gauginos.
four_lepton
    At least four leptons; the four leading ones are 4e, 2e2mu or 4mu of zero total charge: ZZ, H to ZZ.

None asks for a trigger. The skims of 2016 and 2020 hold nothing that fired none; those of 2025 do: most of
the selected data of the exactly4lep skim fired no single-lepton trigger. `triggers`, `trigger_legs` and
`trigger_chains` add the demand.
"""


class CutflowStep(NamedTuple):
    """Events that passed a cut and all those before it."""

    name: str
    """The cut in plain English, thresholds included; "all" for the first step."""
    raw: int
    """Number of events."""
    weighted: float
    """Sum of their weights."""


def event_cuts(selection: Selection) -> EventCuts:
    """Cuts in force: those of the named selection, overridden by what `selection.cuts` sets.

    A selection of the user's own starts from no cuts. ``false`` takes a named selection's demand away.

    Raises
    ------
    ConfigError
        There is no such selection, or its cuts contradict each other.
    """
    named = resolve("selection", selection.name, SELECTIONS)
    cuts = named if isinstance(named, EventCuts) else EventCuts()
    cuts = cuts.model_copy(update=selection.cuts.model_dump(exclude_none=True))
    if strange := sorted(set(cuts.trigger_legs or ()) - set(cuts.triggers or ())):
        raise ConfigError(
            f"selection '{selection.name}': trigger_legs speaks of {', '.join(strange)}, which triggers does "
            "not ask for; add it there"
        )
    for what in ("leptons", "baseline_leptons", "b_jets"):
        minimum, maximum = getattr(cuts, f"minimum_{what}"), getattr(cuts, f"maximum_{what}")
        if minimum is not None and maximum is not None and minimum > maximum:
            raise ConfigError(
                f"selection '{selection.name}': minimum_{what} ({minimum}) is above maximum_{what} "
                f"({maximum}), no event can pass; set both in selection.cuts"
            )
    return cuts


def select_events(
    events: ak.Array,
    objects: Objects,
    selection: Selection,
    weight: NDArray[np.float64],
    years: Sequence[int] | None = None,
) -> tuple[Mask, tuple[CutflowStep, ...]]:
    """Apply the cuts one after the other.

    Parameters
    ----------
    events, objects
        Canonical events, shape (events,), and their selected objects.
    selection
        Name and cuts. A ``module:object`` is called with (events, objects) after all cuts and returns
        one boolean for each event; it is the last step, under its own name.
    weight
        Shape (events,).
    years
        Years of data taking to keep, where that is asked (`Pipeline.kept_years`).

    Returns
    -------
    tuple
        Which events pass everything, shape (events,), and the cutflow in the order of the cuts.

    Raises
    ------
    ConfigError
        There is no such selection, its cuts contradict each other, or it cannot be called.
    ProcessingError
        The user's own selection failed, or did not return one boolean for each event.
    """
    mask = np.ones(len(events), dtype=np.bool_)
    steps = [CutflowStep("all", len(events), float(weight.sum()))]
    for name, passing in _all_cuts(events, objects, selection, years):
        mask &= passing
        steps.append(CutflowStep(name, int(mask.sum()), float(weight[mask].sum())))
    return mask, tuple(steps)


def _all_cuts(
    events: ak.Array, objects: Objects, selection: Selection, years: Sequence[int] | None
) -> Iterator[tuple[str, Mask]]:
    cuts = event_cuts(selection)
    if years is not None:
        listed = ", ".join(map(str, years))
        yield f"data taking of {listed}", np.isin(year_of(ak.to_numpy(events.conditions_run)), years)
    yield from _sample_cuts(events, cuts)
    yield from _quality_cuts(events, objects, cuts)
    if cuts.minimum_baseline_leptons is not None or cuts.maximum_baseline_leptons is not None:
        count = ak.to_numpy(count_baseline_leptons(events, selection))
        minimum, maximum = cuts.minimum_baseline_leptons, cuts.maximum_baseline_leptons
        yield from _count_cuts("baseline lepton", count, minimum, maximum)
    yield from _lepton_cuts(objects.leptons, cuts)
    yield from _jet_cuts(objects, cuts)
    if cuts.minimum_met is not None:
        yield f"met > {cuts.minimum_met:g} GeV", ak.to_numpy(events.met > cuts.minimum_met)
    if selection.name not in SELECTIONS:
        yield selection.name, _own_cut(events, objects, selection.name)


def _sample_cuts(events: ak.Array, cuts: EventCuts) -> Iterator[tuple[str, Mask]]:
    """Cuts on simulated samples: a step for data too, which it passes, so that cutflows line up."""
    simulated = "sample_number" in events.fields
    everything = np.ones(len(events), dtype=np.bool_)
    if cuts.remove_bad_samples:
        name = "no bad sample"
        year = year_of(ak.to_numpy(events.conditions_run))
        yield name, ~is_bad(events.sample_number, year) if simulated else everything
    if cuts.remove_z_overlap:
        name = "no Z event twice"
        yield name, ~is_held_twice(events.sample_number, events.born_mass) if simulated else everything


def _quality_cuts(events: ak.Array, objects: Objects, cuts: EventCuts) -> Iterator[tuple[str, Mask]]:
    if "good_quality" in events.fields:
        yield "good run and vertex", ak.to_numpy(events.good_quality)
    if cuts.triggers:
        fired = [fired_trigger(events, objects.leptons, trigger, cuts) for trigger in cuts.triggers]
        named = [_with_legs(trigger, cuts) for trigger in cuts.triggers]
        yield f"{' or '.join(named)} trigger", np.logical_or.reduce(fired)
    if chains := chains_in_force(cuts):
        what = "dilepton trigger" if cuts.trigger_chains == "dilepton" else "trigger chain"
        yield f"{what} of the year, legs matched", fired_chain(events, objects.leptons, chains)
    if cuts.trigger_matched:
        matched = ak.any(objects.leptons.trigger_matched, axis=1)
        yield "a lepton that fired a trigger", ak.to_numpy(matched)


def _with_legs(trigger: str, cuts: EventCuts) -> str:
    chain = cuts.chain_of(trigger)
    return f"{trigger} ({chain})" if chain else trigger


def _lepton_cuts(leptons: ak.Array, cuts: EventCuts) -> Iterator[tuple[str, Mask]]:
    count = ak.to_numpy(ak.num(leptons, axis=1))
    yield from _count_cuts("lepton", count, cuts.minimum_leptons, cuts.maximum_leptons)
    if cuts.lepton_pt:
        thresholds = sorted(cuts.lepton_pt, reverse=True)
        above = [leading(leptons.pt, place) > threshold for place, threshold in enumerate(thresholds)]
        listed = ", ".join(f"{threshold:g}" for threshold in thresholds)
        yield f"lepton pT > {listed} GeV", np.logical_and.reduce(above)
    if cuts.flavour_pairs:
        electrons = ak.to_numpy(ak.sum(leptons.flavour[:, :4] == ELECTRON, axis=1))
        yield "four leading leptons are 4e, 2e2mu or 4mu", (count >= 4) & (electrons % 2 == 0)
    if cuts.total_charge_zero:
        counted = leptons.charge[:, : cuts.minimum_leptons or None]
        yield "total charge zero", ak.to_numpy(ak.sum(counted, axis=1)) == 0
    if cuts.opposite_charge:
        charges = leading(leptons.charge, 0), leading(leptons.charge, 1)
        yield "leading leptons of opposite charge", charges[0] * charges[1] < 0
    if cuts.same_flavour:
        flavours = leading(leptons.flavour, 0), leading(leptons.flavour, 1)
        yield "leading leptons of the same flavour", flavours[0] == flavours[1]
    if cuts.minimum_m_ll is not None:
        yield f"m_ll > {cuts.minimum_m_ll:g} GeV", mass_of_leading(leptons, 2) > cuts.minimum_m_ll
    if cuts.maximum_m_ll is not None:
        yield f"m_ll < {cuts.maximum_m_ll:g} GeV", mass_of_leading(leptons, 2) < cuts.maximum_m_ll


def _jet_cuts(objects: Objects, cuts: EventCuts) -> Iterator[tuple[str, Mask]]:
    yield from _count_cuts("jet", ak.to_numpy(ak.num(objects.jets, axis=1)), cuts.minimum_jets, None)
    b_jets = ak.to_numpy(ak.num(objects.b_jets, axis=1))
    yield from _count_cuts("b jet", b_jets, cuts.minimum_b_jets, cuts.maximum_b_jets)


def _count_cuts(
    what: str, count: NDArray[np.int64], minimum: int | None, maximum: int | None
) -> Iterator[tuple[str, Mask]]:
    if minimum is not None and minimum == maximum:
        yield f"exactly {_counted(minimum, what)}", count == minimum
        return
    if minimum:
        yield f"at least {_counted(minimum, what)}", count >= minimum
    if maximum is not None:
        yield f"at most {_counted(maximum, what)}" if maximum else f"no {what}", count <= maximum


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _own_cut(events: ak.Array, objects: Objects, name: str) -> Mask:
    own: Callable[[ak.Array, Objects], Any] = resolve("selection", name, SELECTIONS)
    if not callable(own):
        raise ConfigError(f"selection '{name}' is a {type(own).__name__}; it must be a function")
    try:
        passing = np.asarray(own(events, objects))
    except Exception as error:
        raise ProcessingError(f"selection '{name}' failed: {type(error).__name__}: {error}") from error
    if passing.dtype != np.bool_ or passing.shape != (len(events),):
        raise ProcessingError(
            f"selection '{name}' must return one boolean for each of the {len(events)} events, "
            f"found {passing.dtype} of shape {passing.shape}"
        )
    return passing

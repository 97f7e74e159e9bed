"""What a selection asks of objects and of events."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from .chains import legs_of
from .data_taking import Year
from .parts import Energy, Length, Part, PluginName

Trigger = Literal["electron", "muon", "dielectron", "dimuon", "multilepton", "met"]


def _with_legs(chain: str) -> str:
    legs_of(chain)  # refuses a name without legs
    return chain.removeprefix("HLT_")


Chain = Annotated[str, AfterValidator(_with_legs)]
"""A trigger chain by its ATLAS name, without ``HLT_``; `chains.legs_of` reads it."""


class LeptonCuts(Part):
    """What an electron or muon must satisfy to be an object of the event."""

    minimum_pt: Energy = 7.0
    maximum_abs_eta: float = 2.47
    identification: Literal["none", "loose", "medium", "tight"] = "tight"
    isolation: Literal["none", "loose", "tight"] = "none"
    maximum_abs_d0_significance: float | None = None
    maximum_abs_z0_sin_theta: Length | None = None


class JetCuts(Part):
    """What a jet must satisfy, and what makes it a b jet."""

    minimum_pt: Energy = 20.0
    maximum_abs_eta: float = 2.5
    pile_up_rejection: bool = True
    """Apply the release's jet-vertex criterion (JVT or JVF): soft jets in the tracker must pass it."""
    minimum_jvt: float | None = None
    """Of jets with pT < 60 GeV and |eta| < 2.4, where the release stores the score; its own threshold
    where left out."""
    b_tag_efficiency: int | None = Field(default=None, gt=0, lt=100)
    """Working point in per cent; the dialect's default where left out. Every jet is light or b."""
    maximum_abs_eta_b_tag: float = 2.5
    """A jet beyond it is light, whatever its b-tag: there are no tracks to judge by."""


class EventCuts(Part):
    """Cuts on an event; what is left out keeps the value of the named selection."""

    minimum_leptons: int | None = Field(default=None, ge=0)
    maximum_leptons: int | None = Field(default=None, ge=0)
    lepton_pt: tuple[Energy, ...] | None = None
    """Thresholds for the leptons in falling order of pT."""
    minimum_baseline_leptons: int | None = Field(default=None, ge=0)
    """Leptons that pass `selection.baseline_electrons` or `selection.baseline_muons`."""
    maximum_baseline_leptons: int | None = Field(default=None, ge=0)
    minimum_jets: int | None = Field(default=None, ge=0)
    """Light and b jets together."""
    minimum_b_jets: int | None = Field(default=None, ge=0)
    maximum_b_jets: int | None = Field(default=None, ge=0)
    minimum_met: Energy | None = None
    minimum_m_ll: Energy | None = None
    """Invariant mass of the two leading leptons."""
    maximum_m_ll: Energy | None = None
    opposite_charge: bool | None = None
    """Of the two leading leptons."""
    same_flavour: bool | None = None
    """Of the two leading leptons."""
    total_charge_zero: bool | None = None
    """Of the leptons that the selection counts (the four leading ones in four_lepton)."""
    flavour_pairs: bool | None = None
    """Four leading leptons are 4e, 2e2mu or 4mu."""
    triggers: tuple[Trigger, ...] | None = None
    """At least one of these fired; empty asks for none."""
    trigger_legs: dict[Trigger, Chain] | None = None
    """What a trigger asks of its leptons, written as a chain (``dielectron: 2e18``, ``muon: mu27``): such
    a trigger counts only with a selected lepton of the right flavour above the threshold of each leg, and
    with a lepton that fired it where the release says which one did."""
    trigger_chains: Literal["dilepton"] | dict[Year, tuple[Chain, ...]] | None = None
    """At least one chain of the event's year fired, and each of its legs is matched to another selected
    lepton of the right flavour above the leg's threshold. dilepton: `chains.DILEPTON_CHAINS`."""
    trigger_matched: bool | None = None
    """At least one lepton fired a trigger."""
    remove_bad_samples: bool | None = None
    """Leave out simulated samples that are known to be wrong (`events.samples`)."""
    remove_z_overlap: bool | None = None
    """Leave out what two Z samples both hold: events of the inclusive one above 120 GeV."""

    def chain_of(self, trigger: str) -> str | None:
        """Find the chain that says what a trigger asks of its leptons; None if nothing does."""
        chains: dict[str, str] = dict((self.trigger_legs or {}).items())
        return chains.get(trigger)


class Selection(Part):
    """Objects and events to keep."""

    name: PluginName = "two_lepton"
    """two_jets_two_leptons, two_lepton, three_lepton, four_lepton or 'module:object'."""
    electrons: LeptonCuts = LeptonCuts()
    muons: LeptonCuts = LeptonCuts(maximum_abs_eta=2.7)
    baseline_electrons: LeptonCuts | None = None
    """Looser cuts that define baseline electrons. Where they are given, `electrons` adds to them: an
    electron of the event is a baseline electron that passes both."""
    baseline_muons: LeptonCuts | None = None
    jets: JetCuts = JetCuts()
    overlap_removal: bool = True
    """Keep only leptons and jets that survived the removal of overlaps, where the release stores that
    decision as flags. The Open Data releases have made it already."""
    cuts: EventCuts = EventCuts()

    @model_validator(mode="after")
    def _baseline_is_of_both_flavours(self) -> "Selection":
        if (self.baseline_electrons is None) != (self.baseline_muons is None):
            raise ValueError("give baseline_electrons and baseline_muons, or neither")
        return self

"""What a selection asks of objects and of events."""

from typing import Literal

from pydantic import Field

from .parts import Energy, Length, Part, PluginName


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
    """Apply the release's jet-vertex criterion (JVT or JVF)."""
    b_tag_efficiency: int | None = Field(default=None, gt=0, lt=100)
    """Working point in per cent; the dialect's default where left out. Every jet is light or b."""


class EventCuts(Part):
    """Cuts on an event; what is left out keeps the value of the named selection."""

    minimum_leptons: int | None = Field(default=None, ge=0)
    maximum_leptons: int | None = Field(default=None, ge=0)
    lepton_pt: tuple[Energy, ...] | None = None
    """Thresholds for the leptons in falling order of pT."""
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
    triggers: tuple[Literal["electron", "muon", "dielectron", "dimuon", "multilepton", "met"], ...] | None = (
        None
    )
    """At least one of these fired; empty asks for none."""
    trigger_matched: bool | None = None
    """At least one lepton fired a trigger."""


class Selection(Part):
    """Objects and events to keep."""

    name: PluginName = "two_lepton"
    """two_jets_two_leptons, two_lepton, three_lepton, four_lepton or 'module:object'."""
    electrons: LeptonCuts = LeptonCuts()
    muons: LeptonCuts = LeptonCuts(maximum_abs_eta=2.7)
    jets: JetCuts = JetCuts()
    cuts: EventCuts = EventCuts()

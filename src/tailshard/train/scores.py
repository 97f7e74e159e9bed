"""How anomalous an event is: pure functions of what the network made of it.

With x the scaled event, y its reconstruction, m_c 1 where the objects of cell c exist and else 0, s_c^2 the
mean squared difference of the background in that cell and n_b the mean number of an event's cells of kind b
that exist (`Background`), both from training events alone:

===============  ====================================================================================
sum              sum_c (x_c - y_c)^2: S. Frette's thesis (Oslo, 2023), before its logarithm
mean             the same, divided by the number of cells
masked_mean      sum_c m_c (x_c - y_c)^2 / sum_c m_c
relative         sum_c m_c (x_c - y_c)^2 / s_c^2
excess           mean over the kinds b of MET, mT, ET and m of
                 sum_{c in b} m_c max(x_c - y_c, 0)^2 / s_c^2 / n_b
blocks           (events, kinds): sum_{c in b} m_c (x_c - y_c)^2 / s_c^2 / n_b
divergence       KL(q || N(0, 1)) of the latent distribution, in nats
latent_distance  (z - mean)^T covariance^-1 (z - mean), z without chance
===============  ====================================================================================

`excess` knows one thing about what is looked for: new heavy particles leave *more* energy and larger masses
than the background does. An event of little energy is not an anomaly however badly it is reconstructed,
and a kind of cells counts once, not as often as it has cells.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..features.names import PHYSICS_BLOCKS, physics_blocks
from .background import Background

ENERGIES = ("MET", "mT", "ET", "m")
"""Kinds of cells that are energies or masses."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Some scaled events and all that scores ask about them."""

    network: Any
    """A module in evaluation mode; `tailshard.models` says what it may be asked."""
    events: Tensor
    """(n, cells)"""
    present: Tensor
    """(n, cells) bool: cells of objects that exist."""
    background: Background | None
    add_divergence: bool = False

    @cached_property
    def difference(self) -> Tensor:
        """Event minus reconstruction, (n, cells)."""
        reconstruction: Tensor = self.network(self.events)
        return self.events - reconstruction.float()

    @cached_property
    def penalty(self) -> Tensor:
        """What training added to the loss of each event, (n,)."""
        if not self.add_divergence:
            return self.events.new_zeros(len(self.events))
        if not hasattr(self.network, "learn"):
            raise ConfigError("score.add_divergence needs a network with a divergence, such as vae_small")
        penalty: Tensor = self.network.learn(self.events)[1]
        return penalty.float()

    @cached_property
    def yardstick(self) -> Background:
        """The background; refused where it was not saved."""
        if self.background is None:
            raise ConfigError(
                "the model knows nothing of its background, which this score needs; "
                "run 'tailshard train' again"
            )
        return self.background

    def by_kind(self, values: Tensor) -> Tensor:
        """Sum (n, cells) over the cells of each kind, in units of their mean number: (n, kinds)."""
        block = torch.from_numpy(physics_blocks(self.yardstick.counts).reshape(-1)).to(values.device)
        member = nn.functional.one_hot(block, len(PHYSICS_BLOCKS)).to(values.dtype)
        filled = torch.from_numpy(self.yardstick.filled).to(values.device)
        return values @ member / filled.clamp_min(1e-3)

    def relative(self, difference: Tensor) -> Tensor:
        """Square differences of existing cells in units of the background's: (n, cells)."""
        usual = torch.from_numpy(self.yardstick.mean_squares).to(difference.device)
        return difference.square() / usual * self.present


def _sum(outcome: Outcome) -> Tensor:
    cells = outcome.events.shape[1]
    return outcome.difference.square().sum(dim=1) + cells * outcome.penalty


def _mean(outcome: Outcome) -> Tensor:
    return _sum(outcome) / outcome.events.shape[1]


def _masked_mean(outcome: Outcome) -> Tensor:
    squares = outcome.difference.square() * outcome.present
    return squares.sum(dim=1) / outcome.present.sum(dim=1).clamp_min(1) + outcome.penalty


def _relative(outcome: Outcome) -> Tensor:
    return outcome.relative(outcome.difference).sum(dim=1)


def _excess(outcome: Outcome) -> Tensor:
    kinds = outcome.by_kind(outcome.relative(outcome.difference.clamp_min(0)))
    return kinds[:, [PHYSICS_BLOCKS.index(name) for name in ENERGIES]].mean(dim=1)


def _blocks(outcome: Outcome) -> Tensor:
    return outcome.by_kind(outcome.relative(outcome.difference))


def _divergence(outcome: Outcome) -> Tensor:
    if not hasattr(outcome.network, "divergence"):
        raise ConfigError("the score 'divergence' needs a network with a divergence, such as vae_small")
    divergence: Tensor = outcome.network.divergence(outcome.events)
    return divergence


def _latent_distance(outcome: Outcome) -> Tensor:
    if not hasattr(outcome.network, "latent") or not len(outcome.yardstick.latent_mean):
        raise ConfigError("the score 'latent_distance' needs a network with a method latent(events)")
    device = outcome.events.device
    mean, precision = (
        torch.from_numpy(each).to(device).double()
        for each in (outcome.yardstick.latent_mean, outcome.yardstick.latent_precision)
    )
    away = outcome.network.latent(outcome.events).double() - mean
    distance: Tensor = ((away @ precision) * away).sum(dim=1).clamp_min(0)
    return distance


SCORES: Mapping[str, Callable[[Outcome], Tensor]] = {
    "sum": _sum,
    "mean": _mean,
    "masked_mean": _masked_mean,
    "relative": _relative,
    "excess": _excess,
    "divergence": _divergence,
    "latent_distance": _latent_distance,
    "blocks": _blocks,
}


def compute_scores(outcome: Outcome, kinds: Sequence[str]) -> dict[str, Tensor]:
    """Give the scores of some events by name: (n,) float32 each, (n, kinds of cells) for ``blocks``.

    Raises
    ------
    ConfigError
        The network, or its file, has not what a score needs.
    """
    return {kind: SCORES[kind](outcome).float() for kind in kinds}

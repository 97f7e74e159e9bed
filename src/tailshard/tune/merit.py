"""How good a network is, seen from background alone.

reconstruction
    1 - sum_i |w_i| sum_c m_ic (y_ic - x_ic)^2 / s_c^2  /  sum_i |w_i| sum_c m_ic (x_ic - u_c)^2 / s_c^2,

    the share of the variance that the network explains. x is the event's matrix as stored and y the
    reconstruction, taken back out of the network's own scaling; m_ic is 1 where the cell's objects exist; u_c
    and s_c are mean and standard deviation of the cell in the training events that fill it, whatever the
    scaler of the network. Losses of different scalers, masks or cell weights are no numbers of one scale;
    these are. 1 is perfect, 0 is no better than the mean, and below 0 is worse.

separation
    the mean, over the disturbances of `tailshard.tune.disturb`, of the weighted area under the ROC curve
    (`tailshard.search.separation`) of the score between background and the same events disturbed. 0.5 is
    chance, 1 is perfect.

Both are of validation events of the channels that the network learns from: read slot by slot and chunk by
chunk, summed up, and never kept.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ProcessingError
from ..features.islands import Islands
from ..learning import Score
from ..search.separation import auc
from ..search.significance import Spectrum
from ..store.catalog import Catalog
from ..store.cells import Statistics
from ..store.read import ShardReader, statistics
from ..train.checkpoint import LoadedModel
from ..train.scaling import Scaler, presence, varying
from ..train.scaling import fit as fit_scaler
from .disturb import DISTURBANCES

_LOWEST, _HIGHEST, _BINS = -10.0, 10.0, 10_000  # of log10 of a score: the axis of the search's own spectra
_LARGEST_LOGARITHM = 50.0  # exp(50) is no mass anybody has; beyond it float64 would end


class Merit(NamedTuple):
    """A figure of merit; larger is better."""

    value: float
    uncertainty: float
    """Standard deviation from the statistics of the validation events. All trials are judged by the same
    events, so that their differences are known better than this."""
    parts: Mapping[str, float]
    """What it is the mean of."""


class Judge(Protocol):
    """Tells how good a network is."""

    def __call__(self, model: LoadedModel) -> Merit:
        """Judge a network.

        Raises
        ------
        ProcessingError
            What it gives is not finite.
        """


class _Rows(NamedTuple):
    """Validation events of one chunk."""

    islands: Islands
    weight: NDArray[np.float64]
    """(n,) scaled."""
    place: str
    """Channel, slot and first row: a key for random numbers."""


@dataclass(frozen=True)
class Validation:
    """The validation events of some channels."""

    store: Path
    catalog: Catalog
    channels: Sequence[str]

    def chunks(self) -> Iterator[_Rows]:
        """Read the events, a chunk of a slot at a time."""
        reader, chunk = ShardReader(self.store), self.catalog.geometry.chunk
        for channel in self.channels:
            for slot in self.catalog.slots_of(channel):
                first, last = self.catalog.geometry.split_range(slot, "validation")
                for start in range(first, last, chunk):
                    stop = min(start + chunk, last)
                    weight = np.asarray(reader.read(channel, "weight", start, stop), np.float64)
                    islands = reader.read_islands(channel, start, stop)
                    yield _Rows(islands, weight * self.catalog.scale(slot), f"{channel}/{start}")

    def training_statistics(self) -> Statistics:
        """Give the statistics of the training events of the same channels."""
        return statistics(self.store, self.catalog, self.channels)


# -- reconstruction --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reconstruction:
    """Judges by the explained share of the variance."""

    events: Validation

    def __call__(self, model: LoadedModel) -> Merit:
        """Judge a network; see `Judge`."""
        of_cells = self.events.training_statistics()
        yard = fit_scaler(of_cells, "occupied")
        device = next(model.network.parameters()).device
        scale, common = model.scaler.on(device), yard.on(device)
        varies = torch.from_numpy(varying(of_cells).reshape(-1)).to(device)
        sums = np.zeros(5)
        with torch.inference_mode():
            for rows in self.events.chunks():
                reconstruction = unscaled(model.scaler, model.network(scale(rows.islands)).double())
                counted = presence(rows.islands, device) & varies
                truth = common(rows.islands).double()
                mean, factor = (torch.from_numpy(each).to(device) for each in (yard.offset, yard.factor))
                missed = ((reconstruction - mean) * factor - truth).square() * counted
                weight = np.abs(rows.weight)
                n, d = (
                    weight * squares.sum(dim=1).cpu().numpy()
                    for squares in (missed, truth.square() * counted)
                )
                sums += [n.sum(), d.sum(), (n * n).sum(), (n * d).sum(), (d * d).sum()]
        return explained(*sums)


def explained(missed: float, total: float, missed2: float, both: float, total2: float) -> Merit:
    """Give 1 - missed / total, and its uncertainty: linear propagation of two sums over the same events.

    Raises
    ------
    ProcessingError
        There is no variance, or the sums are not finite.
    """
    if not (np.isfinite([missed, missed2, both]).all() and total > 0):
        raise ProcessingError("the network's reconstructions of validation events are not finite")
    share = missed / total
    variance = (missed2 - 2 * share * both + share**2 * total2) / total**2
    value = float(1 - share)
    return Merit(value, float(np.sqrt(max(variance, 0))), {"explained": value})


def unscaled(scaler: Scaler, scaled: Tensor) -> Tensor:
    """Undo a scaling: (n, cells) float64, of cells whose objects exist."""
    offset, factor, unit = (
        torch.from_numpy(each).to(scaled.device).double()
        for each in (scaler.offset, scaler.factor, scaler.unit)
    )
    cells = scaled / factor + offset
    if not len(unit):
        return cells
    return cells.sign() * unit * cells.abs().clamp_max(_LARGEST_LOGARITHM).expm1()


# -- separation ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Separation:
    """Judges by the AUC of a score between background and background that was disturbed."""

    events: Validation
    score: Score
    seed: int

    def __call__(self, model: LoadedModel) -> Merit:
        """Judge a network; see `Judge`."""
        spectra = {name: (_Sums(), _Sums()) for name in DISTURBANCES}
        for rows in self.events.chunks():
            plain = self._scores(model, rows.islands)
            for name, disturb in DISTURBANCES.items():
                disturbed = disturb(rows.islands, self._generator(name, rows.place))
                if not len(disturbed.rows):
                    continue
                weight, (anomalous, ordinary) = rows.weight[disturbed.rows], spectra[name]
                anomalous.add(self._scores(model, disturbed.islands), weight)
                ordinary.add(plain[disturbed.rows], weight)
        areas = {
            name: auc(anomalous.spectrum, ordinary.spectrum)
            for name, (anomalous, ordinary) in spectra.items()
            if anomalous.events
        }
        if not areas or not all(np.isfinite(area.value) for area in areas.values()):
            raise ProcessingError("the validation events have no weight to judge a network with")
        return Merit(
            float(np.mean([area.value for area in areas.values()])),
            float(np.sqrt(sum(area.uncertainty**2 for area in areas.values())) / len(areas)),
            {name: area.value for name, area in areas.items()},
        )

    def _scores(self, model: LoadedModel, islands: Islands) -> NDArray[np.float32]:
        kind = self.score.kind
        found = model.scores(islands, (kind,), self.score.add_divergence)[kind]
        if not np.isfinite(found).all():
            raise ProcessingError(f"score '{kind}' of some validation events is not finite")
        return found

    def _generator(self, name: str, place: str) -> np.random.Generator:
        key = hashlib.blake2b(f"{self.seed}/{name}/{place}".encode(), digest_size=8).digest()
        return np.random.default_rng(int.from_bytes(key, "little"))


class _Sums:
    """Sums of weights in bins of log10 of a score, underflow first and overflow last."""

    def __init__(self) -> None:
        self.spectrum = Spectrum(np.zeros(_BINS + 2), np.zeros(_BINS + 2))
        self.events = 0

    def add(self, scores: NDArray[np.float32], weight: NDArray[np.float64]) -> None:
        """Fill some events."""
        with np.errstate(divide="ignore"):
            logarithm = np.log10(scores.astype(np.float64))
        place = np.floor((logarithm - _LOWEST) / (_HIGHEST - _LOWEST) * _BINS)
        place = np.clip(place + 1, 0, _BINS + 1).astype(np.int64)
        values, variances = (np.bincount(place, each, _BINS + 2) for each in (weight, weight**2))
        self.spectrum = Spectrum(self.spectrum.values + values, self.spectrum.variances + variances)
        self.events += len(scores)

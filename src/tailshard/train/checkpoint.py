"""What outlives a training process: the state to continue from, and the finished model."""

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from ..errors import StateError, WorkdirError
from ..features.islands import Islands
from ..learning import Model
from ..models import build
from ..places import here, opened_whole
from .background import Background
from .metrics import EpochMetrics
from .scaling import Events, Scaler, presence
from .scores import Outcome, compute_scores

STATE_VERSION = 2
MODEL_VERSION = 2

Weights = dict[str, Tensor]
"""A network's ``state_dict``, on the CPU."""


@dataclass(frozen=True)
class Best:
    """The network with the smallest validation loss so far."""

    epoch: int
    validation_loss: float
    network: Weights


@dataclass(frozen=True)
class TrainingState:
    """Everything that training needs to go on as if it had never stopped."""

    network: Weights
    optimizer: dict[str, Any]
    position: dict[str, Any]
    """The stream's state: where the next batch comes from."""
    best: Best | None
    """None before the end of the first epoch."""
    history: tuple[EpochMetrics, ...]
    """One for each finished epoch."""
    unfinished: dict[str, float]
    """What the epoch in hand has summed up so far, over all ranks; empty between epochs."""

    def save(self, path: Path) -> None:
        """Write the state to a file."""
        _save({"version": STATE_VERSION, **asdict(self)}, path)

    @classmethod
    def load(cls, path: Path) -> "TrainingState":
        """Read a state.

        Raises
        ------
        StateError
            The file is damaged, or another version of tailshard wrote it.
        """
        content = _load(path)
        if (version := content.pop("version", None)) != STATE_VERSION:
            raise StateError(
                f"{path} is a training state of version {version}, this tailshard continues from "
                f"{STATE_VERSION}; remove it to train from the start"
            )
        try:
            best, history = content.pop("best"), content.pop("history")
            return cls(
                **content,
                best=Best(**best) if best else None,
                history=tuple(EpochMetrics(**metrics) for metrics in history),
            )
        except (KeyError, TypeError) as error:
            raise StateError(f"{path} is not a whole training state: {error}") from error


def weights_of(network: nn.Module) -> Weights:
    """Copy a network's parameters and buffers to the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


class Reconstruction(NamedTuple):
    """What a network makes of events; NaN where their objects do not exist."""

    cells: NDArray[np.float32]
    """(n, R, R), in the units of the matrices."""
    difference: NDArray[np.float32]
    """(n, R, R): event minus reconstruction as scores see it, scaled."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A trained network with the scaler it was trained with."""

    network: nn.Module
    scaler: Scaler
    model: Model
    size: int
    """Rows of the matrices it was trained on."""
    epoch: int
    """The one that gave the smallest validation loss."""
    validation_loss: float
    snapshot: str
    """Of the store it was trained on."""
    background: Background | None = None
    """What it makes of the background it learned from; some scores need it."""

    @cached_property
    def _scale(self) -> Callable[[Events], torch.Tensor]:
        return self.scaler.on(next(self.network.parameters()).device)

    def errors(self, events: Islands | NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the score ``sum`` of each event; see `scores`."""
        return self.scores(events, ("sum",))["sum"]

    def scores(
        self, events: Islands | NDArray[np.float32], kinds: Sequence[str], add_divergence: bool = False
    ) -> dict[str, NDArray[np.float32]]:
        """Give scores of each event by name; `tailshard.train.scores` says what they are.

        Parameters
        ----------
        events
            Islands of n events, or whole matrices (n, R, R) float32; unscaled. Peak memory is about four
            times the whole matrices; pass chunks.
        kinds
            Names in `tailshard.train.scores.SCORES`.
        add_divergence
            As `Score.add_divergence`.

        Returns
        -------
        dict
            (n,) float32 each; (n, kinds of cells) for ``blocks``.

        Raises
        ------
        ConfigError
            The network, or its file, has not what a score needs.
        StateError
            The matrices have another size than those the network was trained on.
        """
        self._check_size(events)
        with torch.inference_mode():
            scaled = self._scale(events)
            present = presence(events, scaled.device)
            outcome = Outcome(self.network, scaled, present, self.background, add_divergence)
            found = compute_scores(outcome, kinds)
        return {kind: score.cpu().numpy() for kind, score in found.items()}

    def reconstruct(self, events: Islands) -> Reconstruction:
        """Give what the network makes of a few events, on the CPU.

        Raises
        ------
        StateError
            The matrices have another size than those the network was trained on.
        """
        self._check_size(events)
        shape = (len(events), self.size, self.size)
        with torch.inference_mode():
            scaled = self._scale(events)
            made = self.network(scaled).float()
            found = (self.scaler.unscaled(made), scaled - made)
            absent = ~presence(events, scaled.device)
            return Reconstruction(
                *(each.masked_fill(absent, float("nan")).reshape(shape).numpy() for each in found)
            )

    def _check_size(self, events: Islands | NDArray[np.float32]) -> None:
        shape = (events.size,) * 2 if isinstance(events, Islands) else events.shape[1:]
        if shape != (self.size, self.size):
            raise StateError(
                f"the model was trained on matrices of {self.size} x {self.size}, found matrices of "
                f"shape {shape}; train again, or use the features that it was trained with"
            )


def save_model(
    path: Path,
    best: Best,
    model: Model,
    scaler: Scaler,
    size: int,
    snapshot: str,
    background: Background | None = None,
) -> None:
    """Write the finished model: aside, then renamed, so that it is whole or absent."""
    content = {
        "version": MODEL_VERSION,
        "state_dict": best.network,
        "model": model.model_dump(mode="json"),
        "scaler": scaler.to_dict(),
        "features": size,
        "epoch": best.epoch,
        "validation_loss": best.validation_loss,
        "snapshot": snapshot,
        "background": background.to_dict() if background else None,
    }
    _save(content, path)


def load_model(path: Path, network: str = "") -> LoadedModel:
    """Read a trained model, ready to score events on the CPU. A file holds numbers and names, never code.

    Parameters
    ----------
    path
        File of the model.
    network
        Name of the network that the pipeline asks for. A user's own, ``module:object``, is imported if it is
        this one alone: what a file says is not enough to run code.

    Raises
    ------
    WorkdirError
        There is no such file.
    StateError
        The file is not a model that tailshard trained, its parts do not fit together, or it names a network
        of a user's own that the pipeline does not name.
    ConfigError
        It is a user's own model, and that cannot be imported here.
    """
    if not path.is_file():
        raise WorkdirError(f"there is no trained model at {path}; train one first")
    content = _load(path)
    if content.get("version") != MODEL_VERSION or "state_dict" not in content:
        raise StateError(f"{path} is not a model that this version of tailshard trained")
    try:
        model, size = Model.model_validate(content["model"]), int(content["features"])
        scaler = Scaler.from_dict(content["scaler"])
        background = Background.from_dict(content["background"]) if content["background"] else None
        facts = {name: content[name] for name in ("epoch", "validation_loss", "snapshot")}
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise StateError(f"{path} is not a model that this version of tailshard trained: {error}") from error
    if len(scaler.offset) != size**2:
        raise StateError(f"{path} has a scaler of {len(scaler.offset)} cells for {size} x {size} matrices")
    if ":" in model.name and model.name != network:
        raise StateError(
            f"{path} is a network made by '{model.name}', which is code, and the pipeline does not name it; "
            "nothing of it was imported. Train again, or name it as model.name"
        )
    made = build(model, size**2).eval()
    try:
        made.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise StateError(f"the weights in {path} do not fit the model '{model.name}': {error}") from error
    return LoadedModel(made, scaler, model, size, **facts, background=background)


def _save(content: Mapping[str, Any], path: Path) -> None:
    # Torch says of a disk that is full that it failed; the file system says why.
    whole = io.BytesIO()
    torch.save(dict(content), whole)
    with opened_whole(path) as file:
        file.write(whole.getbuffer())


def _load(path: Path) -> dict[str, Any]:
    try:
        with here(path) as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StateError(f"{path} is damaged or was not written by tailshard ({reason})") from error
    if not isinstance(content, dict):
        raise StateError(f"{path} was not written by tailshard: it holds a {type(content).__name__}")
    return content

"""One trial: a network trained with some settings, and judged whenever it has become better. Knows no Ray."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from ..config import Pipeline, content_hash
from ..errors import ConfigError
from ..fingerprint import fingerprint
from ..models import build
from ..store.catalog import Catalog, read_catalog
from ..train.checkpoint import LoadedModel, TrainingState
from ..train.loop import Task, background_of, train_rank
from ..train.task import identity_of, task_of
from .merit import Judge, Merit, Reconstruction, Separation, Validation
from .space import Settings, with_settings


@dataclass(frozen=True)
class Figures:
    """What an epoch of a trial gave."""

    epoch: int
    training_loss: float
    validation_loss: float
    """In the scaling of this trial: not to be compared with those of others."""
    best_epoch: int
    """The one with the smallest validation loss so far, whose network is judged."""
    merit: float
    merit_uncertainty: float
    parts: Mapping[str, float]
    """What the figure of merit is the mean of."""
    seconds: float
    """Wall time of training in this epoch."""

    def to_dict(self) -> dict[str, Any]:
        """Give values that JSON can hold."""
        return {**asdict(self), "parts": dict(self.parts)}


def pipeline_of(pipeline: Pipeline, settings: Settings) -> Pipeline:
    """Give the pipeline of a trial.

    Raises
    ------
    ConfigError
        The settings do not go together.
    """
    try:
        return with_settings(pipeline, settings)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise ConfigError(f"these settings do not go together: {problem['msg']}") from None


def key_of(pipeline: Pipeline, settings: Settings, catalog: Catalog) -> str:
    """Content hash of all that decides the figures of a trial."""
    tune = pipeline.tune
    assert tune is not None
    trial = pipeline_of(pipeline, settings)
    rules = [tune.figure_of_merit, tune.scheduler, tune.epochs, tune.seed]
    return content_hash(fingerprint("tune.trial"), identity_of(trial, catalog), trial.score, rules)


def carry_out(
    pipeline: Pipeline,
    settings: Settings,
    store: Path,
    report: Callable[[Figures], None],
    device: torch.device,
) -> None:
    """Train and judge one network.

    Parameters
    ----------
    pipeline
        The search, with its part `tune`.
    settings
        Of this trial.
    store
        The shard store; arrays of channels that the network does not learn from are not opened.
    report
        Takes the figures of every epoch, when it is over; may end the trial by an exception.
    device
        Where the network lives.

    Raises
    ------
    ConfigError
        The settings do not go together, or training diverged.
    ProcessingError
        What the network gives for a validation event is not finite.
    StoreError
        The store cannot be read.
    """
    trial, catalog = pipeline_of(pipeline, settings), read_catalog(store)
    task = task_of(trial, store, catalog)
    judge = _judge(trial, Validation(store, catalog, task.channels))
    is_scored = isinstance(judge, Separation)
    latest: Merit | None = None

    def after_epoch(state: TrainingState) -> None:
        nonlocal latest
        if state.unfinished or state.best is None:
            return
        metrics = state.history[-1]
        if latest is None or state.best.epoch == metrics.epoch:
            latest = judge(_best(task, state, device, is_scored))
        report(
            Figures(
                metrics.epoch,
                metrics.training_loss,
                metrics.validation_loss,
                state.best.epoch,
                *latest,
                seconds=metrics.seconds,
            )
        )

    train_rank(task, 0, 1, device, after_epoch)


def _judge(trial: Pipeline, events: Validation) -> Judge:
    assert trial.tune is not None
    if trial.tune.figure_of_merit == "reconstruction":
        return Reconstruction(events)
    return Separation(events, trial.score, trial.tune.seed)


def _best(task: Task, state: TrainingState, device: torch.device, is_scored: bool) -> LoadedModel:
    """Give the best network so far as it would be loaded from its file; scores need the background, too."""
    best = state.best
    assert best is not None
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        network = build(task.model, task.size**2).to(device).eval()
    network.load_state_dict(best.network)
    background = background_of(task, best, 0, 1, device) if is_scored else None
    snapshot = str(state.position["snapshot"])
    return LoadedModel(
        network, task.scaler, task.model, task.size, best.epoch, best.validation_loss, snapshot, background
    )

"""Networks that a robustness test needs: that of the search, and others trained on less with the same code.

Each of the others has a folder of its own, written like the search's model; ``trained.json`` in it says what
it was trained from, once it is whole. One that is there is not trained again, and one that was
interrupted goes on where it stopped.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Pipeline, content_hash
from ..learning import Sampling
from ..ledger import code_of, write_atomically
from ..places import remove_file
from ..progress import Progress
from ..store.catalog import Catalog
from ..train.distributed import train
from ..train.in_force import events_trained_on
from ..train.members import model_hash
from ..train.metrics import read_metrics
from ..train.ray_session import ray_session
from ..train.task import identity_of

_NOTE = "trained.json"


@dataclass(frozen=True)
class Network:
    """A network, trained or to be trained."""

    name: str
    pipeline: Pipeline
    """The search, learning from what this network learns from."""
    folder: Path
    is_of_search: bool = False
    """The train stage made it and keeps it current."""

    @property
    def model(self) -> Path:
        """The file."""
        return self.folder / "model.pt"

    def is_trained(self, catalog: Catalog) -> bool:
        """Tell whether it is there, and made from what the store holds now."""
        if self.is_of_search:
            return True
        try:
            note = json.loads((self.folder / _NOTE).read_text(encoding="utf-8"))
            return bool(note == self._note(catalog))
        except (OSError, ValueError):
            return False

    def note(self, catalog: Catalog) -> None:
        """Write down that it is whole."""
        write_atomically(self.folder / _NOTE, json.dumps(self._note(catalog), indent=1) + "\n")

    def _note(self, catalog: Catalog) -> dict[str, str]:
        made_from = content_hash(code_of("train"), identity_of(self.pipeline, catalog))
        return {"made_from": made_from, "model": model_hash(self.model) if self.model.is_file() else ""}

    def facts(self, catalog: Catalog) -> dict[str, Any]:
        """Say what it learned from: see ``training`` of `tailshard.stress.results`."""
        known = events_trained_on(self.folder) if self.is_of_search else {}
        history = read_metrics(self.folder)
        best = min(history, key=lambda metrics: metrics.validation_loss)
        sampling = self.pipeline.training.sampling
        return {
            "channels": list(self.pipeline.training_channels),
            "events": {
                channel: max(1, round(sampling.get(channel, Sampling()).share * rows)) if rows else 0
                for channel in self.pipeline.training_channels
                for rows in (known.get(channel, catalog.rows(channel, "training")),)
            },
            "epochs": len(history),
            "best_epoch": best.epoch,
            "validation_loss": best.validation_loss,
        }


def without_channel(pipeline: Pipeline, channel: str) -> Pipeline:
    """Give the same search, learning from all its training channels but one."""
    learned = tuple(name for name in pipeline.training_channels if name != channel)
    sampling = {name: its for name, its in pipeline.training.sampling.items() if name != channel}
    return _learning(pipeline, {"channels": learned, "sampling": sampling})


def on_share(pipeline: Pipeline, share: float) -> Pipeline:
    """Give the same search, learning from a share of the training events of every channel.

    An epoch reads each of them as many times more, so that there are as many steps as before, and as
    many looks at the validation events: what is left out are events, and nothing else.
    """
    before = pipeline.training.sampling
    sampling = {
        name: Sampling(factor=its.factor / share, at_most=its.at_most, share=its.share * share)
        for name in pipeline.training_channels
        for its in (before.get(name, Sampling()),)
    }
    return _learning(pipeline, {"sampling": sampling})


def _learning(pipeline: Pipeline, changes: Mapping[str, Any]) -> Pipeline:
    training = pipeline.training.model_copy(update=dict(changes))
    return pipeline.model_copy(update={"training": training})


def train_missing(
    networks: Sequence[Network],
    store: Path,
    catalog: Catalog,
    progress: Progress,
    address: str | None = None,
    in_process: bool = False,
) -> None:
    """Train the networks that are not there, one after another on one Ray session.

    Parameters
    ----------
    networks
        In the order in which they are trained.
    store, catalog
        What they learn from.
    progress
        Told which network is next, and its epochs.
    address, in_process
        As in `tailshard.train.distributed.train`.

    Raises
    ------
    ConfigError, StoreError, ClusterError, ProcessingError
        As in `tailshard.train.distributed.train`.
    """
    missing = [network for network in networks if not network.is_trained(catalog)]
    with ExitStack() as stack:
        if missing and not in_process:
            stack.enter_context(ray_session(address))
        for number, network in enumerate(missing, start=1):
            progress(f"Training the network '{network.name}' ({number} of {len(missing)})", 0, 0)
            remove_file(network.folder / _NOTE)
            train(network.pipeline, store, network.folder, progress, address, in_process)
            network.note(catalog)

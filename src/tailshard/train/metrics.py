"""What a person watches while a network trains: ``metrics.jsonl`` and TensorBoard."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import WorkdirError
from ..ledger import write_atomically
from ..places import copy_file, is_remote


@dataclass(frozen=True)
class EpochMetrics:
    """One pass over the training events, and the validation that follows it; over all workers."""

    epoch: int
    """The first is 1."""
    training_loss: float
    """Weighted mean over the epoch's events of their mean squared error, while the network changed."""
    validation_loss: float
    """The same over the validation events, with the network as the epoch left it."""
    seconds: float
    """Wall time of the pass over the training events."""
    validation_seconds: float
    """Wall time of the validation."""
    waited: float
    """Part of `seconds` for which the slowest worker had no batch to work on."""
    events_per_second: float
    """Training events over `seconds`."""
    learning_rate: float
    workers: int
    device: str
    """cpu or cuda."""


class Journal:
    """Writes the metrics of a run into its folder.

    The files show exactly the epochs of `write`'s last call: what a run that died wrote after its
    last checkpoint is replaced when training resumes.
    """

    def __init__(self, folder: Path, epochs_done: int = 0) -> None:
        from tensorboardX import SummaryWriter

        self._folder = folder
        # TensorBoard appends to its file, which an object store cannot: it gets all of it anew each time.
        self._scratch = TemporaryDirectory(prefix="tailshard-") if is_remote(folder) else None
        self._events = Path(self._scratch.name) if self._scratch else folder / "tensorboard"
        self._board = SummaryWriter(str(self._events), purge_step=epochs_done + 1)

    def write(self, history: Sequence[EpochMetrics]) -> None:
        """Replace ``metrics.jsonl`` by all epochs so far; give the last one to TensorBoard."""
        write_metrics(self._folder, history)
        last = history[-1]
        for name, value in asdict(last).items():
            if name not in ("epoch", "device"):
                self._board.add_scalar(name, value, last.epoch)
        self._board.flush()
        if self._scratch:
            for file in self._events.iterdir():
                copy_file(file, self._folder / "tensorboard" / file.name)

    def close(self) -> None:
        """Close TensorBoard's file."""
        self._board.close()
        if self._scratch:
            self._scratch.cleanup()


def write_metrics(folder: Path, history: Sequence[EpochMetrics]) -> None:
    """Replace ``metrics.jsonl`` in a training folder."""
    lines = (json.dumps(asdict(metrics)) + "\n" for metrics in history)
    write_atomically(folder / "metrics.jsonl", "".join(lines))


def read_metrics(folder: Path) -> list[EpochMetrics]:
    """Read ``metrics.jsonl`` of a training folder, in the order of the epochs; empty before the first.

    Raises
    ------
    WorkdirError
        The file is not one that training writes.
    """
    path = folder / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [EpochMetrics(**json.loads(line)) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise WorkdirError(f"{path} cannot be read ({error}); remove it and train again") from error

"""Trials, and what the driver writes down of each: ``trial_<number>.json``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import content_hash
from ..ledger import write_atomically
from .space import Settings, as_options

Json = dict[str, Any]


@dataclass
class Trial:
    """A trial and what is known of it."""

    number: int
    settings: Settings
    key: str
    """Content hash of all that decides its figures."""
    figures: list[Json] = field(default_factory=list)
    """`Figures` of every epoch so far."""
    failed: str | None = None
    """Why, where it did."""
    is_over: bool = False
    is_recorded: bool = False
    """It had been over before, and its figures are from its record."""

    def __str__(self) -> str:
        settings = " ".join(as_options(self.settings)) or "the pipeline as it stands"
        if self.failed is not None:
            return f"Trial {self.number} ({settings}) failed: {self.failed}"
        if not self.figures:
            return f"Trial {self.number} ({settings})"
        merit, epochs = self.figures[-1]["merit"], len(self.figures)
        return (
            f"Trial {self.number} ({settings}): {merit:.4f} after {epochs} epoch{'' if epochs == 1 else 's'}"
        )

    def row(self, epochs: int, patience: int) -> Json:
        """Give what the summary says of a trial that has figures.

        Parameters
        ----------
        epochs
            That a trial has at most.
        patience
            Of the pipeline's training, where the settings have none.
        """
        last = self.figures[-1]
        if len(self.figures) == epochs:
            ended = "all epochs"
        else:
            patience = self.settings.get("training.patience", patience)
            ended = "patience" if last["epoch"] - last["best_epoch"] >= patience else "behind others"
        return {
            "trial": self.number,
            "settings": dict(self.settings),
            **{name: last[name] for name in ("merit", "merit_uncertainty", "parts", "best_epoch")},
            "validation_loss": self.figures[last["best_epoch"] - 1]["validation_loss"],
            "epochs": len(self.figures),
            "ended": ended,
            "seconds": sum(figures["seconds"] for figures in self.figures),
        }


def record_of(out: Path, number: int) -> Path:
    """File of a trial."""
    return out / f"trial_{number:03d}.json"


def read_record(out: Path, trial: Trial) -> None:
    """Take over what is recorded of a trial, if it is this one."""
    try:
        content: Mapping[str, Any] = json.loads(record_of(out, trial.number).read_text(encoding="utf-8"))
        fits = content["key"] == trial.key and content["digest"] == content_hash(content["figures"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # absent, or not a record: the trial is carried out
    if fits:
        trial.figures, trial.is_over, trial.is_recorded = content["figures"], True, True


def write_record(out: Path, trial: Trial) -> None:
    """Write down a trial that is over."""
    content = {
        "trial": trial.number,
        "settings": trial.settings,
        "key": trial.key,
        "figures": trial.figures,
        "digest": content_hash(trial.figures),
    }
    write_atomically(record_of(out, trial.number), json.dumps(content, indent=1) + "\n")

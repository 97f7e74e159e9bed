"""The networks of a search as files: one, or one for each seed of an ensemble.

::

    model/model.pt              the network that the search is made with: the only one, or the first seed's
    model/metrics.jsonl         of its training
    model/seed_<seed>/          of an ensemble: what one training leaves, and finished.json

Knows no torch: whoever only asks what is there need not load it.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import content_hash
from ..errors import WorkdirError
from ..learning import Training
from ..ledger import write_atomically
from ..places import remove_file, remove_tree

MODEL_FILE = "model.pt"
METRICS_FILE = "metrics.jsonl"
FINISHED_FILE = "finished.json"
"""In a member's folder: what it was trained from, and what came out. Written last."""
_PREFIX = "seed_"


def member_folders(training: Training, out: Path) -> dict[int, Path]:
    """Give the folder of each network of an ensemble by its seed; empty where there is only one network."""
    return {seed: out / f"{_PREFIX}{seed}" for seed in training.seeds}


def member_models(training: Training, out: Path) -> dict[int, Path]:
    """Give the file of each network of an ensemble by its seed; empty where there is only one network."""
    return {seed: folder / MODEL_FILE for seed, folder in member_folders(training, out).items()}


def all_member_folders(out: Path) -> list[Path]:
    """List the folders of members that are there, whatever the pipeline asks for."""
    return [folder for folder in sorted(out.glob(f"{_PREFIX}*")) if folder.is_dir()]


def model_hash(model: Path) -> str:
    """Content hash of a model file, 16 hexadecimal digits.

    Raises
    ------
    WorkdirError
        There is no such file.
    """
    try:
        return hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        raise WorkdirError(f"there is no trained model at {model}; run 'tailshard train' first") from None


def hash_of_all(model: Path, members: Mapping[int, str]) -> str:
    """Content hash of all networks of a search: that of its only one, or of the members' hashes by seed.

    Raises
    ------
    WorkdirError
        There is no such file.
    """
    return content_hash(list(members.items())) if members else model_hash(model)


def finished(folder: Path, identity: str) -> dict[str, Any] | None:
    """Give what came out of a member's training, if it is over, was this one, and its files are whole."""
    try:
        content = json.loads((folder / FINISHED_FILE).read_text(encoding="utf-8"))
        whole = model_hash(folder / MODEL_FILE) == content["result"]["model"]
    except (OSError, ValueError, KeyError, TypeError, WorkdirError):
        return None
    if not whole or content.get("identity") != identity or not (folder / METRICS_FILE).is_file():
        return None
    result: dict[str, Any] = content["result"]
    return result


def finish(folder: Path, identity: str, result: Mapping[str, Any]) -> None:
    """Record that a member's training is over, and what came out."""
    content = {"identity": identity, "result": result}
    write_atomically(folder / FINISHED_FILE, json.dumps(content, indent=1) + "\n")


def clear(out: Path) -> None:
    """Remove what a training of one network leaves in its folder."""
    for name in ("ray", "tensorboard"):
        remove_tree(out / name)
    for name in (MODEL_FILE, METRICS_FILE):
        remove_file(out / name)

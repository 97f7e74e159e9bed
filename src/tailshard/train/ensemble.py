"""One network, or one for each seed: what the train stage calls.

Members of an ensemble are trained one after the other, each by `distributed.train` in a folder of its own,
under one Ray. A member that is finished stays: an interrupted ensemble goes on with the member in hand, and
a seed that is added later costs that one training.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Pipeline, content_hash
from ..ledger import code_of
from ..places import copy_file, place, remove_tree
from ..progress import Progress, silent
from ..store.catalog import read_catalog
from .distributed import train
from .in_force import PREVIOUS
from .members import (
    METRICS_FILE,
    MODEL_FILE,
    all_member_folders,
    clear,
    finish,
    finished,
    hash_of_all,
    member_folders,
)
from .ray_session import ray_session
from .task import identity_of, task_of


@dataclass(frozen=True)
class EnsembleResult:
    """What the trainings of an ensemble made."""

    model: str
    """Hash of all networks."""
    members: Mapping[int, Mapping[str, Any]]
    """Seed -> what its training made, as `TrainingResult.to_dict`."""
    trained: tuple[int, ...]
    """Seeds that were trained by this call; the others had been before."""
    seconds: float
    """Wall time of this call."""

    def to_dict(self) -> dict[str, Any]:
        """Give values that JSON can hold."""
        return {
            "model": self.model,
            "members": {str(seed): dict(result) for seed, result in self.members.items()},
            "trained": list(self.trained),
            "seconds": self.seconds,
        }


def train_all(
    pipeline: Pipeline,
    store: Path,
    out: Path,
    progress: Progress = silent,
    address: str | None = None,
    in_process: bool = False,
    warm_start: bool = False,
) -> dict[str, Any]:
    """Train the pipeline's network, or one for each of `training.seeds`.

    Of an ensemble, ``model.pt`` and ``metrics.jsonl`` are copies of the first seed's, and appear when every
    member is finished.

    Parameters
    ----------
    pipeline, store, out, progress, address, in_process
        As in `tailshard.train.distributed.train`, which says what is raised, too.
    warm_start
        Begin each network with the one that `in_force.set_aside` has put into its folder.

    Returns
    -------
    dict
        What JSON can hold; ``model`` is the hash of all networks.
    """
    if pipeline.training.seeds:
        return _train_ensemble(pipeline, store, out, progress, address, in_process, warm_start).to_dict()
    for folder in all_member_folders(out):
        remove_tree(folder)
    initial = _previous(out) if warm_start else None
    return train(pipeline, store, out, progress, address, in_process, initial).to_dict()


def _train_ensemble(
    pipeline: Pipeline,
    store: Path,
    out: Path,
    progress: Progress,
    address: str | None,
    in_process: bool,
    warm_start: bool,
) -> EnsembleResult:
    started = time.perf_counter()
    out = place(out)
    catalog, folders = read_catalog(store), member_folders(pipeline.training, out)
    members = {
        seed: pipeline.model_copy(update={"training": pipeline.training.of_seed(seed)}) for seed in folders
    }
    # Here, because what is wrong with one is wrong with all.
    task_of(members[pipeline.training.seed], store, catalog)
    clear(out)
    for folder in all_member_folders(out):
        if folder not in folders.values():
            remove_tree(folder)
    code = code_of("train")
    initial = {seed: _previous(folder) if warm_start else None for seed, folder in folders.items()}
    identities = {
        seed: content_hash(code, identity_of(its, catalog, initial[seed])) for seed, its in members.items()
    }
    results = {seed: finished(folder, identities[seed]) for seed, folder in folders.items()}
    missing = tuple(seed for seed, result in results.items() if result is None)
    with ExitStack() as stack:
        if missing and not in_process:
            stack.enter_context(ray_session(address))
        for seed in missing:
            shown = _of_member(progress, seed)
            result = train(members[seed], store, folders[seed], shown, address, in_process, initial[seed])
            finish(folders[seed], identities[seed], result.to_dict())
            results[seed] = result.to_dict()
    first = folders[pipeline.training.seed]
    for name in (METRICS_FILE, MODEL_FILE):
        copy_file(first / name, out / name)
    whole = {seed: result for seed, result in results.items() if result is not None}
    digest = hash_of_all(out / MODEL_FILE, {seed: result["model"] for seed, result in whole.items()})
    return EnsembleResult(digest, whole, missing, time.perf_counter() - started)


def _previous(folder: Path) -> Path | None:
    path = folder / PREVIOUS
    return path if path.is_file() else None


def _of_member(progress: Progress, seed: int) -> Progress:
    """Say of which network something is told."""

    def shown(what: str, done: int, total: int) -> None:
        progress(f"{what}, seed {seed}" if total else f"Seed {seed}: {what}", done, total)

    return shown

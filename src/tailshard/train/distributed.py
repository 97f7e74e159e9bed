"""Training under Ray Train: ranks, checkpoints, failures, resume.

Every worker runs `loop.train_rank` on its share of every global batch. After each epoch rank 0 hands
the training state to Ray; when a worker dies, or when training is started again after it was
interrupted, all ranks go on from the last state. The output folder holds::

    model.pt        the best network; appears when training has finished
    metrics.jsonl   one line for each epoch
    tensorboard/    the same, to watch
    ray/            states of an unfinished run, removed with the appearance of model.pt
"""

import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ..config import Pipeline
from ..errors import ClusterError, ProcessingError, StateError, TailshardError
from ..places import is_remote, make_folder, place, ray_storage, remove_tree
from ..progress import Progress, silent
from ..store.catalog import read_catalog
from .checkpoint import TrainingState, save_model
from .in_force import initial_weights
from .loop import Task, background_of, train_rank
from .members import MODEL_FILE, clear, model_hash
from .metrics import Journal, read_metrics, write_metrics
from .ray_session import Layout, head_processes, in_thread, lay_out, quiet, ray_session, require_alive
from .task import identity_of, task_of

_STATE_FILE = "state.pt"
_LOOK, _LOOK_REMOTE = 0.5, 5.0
"""Seconds between two looks at the metrics: in a folder, and where every look is a request."""


@dataclass(frozen=True)
class TrainingResult:
    """What a finished training made."""

    path: Path
    """model.pt."""
    model: str
    """Hash of model.pt."""
    epochs: int
    """Epochs trained, those before an interruption included."""
    best_epoch: int
    """The epoch whose network is in model.pt."""
    validation_loss: float
    """Of that epoch."""
    workers: int
    device: str
    seconds: float
    """Wall time of this call."""

    def to_dict(self) -> dict[str, Any]:
        """Give values that JSON can hold."""
        return {**asdict(self), "path": str(self.path)}


def train(
    pipeline: Pipeline,
    store: Path,
    out: Path,
    progress: Progress = silent,
    address: str | None = None,
    in_process: bool = False,
    initial: Path | None = None,
) -> TrainingResult:
    """Train the pipeline's network on the training events of its training channels.

    Goes on where it stopped if `out` holds an unfinished run of the same model, training, features,
    splits and events; otherwise removes what `out` holds and starts from the first epoch.

    Parameters
    ----------
    pipeline
        What to train, and how.
    store
        The shard store.
    out
        Folder for the model; every worker must see it under the same path.
    progress
        Told about every finished epoch.
    address
        Of a running Ray cluster; None starts a private one on this machine and stops it afterwards.
    in_process
        Train with one rank in this process and without a cluster; cannot be continued when interrupted.
    initial
        A model to begin with, if it fits; scaling follows from the events, as ever.

    Raises
    ------
    StoreError
        There is no store, or it has no events to train on.
    ConfigError
        The model, the workers or the training itself cannot be as the pipeline has them.
    ClusterError
        Workers did not start, or died more often than `training.maximum_restarts`.
    ProcessingError
        A user's own model failed on a batch.
    """
    started = time.perf_counter()
    store, out = place(store), place(out)
    catalog = read_catalog(store)
    weights = initial_weights(pipeline, catalog, initial, progress)
    task = replace(task_of(pipeline, store, catalog), initial=weights)
    run = out / "ray" / identity_of(pipeline, catalog, initial if weights is not None else None)
    _prepare(out, run, progress)
    if in_process:
        _train_here(task, out, progress)
    else:
        with ray_session(address) as resources:
            _train_on_ray(task, out, run, lay_out(pipeline.training, resources), progress)
    remove_tree(out / "ray")

    history = read_metrics(out)
    best = min(history, key=lambda metrics: metrics.validation_loss)
    path = out / MODEL_FILE
    return TrainingResult(
        path=path,
        model=model_hash(path),
        epochs=len(history),
        best_epoch=best.epoch,
        validation_loss=best.validation_loss,
        workers=history[-1].workers,
        device=history[-1].device,
        seconds=time.perf_counter() - started,
    )


def _prepare(out: Path, run: Path, progress: Progress) -> None:
    """Keep an unfinished run that can go on; remove everything else that training writes."""
    if run.is_dir():
        try:
            state = _last_state(run)
        except StateError as error:
            progress(f"Training starts anew: {error}", 0, 0)
        else:
            # An epoch may be in the metrics and not in a checkpoint yet.
            write_metrics(out, state.history)
            batches = f" and {state.position['batch']} batches" if state.unfinished else ""
            progress(f"Training goes on after epoch {len(state.history)}{batches}", 0, 0)
            return
    clear(out)
    make_folder(run.parent)


def _last_state(run: Path) -> TrainingState:
    """Find the state that Ray would hand to the workers."""
    import ray.train

    try:
        with quiet():
            where = ray_storage(run)
            path, filesystem = where["storage_path"], where.get("storage_filesystem")
            checkpoint = ray.train.Result.from_path(path, storage_filesystem=filesystem).checkpoint
    except Exception as error:
        # Whatever is wrong with Ray's notes, the run cannot go on from them.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise StateError(f"{run} has no checkpoint to go on from ({reason})") from error
    if checkpoint is None:
        raise StateError(f"{run} has no checkpoint to go on from")
    with checkpoint.as_directory() as folder:
        return TrainingState.load(Path(folder) / _STATE_FILE)


def _train_here(task: Task, out: Path, progress: Progress) -> None:
    progress("train", 0, task.training.epochs)
    _train_rank(
        task,
        out,
        0,
        1,
        torch.device("cpu"),
        lambda state: progress("train", len(state.history), task.training.epochs),
    )


def _train_on_ray(task: Task, out: Path, run: Path, layout: Layout, progress: Progress) -> None:
    """Fit in a thread, so that this one can report progress and can be interrupted."""
    import ray.train
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    epochs, restarts = task.training.epochs, task.training.maximum_restarts
    # Without it Ray tries for ever to start workers that do not start. Its stubs do not know the keyword.
    controller_failures: dict[str, Any] = {"controller_failure_limit": restarts}
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "task": task,
            "out": out,
            "threads": layout.threads,
            "path": [str(Path(folder).resolve()) for folder in sys.path],
        },
        scaling_config=ScalingConfig(
            num_workers=layout.workers,
            use_gpu=layout.use_gpu,
            resources_per_worker={"CPU": layout.cpus},
            placement_strategy="SPREAD",
        ),
        run_config=RunConfig(
            name=run.name,
            **ray_storage(run.parent),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=restarts, **controller_failures),
        ),
    )
    head = head_processes()
    future = in_thread(trainer.fit, "tailshard-training")
    done, finished = -1, False
    while not finished:
        finished = bool(wait([future], timeout=_LOOK_REMOTE if is_remote(out) else _LOOK).done)
        if (now := len(read_metrics(out))) > done:
            done = now
            progress("train", done, epochs)
        if not finished:
            require_alive(head)
    try:
        future.result()
    except ray.train.TrainingFailedError as error:
        raise _plain_error(error, task) from error


def _work(config: Mapping[str, Any]) -> None:
    """Train on one worker; Ray calls this."""
    import ray.train
    import ray.train.torch

    # A user's own model is found where the driver found it.
    sys.path += [folder for folder in config["path"] if folder not in sys.path]
    torch.set_num_threads(config["threads"])
    context = ray.train.get_context()
    rank = context.get_world_rank()
    state = None
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            state = TrainingState.load(Path(folder) / _STATE_FILE)

    def keep(state: TrainingState) -> None:
        metrics = asdict(state.history[-1]) if state.history else {}
        if rank != 0:
            ray.train.report(metrics)
            return
        with TemporaryDirectory() as folder:
            state.save(Path(folder) / _STATE_FILE)
            ray.train.report(metrics, ray.train.Checkpoint.from_directory(folder))

    device = ray.train.torch.get_device()
    _train_rank(config["task"], config["out"], rank, context.get_world_size(), device, keep, state)


def _train_rank(
    task: Task,
    out: Path,
    rank: int,
    ranks: int,
    device: torch.device,
    keep: Callable[[TrainingState], None],
    state: TrainingState | None = None,
) -> None:
    """Train on one rank, and write the files if it is the first."""
    if rank != 0:
        state = train_rank(task, rank, ranks, device, keep, state)
        assert state.best is not None
        background_of(task, state.best, rank, ranks, device)
        return
    with closing(Journal(out, len(state.history) if state else 0)) as journal:

        def report(state: TrainingState) -> None:
            keep(state)
            if not state.unfinished:
                journal.write(state.history)

        state = train_rank(task, rank, ranks, device, report, state)
        assert state.best is not None  # an epoch has ended
        background = background_of(task, state.best, rank, ranks, device)
        snapshot = state.position["snapshot"]
        save_model(out / MODEL_FILE, state.best, task.model, task.scaler, task.size, snapshot, background)


def _plain_error(error: Exception, task: Task) -> Exception:
    """Find what a person should read in Ray's account of a failed run."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    # A worker that died has raised nothing itself: Ray speaks for it. When one dies, others fail because
    # they cannot reach it.
    raised = {rank: one for rank, one in failures.items() if not type(one).__module__.startswith("ray.")}
    for one in raised.values():
        if isinstance(one, TailshardError):
            return one
    if len(raised) < max(1, len(failures)):
        *_, reason = (line.strip() for line in str(error).splitlines() if line.strip())
        return ClusterError(
            f"training workers did not start, or died more than training.maximum_restarts "
            f"({task.training.maximum_restarts}) times: {reason}\nFinished epochs are kept: "
            "run train again to go on"
        )
    rank, one = next(iter(raised.items()))
    if ":" in task.model.name:
        return ProcessingError(f"model '{task.model.name}' failed on training worker {rank}: {one}")
    return one

"""Settings tried and judged: what `tailshard tune` does.

The driver keeps a record of every finished trial. Called again after an interruption, or with more trials,
those that have one for the same settings, events and code are not trained again. The output folder holds::

    trial_<number>.json   settings and the figures of every epoch; appears when the trial is over
    summary.json          all trials, the best first
    best.yaml             the settings of the best, as a part of a pipeline file
    ray/                  what Ray notes while trials run
"""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from ..config import Pipeline
from ..errors import ConfigError, ProcessingError
from ..launch import RayProfile
from ..ledger import write_atomically
from ..places import place, remove_file, remove_tree
from ..progress import Progress, silent
from ..store.catalog import read_catalog
from .records import Json, Trial, read_record, record_of
from .space import as_fragment, as_options, draw
from .trial import key_of
from .under_ray import run_trials


def tune(
    pipeline: Pipeline,
    store: Path,
    out: Path,
    progress: Progress = silent,
    profile: RayProfile | None = None,
) -> Json:
    """Try settings of the network and of the score, and tell which are best on background alone.

    Parameters
    ----------
    pipeline
        With a part `tune`.
    store
        The shard store. Arrays of channels that the network does not learn from are never opened.
    out
        Folder of the results.
    progress
        Told the number of finished epochs, and of every trial that is over.
    profile
        Where trials run.

    Returns
    -------
    dict
        What ``summary.json`` holds: ``figure_of_merit``; ``trials``, the best first, with number, settings,
        merit, its uncertainty and parts, epochs, best epoch, validation loss, seconds, and how it ended;
        ``failed`` ones, and why; ``best`` with the options that reproduce it.

    Raises
    ------
    ConfigError
        The pipeline has no part `tune`, or it learns from a signal.
    StoreError
        There is no store.
    ProcessingError
        No trial gave a figure of merit.
    ClusterError
        Ray could not start, or failed.
    """
    trials = _plan(pipeline, store)
    for trial in trials:
        read_record(out, trial)
    if not all(trial.is_over for trial in trials):
        run_trials(pipeline, place(store), out, trials, progress, profile or RayProfile())
    remove_tree(out / "ray")
    result = _summary(pipeline, trials)
    kept = {record_of(out, trial.number) for trial in trials}
    for file in out.glob("trial_*.json"):
        if file not in kept:
            remove_file(file)
    write_atomically(out / "summary.json", json.dumps(result, indent=1) + "\n")
    write_atomically(out / "best.yaml", _fragment(pipeline, result))
    return result


def _plan(pipeline: Pipeline, store: Path) -> list[Trial]:
    if pipeline.tune is None:
        raise ConfigError(
            f"the pipeline '{pipeline.name}' has no part tune, so there is nothing to try; for example\n"
            "tune:\n  space: {model.latent: [4, 8, 16], training.learning_rate: {log_uniform: [1e-4, 1e-2]}}"
        )
    if signals := [name for name in pipeline.training_channels if pipeline.channels[name] == "signal"]:
        raise ConfigError(
            f"training.channels names the signal {', '.join(signals)}, and settings are never chosen with a "
            "signal; leave it out of training.channels"
        )
    catalog = read_catalog(store)
    trials = []
    for number, settings in enumerate(draw(pipeline.tune)):
        try:
            trials.append(Trial(number, settings, key_of(pipeline, settings, catalog)))
        except ConfigError as error:
            trials.append(Trial(number, settings, "", failed=str(error), is_over=True))
    return trials


def _summary(pipeline: Pipeline, trials: Sequence[Trial]) -> Json:
    rules = pipeline.tune
    assert rules is not None
    judged = [trial for trial in trials if trial.failed is None and trial.figures]
    failed: list[Json] = [
        {"trial": trial.number, "settings": dict(trial.settings), "reason": trial.failed or "gave no figures"}
        for trial in trials
        if trial not in judged
    ]
    if not judged:
        raise ProcessingError(f"no trial gave a figure of merit; the first: {failed[0]['reason']}")
    # Of equals the first: the pipeline's own settings before all others.
    judged.sort(key=lambda trial: (-trial.figures[-1]["merit"], trial.number))
    best = judged[0]
    return {
        "figure_of_merit": rules.figure_of_merit,
        "epochs": rules.epochs,
        "channels": list(pipeline.training_channels),
        "trials": [trial.row(rules.epochs, pipeline.training.patience) for trial in judged],
        "failed": failed,
        "best": {
            "trial": best.number,
            "merit": best.figures[-1]["merit"],
            "set": as_options(best.settings),
        },
    }


def _fragment(pipeline: Pipeline, result: Json) -> str:
    best = result["trials"][0]
    head = (
        f"# Of {len(result['trials'])} trials of '{pipeline.name}' the best by {result['figure_of_merit']}: "
        f"trial {best['trial']}, {best['merit']:.4f}\n"
    )
    fragment = as_fragment(best["settings"])
    body = yaml.safe_dump(fragment, sort_keys=False, default_flow_style=None) if fragment else ""
    return head + (body or "# These are the settings that the pipeline has already.\n")

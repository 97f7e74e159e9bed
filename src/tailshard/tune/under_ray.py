"""Trials under Ray Tune: who runs where, and when one is stopped."""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from ..config import Pipeline
from ..errors import ClusterError, ConfigError
from ..launch import RayProfile
from ..places import place, ray_storage
from ..progress import Progress
from ..train.ray_session import in_thread, quiet, ray_session
from .records import Json, Trial, write_record
from .space import Settings
from .trial import Figures, carry_out

_POLL_SECONDS = 0.5
_LAST_SECONDS = 30  # for Ray Tune to end when it is interrupted
_REDUCTION = 3  # of ASHA: the best third goes on


@dataclass(frozen=True)
class Work:
    """What every trial needs to know; sent to it."""

    pipeline: Pipeline
    store: Path
    settings: Sequence[Settings]
    """By number of the trial."""
    recorded: Mapping[int, Sequence[Json]]
    """Figures of trials that are over, to be reported again."""
    threads: int
    use_gpu: bool
    path: Sequence[str]
    """Where a user's own model is found."""


@dataclass
class _Talk:
    """What the threads tell each other; Ray pickles it with the callback, so it holds no lock."""

    told: list[str] = field(default_factory=list)
    is_interrupted: bool = False


def run_trials(
    pipeline: Pipeline,
    store: Path,
    out: Path,
    trials: list[Trial],
    progress: Progress,
    profile: RayProfile,
) -> None:
    """Carry out the trials that are not over, and record them. What they give is entered in `trials`.

    The scheduler ``asha`` compares a trial with those before it. Trials that had been over before report
    their recorded figures again, so that it decides as if nothing had been interrupted.

    Raises
    ------
    ConfigError
        The profile asks for more than a machine has.
    ClusterError
        Ray could not start, or failed.
    """
    import ray

    assert pipeline.tune is not None
    epochs, compares = pipeline.tune.epochs, pipeline.tune.scheduler == "asha"
    asked = [trial for trial in trials if not trial.is_over or (compares and trial.is_recorded)]
    if before := sum(trial.is_recorded for trial in trials):
        progress(f"{before} of {len(trials)} trials had been finished before", 0, 0)
    with ray_session(profile.address), quiet():
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        share = share_of(machines, pipeline.training.use_gpu, profile)
        work = Work(
            pipeline,
            store,
            [trial.settings for trial in trials],
            {trial.number: trial.figures for trial in trials if trial.is_recorded},
            max(1, int(share["cpu"])),
            share["gpu"] > 0,
            [str(Path(folder).resolve()) for folder in sys.path],
        )
        talk = _Talk()
        tuner = _tuner(work, asked, share, out, talk)
        future = in_thread(tuner.fit, "tailshard-tuning")
        try:
            finished = False
            while not finished:
                finished = bool(wait([future], timeout=_POLL_SECONDS).done)
                while talk.told:
                    progress(talk.told.pop(0), 0, 0)
                done = sum(epochs if trial.is_over else len(trial.figures) for trial in trials)
                progress("tune", done, epochs * len(trials))
        except BaseException:
            # Without this, the other thread would start a Ray of its own when this one is gone.
            talk.is_interrupted = True
            wait([future], timeout=_LAST_SECONDS)
            raise
        if error := future.exception():
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ClusterError(
                f"Ray Tune failed: {reason}\nFinished trials are kept: run tune again to go on"
            ) from error


def share_of(
    machines: Sequence[Mapping[str, float]], use_gpu: bool | Literal["auto"], profile: RayProfile
) -> dict[str, float]:
    """Say what one trial is given of a machine, the largest of the cluster: ``cpu`` and ``gpu``.

    Parameters
    ----------
    machines
        Resources of each: ``CPU``, ``GPU``.
    use_gpu
        As `Training.use_gpu`.
    profile
        What was asked for.

    Raises
    ------
    ConfigError
        More is asked for than a machine has.
    """
    cpus = max(int(machine.get("CPU", 0)) for machine in machines)
    gpus = max(int(machine.get("GPU", 0)) for machine in machines)
    gpu = (1.0 if gpus and use_gpu else 0.0) if profile.gpus_per_trial == "auto" else profile.gpus_per_trial
    if profile.cpus_per_trial == "auto":
        cpu = max(1, int(cpus * min(1.0, gpu / gpus))) if gpu and gpus else cpus
    else:
        cpu = profile.cpus_per_trial
    if cpu > cpus or gpu > gpus:
        raise ConfigError(
            f"a trial asks for {cpu} CPUs and {gpu:g} GPUs, but the largest machine has {cpus} and {gpus}; "
            "lower ray.cpus_per_trial or ray.gpus_per_trial in the cluster profile"
        )
    return {"cpu": cpu, "gpu": gpu}


def _tuner(work: Work, asked: Sequence[Trial], share: Mapping[str, float], out: Path, talk: _Talk) -> Any:
    """Make Ray's tuner; its callback enters and records what trials report, in the thread that fits."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    known = {trial.number: trial for trial in asked}

    class Recorder(tune.Callback):
        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ARG002 - Ray's
            if talk.is_interrupted:
                raise ClusterError("interrupted")

        def on_trial_result(
            self,
            iteration: int,  # noqa: ARG002 - Ray's
            trials: list[Any],  # noqa: ARG002 - Ray's
            trial: Any,
            result: dict[str, Any],
            **info: Any,  # noqa: ARG002 - Ray's
        ) -> None:
            its = known[trial.config["trial"]]
            if its.is_recorded:
                return
            if result.get("failed"):
                its.failed = result["failed"]
            else:
                its.figures.append(dict(result["figures"]))

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002 - Ray's
            its = known[trial.config["trial"]]
            if its.is_recorded or talk.is_interrupted:
                return
            its.is_over = True
            if its.failed is None and its.figures:
                write_record(out, its)
            talk.told.append(str(its))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002 - Ray's
            its = known[trial.config["trial"]]
            if not (its.is_recorded or talk.is_interrupted):
                its.is_over, its.failed = True, "its process died; run tune again to try it again"
                talk.told.append(str(its))

    rules = work.pipeline.tune
    assert rules is not None
    scheduler = (
        ASHAScheduler(max_t=rules.epochs, grace_period=1, reduction_factor=_REDUCTION)
        if rules.scheduler == "asha"
        else FIFOScheduler()
    )
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(_carry_out, work=work), dict(share)),
        param_space={"trial": tune.grid_search([trial.number for trial in asked])},
        tune_config=tune.TuneConfig(metric="merit", mode="max", scheduler=scheduler),
        run_config=tune.RunConfig(
            name="trials", **ray_storage(place(out / "ray")), callbacks=[Recorder()], verbose=0
        ),
    )


def _carry_out(config: Mapping[str, Any], work: Work) -> None:
    """Carry out one trial on a worker; Ray calls this."""
    from ray import tune

    number = config["trial"]
    if number in work.recorded:
        for figures in work.recorded[number]:
            tune.report({"merit": figures["merit"], "figures": figures})
        return
    sys.path += [folder for folder in work.path if folder not in sys.path]
    torch.set_num_threads(work.threads)
    device = torch.device("cuda" if work.use_gpu else "cpu")

    def report(figures: Figures) -> None:
        tune.report({"merit": figures.merit, "figures": figures.to_dict()})

    try:
        carry_out(work.pipeline, work.settings[number], work.store, report, device)
    except Exception as error:  # noqa: BLE001 - what one trial meets does not stop the others
        tune.report({"merit": float("nan"), "failed": f"{type(error).__name__}: {error}"})

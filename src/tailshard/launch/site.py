"""Where jobs are handed in: what every kind of cluster must be able to do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Protocol, TypeVar, runtime_checkable

from ..errors import ClusterError
from ..progress import Progress
from .profile import ClusterProfile, KubernetesProfile, Resources, SlurmProfile

_LOOK_SECONDS = 5.0

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Order:
    """A search as it is handed in: what is changed later in its files does not change it."""

    search: str
    """Name of the pipeline."""
    workdir: Path
    folder: Path
    """Below the work directory; `pipeline_file` and `profile_file` are in it before anything is submitted."""
    pipeline: str
    """The pipeline as YAML: overrides applied, paths absolute."""
    profile: str
    """The cluster profile as YAML."""
    strict: bool = False
    """``--strict`` for ingest."""

    @property
    def pipeline_file(self) -> Path:
        """Copy of the pipeline that the jobs read."""
        return self.folder / "pipeline.yaml"

    @property
    def profile_file(self) -> Path:
        """Copy of the cluster profile that the jobs read."""
        return self.folder / "cluster.yaml"

    @property
    def logs(self) -> Path:
        """Folder of what jobs print."""
        return self.workdir / "logs"


@dataclass(frozen=True)
class Job:
    """Stages that are done one after the other under the same resources."""

    stages: tuple[str, ...]
    """In the order of `STAGES`."""
    resources: Resources

    def name(self, order: Order) -> str:
        """Name it by its search and its stages."""
        return "-".join(["tailshard", order.search, *self.stages])


@dataclass(frozen=True)
class JobState:
    """What a cluster says of a job."""

    word: str
    """In the cluster's own words, such as PENDING."""
    live: bool
    """It runs, or will run without anybody's doing."""
    detail: str = ""
    """Where it runs, or why it does not."""
    remains: bool = False
    """It has ended, and what it had started is still there, until it is cancelled."""


class Site(Protocol):
    """A cluster that takes jobs.

    Every method raises ClusterError, with what to do, where the cluster cannot be reached or refuses.
    """

    def jobs(self, stages: Sequence[str]) -> list[Job]:
        """Divide stages that must be done, in order, into jobs; each of them depends on the one before."""
        ...

    def text(self, job: Job, order: Order, after: Sequence[str]) -> str:
        """Give what would be submitted: a batch script, manifests. `after` as in `submit`."""
        ...

    def submit(self, job: Job, order: Order, after: Sequence[str]) -> str:
        """Hand in a job that starts when those with the identifiers `after` have succeeded; give its own."""
        ...

    def states(self, identifiers: Sequence[str]) -> Mapping[str, JobState]:
        """Look up jobs; one that the cluster does not know (any more) is left out."""
        ...

    def cancel(self, identifiers: Sequence[str]) -> None:
        """End jobs, and whatever they have started; one that has ended already is no error."""
        ...


@runtime_checkable
class Telling(Protocol):
    """A cluster that can be listened to while a job runs."""

    def follow(self, identifier: str, progress: Progress) -> None:
        """Pass on what a job prints, to its end. Raises ClusterError where it fails."""
        ...

    def collect(self, identifier: str, order: Order) -> list[Path]:
        """Fetch what a person reads into the work directory, where the jobs have another; name the files."""
        ...


class Patience:
    """Asks a cluster that may be silent for some minutes, as SLURM is while its controller restarts."""

    def __init__(self, seconds: float = 600) -> None:
        self.seconds = seconds
        self._answered = monotonic()

    def ask(self, question: Callable[[], Answer]) -> Answer | None:
        """Give the answer, or None where there is none this time: ask again a little later.

        Raises
        ------
        ClusterError
            There has been none for `seconds`.
        """
        try:
            answer = question()
        except ClusterError as error:
            if monotonic() - self._answered < self.seconds:
                return None
            raise ClusterError(
                f"the cluster has been silent for {self.seconds / 60:g} min: {error}"
            ) from error
        self._answered = monotonic()
        return answer


def end_of(identifier: str, site: Site, progress: Progress) -> JobState | None:
    """Wait for a job to end, telling what it does meanwhile; None where the cluster has forgotten it.

    Raises
    ------
    ClusterError
        The cluster has been silent for long.
    """
    told, patience = "", Patience()
    while True:
        if (states := patience.ask(lambda: site.states([identifier]))) is not None:
            state = states.get(identifier)
            if state is None or not state.live:
                return state
            if (words := f"job {identifier}: {state.word} {state.detail}".rstrip()) != told:
                told = words
                progress(words, 0, 0)
        sleep(_LOOK_SECONDS)


def same_cluster(one: ClusterProfile, other: ClusterProfile) -> bool:
    """Tell whether the jobs of one profile are known, and can be waited for, where those of the other are."""

    def where(profile: ClusterProfile) -> tuple[str | None, ...]:
        its = (profile.context, profile.namespace) if isinstance(profile, KubernetesProfile) else ()
        return (profile.kind, *its)

    return where(one) == where(other)


def site_of(profile: ClusterProfile) -> Site:
    """Give the cluster of a profile.

    Raises
    ------
    ClusterError
        The profile is that of a single machine.
    """
    if isinstance(profile, SlurmProfile):
        from .slurm import SlurmSite

        return SlurmSite(profile)
    if isinstance(profile, KubernetesProfile):
        from .kubernetes import KubernetesSite

        return KubernetesSite(profile)
    raise ClusterError(
        f"jobs cannot be handed in to a profile of kind '{profile.kind}'; name a cluster's with --cluster, "
        "such as cluster/slurm.yaml, or use 'tailshard run' on this machine"
    )

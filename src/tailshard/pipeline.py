"""Walk the stages in order: find out what is stale, then do it.

Each verb of the command line is a function here. A `Search` is a pipeline in a work directory::

    workdir/
      ledger.json     what exists and what made it
      inputs.json     what the files of the last ingest looked like       ingest
      partials/       what was made of each slot, for the next time       ingest, histogram
      store/          catalog.json, events.zarr (sharded Zarr v3)  ingest, score
      model/          model.pt, metrics.jsonl; seed_1/ ...        train
      results/        histograms, cells, summary, candidates ...  histogram
      report/         index.html, histograms.root                 report
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import Pipeline
from .errors import ConfigError, InputError, StoreError, WorkdirError
from .keys import decision, parts_of
from .launch import (
    ClusterProfile,
    LocalProfile,
    RayProfile,
    dask_client,
    patience,
    performance_log,
    ray_profile,
)
from .ledger import Ledger, Parts, locked, provenance
from .places import place, remove_tree
from .progress import Progress, silent
from .stages import STAGES, Folders, Listing, StageOutcome, StageState, outputs_of

if TYPE_CHECKING:
    from distributed import Client

    from .ingest.survey import Inputs
    from .monitoring import Metrics


@dataclass
class Search(Folders):
    """A pipeline in a work directory, and where to run it."""

    pipeline: Pipeline
    workdir: Path
    profile: ClusterProfile = field(default_factory=LocalProfile)
    progress: Progress = silent
    strict: bool = False
    """Fail where an input would be put into quarantine."""

    def __post_init__(self) -> None:
        self.workdir = place(self.workdir)
        self.ledger = Ledger.open(self.workdir, self.pipeline.name)
        self._client: Client | None = None
        self._metrics: Metrics | None = None

    def ray(self) -> RayProfile:
        """Say where training runs.

        Raises
        ------
        ClusterError
            Not here: this is a login node. Whatever trains asks before it reads anything.
        """
        return ray_profile(self.profile)

    # -- what is stale ---------------------------------------------------------------------------

    def states(self, files: Listing | None = None, keep_model: bool = True) -> list[StageState]:
        """Tell for every stage whether its output exists, and why it is stale if it is.

        Parameters
        ----------
        files
            What the inputs were when the work began; they are looked at now where it is left out.
        keep_model
            A model that 'tailshard update' has kept is current, though events have come since it was trained.
        """
        files = self.listing() if files is None else files
        states: list[StageState] = []
        for stage in STAGES:
            entry = self.ledger.entries.get(stage)
            upstream = next((state for state in states if not state.current), None)
            if entry is None:
                reasons = ["has not been made yet"]
            elif upstream is not None:
                reasons = [f"{upstream.stage} is stale"]
            else:
                reasons = (
                    self.ledger.damage(stage)
                    or self.ledger.reasons(stage, self.parts(stage, files, keep_model))
                    or self._damage(stage)
                )
            facts = (entry.made, entry.result) if entry else ()
            states.append(StageState(stage, entry is not None, tuple(reasons), *facts))
        return states

    def _damage(self, stage: str) -> list[str]:
        """Say what is missing inside the store: a slot, or the errors of one that was made again."""
        if stage == "ingest":
            from .ingest.damage import damage_in_words

            return damage_in_words(self.store)
        if stage != "score":
            return []
        from .search.score import unscored

        digest = self.ledger.entries["train"].result["model"]
        problem = unscored(self.store, digest, self.pipeline.training.seeds)
        return [problem] if problem else []

    def reopen(self) -> None:
        """Read the ledger again: another process, or another search, may have worked here."""
        self.ledger = Ledger.open(self.workdir, self.pipeline.name)

    def listing(self) -> Listing:
        """Look at the inputs."""
        from .ingest.survey import listing

        return listing(self.pipeline)

    def parts(self, stage: str, files: Listing, keep_model: bool = True) -> Parts:
        """Key of the output that a stage would make now; see `keys.parts_of`."""
        return parts_of(stage, self.pipeline, self.ledger, self.workdir, files, keep_model)

    @property
    def decision(self) -> str:
        """Identify what 'tailshard update' decides on."""
        return decision(self.pipeline, self.workdir)

    # -- doing it --------------------------------------------------------------------------------

    @contextmanager
    def working(self, wait: float = 0.0) -> Iterator[None]:
        """Hold the work directory, and keep its metrics true meanwhile.

        `wait` and what is raised are those of `ledger.locked`.

        Raises
        ------
        ClusterError
            The profile wants metrics where they cannot be served.
        """
        from .monitoring import Metrics, published

        with locked(self.workdir, wait):
            self.reopen()
            shown = self.progress
            metrics = Metrics(self.pipeline.name, self.workdir, lambda: self.ledger, self.pipeline.training)
            with published(metrics, self.profile.metrics) as told:
                self._metrics, self.progress = metrics, metrics.watch(shown, told)
                try:
                    yield
                finally:
                    self._metrics, self.progress = None, shown

    def perform(self, stage: str, force: bool = False, retry: bool = False) -> StageOutcome:
        """Make the output of one stage, of `STAGES`, unless it is current.

        Parameters
        ----------
        force
            Make it anew even if it is current.
        retry
            Try inputs in quarantine again, though nothing else is stale.

        Raises
        ------
        WorkdirError
            An earlier stage is missing or stale.
        ClusterError
            The network cannot be trained on this machine, or workers do not start.
        """
        if stage == "train":
            self.ray()
        with self.working(patience(self.profile)):
            return self.perform_locked(stage, self.listing(), force, retry, keep_model=stage != "train")

    def perform_all(self) -> list[StageOutcome]:
        """Make whatever is stale, in order. A file that arrives meanwhile is new to the next run."""
        self.ray()
        with self.working(patience(self.profile)):
            files = self.listing()
            if not next(state.current for state in self.states(files, False) if state.stage == "train"):
                self.check_model()  # now, not after everything is read
            return [self.perform_locked(stage, files, keep_model=False) for stage in STAGES]

    def check_model(self) -> None:
        """Refuse a network that does not exist or cannot be made, and a scan that cannot be done."""
        from .models import build
        from .search.bump import require_hunter

        require_hunter(self.pipeline)
        build(self.pipeline.model, self.pipeline.features.multiplicities.size**2)

    def perform_locked(
        self,
        stage: str,
        files: Listing,
        force: bool = False,
        retry: bool = False,
        *,
        keep_model: bool = True,
        inputs: "Inputs | None" = None,
        warm_start: bool = False,
    ) -> StageOutcome:
        """Do what `perform` does, in a work directory that the caller holds.

        `files` and `keep_model` are those of `states`, `inputs` those of `ingest`. With `warm_start`,
        training begins with the network in ``model/previous.pt``.
        """
        self.reopen()
        states = {state.stage: state for state in self.states(files, keep_model)}
        for earlier in STAGES[: STAGES.index(stage)]:
            if not states[earlier].current:
                raise WorkdirError(
                    f"cannot {stage}: {earlier} {'; '.join(states[earlier].reasons)}. "
                    f"Run 'tailshard {earlier}' first, or 'tailshard run' for everything that is stale"
                )
        state = states[stage]
        if state.current and state.result is not None and not force:
            quarantine = state.result.get("quarantine")
            if not quarantine or not (retry or self.strict):
                return StageOutcome(stage, False, state.result)
            if not retry:
                raise InputError(
                    f"{len(quarantine)} inputs of the store are in quarantine, and --strict forbids "
                    "that; mend them, then run 'tailshard ingest'"
                )
        before, kept = self.ledger.entries.get(stage), self.ledger.kept
        self.ledger.forget(stage)
        old = {"ingest": self.store, "train": self.model, "histogram": self.partials}
        if force and stage in old:
            remove_tree(old[stage])
        do: dict[str, Callable[[], Mapping[str, Any]]] = {
            "ingest": partial(self._ingest, files, inputs),
            "train": partial(self._train, warm_start),
            "score": partial(self._score, force),
            "histogram": self._histogram,
            "report": self._report,
        }
        # Before the work: what changes meanwhile is new to the next run.
        parts = self.parts(stage, files, keep_model and stage != "train")
        if stage == "train" and warm_start:
            from .train.in_force import previous_hash

            parts = {**parts, "began with": previous_hash(self.model)}
        try:
            with self._metrics.stage(stage) if self._metrics else nullcontext(lambda _: None) as done:
                result = do[stage]()
                done(result)
        except (ConfigError, InputError):
            if before is not None and not force:  # a mistake found before anything was touched costs nothing
                self.ledger.restore(stage, before, kept)
            raise
        except StoreError as error:
            raise StoreError(
                f"{error}. Where 'tailshard ingest' finds nothing to do, 'tailshard ingest --force' "
                "makes the store anew"
            ) from error
        self.ledger.record(stage, parts, result, outputs_of(stage, self.workdir))
        return StageOutcome(stage, True, result)

    @contextmanager
    def dask(self, stage: str) -> Iterator["Client"]:
        """Start the Dask workers of a stage, and stop them at the end; an inner call has the outer's."""
        if self._client is not None:
            yield self._client
            return
        if not isinstance(self.profile, LocalProfile):
            self.progress(f"Waiting for workers of {stage}", 0, 0)
        with dask_client(self.profile, stage, self.workdir, self.progress) as client:
            self._client = client
            try:
                yield client
            finally:
                self._client = None

    @contextmanager
    def _workers_of(self, stage: str) -> Iterator["Client"]:
        log = self.workdir / "logs" / f"{stage}.html"
        with self.dask(stage) as client, performance_log(client, log, self.progress):
            yield client

    def _ingest(self, files: Listing, inputs: "Inputs | None") -> Mapping[str, Any]:
        from .ingest.arrivals import remember
        from .ingest.stage import ingest

        with self._workers_of("ingest") as client:
            result = ingest(
                self.pipeline, self.store, client, self.progress, self.strict, inputs, self.partials
            )
        remember(self.workdir / "inputs.json", self.pipeline, files, result.surveyed)
        return result.to_dict()

    def _train(self, warm_start: bool) -> Mapping[str, Any]:
        from .train.ensemble import train_all
        from .train.in_force import beginning, note_training

        where = (self.store, self.model, self.progress, self.ray().address)
        with beginning(self.model, warm_start):
            result = train_all(self.pipeline, *where, warm_start=warm_start)
            note_training(self.model, self.store, self.pipeline.training_channels)
        return result

    def _score(self, anew: bool) -> Mapping[str, Any]:
        from .search.score import score

        with self._workers_of("score") as client:
            result = score(self.pipeline, self.store, self.model / "model.pt", client, self.progress, anew)
        return result.to_dict()

    def _histogram(self) -> Mapping[str, Any]:
        from .search.histogram import histogram

        with self._workers_of("histogram") as client:
            result = histogram(self.pipeline, self.store, self.results, client, self.progress, self.partials)
        return result.to_dict()

    def _report(self) -> Mapping[str, Any]:
        from .report.page import report

        made = {
            **provenance(),
            "stages": {name: {"key": entry.key, **entry.made} for name, entry in self.ledger.entries.items()},
        }
        places = (self.store, self.model, self.results, self.report_page.parent)
        page = report(self.pipeline, *places, made, self.progress)
        return {"page": page.name}

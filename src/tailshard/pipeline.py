"""Walk the stages in order: find out what is stale, then do it.

Each verb of the command line is a function here. A `Search` is a pipeline in a work directory::

    workdir/
      ledger.json     what exists and what made it
      store/          catalog.json, events.zarr (sharded Zarr v3)  ingest, score
      model/          model.pt, metrics.jsonl, tensorboard/       train
      results/        histograms, cells, summary, candidates ...  histogram
      report/         index.html, histograms.root                 report
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import registry
from .config import Pipeline
from .errors import ConfigError, InputError, StoreError, WorkdirError
from .launch import ClusterProfile, dask_client
from .learning import WHERE_IT_RUNS
from .ledger import Ledger, Parts, code_of, locked, provenance
from .progress import Progress, silent

if TYPE_CHECKING:
    from distributed import Client

STAGES = ("ingest", "train", "score", "histogram", "report")

_RESULTS = (
    *("histograms.json", "regions.json", "cells.npz", "summary.json"),
    *("candidates.*", "workspaces/*.json"),  # where there are any
)
_REPORT = ("histograms.root", "histograms.uhi.json", "reconstructions.npz", "cells.html", "index.html")

Listing = Mapping[str, str]
"""URL of an input -> a cheap fingerprint of it."""


@dataclass(frozen=True)
class StageState:
    """Whether the output of a stage can be used as it is."""

    stage: str
    exists: bool
    reasons: tuple[str, ...]
    """Why it must be made again; empty where it is current."""
    made: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None

    @property
    def current(self) -> bool:
        """The output fits the pipeline, its inputs and this version of tailshard."""
        return not self.reasons


@dataclass(frozen=True)
class StageOutcome:
    """What a verb did."""

    stage: str
    did: bool
    """False where the output was current already."""
    result: Mapping[str, Any]


@dataclass
class Search:
    """A pipeline in a work directory, and where to run it."""

    pipeline: Pipeline
    workdir: Path
    profile: ClusterProfile = field(default_factory=ClusterProfile)
    progress: Progress = silent
    strict: bool = False
    """Fail where an input would be put into quarantine."""

    def __post_init__(self) -> None:
        self.workdir = Path(self.workdir).resolve()
        self.ledger = Ledger.open(self.workdir, self.pipeline.name)

    @property
    def store(self) -> Path:
        """Folder of the event store."""
        return self.workdir / "store"

    @property
    def model(self) -> Path:
        """Folder of the trained network."""
        return self.workdir / "model"

    @property
    def results(self) -> Path:
        """Folder of histograms and numbers."""
        return self.workdir / "results"

    @property
    def report_page(self) -> Path:
        """The page to open."""
        return self.workdir / "report" / "index.html"

    # -- what is stale ---------------------------------------------------------------------------

    def states(self, files: Listing | None = None) -> list[StageState]:
        """Tell for every stage whether its output exists, and why it is stale if it is.

        Parameters
        ----------
        files
            What the inputs were when the work began; they are looked at now where it is left out.
        """
        files = self._listing() if files is None else files
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
                    or self.ledger.reasons(stage, self._parts(stage, files))
                    or self._damage(stage)
                )
            states.append(
                StageState(
                    stage,
                    entry is not None,
                    tuple(reasons),
                    entry.made if entry else None,
                    entry.result if entry else None,
                )
            )
        return states

    def _outputs(self, stage: str) -> list[Path]:
        """Files that a stage has just made; those of the store's slots are the catalog's to know."""
        folder, names = {
            "ingest": (self.store, ("catalog.json",)),
            "train": (self.model, ("model.pt", "metrics.jsonl")),
            "score": (self.store, ()),
            "histogram": (self.results, _RESULTS),
            "report": (self.report_page.parent, _REPORT),
        }[stage]
        return [path for name in names for path in sorted(folder.glob(name))]

    def _damage(self, stage: str) -> list[str]:
        """Say what is missing inside the store: a slot, or the errors of one that was made again."""
        if stage == "ingest":
            from .ingest.damage import damaged_slots
            from .store.catalog import read_catalog

            return [
                f"slot {index} of channel '{channel}' is damaged: {what}"
                for (channel, index), what in damaged_slots(self.store, read_catalog(self.store)).items()
            ]
        if stage != "score":
            return []
        from .search.score import unscored

        problem = unscored(self.store, self.ledger.entries["train"].result["model"])
        return [problem] if problem else []

    def _listing(self) -> Listing:
        from .ingest.survey import listing

        return listing(self.pipeline)

    def _parts(self, stage: str, files: Listing) -> Parts:
        """Key of the output that a stage would make now. Earlier stages must be current."""
        pipeline = self.pipeline
        code = {"code": code_of(stage)}
        match stage:
            case "ingest":
                from .ingest.survey import configuration

                return {**code, **configuration(pipeline), "files": files}
            case "train":
                return {
                    **code,
                    "model": pipeline.model.model_dump(mode="json"),
                    "source": registry.source_of(pipeline.model.name),
                    "training": pipeline.training.model_dump(mode="json", exclude=set(WHERE_IT_RUNS)),
                    "events": self._snapshot(pipeline.training_channels),
                }
            case "score":
                return {
                    **code,
                    "model": self.ledger.entries["train"].result["model"],
                    "score": pipeline.score.model_dump(mode="json"),
                    "events": self._snapshot(None),
                }
            case "histogram":
                return {
                    **code,
                    "scores": self.ledger.entries["score"].key,
                    "quarantine": self.ledger.entries["ingest"].result["quarantine"],
                    "warnings": self.ledger.entries["ingest"].result.get("warnings", []),
                    **pipeline.model_dump(mode="json", include={"regions", "histograms", "limits"}),
                    "training_channels": pipeline.training_channels,
                    "candidate_fraction": pipeline.report.candidate_fraction,
                    "maximum_candidates": pipeline.report.maximum_candidates,
                }
        return {
            **code,
            "results": self.ledger.entries["histogram"].key,
            "report": pipeline.report.model_dump(mode="json"),
            "description": pipeline.description,
        }

    def _snapshot(self, channels: tuple[str, ...] | None) -> str:
        from .store.catalog import read_catalog

        return read_catalog(self.store).snapshot_id(channels)

    # -- doing it --------------------------------------------------------------------------------

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
        """
        with locked(self.workdir):
            return self._perform(stage, self._listing(), force, retry)

    def perform_all(self) -> list[StageOutcome]:
        """Make whatever is stale, in order. A file that arrives meanwhile is new to the next run."""
        from .search.bump import require_hunter

        with locked(self.workdir):
            files = self._listing()
            require_hunter(self.pipeline)  # like the network: now, not after everything is read
            if not next(state.current for state in self.states(files) if state.stage == "train"):
                self.check_model()
            return [self._perform(stage, files) for stage in STAGES]

    def check_model(self) -> None:
        """Refuse a network that does not exist or cannot be made."""
        from .models import build

        build(self.pipeline.model, self.pipeline.features.multiplicities.size**2)

    def _perform(self, stage: str, files: Listing, force: bool = False, retry: bool = False) -> StageOutcome:
        # Another process, or another search, may have worked here since this one opened.
        self.ledger = Ledger.open(self.workdir, self.pipeline.name)
        states = {state.stage: state for state in self.states(files)}
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
        before = self.ledger.entries.get(stage)
        self.ledger.forget(stage)
        if force and stage == "ingest":
            shutil.rmtree(self.store, ignore_errors=True)
        do: dict[str, Callable[[], Mapping[str, Any]]] = {
            "ingest": self._ingest,
            "train": self._train,
            "score": self._score,
            "histogram": self._histogram,
            "report": self._report,
        }
        # Before the work: what changes meanwhile is new to the next run.
        parts = self._parts(stage, files)
        try:
            result = do[stage]()
        except (ConfigError, InputError):
            if before is not None and not force:  # a mistake found before anything was touched costs nothing
                self.ledger.restore(stage, before)
            raise
        except StoreError as error:
            raise StoreError(
                f"{error}. Where 'tailshard ingest' finds nothing to do, 'tailshard ingest --force' "
                "makes the store anew"
            ) from error
        self.ledger.record(stage, parts, result, self._outputs(stage))
        return StageOutcome(stage, True, result)

    @contextmanager
    def _dask(self) -> Iterator["Client"]:
        with dask_client(self.profile) as client:
            self.progress(f"Dask dashboard: {client.dashboard_link}", 0, 0)
            yield client

    def _ingest(self) -> Mapping[str, Any]:
        from .ingest.stage import ingest

        with self._dask() as client:
            result = ingest(self.pipeline, self.store, client, self.progress, self.strict)
        return result.to_dict()

    def _train(self) -> Mapping[str, Any]:
        from .train.distributed import train

        result = train(self.pipeline, self.store, self.model, self.progress, self.profile.ray.address)
        return result.to_dict()

    def _score(self) -> Mapping[str, Any]:
        from .search.score import score

        with self._dask() as client:
            result = score(self.pipeline, self.store, self.model / "model.pt", client, self.progress)
        return result.to_dict()

    def _histogram(self) -> Mapping[str, Any]:
        from .search.histogram import histogram

        with self._dask() as client:
            result = histogram(self.pipeline, self.store, self.results, client, self.progress)
        return result.to_dict()

    def _report(self) -> Mapping[str, Any]:
        from .report.page import report

        made = {
            **provenance(),
            "stages": {name: {"key": entry.key, **entry.made} for name, entry in self.ledger.entries.items()},
        }
        page = report(
            self.pipeline, self.store, self.model, self.results, self.report_page.parent, made, self.progress
        )
        return {"page": page.name}

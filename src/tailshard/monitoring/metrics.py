"""What is told of a search: what it does now, and what its work directory says of what was done before.

`HELP` lists the metrics; all have the label ``search``. Nothing here is computed in a stage: numbers are
those of progress, of the ledger and of ``metrics.jsonl``.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from ..errors import WorkdirError
from ..learning import Training
from ..ledger import Ledger
from ..places import is_remote
from ..progress import Progress
from ..search.history import read_history
from ..train.members import member_folders
from ..train.metrics import read_metrics

HELP = {
    "tailshard_info": "The version of tailshard",
    "tailshard_running": "1 while a process works on the search",
    "tailshard_last_run_success": "1 where the last run ended well, 0 where it failed",
    "tailshard_last_run_timestamp_seconds": "When the last run ended",
    "tailshard_progress_done": "Slots, files or epochs that are done, by stage and step",
    "tailshard_progress_total": "Slots, files or epochs that there are, by stage and step",
    "tailshard_stage_running": "1 while the stage is being done",
    "tailshard_stage_failed": "1 where the last try of the stage failed",
    "tailshard_stage_success_timestamp_seconds": "When the output of the stage was made",
    "tailshard_stage_seconds": "Wall time of the stage, the last time it was done",
    "tailshard_stage_slots_per_second": "Slots of the store written, scored or histogrammed, over that time",
    "tailshard_stage_events_per_second": "Entries of ntuples read, or events scored, over that time",
    "tailshard_store_events": "Selected events in the store, by channel",
    "tailshard_quarantined_inputs": "Files, or parts of them, that could not be used",
    "tailshard_warnings": "Warnings of the store, which the page repeats",
    "tailshard_training_epoch": "Finished epochs of the network of this seed",
    "tailshard_training_loss": "Loss of the last epoch, by split",
    "tailshard_training_events_per_second": "Training events over the time of the last epoch",
    "tailshard_training_loader_wait_ratio": "Part of that time without a batch to work on",
    "tailshard_training_workers": "Workers of the last epoch",
    "tailshard_drift": "Population stability index of new events against those trained on, by measure",
    "tailshard_disk_free_bytes": "Free space where the work directory is",
}
"""Metric -> what it means."""

_KEPT = (
    "tailshard_last_run_success",
    "tailshard_last_run_timestamp_seconds",
    "tailshard_stage_failed",
    "tailshard_stage_seconds",
    "tailshard_stage_slots_per_second",
    "tailshard_stage_events_per_second",
)
"""What a process does not find in the work directory, and takes over from the one before it."""

Gauges = dict[str, dict[tuple[tuple[str, str], ...], float]]
"""Metric -> labels -> value."""


@dataclass(eq=False)
class Metrics(Collector):
    """The metrics of one search; a collector of prometheus_client."""

    search: str
    workdir: Path
    ledger: Callable[[], Ledger]
    """Gives the ledger as it is now."""
    training: Training = field(default_factory=Training)
    _now: Gauges = field(default_factory=dict)
    _stage: str = ""

    @property
    def registry(self) -> CollectorRegistry:
        """A registry of these metrics alone."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def take_over(self, text: str) -> None:
        """Go on with what the process before this one measured: its exposition of these metrics."""
        for family in text_string_to_metric_families(text):
            for sample in family.samples if family.name in _KEPT else ():
                labels = {name: label for name, label in sample.labels.items() if name != "search"}
                self._set(sample.name, sample.value, **labels)

    # -- what happens now ------------------------------------------------------------------------

    def watch(self, progress: Progress, told: Callable[[], None]) -> Progress:
        """Give a progress that counts here what it passes on, and calls `told` afterwards."""

        def watched(what: str, done: int, total: int) -> None:
            progress(what, done, total)
            if total:
                self._set("tailshard_progress_done", done, stage=self._stage, step=what)
                self._set("tailshard_progress_total", total, stage=self._stage, step=what)
                told()

        return watched

    @contextmanager
    def running(self) -> Iterator[None]:
        """Note that a process works on the search, and how it ends."""
        self._set("tailshard_running", 1)
        success = False
        try:
            yield
            success = True
        finally:
            self._set("tailshard_running", 0)
            self._set("tailshard_last_run_success", success)
            self._set("tailshard_last_run_timestamp_seconds", time.time())

    @contextmanager
    def stage(self, stage: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Note that a stage is being done, and how it ends; what is yielded takes its result."""
        before, self._stage = self._stage, stage
        started, failed = time.perf_counter(), True
        self._set("tailshard_stage_running", 1, stage=stage)

        def done(result: Mapping[str, Any]) -> None:
            seconds = time.perf_counter() - started
            self._set("tailshard_stage_seconds", seconds, stage=stage)
            for what, count in _work_of(stage, result).items():
                self._set(f"tailshard_stage_{what}_per_second", count / seconds, stage=stage)

        try:
            yield done
            failed = False
        finally:
            self._stage = before
            self._set("tailshard_stage_running", 0, stage=stage)
            self._set("tailshard_stage_failed", failed, stage=stage)

    def _set(self, name: str, value: float, **labels: str) -> None:
        # A scrape may come from another thread: a dictionary is replaced, never changed.
        self._now[name] = {**self._now.get(name, {}), tuple(labels.items()): float(value)}

    # -- what is told ----------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Give all metrics that there are."""
        gauges: Gauges = {"tailshard_info": {(("version", version("tailshard")),): 1.0}}
        for of in (self._of_ledger, self._of_training, self._of_drift):
            for name, labels, value in of():
                gauges.setdefault(name, {})[tuple(labels.items())] = float(value)
        if not is_remote(self.workdir):
            gauges["tailshard_disk_free_bytes"] = {(): float(shutil.disk_usage(self.workdir).free)}
        for name, values in sorted({**gauges, **self._now}.items()):
            names = [label for label, _ in next(iter(values))]
            family = GaugeMetricFamily(name, HELP[name], labels=["search", *names])
            for its, value in sorted(values.items()):
                family.add_metric([self.search, *(label for _, label in its)], value)
            yield family

    def _of_ledger(self) -> Iterator[tuple[str, dict[str, str], float]]:
        entries = dict(self.ledger().entries)
        for stage, entry in entries.items():
            made = datetime.fromisoformat(entry.made["time"]).timestamp()
            yield "tailshard_stage_success_timestamp_seconds", {"stage": stage}, made
        if "ingest" in entries:
            result = entries["ingest"].result
            for channel, events in result["events"].items():
                yield "tailshard_store_events", {"channel": channel}, events
            yield "tailshard_quarantined_inputs", {}, len(result["quarantine"])
            yield "tailshard_warnings", {}, len(result["warnings"])

    def _of_training(self) -> Iterator[tuple[str, dict[str, str], float]]:
        model = self.workdir / "model"
        folders = member_folders(self.training, model) or {self.training.seed: model}
        for seed, folder in folders.items():
            try:
                history = read_metrics(folder)
            except WorkdirError:  # a stage says so where it matters
                continue
            if not history:
                continue
            last, by_seed = history[-1], {"seed": str(seed)}
            yield "tailshard_training_epoch", by_seed, last.epoch
            for split, loss in (("training", last.training_loss), ("validation", last.validation_loss)):
                yield "tailshard_training_loss", {**by_seed, "split": split}, loss
            yield "tailshard_training_events_per_second", by_seed, last.events_per_second
            waited = last.waited / last.seconds if last.seconds else 0.0
            yield "tailshard_training_loader_wait_ratio", by_seed, waited
            yield "tailshard_training_workers", by_seed, last.workers

    def _of_drift(self) -> Iterator[tuple[str, dict[str, str], float]]:
        kept = self.ledger().kept
        history = read_history(self.workdir / "results")
        drift = kept["drift"] if kept else history[-1].get("drift") if history else None
        for measure, found in (drift or {}).items():
            if found is not None:
                yield "tailshard_drift", {"measure": measure}, found["value"]


def _work_of(stage: str, result: Mapping[str, Any]) -> dict[str, float]:
    """Say how many slots and events a stage has worked on, as far as its result tells."""
    made = {"ingest": "written", "score": "scored", "histogram": "filled"}.get(stage)
    work = {"slots": result["slots"][made]} if made else {}
    events = {"ingest": "entries_read", "score": "events_scored"}.get(stage)
    return {**work, "events": result[events]} if events else work

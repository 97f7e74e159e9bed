"""What the output of each stage is made from: the parts of its key, which the ledger compares."""

from pathlib import Path

from . import registry
from .config import Pipeline, content_hash
from .learning import WHERE_IT_RUNS
from .ledger import Ledger, Parts, code_of
from .stages import Listing


def parts_of(
    stage: str, pipeline: Pipeline, ledger: Ledger, workdir: Path, files: Listing, keep_model: bool = True
) -> Parts:
    """Give the key of the output that a stage would make now. Earlier stages must be current.

    Parameters
    ----------
    stage
        Of `stages.STAGES`.
    pipeline, ledger, workdir
        The search.
    files
        What the inputs are.
    keep_model
        Take a network for current that began with an earlier one, or that 'tailshard update' has kept though
        events have come since it was trained.
    """
    code = {"code": code_of(stage)}
    match stage:
        case "ingest":
            from .ingest.survey import configuration

            return {**code, **configuration(pipeline), "files": files}
        case "train":
            entry = ledger.entries.get("train") if keep_model else None
            events = snapshot(workdir, pipeline.training_channels)
            if entry and ledger.keeps(decision(pipeline, workdir)):
                events = entry.parts["events"]
            return {
                **code,
                "model": pipeline.model.model_dump(mode="json"),
                "source": registry.source_of(pipeline.model.name),
                "training": pipeline.training.model_dump(mode="json", exclude=set(WHERE_IT_RUNS)),
                "events": events,
                "began with": entry.parts.get("began with") if entry else None,
            }
        case "score":
            return {
                **code,
                "model": ledger.entries["train"].result["model"],
                "score": pipeline.score.model_dump(mode="json"),
                "events": snapshot(workdir, None),
            }
        case "histogram":
            return {
                **code,
                "scores": ledger.entries["score"].key,
                "quarantine": ledger.entries["ingest"].result["quarantine"],
                "warnings": ledger.entries["ingest"].result.get("warnings", []),
                "data_luminosity": pipeline.data_luminosity,
                **pipeline.model_dump(mode="json", include={"regions", "histograms", "limits"}),
                "training_channels": pipeline.training_channels,
                **pipeline.report.model_dump(include={"candidate_fraction", "maximum_candidates"}),
            }
    from .search.history import read_history
    from .search.stressed import read_robustness

    results = workdir / "results"
    return {
        **code,
        "results": ledger.entries["histogram"].key,
        "history": content_hash(read_history(results), read_robustness(results)),
        "report": pipeline.report.model_dump(mode="json"),
        "description": pipeline.description,
    }


def decision(pipeline: Pipeline, workdir: Path) -> str:
    """Identify what 'tailshard update' decides on: events to learn from, and the policy."""
    policy = pipeline.update.model_dump(mode="json", exclude={"settle"})
    return content_hash(snapshot(workdir, pipeline.training_channels), policy)


def snapshot(workdir: Path, channels: tuple[str, ...] | None) -> str:
    """Identify the events of some channels of the store, or of all."""
    from .store.catalog import read_catalog

    return read_catalog(workdir / "store").snapshot_id(channels)

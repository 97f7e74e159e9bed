"""Which files a pipeline names, which of them can be used, and what else the store depends on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Dataset, Pipeline
from ..errors import ConfigError, InputError
from ..events.corrections import check_correction, fingerprint
from ..events.kinematics import QUANTITIES
from ..events.selection import SELECTIONS, event_cuts
from ..events.triggers import chains_in_force
from ..ntuples import fileset
from ..ntuples.canonical import Dialect
from ..ntuples.dialects import DIALECTS, collision_energy, dialect
from ..ntuples.fileset import FileInfo, Partition
from ..ntuples.inspection import inspect
from ..ntuples.sight import look_at
from ..progress import Progress, silent
from ..registry import resolve, source_of
from ..store.catalog import Quarantined


def configuration(pipeline: Pipeline) -> dict[str, Any]:
    """Parts of a pipeline that the store depends on, apart from the files themselves."""
    return {
        "luminosity": pipeline.luminosity,
        "campaigns": [campaign.model_dump(mode="json") for campaign in pipeline.campaigns],
        "years": pipeline.kept_years,
        "datasets": {dataset.identity: meaning_of(dataset) for dataset in pipeline.datasets},
        "selection": pipeline.selection.model_dump(mode="json"),
        "corrections": [
            {
                **correction.model_dump(mode="json", exclude={"file"}),
                "content": fingerprint(correction, pipeline.data_root),
            }
            for correction in pipeline.corrections
        ],
        "features": pipeline.features.model_dump(mode="json"),
        "store": pipeline.store.model_dump(mode="json"),
        "splits": pipeline.splits.model_dump(mode="json"),
        "source": source_of(pipeline.selection.name),
    }


def meaning_of(dataset: Dataset) -> dict[str, Any]:
    """Everything that a data set says of its events; where the files lie is not part of it."""
    return {
        **dataset.model_dump(mode="json", exclude={"files", "published"}),
        "source": source_of(dataset.dialect),
    }


def listing(pipeline: Pipeline) -> dict[str, str]:
    """Files that a pipeline names now, and a cheap fingerprint of each: size and time, nothing opened."""
    urls = [url for dataset in pipeline.datasets for url in expand(pipeline, dataset)[0]]
    return {url: sight.fingerprint for url, sight in look_at(urls).items()}


def check_names(pipeline: Pipeline) -> None:
    """Find every dialect, selection, cut and correction that a pipeline names.

    Raises
    ------
    ConfigError
        One does not exist, or does not fit the others, as releases of different collision energies.
    """
    resolve("selection", pipeline.selection.name, SELECTIONS)
    for dataset in pipeline.datasets:
        resolve("dialect", dataset.dialect, DIALECTS)
        its_dialect = dialect(dataset.dialect)
        its_dialect.check(dataset, pipeline.selection)
        _check_years(pipeline, dataset, its_dialect)
    for correction in pipeline.corrections:
        check_correction(correction, pipeline.data_root, bool(pipeline.campaigns))
    collision_energy(pipeline)
    if unknown := sorted(set(pipeline.histograms.observables) - set(QUANTITIES)):
        raise ConfigError(
            f"histograms.observables names {unknown}, which tailshard does not compute; "
            f"it knows {', '.join(QUANTITIES)}"
        )


def _check_years(pipeline: Pipeline, dataset: Dataset, its_dialect: Dialect) -> None:
    """Campaigns and per-year trigger chains go with ntuples that tell the year, and with no others."""
    if bool(pipeline.campaigns) != (its_dialect.conditions is not None):
        raise ConfigError(
            f"dataset '{dataset.identity}': {its_dialect.name} "
            + (
                "does not store the run that simulation was made for; leave campaigns out of the pipeline"
                if pipeline.campaigns
                else "is normalised campaign by campaign; give campaigns in the pipeline, for example "
                "{name: mc16a, luminosity: {2015: 3219.56 pb^-1, 2016: 32988.1 pb^-1}}"
            )
        )
    chains = chains_in_force(event_cuts(pipeline.selection))
    if chains and (missing := sorted(set(pipeline.kept_years or ()) - set(chains))):
        raise ConfigError(
            f"selection.cuts.trigger_chains lists no chain for {', '.join(map(str, missing))}, which the "
            "pipeline keeps: no event of it could pass"
        )


Map = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterable[Any]]
"""``map(function, arguments)``: results in order, wherever they are computed."""


def in_threads(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Iterable[Any]:
    """Map in this process: what takes time is waiting for file servers."""
    with ThreadPoolExecutor(16) as threads:
        yield from threads.map(lambda each: function(*each), arguments)


@dataclass(frozen=True)
class SurveyedDataset:
    """A data set, the files of it that can be used, and those that cannot."""

    dataset: Dataset
    files: tuple[FileInfo, ...]
    quarantine: tuple[fileset.Quarantined, ...]
    partitions: tuple[Partition, ...]

    @property
    def rows(self) -> list[Quarantined]:
        """The quarantine as the catalog keeps it."""
        return [
            Quarantined(dataset=row.dataset, url=row.url, reason=row.reason, start=row.start, stop=row.stop)
            for row in self.quarantine
        ]


@dataclass(frozen=True)
class Inputs:
    """Files that were found before a survey, and what is known of them."""

    urls: Mapping[str, tuple[list[str], list[fileset.Quarantined]]]
    """Data set -> its files, and its patterns that match none."""
    known: Mapping[str, FileInfo | fileset.Quarantined]
    """Files that need not be opened."""


def survey(
    pipeline: Pipeline, map_: Map = in_threads, progress: Progress = silent, inputs: Inputs | None = None
) -> list[SurveyedDataset]:
    """Open every file that a pipeline names, and cut those that can be used into partitions.

    Where there are `inputs`, their files are the pipeline's, and those that are known are not opened.

    Raises
    ------
    ConfigError
        A dialect or selection does not exist, or does not fit the other.
    InputError
        Two data sets name one file, or copies of it.
    """
    check_names(pipeline)
    expanded = [
        inputs.urls[dataset.identity] if inputs else expand(pipeline, dataset)
        for dataset in pipeline.datasets
    ]
    _refuse_shared_files(pipeline, [urls for urls, _ in expanded])
    known = dict(inputs.known) if inputs else {}
    arguments = [
        question
        for dataset, (urls, _) in zip(pipeline.datasets, expanded, strict=True)
        for question in questions(pipeline, dataset, [url for url in urls if url not in known])
    ]
    for number, answer in enumerate(map_(inspect, arguments), start=1):
        known[arguments[number - 1][0]] = answer
        progress("open files", number, len(arguments))
    surveyed = []
    for dataset, (urls, unmatched) in zip(pipeline.datasets, expanded, strict=True):
        found = [known[url] for url in urls]
        files, copies = fileset.distinct(
            [each for each in found if isinstance(each, FileInfo)], dataset.identity
        )
        tree = dataset.tree or dialect(dataset.dialect).tree
        bad = [each for each in found if isinstance(each, fileset.Quarantined)]
        partitions = fileset.partitions(files, dataset.identity, tree, pipeline.store.slot)
        surveyed.append(
            SurveyedDataset(dataset, tuple(files), (*unmatched, *bad, *copies), tuple(partitions))
        )
    _refuse_shared_copies(surveyed)
    return surveyed


def questions(
    pipeline: Pipeline, dataset: Dataset, urls: Iterable[str]
) -> list[tuple[str, str, list[str], str]]:
    """Arguments of `inspect` for files of a data set."""
    its_dialect = dialect(dataset.dialect)
    branches = sorted(its_dialect.branches(dataset.kind, pipeline.selection))
    return [(url, dataset.tree or its_dialect.tree, branches, dataset.identity) for url in urls]


def expand(pipeline: Pipeline, dataset: Dataset) -> tuple[list[str], list[fileset.Quarantined]]:
    """Find the files of a data set, and the patterns that match none."""
    return fileset.expand(dataset.files, dataset.published, pipeline.data_root, Path.cwd(), dataset.identity)


def _refuse_shared_files(pipeline: Pipeline, urls: Sequence[Sequence[str]]) -> None:
    owner: dict[str, str] = {}
    for dataset, its_urls in zip(pipeline.datasets, urls, strict=True):
        for url in its_urls:
            if url in owner:
                raise InputError(
                    f"{url} is named by the datasets '{owner[url]}' and '{dataset.identity}': "
                    "its events would count twice; narrow one of the patterns"
                )
            owner[url] = dataset.identity


def _refuse_shared_copies(surveyed: Sequence[SurveyedDataset]) -> None:
    owner: dict[tuple[str, str], tuple[str, str]] = {}
    for each in surveyed:
        tree = each.dataset.tree or dialect(each.dataset.dialect).tree
        for file in each.files:
            url, name = owner.setdefault((file.uuid, tree), (file.url, each.dataset.identity))
            if url != file.url:
                raise InputError(
                    f"{url} of the dataset '{name}' and {file.url} of '{each.dataset.identity}' are copies "
                    f"of one file (both have UUID {file.uuid}): its events would count twice; leave one out"
                )

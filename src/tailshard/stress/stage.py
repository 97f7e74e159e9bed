"""Robustness tests of a search, one after another; what is done already is not done again.

::

    stress/without-<channel>/   a network that never saw a background channel
    stress/small/               a network trained on a share of the events
    stress/*.json               the numbers of each network, and what they were made from
    results/stress.json         all that is current: see `tailshard.stress.results`
    report/stress.html          the page
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Pipeline, content_hash
from ..errors import ConfigError, StoreError
from ..fingerprint import fingerprint
from ..ledger import provenance, write_atomically
from ..progress import Progress, silent
from ..search.histogram import write_json
from ..search.summary import finite_or_none
from ..store.catalog import Catalog, read_catalog
from ..train.members import model_hash
from .disturbances import DISTURBANCES, MOMENTUM
from .measure import measure
from .networks import Network, on_share, train_missing, without_channel
from .page import write_page
from .results import against_the_others, edges, rows_of_network

if TYPE_CHECKING:
    from distributed import Client

TESTS = ("removal", "momentum", "unphysical", "small")
"""Groups of tests; `small` repeats the others, but for the removal, with a network that saw less."""

Workers = Callable[[], AbstractContextManager["Client"]]


@dataclass(frozen=True)
class Places:
    """Folders of a work directory."""

    store: Path
    model: Path
    results: Path
    report: Path
    stress: Path


@dataclass(frozen=True)
class Plan:
    """Which tests, and with what."""

    tests: tuple[str, ...] = TESTS
    channels: tuple[str, ...] = ()
    """Background channels to remove; all where there are none."""
    seed: int = 1
    share: float = 0.01
    """Of the training events, for the test `small`."""

    def __post_init__(self) -> None:
        if unknown := [test for test in self.tests if test not in TESTS]:
            raise ConfigError(f"there is no robustness test {unknown}; choose from {', '.join(TESTS)}")
        if not 0 < self.share < 1:
            raise ConfigError(
                f"the share of the training events is {self.share:g}; it must be between 0 and 1"
            )

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Names of the disturbances that the tests need, in the order of `DISTURBANCES`."""
        return tuple(
            name for name in DISTURBANCES if ("momentum" if name in MOMENTUM else "unphysical") in self.tests
        )


def stress(
    pipeline: Pipeline,
    places: Places,
    plan: Plan,
    workers: Workers,
    progress: Progress = silent,
    address: str | None = None,
    in_process: bool = False,
) -> dict[str, Any]:
    """Test a search whose network is trained, and write its numbers and its page.

    Parameters
    ----------
    pipeline, places, plan
        The search, where it is, and what to do.
    workers
        Starts Dask workers; called when all networks are trained, and only if something is to be measured.
    progress
        Told which network is trained or measured.
    address, in_process
        Where to train, as in `tailshard.train.distributed.train`.

    Returns
    -------
    dict
        Content of ``stress.json``.

    Raises
    ------
    ConfigError
        A channel to remove is no background channel, or the only one to learn from.
    StoreError
        A background channel has no test events.
    ClusterError, ProcessingError
        As in training and scoring.
    """
    catalog = read_catalog(places.store)
    background = [name for name in pipeline.channels_of("background") if catalog.rows(name, "test")]
    if not background:
        raise StoreError(f"{places.store} has no test events of any background channel; ingest more files")
    wanted = _removed(pipeline, plan, background)
    full = Network("full", pipeline, places.model, is_of_search=True)
    small = Network("small", on_share(pipeline, plan.share), places.stress / "small")
    removed = {channel: _network_without(pipeline, channel, full, places) for channel in background}
    needed = [removed[channel] for channel in wanted] + ([small] if "small" in plan.tests else [])
    train_missing(needed, places.store, catalog, progress, address, in_process)

    pending = [
        _Pending(full, plan.disturbances, (*background, *pipeline.channels_of("signal"))),
        *(
            [_Pending(small, plan.disturbances, (*background, *pipeline.channels_of("signal")))]
            if "small" in plan.tests
            else []
        ),
        *(_Pending(removed[channel], (), background, channel) for channel in wanted),
    ]
    kept = _Kept(pipeline, places, catalog, plan.seed, tuple(background))
    if todo := [each for each in pending if not kept.covers(each)]:
        with workers() as client:
            for each in todo:
                kept.write(each, client, progress)
    content = {
        "pipeline": pipeline.name,
        "seed": plan.seed,
        "share": plan.share,
        "background": background,
        "networks": {
            network.name: {**its, "training": network.facts(catalog)}
            for network in (full, small)
            if (its := kept.read(_Pending(network))) is not None
        },
        "removed": {
            channel: {**its, "training": removed[channel].facts(catalog)}
            for channel in background
            if (its := kept.read(_Pending(removed[channel], channel=channel))) is not None
        },
        "edges": edges(),
    }
    content = dict(finite_or_none(content))
    write_json(places.results / "stress.json", content)
    write_page(places.report / "stress.html", pipeline, content, provenance())
    return content


def _removed(pipeline: Pipeline, plan: Plan, background: Sequence[str]) -> list[str]:
    """Say which channels are to be removed."""
    if unknown := [name for name in plan.channels if name not in background]:
        raise ConfigError(
            f"{', '.join(unknown)}: no background channel with test events; choose from "
            f"{', '.join(background)}"
        )
    if "removal" not in plan.tests:
        return []
    others = {name: set(pipeline.training_channels) - {name} for name in background}
    if plan.channels and not all(others[name] for name in plan.channels):
        raise ConfigError(
            f"without {', '.join(plan.channels)} there is nothing to learn from: the network of "
            f"'{pipeline.name}' learns from no other channel"
        )
    if len(background) < 2:
        return []
    return [name for name in background if others[name] and (not plan.channels or name in plan.channels)]


def _network_without(pipeline: Pipeline, channel: str, full: Network, places: Places) -> Network:
    if channel not in pipeline.training_channels:
        return full
    return Network(
        f"without {channel}", without_channel(pipeline, channel), places.stress / f"without-{channel}"
    )


@dataclass(frozen=True)
class _Pending:
    """Numbers to get from one network."""

    network: Network
    disturbances: tuple[str, ...] = ()
    channels: Sequence[str] = ()
    """To measure."""
    channel: str | None = None
    """The removed one."""

    @property
    def name(self) -> str:
        return self.network.name if self.channel is None else f"without-{self.channel}"


@dataclass(frozen=True)
class _Kept:
    """The numbers of earlier calls, as far as they are current."""

    pipeline: Pipeline
    places: Places
    catalog: Catalog
    seed: int
    background: tuple[str, ...]

    def read(self, wanted: _Pending) -> dict[str, Any] | None:
        """Give the numbers of a network; None where there are none, or from something else."""
        if not wanted.network.is_trained(self.catalog):
            return None
        try:
            content = json.loads(self._path(wanted).read_text(encoding="utf-8"))
            result: dict[str, Any] = content["result"]
            return result if content["made_from"] == self._made_from(wanted) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def covers(self, wanted: _Pending) -> bool:
        """Tell whether there are numbers for all that is asked for."""
        found = self.read(wanted)
        return found is not None and set(wanted.disturbances) <= set(found.get("disturbed", ()))

    def write(self, wanted: _Pending, client: "Client", progress: Progress) -> None:
        """Measure a network, and what was asked of it before, too."""
        before: Mapping[str, Any] = (self.read(wanted) or {}).get("disturbed", {})
        names = tuple(name for name in DISTURBANCES if name in wanted.disturbances or name in before)
        network = wanted.network
        sums = measure(
            self.pipeline,
            self.places.store,
            self.catalog,
            network.model,
            {name: names if name in self.background else () for name in wanted.channels},
            self.seed,
            client,
            progress,
        )
        if wanted.channel is None:
            signals = self.pipeline.channels_of("signal")
            found: dict[str, Any] = rows_of_network(sums, self.background, signals, names)
        else:
            found = {"row": against_the_others(sums, wanted.channel, self.background)}
        result = {"model": model_hash(network.model), **found}
        content = finite_or_none({"made_from": self._made_from(wanted), "result": result})
        write_atomically(self._path(wanted), json.dumps(content, indent=1, allow_nan=False) + "\n")

    def _path(self, wanted: _Pending) -> Path:
        return self.places.stress / f"{wanted.name}.json"

    def _made_from(self, wanted: _Pending) -> str:
        return content_hash(
            {"measure": fingerprint("stress.measure"), "results": fingerprint("stress.results")},
            model_hash(wanted.network.model),
            self.pipeline.score,
            self.catalog.snapshot_id(),
            self.seed,
            list(self.background),
            list(self.pipeline.channels_of("signal")),
            list(self.pipeline.training_channels),
        )

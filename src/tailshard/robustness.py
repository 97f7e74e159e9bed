"""The verbs that put a search to the test: `stress`, `blind` and `unblind`; `verbs` has them, too."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from .errors import ConfigError, WorkdirError
from .launch import dask_client
from .ledger import locked
from .options import Json, Options, open_search, takes_options
from .pipeline import Search
from .places import local, place
from .progress import Progress, silent
from .stages import STAGES

if TYPE_CHECKING:
    from distributed import Client


@takes_options
def stress(
    pipeline: Path | str,
    *,
    tests: Sequence[str] = (),
    channels: Sequence[str] = (),
    seed: int = 1,
    share: float = 0.01,
    **options: Unpack[Options],
) -> Json:
    """Test how robust a trained search is, without any signal (docs/robustness.md says how).

    `tests` are of removal, momentum, unphysical and small; all where left out. `channels` are the
    background channels to remove, all where left out. `share` is the part of the training events that the
    network of the test small sees. What is there and current is not made again; all of it is in the
    result, in ``results/stress.json`` and on ``report/stress.html``.
    """
    from .stress.stage import TESTS, Places, Plan
    from .stress.stage import stress as run_tests

    search = open_search(pipeline, **options)
    address = search.ray().address
    plan = Plan(tuple(tests) or TESTS, tuple(channels), seed, share)
    with locked(search.workdir):
        _require(search, "train", "stress")
        places = Places(
            search.store, search.model, search.results, search.report_page.parent, search.workdir / "stress"
        )
        content = run_tests(
            search.pipeline,
            places,
            plan,
            lambda: _workers(search),
            search.progress,
            address,
        )
        files = search.listing()
        if all(state.current for state in search.states(files) if state.stage != "report"):
            search.perform_locked("report", files)  # the page of the search has a table of them
    page = str(places.report / "stress.html")
    return {
        "workdir": str(search.workdir),
        "page": page,
        **{name: content[name] for name in content if name != "edges"},
    }


@takes_options
def blind(
    pipeline: Path | str,
    *,
    output: Path | str,
    signals: Sequence[str] = (),
    events: tuple[float, float] | None = None,
    nothing: float = 0.25,
    into: str = "background",
    seed: int | None = None,
    **options: Unpack[Options],
) -> Json:
    """Hide an unknown amount of an unknown signal in a copy of a search, and seal the truth.

    `output` becomes a work directory of its own, with a pipeline file in it. `signals` are those to choose
    from, `events` the smallest and largest number of signal events, `nothing` the probability that
    there is none. `into` is background (pseudo-data from test events) or data. A `seed` is for tests of
    the test: who knows it knows the truth.
    """
    from .blind.folder import make_blind
    from .blind.hide import Hiding

    folder = local(place(output), "a blind test")
    search = open_search(pipeline, **options)
    hiding = Hiding(tuple(signals), events, nothing, into, seed)
    with locked(search.workdir):
        has_network = _require(search, "ingest", "make a blind test of it")
        return make_blind(search, folder, hiding, lambda: _workers(search), search.progress, has_network)


def unblind(
    folder: Path | str,
    *,
    claim: Path | str | None = None,
    signal: str | None = None,
    events: float | None = None,
    strength: float | None = None,
    uncertainty: float | None = None,
    progress: Progress = silent,  # noqa: ARG001 - as every verb
) -> Json:
    """Record a claim on a blind test, then open its truth and compare.

    `folder` is that of the blind test. The claim is a JSON file, or is made of the other options:
    `signal` (``nothing`` for none), `events` or `strength`, and its `uncertainty`.

    Raises
    ------
    ConfigError
        There is no claim, or it cannot be: the seal stays closed.
    WorkdirError
        The folder is no blind test, or the truth in it was changed.
    """
    from .blind.unblind import make_claim, read_claim
    from .blind.unblind import unblind as open_truth

    given = {"events": events, "strength": strength, "uncertainty": uncertainty}
    if claim is not None:
        if signal is not None or any(value is not None for value in given.values()):
            raise ConfigError("the claim is in a file, and in options as well; give it once")
        made = read_claim(Path(claim))
    elif signal is None:
        raise ConfigError(
            "nothing is opened without a claim: give --claim FILE, or --signal NAME with --events or "
            "--strength and --uncertainty, or --signal nothing"
        )
    else:
        made = make_claim({"signal": None if signal == "nothing" else signal, **given})
    return {"folder": str(folder), **open_truth(Path(folder), made)}


@contextmanager
def _workers(search: Search) -> Iterator["Client"]:
    with dask_client(search.profile, workdir=search.workdir, progress=search.progress) as client:
        yield client


def _require(search: Search, stage: str, what: str) -> bool:
    """Refuse a search of which a stage is not current; tell whether the network is current, too."""
    states = {state.stage: state for state in search.states()}
    for name in STAGES[: STAGES.index(stage) + 1]:
        if not states[name].current:
            raise WorkdirError(
                f"cannot {what}: {name} {'; '.join(states[name].reasons)}. Run 'tailshard {name}' first, or "
                "'tailshard run' for everything that is stale"
            )
    return states["train"].current

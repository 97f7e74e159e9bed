"""Damaged inputs, shards and other outputs: noticed, refused, and mended by what the error advises."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from tailshard.errors import TailshardError
from tailshard.ledger import Ledger
from tailshard.pipeline import Search as Work
from tailshard.pipeline_files import load
from tailshard.search.histogram import histogram
from tailshard.search.score import score
from tailshard.store.catalog import read_catalog
from tailshard.store.verify import verify
from tailshard.train.distributed import train

from .compare import differences, digests
from .damage import DAMAGES, do_damage, one_of
from .driver import PIPELINE
from .killing import BATCH_SIZE, Say
from .record import Disturbance, Outcome

ONE_DATA_SET = 'datasets=[{channel: ttbar, kind: background, dialect: atlas-2025, files: "ttbar_*.root"}]'

OUTPUTS = {
    "catalog.json": ("ingest", "store/catalog.json"),
    "ledger.json": ("ingest", "ledger.json"),
    "metadata of an array": ("ingest", "store/events.zarr/*/*/zarr.json"),
    "inputs.json": ("ingest", "inputs.json"),
    "model.pt": ("train", "model/model.pt"),
    "metrics.jsonl": ("train", "model/metrics.jsonl"),
    "kept sum": ("histogram", "partials/*/*"),
    "result": ("histogram", "results/*.*"),
    "page": ("report", "report/*.*"),
}
"""What is damaged -> the stage that has made it, and files of a finished work directory."""


@dataclass(frozen=True)
class Setting:
    """A search that was done undisturbed, and where copies of it are disturbed."""

    finished: Path
    """Its work directory."""
    reference: Mapping[str, str]
    """What it holds, see `digests`."""
    toys: Path
    """Its inputs."""
    folder: Path
    """Of the copies."""
    client: Client
    """Dask workers for all of them."""
    seed: int
    say: Say

    @contextmanager
    def copied(self, name: str) -> Iterator[Path]:
        """Give a copy of the finished work directory, for a while."""
        workdir = self.folder / name
        shutil.copytree(self.finished, workdir)
        yield workdir
        shutil.rmtree(workdir)

    def opened(self, workdir: Path, *overrides: str) -> AbstractContextManager[Work]:
        """Open a copy in this process."""
        return opened(workdir, self.toys, self.client, *overrides)

    def different(self, workdir: Path) -> list[str]:
        """Name what is not as in the undisturbed search."""
        return differences(self.reference, digests(workdir, BATCH_SIZE))


@contextmanager
def opened(workdir: Path, toys: Path, client: Client, *overrides: str) -> Iterator[Work]:
    """Open a work directory in this process, with Dask workers that are there."""
    work = Work(load(PIPELINE, overrides, str(toys)), workdir)
    with borrowed(work, client):
        yield work


@contextmanager
def borrowed(work: Work, client: Client) -> Iterator[None]:
    """Let a search use a client for all its stages: an inner `Search.dask` has the outer's."""
    work._client = client
    try:
        yield
    finally:
        work._client = None


# -- inputs ----------------------------------------------------------------------------------------


def damage_inputs(setting: Setting, count: int) -> list[Disturbance]:
    """Damage an ntuple before it is read; mend it, and read it again."""
    random = np.random.default_rng([setting.seed, 4])
    with setting.opened(setting.folder / "inputs-undisturbed", ONE_DATA_SET) as work:
        work.perform("ingest")
        reference = _events(work.store)
    done = []
    for number in range(count):
        damage = DAMAGES[number % len(DAMAGES)]
        place = setting.folder / f"input-{number}"
        place.mkdir()
        for path in setting.toys.glob("ttbar_*.root"):
            shutil.copy2(path, place)
        hit = one_of(sorted(place.glob("*.root")), random)
        what = do_damage(hit, damage, random)
        outcome, said = _ingested(place, setting.toys / hit.name, hit, setting.client, reference)
        done.append(Disturbance("ingest", f"{damage}: input", f"{hit.name}: {what}", outcome, said))
        setting.say(str(done[-1]))
        shutil.rmtree(place)
    return done


def _ingested(
    place: Path, whole: Path, hit: Path, client: Client, reference: Mapping[str, Any]
) -> tuple[Outcome, str]:
    with opened(place / "work", place, client, ONE_DATA_SET) as work:
        said = ""
        try:
            quarantine = work.perform("ingest").result["quarantine"]
        except TailshardError as error:
            said = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - this is what must not be
            return "wrong", f"{type(error).__name__}: {error}"
        else:
            if not quarantine:
                if different := _unlike(reference, _events(work.store)):
                    return "wrong", f"read without a word, but different: {different}"
                return "equal", ""
            said = "; ".join(
                f"quarantine: {row['url'].rpartition('/')[2]}: {row['reason']}" for row in quarantine
            )
        shutil.copy2(whole, hit)
        work.perform("ingest", retry=True)
        different = _unlike(reference, _events(work.store))
        return ("wrong", f"mended, but {different}; {said}") if different else ("error, then equal", said)


def _events(store: Path) -> dict[str, Any]:
    """Give what a store holds of every file, whatever slots it has been given."""
    from tailshard.store.read import read_rows

    catalog = read_catalog(store)
    names = ("rmm", "objects", "weight", "run", "event_number", "entry", "split", "m_eff")
    found = {}
    for slot in catalog.slots:
        first = catalog.geometry.first_row(slot.index)
        rows = read_rows(store, slot.channel, names, first, first + slot.selected) if slot.selected else {}
        found[f"{Path(slot.url).name} from {slot.start}"] = (
            {name: values.tobytes() for name, values in rows.items()},
            slot.cutflow,
            catalog.scale(slot),
        )
    return found


def _unlike(reference: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    return ", ".join(name for name in sorted({*reference, *found}) if reference.get(name) != found.get(name))


# -- shards ----------------------------------------------------------------------------------------


def damage_shards(setting: Setting, count: int) -> list[Disturbance]:
    """Damage a shard of a finished store: `verify` names it, and nobody who reads it goes on.

    Then the store is removed, as the error advises, and made again.
    """
    random = np.random.default_rng([setting.seed, 5])
    channel = setting.finished / "store" / "events.zarr" / "ttbar"
    arrays = sorted(path.name for path in channel.iterdir() if (path / "c").is_dir())
    order = [arrays[number] for number in random.permutation(len(arrays))]
    done = []
    for number in range(count):
        name, damage = order[number % len(order)], DAMAGES[number % len(DAMAGES)]
        with setting.copied(f"shard-{number}") as workdir:
            shards = workdir / channel.relative_to(setting.finished) / name / "c"
            hit = one_of(sorted(path for path in shards.rglob("*") if path.is_file()), random)
            what = do_damage(hit, damage, random)
            with setting.opened(workdir) as work:
                problem, said = _read_damaged(work, name, setting.client, workdir)
                shutil.rmtree(work.store)
                work.perform_all()
            problem = problem or ", ".join(setting.different(workdir)[:4])
            moment = f"{hit.relative_to(workdir / 'store' / 'events.zarr')}: {what}"
        stage = "score" if name == "error" or name.startswith("score_") else "ingest"
        outcome: Outcome = "wrong" if problem else "error, then equal"
        done.append(Disturbance(stage, f"{damage}: shard", moment, outcome, problem or said))
        setting.say(str(done[-1]))
    return done


READERS: Mapping[str, tuple[str, ...]] = {
    "rmm": ("train", "score", "histogram"),
    "statistics": ("train",),
    "magnitudes": ("train",),
    "weight": ("train", "histogram"),
    "error": ("histogram",),
    "met": ("histogram",),
    "m_eff": ("histogram",),
}
"""Array -> stages that read all of it."""


def _read_damaged(work: Work, name: str, client: Client, workdir: Path) -> tuple[str, str]:
    """Let everybody read a store with a damaged array; give what is wrong, and what was said."""
    catalog = verify(work.store, client)
    if name not in {fault.array for fault in catalog.faults}:
        return f"verify finds {catalog.faults or 'nothing'}", ""
    said = f"verify: {catalog.faults[0].reason}"
    calls: dict[str, Callable[[], object]] = {
        "train": lambda: train(work.pipeline, work.store, workdir / "again", in_process=True),
        "score": lambda: score(work.pipeline, work.store, work.model / "model.pt", client, anew=True),
        "histogram": lambda: histogram(work.pipeline, work.store, workdir / "results-again", client),
    }
    for stage in READERS.get(name, ()):
        try:
            calls[stage]()
        except TailshardError as error:
            said += f"; {stage}: {error}"
        except Exception as error:  # noqa: BLE001 - this is what must not be
            return f"{stage} fails with {type(error).__name__}: {error}", said
        else:
            return f"{stage} did not notice", said
    return "", said


# -- everything else -------------------------------------------------------------------------------


def damage_outputs(setting: Setting, count: int) -> list[Disturbance]:
    """Damage an output of a finished search, and run it again: equal at once, or after what is advised."""
    random = np.random.default_rng([setting.seed, 6])
    done = []
    for number in range(count):
        name = list(OUTPUTS)[number % len(OUTPUTS)]
        stage, pattern = OUTPUTS[name]
        damage = DAMAGES[number % len(DAMAGES)]
        with setting.copied(f"output-{number}") as workdir:
            hit = one_of(sorted(path for path in workdir.glob(pattern) if path.is_file()), random)
            what = do_damage(hit, damage, random)
            if name == "kept sum":
                stage = _make_needed(hit, workdir)
            outcome, said = _run_again(setting, workdir, name)
            moment = f"{hit.relative_to(workdir)}: {what}"
        done.append(Disturbance(stage, f"{damage}: {name}", moment, outcome, said))
        setting.say(str(done[-1]))
    return done


def _make_needed(hit: Path, workdir: Path) -> str:
    """Let the next run read a kept sum, which it does only where no greater one holds it; give its stage."""
    for other in hit.parent.iterdir():
        if other != hit:
            other.unlink()
    stage = "ingest" if hit.parent.name == "repeats" else "histogram"
    Ledger.open(workdir, "faults").forget(stage)
    return stage


def _run_again(setting: Setting, workdir: Path, name: str) -> tuple[Outcome, str]:
    said = ""
    for attempt in range(3):
        try:
            with setting.opened(workdir) as work:
                stages = [outcome.stage for outcome in work.perform_all() if outcome.did]
        except TailshardError as error:
            said = said or f"{type(error).__name__}: {error}"
            _follow(str(error), workdir, attempt)
        except Exception as error:  # noqa: BLE001 - this is what must not be
            return "wrong", f"{type(error).__name__}: {error} {said}"
        else:
            if different := setting.different(workdir):
                if "metadata" in name and not stages:  # nothing was read; `verify` is there to tell
                    with setting.opened(workdir) as work:
                        faults = verify(work.store, setting.client).faults
                    return ("error, then equal", f"verify: {faults[0].reason}") if faults else ("equal", "")
                return "wrong", f"{different[:4]} after {stages} {said}"
            return ("error, then equal" if said else "equal"), said or f"made again: {stages}"
    return "wrong", f"not mended: {said}"


def _follow(error: str, workdir: Path, attempt: int) -> None:
    """Do what an error says: remove what it names."""
    if attempt == 0 and "run the same again" in error:
        return
    if "ledger.json" in error:
        (workdir / "ledger.json").unlink(missing_ok=True)
    elif "metrics.jsonl" in error:
        (workdir / "model" / "metrics.jsonl").unlink(missing_ok=True)
    else:
        assert "ingest" in error, f"an error without advice: {error}"
        shutil.rmtree(workdir / "store", ignore_errors=True)

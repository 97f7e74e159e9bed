"""The harness itself, where it could be content without reason."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from .compare import _same, differences
from .damage import do_damage
from .driver import STAGE_OF, End
from .moments import draw, durations
from .processes import kill, kind_of, of_kind
from .record import Disturbance, Record, judged

LASTED = {"fill slots": 2.0, "train": 8.0, "scoring": 2.0, "summing errors": 1.0, "fitting limits": 3.0}


def test_one_other_bit_is_another_digest(tmp_path: Path) -> None:
    from .compare import _content

    path = tmp_path / "shard"
    path.write_bytes(bytes(1000))
    before = _content(path)
    do_damage(path, "flip a bit", np.random.default_rng(1))
    assert len(path.read_bytes()) == 1000
    assert _content(path) != before


def test_what_is_missing_unexpected_or_other_is_named() -> None:
    assert differences({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "3", "d": "4"}) == [
        "b: differs",
        "c: missing",
        "d: unexpected",
    ]


def test_limits_may_differ_by_the_tolerance_of_a_fit_and_not_by_more() -> None:
    one, near, far = (json.dumps({"zprime": {"observed": value}}) for value in (4.0, 4.000001, 4.1))
    assert _same("limits", one, near)
    assert not _same("limits", one, far)
    assert not _same("limits", one, json.dumps({"zprime": {"expected": 4.0}}))


def test_damage_is_done_to_the_file_and_not_to_its_copies(tmp_path: Path) -> None:
    path, other = tmp_path / "one", tmp_path / "other"
    path.write_bytes(b"content")
    other.hardlink_to(path)
    do_damage(path, "truncate", np.random.default_rng(1))
    assert path.stat().st_size < 7
    assert other.read_bytes() == b"content"


def test_moments_follow_from_the_seed_and_visit_every_stage() -> None:
    moments = draw(1, 8, LASTED)
    assert moments == draw(1, 8, LASTED) != draw(2, 8, LASTED)
    assert {STAGE_OF[moment.phase] for moment in moments} == {"ingest", "train", "score", "histogram"}
    assert all(0 <= moment.delay <= LASTED[moment.phase] for moment in moments)
    order = [list(STAGE_OF).index(moment.phase) for moment in moments]
    assert order == sorted(order)


def test_a_phase_lasts_until_the_next_begins() -> None:
    assert durations({"train": 3.0, "scoring": 7.0}, 9.0) == {"train": 4.0, "scoring": 2.0}


def test_a_process_that_has_ended_cannot_be_killed() -> None:
    process = psutil.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not kill(process)
    running = psutil.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert kind_of(running) is None
    assert kill(running)
    assert running.wait() == -signal.SIGKILL


ERROR = json.dumps({"ok": False, "error": {"type": "StoreError", "message": "is damaged"}})


@pytest.mark.parametrize(
    ("end", "clear"),
    [
        (End(1, ERROR, "error: is damaged\n"), "StoreError: is damaged"),
        (End(1, ERROR, "Traceback (most recent call last):\nerror: is damaged\n"), None),
        (End(1, "", "Traceback (most recent call last):\n"), None),
        (End(-9, "", ""), None),
        (End(0, json.dumps({"ok": True, "result": {}}), ""), None),
    ],
)
def test_a_clear_error_is_one_message_and_no_traceback(end: End, clear: str | None) -> None:
    assert end.clear_error == clear


def test_the_table_counts_every_outcome_and_kills_only(tmp_path: Path) -> None:
    done = [
        Disturbance("score", "kill Dask worker", "now", "equal"),
        Disturbance("ingest", "disk full", "now", "error, then equal", "no room"),
        Disturbance("ingest", "kill Dask worker", "now"),
    ]
    record = Record(7, tuple(done))
    assert record.kills == 2
    assert record.wrong == [done[2]]
    record.write(tmp_path)
    lines = (tmp_path / "faults.md").read_text().splitlines()
    assert lines[2:] == [
        "| ingest | disk full | 1 | 0 | 1 | 0 |",
        "| ingest | kill Dask worker | 1 | 0 | 0 | 1 |",
        "| score | kill Dask worker | 1 | 1 | 0 | 0 |",
        "| all | | 3 | 1 | 1 | 1 |",
    ]
    assert json.loads((tmp_path / "faults.json").read_text())["kills"] == 2


def test_a_disturbance_that_went_wrong_by_itself_stays_wrong() -> None:
    own = Disturbance("train", "kill driver", "now", "wrong", "left a process behind")
    other = Disturbance("train", "kill driver", "now")
    assert [each.outcome for each in judged([own, other], "equal")] == ["wrong", "equal"]


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount")
def test_a_full_disk_is_full_and_a_read_only_folder_read_only(tmp_path: Path) -> None:
    from .disk import CannotMount, filled_up, read_only, small_disk

    try:
        with small_disk(tmp_path / "disk", 1) as disk:
            with filled_up(disk, 8192), pytest.raises(OSError, match="No space left"):
                (disk / "large").write_bytes(bytes(20_000))
            (disk / "large").write_bytes(bytes(20_000))
            with read_only(disk), pytest.raises(OSError, match="Read-only"):
                (disk / "other").touch()
            (disk / "other").touch()
    except CannotMount as error:
        pytest.skip(f"cannot mount: {error}")
    assert subprocess.run(["mountpoint", "-q", str(tmp_path / "disk")], check=False).returncode != 0


@pytest.mark.slow
def test_workers_are_found_however_dask_starts_them() -> None:
    from tailshard.launch import DaskProfile, LocalProfile, dask_client

    with dask_client(LocalProfile(dask=DaskProfile(workers=2, dashboard="127.0.0.1:0"))) as client:
        workers = set(client.run(os.getpid).values())
        found = of_kind(psutil.Process().children(recursive=True), "Dask worker")
        assert {process.pid for process in found} == workers

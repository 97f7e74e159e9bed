import errno
import json
import threading
import time
from pathlib import Path

import pytest

from tailshard.errors import WorkdirError
from tailshard.ledger import Ledger, locked, write_atomically


def test_an_output_is_current_exactly_while_its_parts_are_the_same(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "search")
    parts = {"training": {"epochs": 3, "seed": 1}, "events": "abc", "channels": ("a", "b")}
    assert ledger.reasons("train", parts) == ["has not been made yet"]
    ledger.record("train", parts, {"model": "m"})
    assert ledger.reasons("train", parts) == []
    changed = {**parts, "training": {"epochs": 5, "seed": 1}}
    assert ledger.reasons("train", changed) == ["training.epochs changed from 3 to 5"]


def test_reasons_name_what_is_new_and_what_is_gone(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "search")
    ledger.record("ingest", {"files": {"a.root": "1", "b.root": "2"}}, {})
    assert ledger.reasons("ingest", {"files": {"b.root": "3", "c.root": "4"}}) == [
        "files.a.root was removed",
        'files.b.root changed from "2" to "3"',
        "files.c.root is new",
    ]


def test_a_ledger_survives_the_process(tmp_path: Path) -> None:
    Ledger.open(tmp_path, "search").record("ingest", {"files": {}}, {"events": 3})
    again = Ledger.open(tmp_path, "search")
    assert again.reasons("ingest", {"files": {}}) == []
    assert again.entries["ingest"].result == {"events": 3}
    assert {"time", "tailshard", "packages"} <= set(again.entries["ingest"].made)
    again.forget("ingest")
    assert Ledger.open(tmp_path, "search").entries == {}


def test_a_work_directory_belongs_to_one_pipeline(tmp_path: Path) -> None:
    Ledger.open(tmp_path, "search").record("ingest", {}, {})
    with pytest.raises(WorkdirError, match="made by the pipeline 'search', not 'other'"):
        Ledger.open(tmp_path, "other")


def test_an_output_is_as_whole_as_its_files(tmp_path: Path) -> None:
    outputs = [tmp_path / "results" / "a.json", tmp_path / "results" / "b.json"]
    outputs[0].parent.mkdir()
    for path in outputs:
        path.write_text("{}")
    Ledger.open(tmp_path, "search").record("histogram", {}, {}, outputs)
    ledger = Ledger.open(tmp_path, "search")
    assert ledger.damage("histogram") == []
    outputs[0].unlink()
    outputs[1].write_text("{")
    assert ledger.damage("histogram") == [f"{outputs[0]} is gone", f"{outputs[1]} has 1 bytes instead of 2"]


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"version": 1})])
def test_a_torn_ledger_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "ledger.json").write_text(content)
    with pytest.raises(WorkdirError, match="cannot be read"):
        Ledger.open(tmp_path, "search")


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text(json.dumps({"version": 99, "pipeline": "search", "stages": {}}))
    with pytest.raises(WorkdirError, match="version 99"):
        Ledger.open(tmp_path, "search")


def test_two_runs_cannot_share_a_work_directory(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(WorkdirError, match="another tailshard is at work"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        pass


def test_taking_hold_of_a_work_directory_touches_nothing_in_it(tmp_path: Path) -> None:
    with locked(tmp_path):
        before = (tmp_path / ".lock").stat().st_mtime_ns
    time.sleep(0.01)
    with locked(tmp_path):
        assert (tmp_path / ".lock").stat().st_mtime_ns == before


def test_one_who_waits_gets_hold_of_it_when_it_is_free(tmp_path: Path) -> None:
    held = threading.Event()

    def hold() -> None:
        with locked(tmp_path):
            held.set()
            time.sleep(0.3)

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    with pytest.raises(WorkdirError, match=r"is still, after 0\.01 s, at work"), locked(tmp_path, wait=0.01):
        pass
    with locked(tmp_path, wait=30):
        pass
    other.join()


def test_a_kept_model_is_remembered_until_the_next_training(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "search")
    ledger.record("train", {"events": "a"}, {"model": "m"})
    assert not ledger.keeps("b")
    ledger.keep("b", why="few events")
    again = Ledger.open(tmp_path, "search")
    assert again.keeps("b")
    assert not again.keeps("c")
    assert again.kept == {"decision": "b", "why": "few events"}
    again.forget("train")
    assert not Ledger.open(tmp_path, "search").keeps("b")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "old"


def test_an_output_that_was_struck_out_and_not_touched_can_be_entered_again(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    ledger = Ledger.open(tmp_path, "demo")
    ledger.record("train", {"a": 1}, {"epochs": 3}, [tmp_path / "model.pt"])
    entry = ledger.entries["train"]
    ledger.forget("train")
    ledger.restore("train", entry)
    assert Ledger.open(tmp_path, "demo").entries["train"].result == {"epochs": 3}
    ledger.forget("train")
    (tmp_path / "model.pt").write_bytes(b"half")
    ledger.restore("train", entry)
    assert "train" not in Ledger.open(tmp_path, "demo").entries


def test_an_output_of_the_same_size_and_other_content_is_missed(tmp_path: Path) -> None:
    output = tmp_path / "model" / "model.pt"
    output.parent.mkdir()
    output.write_bytes(b"weights")
    Ledger.open(tmp_path, "search").record("train", {}, {}, [output])
    output.write_bytes(b"weightz")
    found = Ledger.open(tmp_path, "search").damage("train")
    assert found == [f"{output} has other content than when it was made"]


def test_a_digit_that_has_changed_in_the_ledger_is_noticed(tmp_path: Path) -> None:
    Ledger.open(tmp_path, "search").record("ingest", {}, {"yield": 1234.5})
    path = tmp_path / "ledger.json"
    path.write_text(path.read_text().replace("1234.5", "1234.4"))
    with pytest.raises(WorkdirError, match=r"cannot be read .*checksum.*remove it to start again"):
        Ledger.open(tmp_path, "search")


def test_a_disk_that_is_full_is_said_in_plain_words(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/disk/file")
    said = r"cannot write /disk/file: No space left .* run the same again"
    with pytest.raises(WorkdirError, match=said), locked(tmp_path):
        raise full
    with pytest.raises(ConnectionRefusedError), locked(tmp_path):  # no matter of the disk
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

"""The lock of a work directory that is a prefix of an object store."""

import threading
import time
from pathlib import Path

import pytest

from tailshard import object_store
from tailshard.errors import StorageError, WorkdirError
from tailshard.ledger import locked
from tailshard.places import files_below, place


@pytest.fixture
def workdir(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefix whose leases are short."""
    monkeypatch.setattr(object_store, "LEASE", 3.0)
    monkeypatch.setattr(object_store, "RENEWAL", 0.4)
    return place(f"{bucket}/work")


def test_a_lock_is_held_by_one_renewed_and_given_back(workdir: Path) -> None:
    with locked(workdir):
        tag = workdir.fs.info((workdir / ".lock").path)["ETag"]  # type: ignore[attr-defined]
        with (
            pytest.raises(WorkdirError, match=r"another tailshard \(process \d+ on .+\) is at work"),
            locked(workdir),
        ):
            pytest.fail("two hold it")
        time.sleep(1)
        assert workdir.fs.info((workdir / ".lock").path)["ETag"] != tag  # type: ignore[attr-defined]
    assert files_below(workdir) == {}
    with locked(workdir):
        pass


def test_who_waits_gets_it_when_it_is_given_back(workdir: Path) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(workdir):
            held.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    with pytest.raises(WorkdirError, match=r"is still, after 0\.5 s, at work"), locked(workdir, wait=0.5):
        pytest.fail("two hold it")
    threading.Timer(0.5, done.set).start()
    with locked(workdir, wait=30):
        assert done.is_set()
    holder.join()


def test_the_lock_of_a_process_that_died_is_taken_over_when_its_lease_is_over(workdir: Path) -> None:
    dead = object_store._Lock(workdir)
    dead.take(0)
    began = time.monotonic()
    with locked(workdir):
        assert time.monotonic() - began > 1.5  # times of objects are whole seconds
    # It comes to life again, and finds that the lock is not its own.
    assert not dead._put(dead._tag)


def test_a_renewal_whose_answer_is_lost_is_the_holders_own(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = []
    call = type(workdir.fs).call_s3  # type: ignore[attr-defined]

    def lossy(fs: object, method: str, *arguments: object, **options: object) -> object:
        answer = call(fs, method, *arguments, **options)
        if method == "put_object" and len(lost) < 2:
            lost.append(answer)
            raise FileExistsError if len(lost) % 2 else StorageError("the answer was lost")
        return answer

    monkeypatch.setattr(type(workdir.fs), "call_s3", lossy)  # type: ignore[attr-defined]
    lock = object_store._Lock(workdir)
    lock.take(0)
    with pytest.raises(StorageError):
        lock._put(lock._tag)
    assert lock._put(lock._tag)
    assert len(lost) == 2
    lock.release()
    assert files_below(workdir) == {}


def test_a_lock_that_cannot_be_replaced_is_an_error(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    object_store._Lock(workdir).take(0)
    monkeypatch.setattr(object_store, "LEASE", 0.5)
    monkeypatch.setattr(object_store._Lock, "_put", lambda *_: False)  # as by a server without conditions
    with pytest.raises(WorkdirError, match=r"renewed by nobody, and cannot be replaced"), locked(workdir):
        pytest.fail("nobody has it")


def _work_on(workdir: Path, seconds: float) -> None:
    """Lose the lock at once, and go on."""
    with locked(workdir):
        (workdir / ".lock").write_bytes(b"{}")
        time.sleep(seconds)
        pytest.fail("went on")


def test_a_process_whose_lock_was_taken_over_is_stopped(workdir: Path) -> None:
    with pytest.raises(WorkdirError, match="another tailshard has taken it over"):
        _work_on(workdir, 20)
    assert (workdir / ".lock").read_bytes() == b"{}"

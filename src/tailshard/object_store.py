"""S3-compatible object stores: paths in them, what goes wrong there, and a lock that is an object.

Credentials and the address of the server come from where every AWS tool has them: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ``AWS_ENDPOINT_URL`` and the files in ``~/.aws``.
"""

import json
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import ClientError as ConnectionFailure
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem
from upath.implementations.cloud import S3Path
from upath.registry import register_implementation

from .errors import StorageError, WorkdirError

LEASE = 60.0
"""Seconds after its last renewal for which a lock holds."""
RENEWAL = 10.0
"""Seconds between two renewals."""

_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_CREDENTIALS = (
    *("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
    *("TokenRefreshRequired", "AllAccessDisabled", "AccountProblem", "RequestTimeTooSkewed"),
)


_OPTIONS: dict[str, Any] = {
    # Others write there, too: what is listed is not remembered.
    "use_listings_cache": False,
    # With more than one, every file is asked for its size before it is read.
    "max_concurrency": 1,
}


class ObjectStore(S3FileSystem):  # type: ignore[misc] # s3fs has no types
    """An S3 server whose errors say what, where and what to do.

    An object that does not exist is a FileNotFoundError, a condition of a write that is not met a
    FileExistsError; everything else is a StorageError.
    """

    async def _call_s3(self, method: str, *arguments: Any, **options: Any) -> Any:
        try:
            return await super()._call_s3(method, *arguments, **options)
        except (OSError, BotoCoreError, ClientError, ConnectionFailure) as error:
            told = _plain(error, options.get("Bucket", ""), options.get("Key", ""))
            if told is error:
                raise
            raise told from error

    # The base class has bound its own.
    call_s3 = sync_wrapper(_call_s3)

    async def _cat_file(self, path: str, *arguments: Any, **options: Any) -> bytes:
        try:
            content: bytes = await super()._cat_file(path, *arguments, **options)
        except FileNotFoundError:
            raise
        except (OSError, BotoCoreError, ClientError, ConnectionFailure) as error:
            raise _plain(error, *path.split("/", 1)) from error
        return content

    async def _remove(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), 1000):
            await self._bulk_delete(list(keys[start : start + 1000]))

    remove = sync_wrapper(_remove)

    async def _remove_below(self, key: str) -> None:
        await self._remove(await self._find(key))

    remove_below = sync_wrapper(_remove_below)


class ObjectPath(S3Path):  # type: ignore[misc] # upath makes it at run time
    """A path in an object store."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **{**_OPTIONS, **options})

    def read_bytes(self) -> bytes:
        """Read an object by one request."""
        content: bytes = self.fs.cat_file(self.path)
        return content

    def read_text(self, encoding: str | None = None, *_: Any, **__: Any) -> str:
        """Read an object by one request."""
        return self.read_bytes().decode(encoding or "utf-8")

    @classmethod
    def _fs_factory(cls, urlpath: str, protocol: str, storage_options: Mapping[str, Any]) -> ObjectStore:  # noqa: ARG003 - as upath calls it
        return ObjectStore(**storage_options)


register_implementation("s3", ObjectPath, clobber=True)


def zarr_store_of(path: Any) -> Any:
    """Give Zarr's store for a prefix; its requests run in Zarr's own event loop."""
    from zarr.storage import FsspecStore

    return FsspecStore(ObjectStore(asynchronous=True, **path.storage_options), path=path.path)


def _plain(error: BaseException, bucket: str, key: str) -> Exception:
    """Say of an error what a person can mend."""
    where = f"s3://{bucket}/{key}".rstrip("/")
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    answer = next((each for each in chain if isinstance(each, ClientError)), None)
    code = str(answer.response.get("Error", {}).get("Code", "")) if answer is not None else ""
    if isinstance(error, FileNotFoundError) and code != "NoSuchBucket":
        return error
    if code in _REFUSED:
        return FileExistsError(f"{where} is there already, or was changed meanwhile")
    why = " ".join(str(error).split()) or type(error).__name__
    if code == "NoSuchBucket":
        told = f"there is no bucket '{bucket}' on this server; make it, or name another"
    elif any(isinstance(each, NoCredentialsError | PartialCredentialsError) for each in chain):
        told = "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    elif code in _CREDENTIALS or isinstance(error, PermissionError):
        told = (
            f"the object store refuses these credentials ({code}: {why}); check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and what the bucket allows"
        )
    elif code in ("InvalidRange", "416"):
        told = "is damaged: it ends before what was asked for"
    elif code:
        told = f"the object store answers {code} ({why}); run the same again"
    else:
        told = (
            f"the object store cannot be reached ({why}); check the network and AWS_ENDPOINT_URL, and run "
            "the same again"
        )
    return StorageError(f"{where}: {told}")


# -- the lock ------------------------------------------------------------------------------------------


@contextmanager
def leased(workdir: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold a prefix of an object store, so that no two runs write below it.

    The lock is an object that is only written where there is none. Its holder replaces it every `RENEWAL`
    seconds; one that has not been renewed for `LEASE` seconds, by the server's own clock, is that of a
    process that died, and may be taken over, by a write on condition that it is still as it was.

    Parameters
    ----------
    workdir
        The prefix.
    wait
        Seconds to wait for another process that renews it.

    Raises
    ------
    WorkdirError
        Another process is at work there; or this one was cut off for so long that another took over.
    StorageError
        The object store cannot be reached or written.
    """
    lock = _Lock(workdir)
    lock.take(wait)
    done = threading.Event()
    keeper = threading.Thread(target=lock.keep, args=(done,), name="tailshard-lease", daemon=True)
    keeper.start()
    try:
        with _stopped_by(_STOP):
            try:
                yield
            finally:
                done.set()
                keeper.join()
    except KeyboardInterrupt:
        if not lock.lost:
            raise
    finally:
        lock.release()
    if lock.lost:
        raise WorkdirError(
            f"{workdir} could not be reached for {LEASE:g} s, and another tailshard has taken it over; what "
            "was finished before is kept"
        )


_STOP = signal.SIGUSR2
"""Stops a run that has lost its lock. Not SIGINT: what a shell starts in the background ignores that."""


@contextmanager
def _stopped_by(number: signal.Signals) -> Iterator[None]:
    """Let a signal raise KeyboardInterrupt in the main thread; other threads cannot be stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


class _Lock:
    def __init__(self, workdir: Any) -> None:
        self.lost = False
        self._workdir, self._fs = workdir, workdir.fs
        bucket, _, key = (workdir / ".lock").path.partition("/")
        self._place = {"Bucket": bucket, "Key": key}
        self._holder_thread = threading.current_thread()
        self._token = uuid4().hex
        self._tag = ""

    def take(self, wait: float) -> None:
        until, seen = time.monotonic() + wait, ""
        while not self._put():
            try:
                found = self._fs.call_s3("head_object", **self._place)
                tag, age = found["ETag"], _age(found)
            except FileNotFoundError:
                tag, age = seen, 0.0  # its holder has finished just now
            if age > LEASE and self._put(tag):
                return
            # Somebody who renews it lives. Who does not may be dead: that is known when the lease is over.
            if seen not in ("", tag) and time.monotonic() >= until:
                still = f" still, after {wait:g} s," if wait else ""
                raise WorkdirError(
                    f"another tailshard ({self._holder()}) is{still} at work in {self._workdir}; wait for it "
                    "or use another --workdir"
                )
            if time.monotonic() > until + 2 * LEASE:
                raise WorkdirError(
                    f"{self._workdir / '.lock'} is renewed by nobody, and cannot be replaced; does this "
                    "server know conditional writes? If no tailshard is at work there, remove it"
                )
            seen = seen or tag
            time.sleep(min(1.0, RENEWAL / 4))

    def keep(self, done: threading.Event) -> None:
        """Renew until it is done; stop the run where the lock is another's."""
        renewed = time.monotonic()
        while not done.wait(RENEWAL):
            try:
                if self._put(self._tag):
                    renewed = time.monotonic()
                    continue
                self.lost = True
            except StorageError:  # tried again, as long as nobody may have taken over
                self.lost = time.monotonic() - renewed > LEASE
            if self.lost:
                if self._holder_thread is threading.main_thread():  # no other can be stopped
                    signal.pthread_kill(threading.main_thread().ident or 0, _STOP)
                return

    def release(self) -> None:
        try:
            if not self.lost and self._is_mine():
                self._fs.call_s3("delete_object", **self._place)
        except (FileNotFoundError, StorageError):
            pass  # it ends by itself

    def _put(self, expected: str = "") -> bool:
        """Write the lock if it is still as expected, or if there is none; tell whether it is this one's."""
        holder = {"host": platform.node(), "process": os.getpid(), "token": self._token}
        content = json.dumps({**holder, "renewal": uuid4().hex}).encode()
        # Servers of Ceph compare a tag without its quotation marks.
        tags = (expected, expected.strip('"'))
        for condition in [{"IfMatch": tag} for tag in tags] if expected else [{"IfNoneMatch": "*"}]:
            try:
                answer = self._fs.call_s3("put_object", **self._place, Body=content, **condition)
            except (FileExistsError, FileNotFoundError):  # there is one; or the one that was expected is gone
                continue
            self._tag = answer["ETag"]
            return True
        # It is not as expected, too, where it was written and the answer was lost.
        return self._is_mine()

    def _is_mine(self) -> bool:
        """Tell whether the lock is this one's, and remember what it is like."""
        try:
            tag = self._fs.call_s3("head_object", **self._place)["ETag"]
            mine = bool(self._content().get("token") == self._token)
        except FileNotFoundError:
            return False
        if mine:
            self._tag = tag
        return mine

    def _content(self) -> dict[str, Any]:
        try:
            found = json.loads(self._fs.cat_file((self._workdir / ".lock").path))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _holder(self) -> str:
        try:
            found = self._content()
            return f"process {found['process']} on {found['host']}"
        except (FileNotFoundError, KeyError):
            return "unknown"


def _age(found: Mapping[str, Any]) -> float:
    """Seconds since an object was written, by the clock of the server that has it."""
    now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
    return float((now - found["LastModified"]).total_seconds())

"""What a person reads of a search, carried in the log of a pod.

The Kubernetes API hands out no files of a claim, and what pods print is what every user may read. A kubelet
keeps 10 MiB of it.
"""

import base64
import hashlib
import io
import tarfile
from pathlib import Path

from ...errors import ClusterError

FILES = (
    "results/summary.json",
    "results/candidates.csv",
    "report/index.html",
    "report/cells.html",
    "report/histograms.root",
)
"""The most important first."""

MOST_BYTES = 6 * 2**20
"""Of all, compressed."""

_BEGIN, _MARK = "-- tailshard parcel --\n", "sha256 "


def pack(workdir: Path) -> str:
    """Give the files as lines of text; what would be too much is left out."""
    whole = b""
    for number in range(len(FILES)):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name in FILES[: number + 1]:
                if (workdir / name).is_file():
                    archive.add(workdir / name, name)
        if len(buffer.getvalue()) > MOST_BYTES:
            break
        whole = buffer.getvalue()
    return f"{_BEGIN}{base64.encodebytes(whole).decode()}{_MARK}{hashlib.sha256(whole).hexdigest()}\n"


def unpack(text: str, folder: Path) -> list[Path]:
    """Write the files of a parcel below a folder, and name them.

    Raises
    ------
    ClusterError
        It has not arrived whole.
    """
    # Whatever a library prints before is none of it.
    body, marked, digest = text.partition(_BEGIN)[2].rpartition(_MARK)
    try:
        content = base64.b64decode(body)
    except ValueError:
        marked = ""
    if not marked or hashlib.sha256(content).hexdigest() != digest.strip():
        raise ClusterError("the results did not arrive whole; they are in the work directory of the pods")
    if not content:
        return []
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")
        return [folder / name for name in archive.getnames()]

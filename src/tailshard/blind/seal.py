"""The truth of a blind test, sealed: not to be read by accident, and not to be changed.

``sealed.json`` holds the truth as compressed, encoded text, readable by its owner alone, and the SHA-256 of
the text. That digest is published when the seal is made: whoever opens the truth later can see that it
is the one that was sealed. The text carries 32 random bytes, so that nobody finds the truth by
hashing guesses. It is a seal and no lock: who wants to look can, without a trace.
"""

import base64
import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import WorkdirError

SEALED = "sealed.json"
_VERSION = 1


def seal(folder: Path, truth: Mapping[str, Any]) -> str:
    """Write the sealed truth into a folder.

    Parameters
    ----------
    folder
        Where ``sealed.json`` goes.
    truth
        JSON values.

    Returns
    -------
    str
        SHA-256 of the truth, to be published.
    """
    text = json.dumps({**truth, "salt": secrets.token_hex(32)}, sort_keys=True).encode()
    digest = hashlib.sha256(text).hexdigest()
    content = {
        "what": "the truth of a blind test; 'tailshard unblind' opens it, and records that it did",
        "version": _VERSION,
        "sha256": digest,
        "sealed": base64.b64encode(zlib.compress(text)).decode("ascii"),
    }
    path = folder / SEALED
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
    return digest


def open_seal(folder: Path, published: str) -> dict[str, Any]:
    """Give the truth of a blind test.

    Parameters
    ----------
    folder
        Where ``sealed.json`` is.
    published
        The digest that was published when it was sealed.

    Raises
    ------
    WorkdirError
        There is no sealed truth, or it is not the one that was sealed.
    """
    path = folder / SEALED
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        text = zlib.decompress(base64.b64decode(content["sealed"], validate=True))
    except FileNotFoundError:
        raise WorkdirError(f"{folder} holds no blind test: {SEALED} is absent") from None
    except (OSError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise WorkdirError(
            f"{path} was damaged since it was sealed ({error}); this blind test is void"
        ) from error
    found = hashlib.sha256(text).hexdigest()
    if not found == content.get("sha256") == published:
        raise WorkdirError(
            f"{path} is not what was sealed: its truth has the SHA-256 {found}, published was {published}; "
            "this blind test is void"
        )
    truth: dict[str, Any] = json.loads(text)
    return truth

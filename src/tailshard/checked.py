"""JSON that notices damage: the text carries its own CRC32C, as any other key.

A digit that has changed on a disk is still JSON. Text without the key is taken as it is: a single damage that
hides the key has left the rest alone.
"""

import json
import re
from typing import Any

import google_crc32c

_KEY = "crc32c"
_EMPTY = "00000000"
_FOUND = re.compile(rf'"{_KEY}": "([0-9a-f]{{8}})"')


def dump_checked(content: dict[str, Any], indent: int | None = None) -> str:
    """Write an object as JSON with its checksum."""
    text = json.dumps({_KEY: _EMPTY, **content}, indent=indent)
    return text.replace(_EMPTY, _checksum(text), 1)


def load_checked(text: str) -> Any:
    """Read JSON, without its checksum.

    Raises
    ------
    ValueError
        The text is no JSON, or not as it was written.
    """
    content = json.loads(text)
    if isinstance(content, dict) and (expected := content.pop(_KEY, None)) is not None:
        # Its own place is known: the first key of the file.
        found = _checksum(_FOUND.sub(f'"{_KEY}": "{_EMPTY}"', text.rstrip("\n"), count=1))
        if found != expected:
            raise ValueError(f"its checksum is {expected}, its content has {found}")
    return content


def _checksum(text: str) -> str:
    return f"{google_crc32c.value(text.encode()):08x}"

"""Where a stream is: small enough for every checkpoint, strict enough to refuse what does not fit."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ..errors import StateError

STATE_VERSION = 2


@dataclass(frozen=True)
class StreamState:
    """Where a stream is, and everything that decides what comes next."""

    snapshot: str
    """Snapshot of the channels that are streamed."""
    split: str
    seed: int
    batch_size: int
    window_chunks: int
    shuffle: bool
    sampling: str
    """Hash of the channels that are not read exactly once."""
    epoch: int
    batch: int
    """First batch that has not been used yet."""

    def to_dict(self) -> dict[str, Any]:
        """Give a dictionary that JSON and checkpoints can hold."""
        return {"version": STATE_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Undo `to_dict`.

        Raises
        ------
        StateError
            It is not the state of a stream, or another version of tailshard wrote it.
        """
        names = {"version", *(field.name for field in fields(cls))}
        if content.get("version") != STATE_VERSION or set(content) != names:
            raise StateError(
                f"not a stream state of version {STATE_VERSION} (found version {content.get('version')!r}, "
                f"keys {sorted(content)}); start the training anew"
            )
        return cls(**{name: value for name, value in content.items() if name != "version"})

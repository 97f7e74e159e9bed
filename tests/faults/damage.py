"""Files that are cut short, and files of which a bit is the other way round."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

Damage = Literal["truncate", "flip a bit"]
DAMAGES: tuple[Damage, ...] = ("truncate", "flip a bit")


def do_damage(path: Path, damage: Damage, random: np.random.Generator) -> str:
    """Damage a file at a random place, and say where."""
    content = bytearray(path.read_bytes())
    place = int(random.integers(len(content)))
    if damage == "truncate":
        content = content[:place]
        what = f"cut to {place:,} bytes"
    else:
        bit = int(random.integers(8))
        content[place] ^= 1 << bit
        what = f"bit {bit} of byte {place:,}"
    # A new file, not the old one changed: copies of a folder may share it.
    path.unlink()
    path.write_bytes(content)
    return what


def one_of(paths: Sequence[Path], random: np.random.Generator) -> Path:
    """Choose a file."""
    return paths[int(random.integers(len(paths)))]

"""What a page is built of: text, tables, pictures and notes, in sections. `page.html` draws them."""

import base64
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from .canvas import svg


class Text(NamedTuple):
    """A paragraph."""

    text: str
    kind: str = "text"


class Note(NamedTuple):
    """One line that says why something is not there."""

    text: str
    kind: str = "note"


class Code(NamedTuple):
    """Text to keep as it is."""

    text: str
    kind: str = "code"


class Table(NamedTuple):
    """A table; the first column names the rows."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    """Leading columns that hold words; the others hold numbers, set to the right."""
    kind: str = "table"


class Picture(NamedTuple):
    """A figure inside the page."""

    source: str
    """A data URI."""
    alt: str
    caption: str
    width: int
    height: int
    """In pixels, at full size."""


class Pictures(NamedTuple):
    """Figures side by side where there is room, or each on the full width."""

    pictures: Sequence[Picture]
    wide: bool = False
    kind: str = "pictures"


Block = Text | Note | Code | Table | Pictures


class Section(NamedTuple):
    """A part of the page with a title, which the table of contents names."""

    anchor: str
    title: str
    blocks: Sequence[Block]


def picture(figure: Figure, alt: str, caption: str) -> Picture:
    """Embed a figure: SVG stays sharp at any size and is of the size of a PNG that does not."""
    source = "data:image/svg+xml;base64," + base64.b64encode(svg(figure)).decode("ascii")
    width, height = (round(100 * inches) for inches in figure.get_size_inches())
    return Picture(source, alt, caption, width, height)

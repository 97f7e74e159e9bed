"""How a stage tells how far it is. The library reports; only the command line draws."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``, called from the driver only; total 0 makes `what` a message."""


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""

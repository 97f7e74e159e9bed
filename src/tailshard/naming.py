"""What tasks are called: Dask's dashboard and its reports group and colour them by name.

A key such as ``score-ttbar-1f0c...`` belongs to the group ``score-ttbar``. Dask finds the group by a rule of
its own (`dask.utils.key_split`): the first word of a key as it is, then every word of letters alone, unless
it might be the beginning of a hash; the rest of the key is what makes it unique. Names say first what is
done, then to which channel.
"""

import re
from collections.abc import Iterator
from uuid import uuid4


def task_name(step: str, *words: str) -> str:
    """Name a group of tasks such that Dask shows the whole name.

    Words that Dask would leave out, for their digits or as the beginning of a hash, are tied to those before
    them by an underscore: ``ingest-ttbar``, but ``ingest_zprime_3000`` and ``ingest_diphoton``.

    Parameters
    ----------
    step
        What is done; begins with a letter.
    words
        Channel, and whatever else tells tasks apart; spaces part words, other punctuation becomes ``_``.
    """
    from dask.utils import key_split

    name = ""
    for word in _words(step, *words):
        longer = f"{name}-{word}" if name else word
        # Once a word does not survive, what is before it must be one word, too.
        name = longer if key_split(f"{longer}-0") == longer else longer.replace("-", "_")
    return name


def task_key(step: str, *words: str) -> str:
    """Give a key that no other task has, of the group `task_name`."""
    return f"{task_name(step, *words)}-{uuid4()}"


def _words(*texts: str) -> Iterator[str]:
    for text in texts:
        yield from (re.sub(r"\W+", "_", word) for word in text.split())

"""How results have changed from one update to the next: one line of JSON for each, none ever rewritten.

Each line of ``history.jsonl``::

    time          UTC
    files         files in the store
    events        channel -> selected events
    yields        channel -> sum of weights, all splits
    slots         slots in the store
    model         hash of the model in force
    trained_on, training_events
                  training events that it has learned from, and that it could learn from now
    retrained     whether this update trained it
    why           why it did, or did not
    drift         measure -> {value, chance, where}, or null: what was compared
    regions       region -> {threshold, background, uncertainty, data}: as in the summary
    results       key of the results, by which an update is told from a repetition
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..ledger import write_atomically
from ..store.catalog import Catalog

_FILE = "history.jsonl"


def read_history(results: Path) -> list[dict[str, Any]]:
    """Read what has been written down; a line that is damaged is left out."""
    try:
        text = (results / _FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    found = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "results" in entry:
            found.append(entry)
    return found


def add_to_history(
    results: Path, catalog: Catalog, summary: Mapping[str, Any], key: str, model: Mapping[str, Any]
) -> None:
    """Write a line, unless the last one is of the same results.

    Parameters
    ----------
    results
        Folder of the histogram stage.
    catalog, summary
        What was searched, and what was found.
    key
        Of the results.
    model
        ``model``, ``trained_on``, ``training_events``, ``retrained``, ``why`` and ``drift``.
    """
    history = read_history(results)
    if history and history[-1]["results"] == key:
        return
    channels = [channel.name for channel in catalog.channels]
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": len({(slot.dataset, slot.url) for slot in catalog.slots}),
        "events": {channel: catalog.rows(channel) for channel in channels},
        "yields": {channel: catalog.sum_of_weights(channel) for channel in channels},
        "slots": len(catalog.slots),
        **model,
        "regions": {
            region["name"]: {
                "threshold": region["threshold"],
                "background": region["background"]["value"],
                "uncertainty": region["background"]["uncertainty"],
                "data": region["data"],
            }
            for region in summary["regions"]
        },
        "results": key,
    }
    lines = [*history, entry]
    write_atomically(results / _FILE, "".join(f"{json.dumps(line)}\n" for line in lines))

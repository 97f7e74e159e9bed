"""Catalog entries of slots that tests fill."""

from tailshard.store.catalog import Slot
from tailshard.store.sums import SlotSummary


def slot_of(channel: str, index: int, count: int, summary: SlotSummary, key: str) -> Slot:
    """Describe a slot of `count` events that were all selected."""
    return Slot(
        channel=channel,
        index=index,
        dataset=channel,
        url=f"{channel}.root",
        uuid="0",
        tree="mini",
        start=0,
        stop=count,
        key=key,
        selected=count,
        **summary._asdict(),
    )

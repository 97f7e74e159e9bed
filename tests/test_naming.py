"""What tasks are called, by the rule that the scheduler itself goes by."""

import pytest
from dask.utils import key_split
from hypothesis import given
from hypothesis import strategies as some

from tailshard.naming import task_key, task_name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("ingest", "zjets"), "ingest-zjets"),
        (("histogram", "ttbar", "sum"), "histogram-ttbar-sum"),
        (("ingest", "zprime_3000"), "ingest_zprime_3000"),
        (("ingest", "4top", "kept"), "ingest_4top-kept"),
        (("score", "diphoton"), "score_diphoton"),  # Dask takes eight letters for a hash
        (("score", "wjets-2016"), "score_wjets_2016"),
        (("drift", "ttbar new"), "drift-ttbar-new"),
        (("verify slots", "Z+jets"), "verify_slots_Z_jets"),
    ],
)
def test_a_name_tells_step_and_channel(words, name):
    assert task_name(*words) == name


@given(some.lists(some.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", fullmatch=True), max_size=3))
def test_the_scheduler_shows_the_whole_name(words):
    key = task_key("ingest", *words)
    assert key_split(key) == key_split((key, 5)) == task_name("ingest", *words)
    assert task_key("ingest", *words) != key

import os

import pytest

from tailshard.errors import ClusterError, ProcessingError
from tailshard.progress import silent
from tailshard.search.reduction import FAN_IN, reduce_slots


def name(number: int) -> str:
    return str(number)


def bracket(parts: list[str]) -> str:
    return f"({' '.join(parts)})"


def fail(number: int) -> str:
    if number == 11:
        raise ProcessingError("slot 11 is wrong")
    return str(number)


def die(number: int) -> str:
    os._exit(1)


def in_brackets(parts: list[str]) -> str:
    """The tree, by its definition: neighbours in groups, then neighbouring groups, until one is left."""
    while True:
        parts = [bracket(parts[start : start + FAN_IN]) for start in range(0, len(parts), FAN_IN)]
        if len(parts) == 1:
            return parts[0]


@pytest.mark.parametrize("slots", [1, FAN_IN, FAN_IN + 1, FAN_IN**2 + 1])
def test_slots_are_added_in_a_tree_that_only_their_number_decides(client, slots: int) -> None:
    calls = {"a": [(number,) for number in range(slots)]}
    expected = in_brackets([str(number) for number in range(slots)])
    assert reduce_slots(client, "adding", name, calls, bracket, silent) == {"a": expected}


def test_tasks_are_named_by_step_and_channel(client) -> None:
    calls = {"wjets": [(1,), (2,)], "zprime_2": [(3,)]}
    reduce_slots(client, "adding", name, calls, bracket, silent, step="tell")
    found = client.run_on_scheduler(lambda dask_scheduler: set(dask_scheduler.task_prefixes))
    assert {"tell-wjets", "tell-wjets-sum", "tell_zprime_2", "tell_zprime_2-sum"} <= found
    assert not any("bracket" in each or "name" in each for each in found)


def test_channels_are_apart_and_empty_ones_are_left_out(client) -> None:
    calls = {"a": [(1,), (2,)], "b": [], "c": [(3,)]}
    assert reduce_slots(client, "adding", name, calls, bracket, silent) == {"a": "(1 2)", "c": "(3)"}
    assert reduce_slots(client, "adding", name, {"b": []}, bracket, silent) == {}


def test_progress_counts_slots_up_to_all_of_them(client) -> None:
    reports: list[tuple[str, int, int]] = []
    calls = {"a": [(number,) for number in range(20)], "b": [(1,)]}
    reduce_slots(client, "adding", name, calls, bracket, lambda *report: reports.append(report))
    assert reports[0] == ("adding", 0, 21)
    assert reports[-1] == ("adding", 21, 21)
    assert reports == sorted(reports)


def test_an_error_in_one_slot_arrives_as_it_was_raised(client) -> None:
    with pytest.raises(ProcessingError, match="slot 11 is wrong"):
        reduce_slots(client, "adding", fail, {"a": [(number,) for number in range(20)]}, bracket, silent)


@pytest.mark.slow
def test_workers_that_die_are_a_cluster_error() -> None:
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs="CRITICAL",
        ) as cluster,
        Client(cluster) as client,
        pytest.raises(ClusterError, match="a Dask worker died again and again"),
    ):
        reduce_slots(client, "adding", die, {"a": [(1,)]}, bracket, silent)

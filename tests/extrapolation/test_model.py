"""The model obeys what any such model must: more machines never take longer, and the slowest decides."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailshard.extrapolation.model import (
    CPU,
    FILE_SYSTEM,
    GPU,
    LATENCY,
    PCIE,
    Machines,
    Rates,
    Work,
    extrapolate,
)

RATES = Rates(
    measured_on="here",
    ingest_seconds=2e-5,
    selected=0.5,
    input_bytes=100,
    stored_bytes=250,
    streamed_bytes=125,
    read_seconds=4e-7,
    order_seconds=1e-8,
    step_seconds=1e-4,
    validation_seconds=3e-5,
    score_seconds=4e-5,
    device_bytes=150,
    training_flops=5.5e6,
    forward_flops=1.9e6,
    parameter_bytes=3.7e6,
)
WORK = Work(
    entries=1_000_000_000,
    partitions=20_000,
    training_entries=600_000_000,
    training_share=0.6,
    validation_share=0.2,
    batch_size=65_536,
    epochs=10,
    reader_threads=4,
)
HERE = Machines(nodes=1, cores_per_node=1, file_system_bytes=1e12)


def test_one_core_takes_what_was_measured() -> None:
    stages = extrapolate(RATES, WORK, HERE)
    assert stages["ingest"].seconds == pytest.approx(1e9 * 2e-5)
    assert stages["scoring"].seconds == pytest.approx(5e8 * 4e-5)
    assert stages["epoch"].seconds == pytest.approx(1.8e8 * (4.1e-7 + 1e-4) + 6e7 * (4e-7 + 3e-5))
    assert {stage.limit for stage in stages.values()} == {CPU}


@given(nodes=st.integers(1, 200), cores=st.integers(1, 128), gpus=st.integers(0, 8))
def test_a_faster_file_system_or_gpu_is_never_slower(nodes: int, cores: int, gpus: int) -> None:
    its = Machines(nodes, cores, gpus)
    for better in (replace(its, file_system_bytes=1e12), replace(its, gpu_tflops=1000)):
        for name, stage in extrapolate(RATES, WORK, better).items():
            assert stage.seconds <= extrapolate(RATES, WORK, its)[name].seconds * (1 + 1e-12)


@given(nodes=st.integers(1, 200), cores=st.integers(1, 128), gpus=st.integers(0, 8))
def test_the_limit_is_the_slowest_and_the_needed_bandwidth_removes_the_file_system(
    nodes: int, cores: int, gpus: int
) -> None:
    its = Machines(nodes, cores, gpus)
    for name, stage in extrapolate(RATES, WORK, its).items():
        assert stage.seconds >= max(stage.by_resource.values())
        others = {key: value for key, value in stage.by_resource.items() if key not in {GPU, LATENCY}}
        if stage.limit in others:
            assert stage.by_resource[stage.limit] == max(others.values()) == stage.seconds
        enough = replace(its, file_system_bytes=stage.file_system_bytes * 1.001)
        assert extrapolate(RATES, WORK, enough)[name].limit != FILE_SYSTEM
        less = replace(its, file_system_bytes=stage.file_system_bytes / 1.001)
        assert extrapolate(RATES, WORK, less)[name].limit == FILE_SYSTEM


@pytest.mark.parametrize(
    ("rates", "machines", "limit"),
    [
        ({}, Machines(10, 64, 4, file_system_bytes=1e8), FILE_SYSTEM),
        ({"device_bytes": 1e6}, Machines(10, 64, 4), PCIE),
        ({"training_flops": 1e12}, Machines(10, 64, 4), GPU),
        ({"read_seconds": 1e-3}, Machines(10, 64, 4), CPU),
        ({}, Machines(10, 64, 4, file_system_bytes=1e12), LATENCY),
    ],
)
def test_every_resource_can_be_the_limit(rates: dict, machines: Machines, limit: str) -> None:
    assert extrapolate(replace(RATES, **rates), WORK, machines)["epoch"].limit == limit


def test_ranks_that_all_compute_the_order_stop_the_scaling() -> None:
    slow = replace(RATES, read_seconds=1e-9, order_seconds=1e-6, device_bytes=0, training_flops=0)
    quick = replace(WORK, batch_size=10**9, reader_threads=1)
    times = [
        extrapolate(slow, quick, Machines(nodes, 64, 4, file_system_bytes=1e15))["epoch"].seconds
        for nodes in (1, 100)
    ]
    assert times[1] > 0.9 * times[0]


def test_a_few_tasks_leave_cores_idle() -> None:
    few = replace(WORK, partitions=3)
    two, many = (
        extrapolate(RATES, few, replace(HERE, cores_per_node=cores))["ingest"].seconds for cores in (2, 1000)
    )
    assert two == pytest.approx(2 * many)
    assert many == pytest.approx(1e9 * 2e-5 / 3)


def test_nothing_to_do_takes_no_time() -> None:
    nothing = replace(WORK, entries=0, partitions=0, training_entries=0)
    for machines in (HERE, Machines(2, 8, 2)):
        assert {stage.seconds for stage in extrapolate(RATES, nothing, machines).values()} == {0.0}

"""From rates to times: which resource is the last to finish, stage by stage.

Each resource is given the time it would take alone; work on different resources overlaps, so the slowest
decides. Formulas and assumptions are in docs/scaling.md. Arithmetic only, no I/O.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

CPU, FILE_SYSTEM, PCIE, GPU, LATENCY = "CPU cores", "file system", "PCIe", "GPU flops", "step latency"

GPU_EFFICIENCY = 0.3
"""Share of the peak that a small autoencoder reaches: an assumption, not a measurement."""
PCIE_BYTES = 20e9
"""bytes/s to each GPU: PCIe 4.0 x16 has 31.5e9 on paper (PCI-SIG), about two thirds of which is usable."""
NETWORK_BYTES = 12.5e9
"""bytes/s between nodes, and between the GPUs of one: 100 Gbit/s."""
LAUNCH_SECONDS = 350e-6
"""A training step on a GPU takes at least this long: about 70 kernels of 5 us each. An assumption."""


@dataclass(frozen=True)
class Rates:
    """What one core of this machine does. Seconds are CPU seconds, so a busy machine changes them little."""

    measured_on: str
    """What was read for it."""
    ingest_seconds: float
    """For each entry: reading, selection, matrices, writing."""
    selected: float
    """Events kept of each entry."""
    input_bytes: float
    """Of each entry, compressed, in the branches that are read."""
    stored_bytes: float
    """Of each event, all arrays."""
    streamed_bytes: float
    """Of each event, in the arrays that training and scoring read."""
    read_seconds: float
    """For each event of the stream: reading, decoding, shuffling."""
    order_seconds: float
    """For each event of the stream, on every rank: the order of a window, which all ranks compute."""
    step_seconds: float
    """For each event: expansion, both passes and the optimiser, on the CPU."""
    validation_seconds: float
    """For each event: expansion and the forward pass, on the CPU."""
    score_seconds: float
    """For each event: reading, forward pass, writing."""
    device_bytes: float
    """Of each event, as it is sent to a GPU: islands and weight."""
    training_flops: float
    """For each event, both passes."""
    forward_flops: float
    parameter_bytes: float
    """Gradients that ranks exchange in every step."""

    @property
    def per_core(self) -> dict[str, float]:
        """Events (entries for ingest) a core handles in a second."""
        return {
            "ingest": 1 / self.ingest_seconds,
            "stream": 1 / (self.read_seconds + self.order_seconds),
            "training step": 1 / self.step_seconds,
            "scoring": 1 / self.score_seconds,
        }


@dataclass(frozen=True)
class Work:
    """What a pipeline asks for."""

    entries: int
    partitions: int
    """Tasks of ingest, and of scoring: a partition fills a slot."""
    training_entries: int
    """Entries of the channels to learn from."""
    training_share: float
    validation_share: float
    batch_size: int
    epochs: int
    reader_threads: int


@dataclass(frozen=True)
class Machines:
    """Where it would run."""

    nodes: int
    cores_per_node: int
    gpus_per_node: int = 0
    gpu_tflops: float = 312.0
    """Peak of a GPU; that of an A100 in bfloat16 (NVIDIA A100 data sheet)."""
    file_system_bytes: float = 10e9
    """bytes/s of the shared file system, over all nodes."""

    @property
    def cores(self) -> int:
        """Cores of all nodes."""
        return self.nodes * self.cores_per_node

    @property
    def gpus(self) -> int:
        """GPUs of all nodes."""
        return self.nodes * self.gpus_per_node

    @property
    def ranks(self) -> int:
        """Data-parallel workers, as training.workers: auto chooses: one for each GPU, or for two cores."""
        return self.gpus or self.nodes * max(1, self.cores_per_node // 2)


class Stage(NamedTuple):
    """Expected time of one stage."""

    seconds: float
    limit: str
    """The resource that saturates first."""
    file_system_bytes: float
    """bytes/s with which the file system would not be the limit."""
    by_resource: dict[str, float]
    """Seconds that each resource would take alone."""


def extrapolate(rates: Rates, work: Work, machines: Machines) -> dict[str, Stage]:
    """Expect the times of ingest, of an epoch (training and validation), and of scoring.

    Without GPUs, training runs on the CPU cores. Scoring always does, as in this version of tailshard.
    """
    events = work.entries * rates.selected
    training = work.training_entries * rates.selected * work.training_share
    validation = work.training_entries * rates.selected * work.validation_share
    return {
        "ingest": _stage(
            {CPU: _in_tasks(work.entries * rates.ingest_seconds, work.partitions, machines.cores)},
            work.entries * (rates.input_bytes + rates.selected * rates.stored_bytes),
            machines,
        ),
        "epoch": _stage(
            _epoch(rates, work, machines, training, validation),
            (training + validation) * rates.streamed_bytes,
            machines,
        ),
        "scoring": _stage(
            {CPU: _in_tasks(events * rates.score_seconds, work.partitions, machines.cores)},
            events * (rates.streamed_bytes + 4),
            machines,
        ),
    }


def _in_tasks(seconds: float, tasks: int, cores: int) -> float:
    """Time of work that is cut into equal tasks: the last round may leave cores idle."""
    return seconds / tasks * math.ceil(tasks / cores) if tasks else 0.0


def _epoch(
    rates: Rates, work: Work, machines: Machines, training: float, validation: float
) -> dict[str, float]:
    """Seconds that each resource is busy in an epoch."""
    ranks, both = machines.ranks, training + validation
    # Validation is not shuffled, so that nobody computes an order for it.
    stream = both * rates.read_seconds + ranks * training * rates.order_seconds
    if not machines.gpus:
        computing = training * rates.step_seconds + validation * rates.validation_seconds
        return {CPU: (stream + computing) / machines.cores}
    # A rank has one thread for the order, and its readers.
    usable = min(machines.cores, ranks * (1 + work.reader_threads))
    flops = training * rates.training_flops + validation * rates.forward_flops
    steps = math.ceil(both / work.batch_size)
    exchange = 2 * rates.parameter_bytes * (ranks - 1) / ranks / NETWORK_BYTES
    return {
        CPU: stream / usable,
        PCIE: both * rates.device_bytes / (machines.gpus * PCIE_BYTES),
        GPU: flops / (machines.gpus * machines.gpu_tflops * 1e12 * GPU_EFFICIENCY),
        LATENCY: steps * (LAUNCH_SECONDS + exchange),
    }


def _stage(resources: Mapping[str, float], stored: float, machines: Machines) -> Stage:
    # A step computes, then it exchanges gradients and launches kernels: these two add up.
    device = resources.get(GPU, 0.0) + resources.get(LATENCY, 0.0)
    others = max(device, *(resources.get(name, 0.0) for name in (CPU, PCIE)))
    by_resource = {**resources, FILE_SYSTEM: stored / machines.file_system_bytes}
    seconds = max(others, by_resource[FILE_SYSTEM])
    if device == seconds and device > 0:
        limit = max((GPU, LATENCY), key=lambda name: by_resource[name])
    else:
        limit = max((name for name in by_resource if name not in {GPU, LATENCY}), key=by_resource.__getitem__)
    return Stage(seconds, limit, stored / others if others else 0.0, by_resource)


def told(rates: Rates, work: Work, machines: Machines) -> dict[str, Any]:
    """Give rates, machines and expectations as JSON."""
    return {
        "extrapolation": True,
        "rates": asdict(rates),
        "per_core": rates.per_core,
        "work": asdict(work),
        "machines": {**asdict(machines), "gpu_efficiency": GPU_EFFICIENCY},
        "stages": {name: stage._asdict() for name, stage in extrapolate(rates, work, machines).items()},
    }

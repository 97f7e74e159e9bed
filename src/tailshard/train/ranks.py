"""Sums and maxima over the ranks of a job; of one process alone where there is no job."""

import torch
import torch.distributed as dist
from torch import Tensor


def sum_over_ranks(value: Tensor) -> Tensor:
    """Add up what every rank has, in place."""
    if dist.is_initialized():
        dist.all_reduce(value)
    return value


def largest_over_ranks(value: float, device: torch.device) -> float:
    """Find the largest number that any rank has."""
    largest = torch.tensor(value, dtype=torch.float64, device=device)
    if dist.is_initialized():
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.item()

"""Canonical fields, and how they are made from branches."""

from collections.abc import Callable, Mapping
from functools import reduce
from operator import mul
from typing import NamedTuple

import awkward as ak
import numpy as np


class Column(NamedTuple):
    """A canonical field: the branches it is made from, and how."""

    branches: tuple[str, ...]
    make: Callable[..., ak.Array]


Columns = Mapping[str, Column]


def double(values: ak.Array) -> ak.Array:
    """Cast to float64."""
    return ak.values_astype(values, np.float64)


def product(*factors: ak.Array) -> ak.Array:
    """Multiply in float64."""
    return reduce(mul, map(double, factors))


def flag(branch: str) -> Column:
    """Field that is true where the branch is not zero."""
    return Column((branch,), lambda values: values != 0)


def number(branch: str, unit: float = 1.0) -> Column:
    """Field in float64, in units of `unit`."""
    return Column((branch,), lambda values: double(values) * unit)


def integer(branch: str) -> Column:
    """Field in int32."""
    return Column((branch,), lambda values: ak.values_astype(values, np.int32))


def identity(branch: str) -> Column:
    """Field in uint64."""
    return Column((branch,), lambda values: ak.values_astype(values, np.uint64))


def wrapped_identity(branch: str) -> Column:
    """Event numbers above 2^31 that were stored in 32 bits with a sign come out negative; undo that."""
    return Column((branch,), lambda values: ak.values_astype(ak.values_astype(values, np.uint32), np.uint64))


def passes_vertex(
    score: str, smallest: float, pt_below: float, pt: str = "jet_pt", eta: str = "jet_eta"
) -> Column:
    """Jets in the tracker (|eta| < 2.4) and softer than `pt_below` (unit of the file) need this score."""
    return Column(
        (pt, eta, score),
        lambda pt, eta, score: (pt >= pt_below) | (abs(eta) >= 2.4) | (score >= smallest),
    )

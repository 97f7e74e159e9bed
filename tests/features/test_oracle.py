"""The chekanov convention against numbers from its author's own C++ on simulated ATLAS events."""

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tailshard.features.reference import rmm_reference
from tailshard.features.rmm import Block, pad_objects, rmm, rmm_from_objects

EVENTS = 60
FIVE_TYPES = (("jet",), ("bjet",), ("mu",), ("el",), ("ph",))
FOUR_TYPES = (("jet", "bjet"), ("mu",), ("el",), ("ph",))
CASES = [
    pytest.param("rmm_5types_N10.csv", FIVE_TYPES, 10, id="five types of ten rows"),
    pytest.param("rmm_4types_N10.csv", FOUR_TYPES, 10, id="four types of ten rows"),
    pytest.param("rmm_4types_N3.csv", FOUR_TYPES, 3, id="four types of three rows, most events overflow"),
]


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def oracle_objects(
    folder: Path, types: tuple[tuple[str, ...], ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Block]]:
    """Read the events in float64; mass = sign(m2) sqrt(|m2|) of m2 = E^2 - p^2."""
    rows = read(folder / "rmm" / "objects.csv")
    columns = {
        name: np.array([float(row[name]) for row in rows])
        for name in ("pt", "eta", "phi", "E", "px", "py", "pz")
    }
    event = np.array([int(row["event"]) for row in rows])
    kind = np.array([row["type"] for row in rows])
    squared_mass = columns["E"] ** 2 - columns["px"] ** 2 - columns["py"] ** 2 - columns["pz"] ** 2
    columns["mass"] = np.sign(squared_mass) * np.sqrt(np.abs(squared_mass))
    blocks = []
    for names in types:
        chosen = np.flatnonzero(np.isin(kind, names))
        chosen = chosen[np.lexsort((-columns["pt"][chosen], event[chosen]))]
        offsets = np.searchsorted(event[chosen], np.arange(1, EVENTS + 2))
        blocks.append(Block(offsets, *(columns[name][chosen] for name in ("pt", "eta", "phi", "mass"))))
    is_met = kind == "met"
    return columns["pt"][is_met], columns["phi"][is_met], blocks


def oracle_matrices(path: Path, size: int) -> NDArray[np.float64]:
    matrices = np.zeros((EVENTS, size, size))
    for row in read(path):
        matrices[int(row["event"]) - 1, int(row["row"]), int(row["col"])] = float(row["value"])
    return matrices


@pytest.mark.parametrize(("file", "types", "count"), CASES)
@pytest.mark.parametrize("compute", [rmm, rmm_reference])
def test_every_cell_agrees_with_the_original_to_1e_6(reference, compute, file, types, count):
    counts = (count,) * len(types)
    expected = oracle_matrices(reference / "rmm" / file, 1 + sum(counts))
    met, met_phi, blocks = oracle_objects(reference, types)
    found = compute(met, met_phi, blocks, counts, "chekanov", 13000.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("file", "types", "count"), CASES)
def test_float32_objects_of_the_store_agree_with_the_original_to_2e_6(reference, file, types, count):
    counts = (count,) * len(types)
    expected = oracle_matrices(reference / "rmm" / file, 1 + sum(counts))
    met, met_phi, blocks = oracle_objects(reference, types)
    stored = pad_objects(met, met_phi, blocks, counts)
    found = rmm_from_objects(*stored, counts, "chekanov", 13000.0)
    # Rounding the azimuth of MET moves mT of objects close to it: worst 1.7e-6 relative, 6e-8 absolute.
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=0)

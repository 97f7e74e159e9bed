import numpy as np
import pytest

from tailshard.config import Multiplicities
from tailshard.features.islands import Islands, expand, pack
from tailshard.features.names import cell_names
from tailshard.features.rmm import CONVENTIONS, rmm_from_objects
from tailshard.tune.disturb import energetic, shuffled

COUNTS = (2, 1, 1, 1)


def some(events: int = 400, seed: int = 1) -> Islands:
    random = np.random.default_rng(seed)
    multiplicity = np.stack([random.integers(0, count + 1, events) for count in COUNTS], axis=1)
    size = 1 + sum(COUNTS)
    matrices = random.exponential(1, (events, size, size)).astype(np.float32)
    kind = np.repeat(np.arange(4), COUNTS)
    rank = np.concatenate([np.arange(count) for count in COUNTS])
    present = np.ones((events, size), bool)
    present[:, 1:] = multiplicity[:, kind] > rank
    matrices *= present[:, :, None] & present[:, None, :]
    return pack(matrices, multiplicity.astype(np.uint8), COUNTS)


def test_energies_and_masses_grow_and_nothing_else():
    islands = some()
    rows, disturbed = energetic(islands, np.random.default_rng(1))
    np.testing.assert_array_equal(rows, np.arange(400))
    np.testing.assert_array_equal(disturbed.multiplicity, islands.multiplicity)
    before, after = expand(islands), expand(disturbed)
    names = np.array(cell_names(Multiplicities(light_jets=2, b_jets=1, electrons=1, muons=1)))
    for row, column in np.ndindex(names.shape):
        name = names[row, column]
        factor = 1.5 if name.startswith(("MET", "mT", "ET", "m(")) else 1
        np.testing.assert_array_equal(after[:, row, column], before[:, row, column] * np.float32(factor))


@pytest.mark.parametrize("convention", list(CONVENTIONS))
def test_it_is_what_becomes_of_an_event_with_larger_momenta(convention):
    random = np.random.default_rng(2)
    multiplicity = np.tile(np.array(COUNTS, np.uint8), (200, 1))
    objects = np.zeros((200, 1 + sum(COUNTS), 4), np.float32)
    objects[..., 0] = random.exponential(50, objects.shape[:2])
    objects[:, 1:3, 0] = -np.sort(-objects[:, 1:3, 0], axis=1)
    objects[:, 1:, 1] = random.normal(0, 1, (200, sum(COUNTS)))
    objects[..., 2] = random.uniform(-3, 3, objects.shape[:2])
    objects[:, 1:, 3] = random.exponential(5, (200, sum(COUNTS)))
    larger = objects * np.array([1.5, 1, 1, 1.5], np.float32)
    before, expected = (
        rmm_from_objects(each, multiplicity, COUNTS, convention) for each in (objects, larger)
    )
    found = expand(energetic(pack(before, multiplicity, COUNTS), random).islands)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-6)


def test_shuffling_keeps_every_cell_and_breaks_what_belongs_together():
    islands = some()
    rows, disturbed = shuffled(islands, np.random.default_rng(1))
    assert len(set(rows.tolist())) == len(rows)
    np.testing.assert_array_equal(disturbed.multiplicity, islands.multiplicity[rows])
    before, after = expand(islands.take(rows)), expand(disturbed)
    assert (before != after).mean() > 0.3
    for kind in np.unique(disturbed.multiplicity, axis=0):
        same = (disturbed.multiplicity == kind).all(axis=1)
        np.testing.assert_array_equal(np.sort(before[same], axis=0), np.sort(after[same], axis=0))
    again = shuffled(islands, np.random.default_rng(1)).islands
    np.testing.assert_array_equal(again.cells, disturbed.cells)
    assert (shuffled(islands, np.random.default_rng(2)).islands.cells != disturbed.cells).any()


def test_correlations_are_gone():
    random = np.random.default_rng(3)
    common = random.normal(5, 1, 2000)
    matrices = (common[:, None, None] * np.ones((6, 6))).astype(np.float32)
    islands = pack(matrices, np.tile(np.array(COUNTS, np.uint8), (2000, 1)), COUNTS)
    cells = expand(shuffled(islands, random).islands).reshape(2000, -1)
    correlation = np.corrcoef(cells.T)
    assert np.abs(correlation - np.eye(36)).max() < 0.1


def test_an_event_that_is_alone_with_its_objects_is_left_out():
    islands = some(events=1)
    rows, disturbed = shuffled(islands, np.random.default_rng(1))
    assert len(rows) == len(disturbed) == 0
    assert len(shuffled(Islands.empty(COUNTS), np.random.default_rng(1)).rows) == 0

"""Disturbed events, by hand."""

import numpy as np
import pytest
from tests.collisions import GEOMETRY, make_objects

from tailshard.features.blocks import first_rows
from tailshard.features.islands import expand
from tailshard.features.rmm import islands_from_objects, rmm_from_objects
from tailshard.store.cells import Statistics
from tailshard.store.order import generator_of
from tailshard.stress.disturbances import (
    FACTORS,
    MOMENTUM,
    CellLimits,
    disturb_objects,
    gaussian,
    in_islands,
    noise,
    shuffled,
    swapped,
    with_momenta,
)

COUNTS = GEOMETRY.counts
ELECTRON, MUON = first_rows(COUNTS)[2:]


@pytest.fixture(scope="module")
def events() -> tuple[np.ndarray, np.ndarray]:
    return make_objects(400, 50.0, 3)


@pytest.fixture(scope="module")
def limits(events: tuple[np.ndarray, np.ndarray]) -> CellLimits:
    islands = islands_from_objects(*events, COUNTS)
    return CellLimits.of(Statistics.of(islands, np.ones(len(islands))))


def _momentum(objects: np.ndarray, rows: list[int]) -> np.ndarray:
    pt, phi = (objects[:, rows, component].astype(float) for component in (0, 2))
    return np.stack([(pt * np.cos(phi)).sum(axis=1), (pt * np.sin(phi)).sum(axis=1)])


@pytest.mark.parametrize("factor", FACTORS)
def test_scaled_momenta_keep_the_balance_of_the_event(
    events: tuple[np.ndarray, np.ndarray], factor: float
) -> None:
    objects, multiplicity = events
    changed = with_momenta(objects, multiplicity, COUNTS, factor)
    whole = list(range(GEOMETRY.size))
    np.testing.assert_allclose(_momentum(changed, whole), _momentum(objects, whole), atol=2e-3)
    leading = [ELECTRON, MUON]
    np.testing.assert_allclose(changed[:, leading, 0], factor * objects[:, leading, 0], rtol=1e-6)
    others = [row for row in whole if row not in (0, ELECTRON, MUON)]
    np.testing.assert_array_equal(changed[:, others], objects[:, others])
    np.testing.assert_array_equal(changed[:, :, [1, 3]], objects[:, :, [1, 3]])


def test_events_without_leptons_stay_as_they_are(events: tuple[np.ndarray, np.ndarray]) -> None:
    objects, multiplicity = events
    bare = (multiplicity[:, 2:] == 0).all(axis=1)
    assert bare.any()
    changed, many = disturb_objects(MOMENTUM[-1], objects, multiplicity, COUNTS)
    np.testing.assert_array_equal(changed[bare], objects[bare])
    assert (changed[~bare] != objects[~bare]).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(many, multiplicity)


def test_a_single_lepton_gets_no_imbalance_with_a_lepton_that_is_not_there() -> None:
    """In S. Frette's code padding of zero became (k - 1) / (k + 1) in an otherwise empty row."""
    objects, multiplicity = make_objects(50, 50.0, 1)
    single = multiplicity[:, 2] == 1
    changed, many = disturb_objects("momentum_10", objects, multiplicity, COUNTS)
    matrices = rmm_from_objects(changed, many, COUNTS)[single]
    assert single.any()
    assert not matrices[:, ELECTRON + 1].any()
    assert not matrices[:, :, ELECTRON + 1].any()
    before = rmm_from_objects(objects, multiplicity, COUNTS)[single]
    assert (matrices[:, 0, ELECTRON] != before[:, 0, ELECTRON]).all(), "the transverse mass stayed"


def test_swapping_twice_gives_the_events_back(events: tuple[np.ndarray, np.ndarray]) -> None:
    objects, multiplicity = events
    once = swapped(objects, multiplicity, COUNTS, "electrons", "muons")
    np.testing.assert_array_equal(once[0][:, ELECTRON : ELECTRON + 2], objects[:, MUON : MUON + 2])
    np.testing.assert_array_equal(once[1][:, [2, 3]], multiplicity[:, [3, 2]])
    np.testing.assert_array_equal(once[0][:, 0], objects[:, 0])
    again = swapped(*once, COUNTS, "muons", "electrons")
    for found, expected in zip(again, events, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_objects_beyond_the_rows_of_their_new_type_are_left_out(
    events: tuple[np.ndarray, np.ndarray],
) -> None:
    objects, multiplicity = events  # two rows of light jets, one of b jets
    changed, many = disturb_objects("swap_jets", objects, multiplicity, COUNTS)
    np.testing.assert_array_equal(many[:, 1], np.minimum(multiplicity[:, 0], 1))
    np.testing.assert_array_equal(many[:, 0], multiplicity[:, 1])
    np.testing.assert_array_equal(changed[:, 3], objects[:, 1])  # the leading one stays
    np.testing.assert_array_equal(changed[:, 1], objects[:, 3])
    assert not changed[:, 2].any()
    expand(islands_from_objects(changed, many, COUNTS))  # a matrix like any other


def test_noise_fills_the_range_of_every_cell(limits: CellLimits) -> None:
    cells = noise(generator_of("noise"), limits, 2000)
    assert cells.dtype == np.float32
    slack = 1e-6 * np.maximum(np.abs(limits.minimum), np.abs(limits.maximum))
    assert (cells >= limits.minimum - slack).all()
    assert (cells <= limits.maximum + slack).all()
    middle, width = (limits.minimum + limits.maximum) / 2, limits.maximum - limits.minimum
    assert (np.abs(cells.mean(axis=0) - middle) <= 0.05 * width + 1e-12).all()


def test_gaussian_cells_have_the_mean_and_variance_of_the_training_events(limits: CellLimits) -> None:
    cells = gaussian(generator_of("gaussian"), limits, 4000)
    assert (np.abs(cells.mean(axis=0) - limits.mean) <= 5 * limits.deviation / np.sqrt(4000) + 1e-7).all()
    np.testing.assert_allclose(cells.std(axis=0), limits.deviation, rtol=0.1)


def test_cells_of_absent_objects_stay_empty(
    events: tuple[np.ndarray, np.ndarray], limits: CellLimits
) -> None:
    islands = in_islands(generator_of("islands"), limits, events[1], COUNTS)
    np.testing.assert_array_equal(islands.multiplicity, events[1])
    real = islands_from_objects(*events, COUNTS)
    assert len(islands.cells) == len(real.cells)
    filled = expand(real) != 0
    whole = expand(islands)
    mean = np.where(filled, whole, 0).sum(axis=0) / np.maximum(filled.sum(axis=0), 1)
    enough = filled.sum(axis=0) > 50
    spread = limits.filled_deviation / np.sqrt(np.maximum(filled.sum(axis=0), 1))
    assert (np.abs(mean - limits.filled_mean) <= 5 * spread + 1e-6)[enough].all()


def test_shuffling_keeps_every_distribution_and_loses_every_correlation() -> None:
    random = np.random.default_rng(1)
    one = random.exponential(1, 3000)
    matrices = np.stack([one, one + 0.01 * random.random(3000), -one, one**2], axis=1)
    matrices = matrices.reshape(3000, 2, 2).astype(np.float32)
    dealt = shuffled(generator_of("deal"), matrices)
    np.testing.assert_array_equal(np.sort(dealt, axis=0), np.sort(matrices, axis=0))
    correlation = np.corrcoef(dealt.reshape(3000, 4), rowvar=False)
    assert (np.abs(correlation - np.eye(4)) < 0.1).all()


def test_random_numbers_belong_to_their_key(limits: CellLimits) -> None:
    one, same, other = (noise(generator_of(1, "noise", "zjets", slot), limits, 3) for slot in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()

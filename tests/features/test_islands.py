import numpy as np
import pytest

from tailshard.errors import ConfigError, ProcessingError
from tailshard.features.blocks import MAXIMUM_ROWS, Block, pad_objects
from tailshard.features.conventions import CONVENTIONS
from tailshard.features.islands import Islands, expand, pack
from tailshard.features.reference import rmm_reference
from tailshard.features.rmm import islands_from_objects, rmm, rmm_from_objects

COUNTS = (6, 6, 5, 5)
conventions = pytest.mark.parametrize("convention", list(CONVENTIONS))


def stored_events(number, seed, counts=COUNTS, means=(2.0, 0.8, 1.0, 1.0)):
    """Padded objects and multiplicities; events without and with all objects among them."""
    random = np.random.default_rng(seed)
    blocks = []
    for mean, count in zip(means, counts, strict=True):
        lengths = random.poisson(mean, number)
        lengths[::97], lengths[1::97] = 0, count
        total = lengths.sum()
        blocks.append(
            Block(
                np.concatenate(([0], np.cumsum(lengths))),
                random.exponential(60, total),
                random.normal(0, 2, total),
                random.uniform(-3, 3, total),
                random.uniform(-1, 10, total),
            )
        )
    met = random.exponential(60, number)
    met[::50] = 0
    return pad_objects(met, random.uniform(-3, 3, number), blocks, counts)


def bits(array):
    return np.ascontiguousarray(array).view(np.uint32)


@conventions
@pytest.mark.parametrize("number", [0, 1, 15, 16, 500])
def test_islands_are_the_matrices_without_their_empty_cells(convention, number):
    objects, multiplicity = stored_events(number, seed=1)
    matrices = rmm_from_objects(objects, multiplicity, COUNTS, convention)
    islands = islands_from_objects(objects, multiplicity, COUNTS, convention)
    np.testing.assert_array_equal(bits(islands.cells), bits(pack(matrices, multiplicity, COUNTS).cells))
    np.testing.assert_array_equal(bits(expand(islands)), bits(matrices))


@conventions
def test_a_matrix_does_not_depend_on_the_events_around_it(convention):
    objects, multiplicity = stored_events(300, seed=2)
    matrices = rmm_from_objects(objects, multiplicity, COUNTS, convention)
    order = np.random.default_rng(3).permutation(300)
    mixed = rmm_from_objects(objects[order], multiplicity[order], COUNTS, convention)
    np.testing.assert_array_equal(bits(mixed), bits(matrices[order]))
    for start, stop in ((0, 1), (88, 91), (7, 300)):
        part = rmm_from_objects(objects[start:stop], multiplicity[start:stop], COUNTS, convention)
        np.testing.assert_array_equal(bits(part), bits(matrices[start:stop]))


@pytest.mark.parametrize("number", [1, 15, 16, 500])
def test_expansion_scales_every_cell(number):
    objects, multiplicity = stored_events(number, seed=4)
    islands = islands_from_objects(objects, multiplicity, COUNTS)
    offset, factor = np.random.default_rng(5).normal(size=(2, 529)).astype(np.float32)
    wanted = (expand(islands).reshape(-1, 529) - offset) * factor
    out = np.full((number + 1, 23, 23), np.nan, np.float32)
    scaled = expand(islands, offset, factor, out=out)
    np.testing.assert_array_equal(bits(scaled.reshape(-1, 529)), bits(wanted))
    assert np.isnan(out[number]).all()


def test_parts_and_selections_expand_to_their_events():
    objects, multiplicity = stored_events(200, seed=6)
    islands = islands_from_objects(objects, multiplicity, COUNTS)
    matrices = expand(islands)
    np.testing.assert_array_equal(expand(islands[17:140]), matrices[17:140])
    rows = np.random.default_rng(7).permutation(200)[:50]
    np.testing.assert_array_equal(expand(islands.take(rows)), matrices[rows])


@conventions
def test_matrices_of_many_rows_agree_with_the_reference(convention):
    counts = (255,) * 8
    random = np.random.default_rng(8)
    blocks = []
    for _ in counts:
        offsets = np.array([0, 9, 9, 11])
        blocks.append(Block(offsets, *random.uniform(0.5, 2.5, (4, 11))))
    events = (np.ones(3), np.ones(3), blocks)
    found, wanted = (make(*events, counts, convention) for make in (rmm, rmm_reference))
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-9)


def test_more_rows_than_there_is_room_for_are_refused():
    counts = (255,) * 8 + (MAXIMUM_ROWS + 1 - 8 * 255,)
    objects = np.zeros((0, 1 + sum(counts), 4), np.float32)
    with pytest.raises(ConfigError, match="at most 2047 in all"):
        rmm_from_objects(objects, np.zeros((0, 9), np.uint8), counts)


def test_memory_that_matrices_cannot_be_written_to_is_refused():
    islands = Islands(COUNTS, np.zeros((4, 4), np.uint8), np.ones(4, np.float32))
    for out in (np.empty((3, 23, 23), np.float32), np.empty((8, 23, 23), np.float32)[::2]):
        with pytest.raises(ProcessingError, match="out must be a float32 array of at least 4 x 23 x 23"):
            expand(islands, out=out)

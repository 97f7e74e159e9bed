import awkward as ak
import numpy as np
import pytest

from tailshard.errors import ConfigError, ProcessingError
from tailshard.features.rmm import Block, block_from_awkward, blocks_from_objects, pad_objects

COUNTS = (2, 1)


def two_types() -> list[Block]:
    jets = Block(np.array([0, 3, 3, 4]), *(np.arange(1.0, 5.0) * scale for scale in (10, 0.1, 0.2, 1)))
    muons = Block(np.array([0, 0, 1, 2]), *(np.arange(1.0, 3.0) * scale for scale in (7, -0.1, -0.2, -1)))
    return [jets, muons]


def test_padding_gives_every_object_its_row():
    met, met_phi = np.array([5.0, 6.0, 7.0]), np.array([0.5, 0.6, 0.7])
    objects, multiplicity = pad_objects(met, met_phi, two_types(), COUNTS)
    nothing = [0, 0, 0, 0]
    expected = [
        [[5, 0, 0.5, 0], [10, 0.1, 0.2, 1], [20, 0.2, 0.4, 2], nothing],  # the third jet has no row
        [[6, 0, 0.6, 0], nothing, nothing, [7, -0.1, -0.2, -1]],
        [[7, 0, 0.7, 0], [40, 0.4, 0.8, 4], nothing, [14, -0.2, -0.4, -2]],
    ]
    np.testing.assert_allclose(objects, expected, rtol=1e-6)
    np.testing.assert_array_equal(multiplicity, [[2, 0], [0, 1], [1, 1]])
    assert objects.dtype == np.float32
    assert multiplicity.dtype == np.uint8


def test_padded_objects_become_blocks_and_padded_objects_again():
    stored = pad_objects(np.arange(3.0), np.arange(3.0), two_types(), COUNTS)
    met, met_phi, blocks = blocks_from_objects(*stored, COUNTS)
    np.testing.assert_array_equal(blocks[0].pt, np.float32([10, 20, 40]))
    np.testing.assert_array_equal(blocks[0].offsets, [0, 2, 2, 3])
    again = pad_objects(met, met_phi, blocks, COUNTS)
    for found, expected in zip(again, stored, strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)


def test_an_object_of_zeros_is_kept():
    empty = Block(np.array([0, 0]), *np.zeros((4, 0)))
    stored = pad_objects(np.ones(1), np.ones(1), [Block(np.array([0, 1]), *np.zeros((4, 1))), empty], COUNTS)
    np.testing.assert_array_equal(stored[1], [[1, 0]])
    _, _, blocks = blocks_from_objects(*stored, COUNTS)
    np.testing.assert_array_equal(blocks[0].offsets, [0, 1])


def test_awkward_records_become_a_block():
    records = ak.Array(
        [
            [{"pt": 3.0, "eta": 1.0, "phi": 2.0, "mass": 0.1, "charge": 1}],
            [],
            [
                {"pt": 2.0, "eta": 1.5, "phi": 2.5, "mass": 0.2, "charge": -1},
                {"pt": 1.0, "eta": 0.0, "phi": 0.5, "mass": -0.3, "charge": 1},
            ],
        ]
    )
    block = block_from_awkward(records)
    np.testing.assert_array_equal(block.offsets, [0, 1, 1, 3])
    np.testing.assert_array_equal(block.mass, [0.1, 0.2, -0.3])
    np.testing.assert_array_equal(block_from_awkward(records[:, ::-1]).pt, [3, 1, 2])
    masked = block_from_awkward(records[records.charge > 0])
    np.testing.assert_array_equal(masked.offsets, [0, 1, 1, 2])
    np.testing.assert_array_equal(masked.pt, [3, 1])
    np.testing.assert_array_equal(block_from_awkward(records[1:]).offsets, [0, 0, 2])


def test_awkward_records_in_one_piece_are_not_copied():
    pt = np.arange(4.0)
    records = ak.unflatten(ak.zip({"pt": pt, "eta": pt, "phi": pt, "mass": pt}), [1, 3])
    assert np.shares_memory(block_from_awkward(records).pt, pt)


def test_no_awkward_events_become_an_empty_block():
    records = ak.Array([[{"pt": 3.0, "eta": 1.0, "phi": 2.0, "mass": 0.1}]])[:0]
    block = block_from_awkward(records)
    np.testing.assert_array_equal(block.offsets, [0])
    assert block.pt.shape == (0,)


def test_padded_objects_of_another_shape_are_refused():
    objects, multiplicity = pad_objects(np.arange(3.0), np.arange(3.0), two_types(), COUNTS)
    with pytest.raises(ProcessingError, match=r"need \(3, 5, 4\) and \(3, 2\)"):
        blocks_from_objects(objects, multiplicity, (2, 2))
    with pytest.raises(ProcessingError, match="more stored objects than the rows"):
        blocks_from_objects(objects, multiplicity + np.uint8(1), COUNTS)
    with pytest.raises(ConfigError, match="1 to 255"):
        blocks_from_objects(objects, multiplicity, (300, 1))

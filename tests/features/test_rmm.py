from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tailshard.errors import ConfigError, ProcessingError
from tailshard.features.reference import rmm_reference
from tailshard.features.rmm import (
    CONVENTIONS,
    Block,
    blocks_from_objects,
    pad_objects,
    rmm,
    rmm_from_objects,
)

Events = tuple[NDArray[Any], NDArray[Any], list[Block]]

ROWS = [(6, 6, 5, 5), (1, 2, 1, 3), (2, 1)]
conventions = pytest.mark.parametrize("convention", list(CONVENTIONS))
relaxed = settings(deadline=None, max_examples=60)

physical = {
    "pt": st.floats(1e-2, 5e3) | st.just(0.0),
    "eta": st.floats(-10, 10) | st.sampled_from([0.0, 1.5, -4.9]),
    "phi": st.floats(-7, 7) | st.sampled_from([0.0, np.pi, -np.pi]),
    # Negative squared masses; with a small pT they leave no rapidity.
    "mass": st.floats(0, 500) | st.floats(-5, 0) | st.just(0.0),
}
anything = dict.fromkeys(physical, st.floats(allow_nan=False, allow_infinity=False))


def events_of(components: dict[str, st.SearchStrategy[float]]) -> st.SearchStrategy[tuple[Events, Any]]:
    """Draw events, some empty, some with more objects than rows; few distinct values make collinear pairs."""

    @st.composite
    def draw_events(draw: Any) -> tuple[Events, tuple[int, ...]]:
        counts = draw(st.sampled_from(ROWS))
        events = draw(st.integers(1, 4))
        blocks = []
        for count in counts:
            lengths = draw(st.lists(st.integers(0, count + 2), min_size=events, max_size=events))
            total = sum(lengths)
            values = [
                np.array(draw(st.lists(strategy, min_size=total, max_size=total)), float)
                for strategy in components.values()
            ]
            blocks.append(Block(np.concatenate(([0], np.cumsum(lengths))).astype(np.int64), *values))
        met = draw(hnp.arrays(float, events, elements=components["pt"]))
        met_phi = draw(hnp.arrays(float, events, elements=components["phi"]))
        return (met, met_phi, blocks), counts

    return draw_events()


def realistic_events(number: int, seed: int, massless: bool = False) -> Events:
    """Events with about five objects each, by falling pT."""
    random = np.random.default_rng(seed)
    blocks = []
    for mean, mass in ((2.0, 12.0), (0.8, 12.0), (1.0, 5e-4), (1.0, 0.106)):
        lengths = random.poisson(mean, number)
        event = np.repeat(np.arange(number), lengths)
        total = len(event)
        pt = random.exponential(60, total) + 20
        pt = pt[np.lexsort((-pt, event))]
        masses = np.zeros(total) if massless else mass * random.uniform(0.5, 1.5, total)
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        blocks.append(
            Block(offsets, pt, random.uniform(-2.5, 2.5, total), random.uniform(-3, 3, total), masses)
        )
    return random.exponential(60, number), random.uniform(-3, 3, number), blocks


def energy_of(events: Events) -> float:
    """Scale of the rounding of masses: products of transverse masses cancel in them."""
    met, _, blocks = events
    return float(max([*met, *(np.hypot(block.pt, block.mass).max(initial=0) for block in blocks)]))


def assert_same(found: NDArray[Any], expected: NDArray[Any], energy: float) -> None:
    # sqrt of the rounding (1e-15 energy^2) of a squared mass that vanishes, e.g. of a collinear pair
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-7 * max(energy, 1.0))


@conventions
@relaxed
@given(drawn=events_of(physical))
def test_the_kernel_agrees_with_the_reference(convention, drawn):
    events, counts = drawn
    # sqrt(s) = 1 leaves GeV, so that the tolerance is the same in both conventions.
    found = rmm(*events, counts, convention, 1.0)
    expected = rmm_reference(*events, counts, convention, 1.0)
    assert found.dtype == np.float32
    angles = np.tril_indices(1 + sum(counts))
    assert_same(found, expected, energy_of(events))
    np.testing.assert_allclose(found[:, *angles], expected[:, *angles], rtol=2e-6, atol=1e-9)


@conventions
def test_the_kernel_agrees_with_the_reference_across_its_tiles(convention):
    events = realistic_events(1000, seed=1)
    np.testing.assert_allclose(
        rmm(*events, ROWS[0], convention), rmm_reference(*events, ROWS[0], convention), rtol=1e-6, atol=1e-7
    )


@conventions
@relaxed
@given(drawn=events_of(anything))
def test_finite_input_gives_finite_cells(convention, drawn):
    events, counts = drawn
    assert np.isfinite(rmm(*events, counts, convention, 1.0)).all()
    assert np.isfinite(rmm_reference(*events, counts, convention, 1.0)).all()


@conventions
@relaxed
@given(drawn=events_of(physical))
def test_objects_of_the_store_give_the_same_bits(convention, drawn):
    events, counts = drawn
    stored = pad_objects(*events, counts)
    again = blocks_from_objects(*stored, counts)
    np.testing.assert_array_equal(
        rmm_from_objects(*stored, counts, convention), rmm(*again, counts, convention), strict=True
    )


@conventions
def test_float32_objects_give_the_matrix_of_float64_objects_to_a_few_1e_6(convention):
    events = realistic_events(1000, seed=2)
    stored = pad_objects(*events, ROWS[0])
    np.testing.assert_allclose(
        rmm_from_objects(*stored, ROWS[0], convention, 1.0),
        rmm(*events, ROWS[0], convention, 1.0),
        rtol=1e-5,
        atol=1e-4,  # GeV; masses and mT of objects that lie close together
    )


@conventions
def test_cells_of_a_worked_example(convention):
    """Two light jets and a muon whose cells can be computed by hand."""
    one = np.array([0, 2]), np.array([50.0, 30.0]), np.array([0.0, np.log(4)]), np.zeros(2), np.zeros(2)
    muon = np.array([0, 1]), np.array([40.0]), np.array([0.0]), np.array([np.pi / 2]), np.array([30.0])
    matrix = rmm(np.array([40.0]), np.array([np.pi]), [Block(*one), Block(*muon)], (2, 1), convention, 1.0)[0]
    factor = 0.15 if convention == "thesis" else 1.0
    if convention == "thesis":
        first_row = [40, 50, 30, 50]
    else:  # opposite to both jets: 2 sqrt(pT MET); the muon: (50 + 40)^2 - 40^2 - 40^2
        first_row = [40, 2 * np.sqrt(50 * 40), 2 * np.sqrt(30 * 40), 70]
    cosh = 17 / 8  # of ln 4
    cosh_half = 5 / 4  # of ln 2
    muon_energy = 50  # at eta = 0 both meanings of transverse energy agree
    expected = [
        first_row,
        [0, 50, np.sqrt(2 * 50 * 30 * (cosh - 1)), np.sqrt(900 + 2 * 50 * 50)],
        [
            factor * (cosh - 1),
            factor * (cosh_half - 1),
            (50 - 30) / (50 + 30),
            np.sqrt(900 + 2 * 30 * 50 * cosh),
        ],
        [0, 0, factor * (cosh_half - 1), muon_energy],
    ]
    np.testing.assert_allclose(matrix, expected, rtol=1e-6, atol=1e-9)


def test_the_conventions_take_different_energies_of_a_forward_massive_object():
    eta = np.log(2)  # cosh = 5/4
    block = Block(
        np.array([0, 2]), np.array([40.0, 40.0]), np.array([0.0, eta]), np.zeros(2), np.array([0.0, 30.0])
    )
    met = np.zeros(1)
    chekanov = rmm(met, met, [block], (2,), "chekanov", 1.0)[0]
    thesis = rmm(met, met, [block], (2,), "thesis", 1.0)[0]
    energy = np.sqrt(40**2 + 30**2 / (5 / 4) ** 2)
    assert chekanov[2, 2] == pytest.approx((40 - energy) / (40 + energy))
    assert thesis[2, 2] == 0
    assert thesis[0, 2] == 50


def test_without_met_its_row_is_empty_in_the_chekanov_convention_only():
    met, met_phi, blocks = realistic_events(200, seed=3)
    for nothing in (0.0, -1.0):
        met[:] = nothing
        assert not rmm(met, met_phi, blocks, ROWS[0], "chekanov")[:, 0].any()
        thesis = rmm(met, met_phi, blocks, ROWS[0], "thesis")
        assert not thesis[:, 0, 0].any()
        assert thesis[:, 0, 1:].any()


@conventions
def test_cells_of_absent_objects_are_zero_and_no_others(convention):
    events = realistic_events(300, seed=4)
    matrices = rmm(*events, ROWS[0], convention)
    _, multiplicity = pad_objects(*events, ROWS[0])
    present = np.ones((300, 23), bool)
    first_row = 1
    for number, count in enumerate(ROWS[0]):
        present[:, first_row : first_row + count] = np.arange(count) < multiplicity[:, number, np.newaxis]
        first_row += count
    exists = present[:, :, np.newaxis] & present[:, np.newaxis, :]
    np.testing.assert_array_equal(matrices != 0, exists)


def test_energies_of_the_chekanov_convention_are_shares_of_the_collision_energy():
    events = realistic_events(50, seed=5)
    in_gev = rmm(*events, ROWS[0], "chekanov", 1.0)
    shares = rmm(*events, ROWS[0], "chekanov", 8000.0)
    upper = np.triu_indices(23, 1)
    np.testing.assert_allclose(shares[:, *upper] * 8000, in_gev[:, *upper], rtol=1e-6)
    lower = np.tril_indices(23, -1)
    np.testing.assert_array_equal(shares[:, *lower], in_gev[:, *lower])


@conventions
@given(angle=st.floats(-10, 10))
@relaxed
def test_rotating_an_event_in_azimuth_changes_nothing(convention, angle):
    met, met_phi, blocks = realistic_events(20, seed=6)
    turned = [block._replace(phi=block.phi + angle) for block in blocks]
    before = rmm(met, met_phi, blocks, ROWS[0], convention, 1.0)
    after = rmm(met, met_phi + angle, turned, ROWS[0], convention, 1.0)
    assert_same(after, before, energy_of((met, met_phi, blocks)))


@conventions
@pytest.mark.parametrize("massless", [True, False])
@given(boost=st.floats(-3, 3))
@relaxed
def test_boosting_an_event_along_the_beam_changes_only_what_may_change(convention, massless, boost):
    met, met_phi, blocks = realistic_events(20, seed=7, massless=massless)
    boosted = []
    for block in blocks:
        transverse_mass = np.hypot(block.pt, block.mass)
        y = np.arcsinh(block.pt * np.sinh(block.eta) / transverse_mass)
        boosted.append(block._replace(eta=np.arcsinh(transverse_mass * np.sinh(y + boost) / block.pt)))
    before = rmm(met, met_phi, blocks, ROWS[0], convention, 1.0)
    after = rmm(met, met_phi, boosted, ROWS[0], convention, 1.0)
    may_change = np.zeros((23, 23), bool)
    may_change[1:, 0] = True
    if convention == "chekanov" and not massless:
        # E sin(theta) of a massive object depends on the frame.
        may_change[0, 1:] = True
        may_change |= np.eye(23, dtype=bool)
    before[:, may_change] = after[:, may_change] = 0
    assert_same(after, before, energy_of((met, met_phi, blocks)))
    # Angles have a tolerance of their own: that of the masses is wide.
    np.testing.assert_allclose(np.tril(after, -1), np.tril(before, -1), rtol=1e-5, atol=1e-9)


@conventions
@given(data=st.data())
@relaxed
def test_objects_beyond_the_last_row_change_nothing(convention, data):
    count, total = 3, 8
    values = np.random.default_rng(8).uniform(0.1, 2.0, (4, total))
    order = np.array([*range(count), *data.draw(st.permutations(range(count, total)))])
    offsets = np.array([0, total])
    met = np.array([1.0])
    before = rmm(met, met, [Block(offsets, *values)], (count,), convention)
    after = rmm(met, met, [Block(offsets, *values[:, order])], (count,), convention)
    none = rmm(met, met, [Block(np.array([0, count]), *values[:, :count])], (count,), convention)
    np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(none, before)


@pytest.mark.parametrize(
    ("pt", "eta", "mass", "transverse_mass", "cosh_y"),
    [
        pytest.param(0.0, 3.0, 0.0, 0.0, np.cosh(3), id="nothing at all"),
        pytest.param(0.0, 3.0, 5.0, 5.0, 1.0, id="at rest"),
        pytest.param(10.0, 2.0, -11.0, 10.0, np.cosh(2), id="without rapidity"),
        pytest.param(10.0, 2.0, -10.0, 10.0, np.cosh(2), id="on the edge of having no rapidity"),
        pytest.param(-10.0, 0.0, 0.0, 0.0, 1.0, id="negative pT"),
        pytest.param(10.0, -1e10, 0.0, 10.0, np.cosh(20), id="along the beam"),
        pytest.param(1e300, 0.0, 0.0, 1e12, 1.0, id="beyond any energy"),
    ],
)
@pytest.mark.parametrize("compute", [rmm, rmm_reference])
def test_impossible_objects_are_treated_as_documented(compute, pt, eta, mass, transverse_mass, cosh_y):
    block = Block(np.array([0, 1]), *(np.array([value]) for value in (pt, eta, 0.5, mass)))
    matrix = compute(np.zeros(1), np.zeros(1), [block], (1,), "thesis")[0]
    assert matrix[0, 1] == matrix[1, 1] == pytest.approx(transverse_mass)
    assert matrix[1, 0] == pytest.approx(0.15 * (cosh_y - 1))


def test_two_objects_without_energy_are_in_balance():
    block = Block(np.array([0, 2]), *np.zeros((4, 2)))
    assert not rmm(np.zeros(1), np.zeros(1), [block], (2,)).any()


def test_a_pair_of_negative_squared_mass_has_a_negative_mass():
    block = Block(np.array([0, 2]), np.full(2, 50.0), np.zeros(2), np.zeros(2), np.full(2, -0.5))
    assert rmm(np.zeros(1), np.zeros(1), [block], (2,), "thesis")[0, 1, 2] == pytest.approx(-1.0)


def test_the_output_may_be_reused():
    events = realistic_events(100, seed=9)
    expected = rmm(*events, ROWS[0])
    out = np.full_like(expected, np.nan)
    assert rmm(*events, ROWS[0], out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_no_events_give_no_matrices():
    none = np.zeros(0)
    block = Block(np.zeros(1, np.int64), none, none, none, none)
    assert rmm(none, none, [block, block], (2, 1)).shape == (0, 4, 4)
    stored = pad_objects(none, none, [block, block], (2, 1))
    assert rmm_from_objects(*stored, (2, 1)).shape == (0, 4, 4)


def test_read_only_strided_and_mixed_inputs_give_the_same_bits():
    met, met_phi, blocks = realistic_events(100, seed=10)
    expected = rmm(met, met_phi, blocks, ROWS[0])
    strided = [
        Block(block.offsets.astype(np.int32), *(np.repeat(c, 2)[::2] for c in block[1:])) for block in blocks
    ]
    np.testing.assert_array_equal(rmm(met, met_phi, strided, ROWS[0]), expected)
    for block in blocks:
        block.pt.flags.writeable = False
    np.testing.assert_array_equal(rmm(met, met_phi, blocks, ROWS[0]), expected)
    blocks[0] = blocks[0]._replace(mass=blocks[0].mass.astype(np.float32))
    np.testing.assert_allclose(rmm(met, met_phi, blocks, ROWS[0]), expected, rtol=1e-6, atol=1e-9)


def test_offsets_may_begin_after_the_first_object():
    met, met_phi, blocks = realistic_events(100, seed=11)
    tail = [Block(block.offsets[40:], *block[1:]) for block in blocks]
    np.testing.assert_array_equal(
        rmm(met[40:], met_phi[40:], tail, ROWS[0]), rmm(met, met_phi, blocks, ROWS[0])[40:]
    )


def test_threads_give_the_same_bits():
    events = realistic_events(500, seed=12)
    expected = rmm(*events, ROWS[0])
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda _: rmm(*events, ROWS[0]), range(4)):
            np.testing.assert_array_equal(found, expected)


def test_wrong_arguments_are_refused_with_a_reason():
    met, met_phi, blocks = realistic_events(3, seed=13)
    with pytest.raises(ConfigError, match="no RMM convention 'frette'; use one of chekanov, thesis"):
        rmm(met, met_phi, blocks, ROWS[0], "frette")
    for energy in (0.0, -13.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="at least 1 GeV"):
            rmm(met, met_phi, blocks, ROWS[0], "chekanov", energy)
    with pytest.raises(ConfigError, match="1 to 255 rows"):
        rmm(met, met_phi, blocks, (6, 0, 5, 5))
    with pytest.raises(ProcessingError, match="4 blocks of objects, but rows for 3 types"):
        rmm(met, met_phi, blocks, (6, 6, 5))
    with pytest.raises(ProcessingError, match="block 0 has 4 offsets; 2 events need 3"):
        rmm(met[:2], met_phi[:2], blocks, ROWS[0])
    with pytest.raises(ProcessingError, match="met has 3 events and met_phi 2"):
        rmm(met, met_phi[:2], blocks, ROWS[0])
    short = [blocks[0]._replace(phi=blocks[0].phi[:-1]), *blocks[1:]]
    with pytest.raises(ProcessingError, match="components of block 0 have different lengths"):
        rmm(met, met_phi, short, ROWS[0])
    for offsets in ([0, 2, 1, 2], [-1, 0, 0, 0], [0, 0, 0, 999]):
        wrong = [*blocks[:3], blocks[3]._replace(offsets=np.array(offsets))]
        with pytest.raises(ProcessingError, match="offsets of block 3 must rise"):
            rmm(met, met_phi, wrong, ROWS[0])
    for out in (np.empty((3, 23, 23)), np.empty((3, 23, 22), np.float32)):
        with pytest.raises(ProcessingError, match=r"out must be a float32 array of shape \(3, 23, 23\)"):
            rmm(met, met_phi, blocks, ROWS[0], out=out)

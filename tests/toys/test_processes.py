import numpy as np
import pytest

from tailshard.toys.processes import (
    DIBOSON,
    RESONANCE,
    TTBAR,
    ZJETS,
    decay,
    four_momenta,
    pseudorapidity,
    transverse_momentum,
)

PROCESSES = pytest.mark.parametrize("process", [ZJETS, TTBAR, DIBOSON, RESONANCE], ids=lambda each: each.name)


def _generate(process, events=4000):
    return process.generate(np.random.default_rng(5), events)


def _mass(momenta):
    return np.sqrt(np.maximum(momenta[..., 3] ** 2 - (momenta[..., :3] ** 2).sum(axis=-1), 0))


def test_a_decay_keeps_momentum_and_masses_and_is_isotropic_at_rest():
    rng = np.random.default_rng(1)
    ones = np.ones(20_000)
    parent = four_momenta(rng.exponential(80, 20_000), rng.normal(0, 1, 20_000), 3 * ones, 172.5 * ones)
    first, second = decay(rng, parent, 80.4, 4.7)
    np.testing.assert_allclose(first + second, parent, rtol=1e-9)
    np.testing.assert_allclose(_mass(first), 80.4, rtol=1e-6)
    np.testing.assert_allclose(_mass(second), 4.7, rtol=1e-2)
    at_rest, _ = decay(rng, four_momenta(0 * ones, 0 * ones, 0 * ones, 172.5 * ones), 0, 0)
    cosines = at_rest[:, :3] / at_rest[:, 3:]
    np.testing.assert_allclose(cosines.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose((cosines**2).mean(axis=0), 1 / 3, atol=0.02)


def test_kinematic_quantities_agree_with_their_inputs():
    momenta = four_momenta(np.array([30.0]), np.array([1.2]), np.array([0.5]), np.array([0.0]))
    assert transverse_momentum(momenta) == pytest.approx(30)
    assert pseudorapidity(momenta) == pytest.approx(1.2)


@PROCESSES
def test_a_collision_balances_up_to_soft_momentum(process):
    collisions = _generate(process)
    total = collisions.leptons.sum(axis=1) + collisions.partons.sum(axis=1) + collisions.invisible
    spread = total[:, :2].std()
    assert spread == pytest.approx(6, rel=0.05)


@PROCESSES
def test_charge_is_conserved_and_flavours_are_electrons_or_muons(process):
    collisions = _generate(process)
    present = transverse_momentum(collisions.leptons) > 0
    assert set(np.unique(collisions.flavour)) == {11, 13}
    charge = (collisions.charge * present).sum(axis=1)
    assert np.isin(charge[present.sum(axis=1) == 2], [0]).all()
    assert (abs(charge) <= 1).all()


def test_the_z_has_its_mass_and_the_resonance_too():
    collisions = _generate(ZJETS)
    assert np.median(_mass(collisions.leptons.sum(axis=1))) == pytest.approx(91.19, abs=0.2)
    assert (collisions.invisible == 0).all()
    signal = _generate(RESONANCE)
    system = signal.leptons.sum(axis=1) + signal.partons[:, :4].sum(axis=1) + signal.invisible
    assert np.median(_mass(system)) == pytest.approx(1500, abs=5)
    assert signal.is_b[:, :4].sum(axis=1).tolist() == [2] * len(system)


def test_a_pair_of_tops_has_two_leptons_two_b_quarks_and_neutrinos():
    collisions = _generate(TTBAR)
    assert (transverse_momentum(collisions.leptons) > 0).all()
    assert collisions.is_b[:, :2].all()
    assert np.median(transverse_momentum(collisions.invisible)) > 40


def test_dibosons_have_two_or_three_leptons():
    leptons = (transverse_momentum(_generate(DIBOSON).leptons) > 0).sum(axis=1)
    counts = np.bincount(leptons) / len(leptons)
    np.testing.assert_allclose(counts, [0, 0, 0.75, 0.25], atol=0.03)


@PROCESSES
@pytest.mark.parametrize("generated", [1, 9, 10, 11, 1000])
def test_the_sum_of_weights_is_that_of_every_event_generated(process, generated):
    weights = process.weights(np.arange(generated))
    assert process.sum_of_weights(generated) == pytest.approx(weights.sum())


def test_one_weight_in_ten_of_zjets_is_negative_and_no_other():
    assert (ZJETS.weights(np.arange(1000)) < 0).mean() == 0.1
    for process in (TTBAR, DIBOSON, RESONANCE):
        assert (process.weights(np.arange(1000)) == 1).all()

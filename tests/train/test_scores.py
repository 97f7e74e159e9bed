import numpy as np
import pytest
import torch
from torch import nn

from tailshard.errors import ConfigError, StateError
from tailshard.features.islands import Islands, expand, pack
from tailshard.features.names import PHYSICS_BLOCKS, physics_blocks
from tailshard.learning import Model
from tailshard.models import build
from tailshard.store.stream import Batch
from tailshard.train.background import PRIOR, Background, describe_background
from tailshard.train.scaling import Scaler, presence
from tailshard.train.scores import ENERGIES, SCORES, Outcome, compute_scores

COUNTS = (2, 1)
SIZE = 4
CELLS = SIZE**2
BLOCK = physics_blocks(COUNTS).reshape(-1)
CPU = torch.device("cpu")
ALONE = Scaler("minmax", np.zeros(CELLS, np.float32), np.ones(CELLS, np.float32))


def some_events(count: int, seed: int = 1) -> Islands:
    rng = np.random.default_rng(seed)
    multiplicity = np.stack([rng.integers(0, 3, count), rng.integers(0, 2, count)], axis=1).astype(np.uint8)
    matrices = rng.exponential(1, (count, SIZE, SIZE)).astype(np.float32)
    absent = np.ones((count, SIZE), bool)
    absent[:, 0] = False
    absent[:, 1:3] = np.arange(2) >= multiplicity[:, :1]
    absent[:, 3] = multiplicity[:, 1] < 1
    matrices[absent[:, :, None] | absent[:, None, :]] = 0
    return pack(matrices, multiplicity, COUNTS)


def batches(islands: Islands, weight: np.ndarray, step: int) -> list[Batch]:
    return [
        Batch(islands[at : at + step], weight[at : at + step], np.arange(at, min(at + step, len(weight))), 0)
        for at in range(0, len(weight), step)
    ]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(2)
    return build(Model(name="vae", latent=2, widths=(6,), beta=0.5), CELLS).eval()


@pytest.fixture
def background(network) -> Background:
    islands = some_events(300)
    weight = np.random.default_rng(3).normal(1, 1, 300)
    return describe_background(network, ALONE, batches(islands, weight, 70), COUNTS, CPU)


def test_blocks_are_those_that_cells_are_named_after():
    from tailshard.config import Multiplicities
    from tailshard.features.names import cell_names

    multiplicities = Multiplicities(light_jets=2, b_jets=1, electrons=2, muons=1)
    names = cell_names(multiplicities)
    found = physics_blocks(multiplicities.counts)
    for i, line in enumerate(names):
        for j, name in enumerate(line):
            assert PHYSICS_BLOCKS[found[i, j]] == name.partition("(")[0]


def test_the_background_is_a_weighted_mean_over_events_that_have_the_cell(network):
    islands = some_events(300)
    weight = np.random.default_rng(3).normal(1, 1, 300)
    found = describe_background(network, ALONE, batches(islands, weight, 70), COUNTS, CPU)
    events = torch.from_numpy(expand(islands).reshape(300, CELLS))
    present = presence(islands).numpy()
    w = np.abs(weight)
    with torch.no_grad():
        squares = (events - network(events)).square().numpy().astype(float)
        latent = network.latent(events).numpy().astype(float)
    for cell in range(CELLS):
        kind = BLOCK[cell] == BLOCK
        both = w[:, None] * present[:, kind]
        of_kind = (both * squares[:, kind]).sum() / both.sum()
        mine = w * present[:, cell]
        prior = PRIOR * w.sum()
        expected = ((mine * squares[:, cell]).sum() + prior * of_kind) / (mine.sum() + prior)
        assert found.mean_squares[cell] == pytest.approx(expected, rel=1e-4)
    for block in range(len(PHYSICS_BLOCKS)):
        filled = (w[:, None] * present[:, block == BLOCK]).sum() / w.sum()
        assert found.filled[block] == pytest.approx(filled, rel=1e-5)
    np.testing.assert_allclose(found.latent_mean, np.average(latent, axis=0, weights=w), rtol=1e-4)
    covariance = np.cov(latent.T, aweights=w, ddof=0)
    np.testing.assert_allclose(found.latent_precision, np.linalg.inv(covariance), rtol=1e-3)


def test_batches_do_not_change_the_background(network, background):
    islands, weight = some_events(300), np.random.default_rng(3).normal(1, 1, 300)
    other = describe_background(network, ALONE, batches(islands, weight, 300), COUNTS, CPU)
    np.testing.assert_allclose(other.mean_squares, background.mean_squares, rtol=1e-5)


def test_a_background_survives_json(background):
    again = Background.from_dict(background.to_dict())
    for name in ("mean_squares", "filled", "latent_mean", "latent_precision"):
        np.testing.assert_array_equal(getattr(again, name), getattr(background, name))
    assert again.counts == COUNTS
    with pytest.raises(StateError, match="does not fit"):
        Background.from_dict({**background.to_dict(), "mean_squares": [1.0]})
    with pytest.raises(StateError, match="saved background"):
        Background.from_dict({})


def outcome_of(network, islands: Islands, background=None, **more) -> Outcome:
    events = torch.from_numpy(expand(islands).reshape(len(islands), CELLS))
    return Outcome(network, events, presence(islands), background, **more)


def test_scores_are_what_they_say(network, background):
    islands = some_events(20, seed=9)
    outcome = outcome_of(network, islands, background)
    with torch.inference_mode():
        found = {name: score.numpy() for name, score in compute_scores(outcome, list(SCORES)).items()}
        away = outcome.difference.numpy().astype(float)
        latent = network.latent(outcome.events).numpy().astype(float)
    m = outcome.present.numpy()
    relative = m * away**2 / background.mean_squares
    up = m * np.maximum(away, 0) ** 2 / background.mean_squares
    blocks = np.stack([relative[:, b == BLOCK].sum(1) / background.filled[b] for b in range(7)], axis=1)
    rises = np.stack([up[:, b == BLOCK].sum(1) / background.filled[b] for b in range(7)], axis=1)
    close = {"rtol": 1e-4}
    np.testing.assert_allclose(found["sum"], (away**2).sum(1), **close)
    np.testing.assert_allclose(found["mean"], (away**2).mean(1), **close)
    np.testing.assert_allclose(found["masked_mean"], (m * away**2).sum(1) / m.sum(1), **close)
    np.testing.assert_allclose(found["relative"], relative.sum(1), **close)
    np.testing.assert_allclose(found["blocks"], blocks, **close)
    energies = [PHYSICS_BLOCKS.index(name) for name in ENERGIES]
    np.testing.assert_allclose(found["excess"], rises[:, energies].mean(1), **close)
    z = latent - background.latent_mean
    distance = np.einsum("ni,ij,nj->n", z, background.latent_precision.astype(float), z)
    np.testing.assert_allclose(found["latent_distance"], distance, **close)
    assert all(score.dtype == np.float32 for score in found.values())


def test_less_energy_is_no_excess(network, background):
    islands = some_events(20, seed=9)
    outcome = outcome_of(network, islands, background)
    with torch.inference_mode():
        outcome.__dict__["difference"] = -outcome.difference.abs()
        assert not SCORES["excess"](outcome).any()
        assert SCORES["relative"](outcome).all()


def test_the_divergence_is_added_as_in_training(network):
    islands = some_events(10)
    plain, with_it = (outcome_of(network, islands, add_divergence=choice) for choice in (False, True))
    with torch.inference_mode():
        penalty = 0.5 * network.divergence(plain.events) / 2
        for kind, factor in (("sum", CELLS), ("mean", 1), ("masked_mean", 1)):
            torch.testing.assert_close(SCORES[kind](with_it), SCORES[kind](plain) + factor * penalty)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("relative", "run 'tailshard train'"),
        ("divergence", "vae_small"),
        ("latent_distance", "latent"),
        ("sum", "add_divergence"),
    ],
)
def test_a_score_that_cannot_be_given_says_why(background, kind, message):
    known = None if kind == "relative" else background
    outcome = outcome_of(nn.Linear(CELLS, CELLS), some_events(3), known, add_divergence=kind == "sum")
    with pytest.raises(ConfigError, match=message):
        compute_scores(outcome, [kind])


def test_a_network_without_latent_variables_has_a_background(network):
    islands = some_events(30)
    found = describe_background(
        nn.Linear(CELLS, CELLS), ALONE, batches(islands, np.ones(30), 30), COUNTS, CPU
    )
    assert found.latent_mean.shape == (0,)
    assert Background.from_dict(found.to_dict()).latent_precision.shape == (0, 0)

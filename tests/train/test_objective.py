import numpy as np
import pytest
import torch
from torch import nn

from tailshard.features.islands import Islands, expand, pack
from tailshard.features.names import PHYSICS_BLOCKS, physics_blocks
from tailshard.learning import Model, Training
from tailshard.models import build
from tailshard.store.cells import Statistics
from tailshard.train.objective import Learner, cell_weights, event_losses
from tailshard.train.scaling import Scaler, presence

COUNTS = (2,)
CPU = torch.device("cpu")
PLAIN = Scaler("minmax", np.zeros(9, np.float32), np.ones(9, np.float32))


@pytest.fixture
def islands() -> Islands:
    rng = np.random.default_rng(1)
    multiplicity = rng.integers(0, 3, (200, 1)).astype(np.uint8)
    matrices = rng.random((200, 3, 3)).astype(np.float32)
    absent = np.arange(3) > multiplicity
    matrices[absent[:, :, None] | absent[:, None, :]] = 0
    return pack(matrices, multiplicity, COUNTS)


class Constant(nn.Module):
    """Reconstructs every event as 0.5 everywhere."""

    def forward(self, events: torch.Tensor) -> torch.Tensor:
        return torch.full_like(events, 0.5)


def losses(islands: Islands, weights: np.ndarray | None = None, **training: object) -> np.ndarray:
    made = Training.model_validate(training)
    return event_losses(Learner(Constant()), PLAIN, made, CPU, weights)(islands).numpy()


def test_the_plain_loss_is_the_mean_over_all_cells(islands):
    squares = (expand(islands).reshape(-1, 9) - 0.5) ** 2
    np.testing.assert_allclose(losses(islands), squares.mean(axis=1), rtol=1e-5)


def test_cells_of_absent_objects_are_left_out_where_asked(islands):
    squares = (expand(islands).reshape(-1, 9) - 0.5) ** 2
    present = presence(islands).numpy()
    expected = (squares * present).sum(axis=1) / present.sum(axis=1)
    np.testing.assert_allclose(losses(islands, mask="objects"), expected, rtol=1e-5)


@pytest.mark.parametrize("mask", ["none", "objects"])
def test_cells_count_with_their_weights(islands, mask):
    weights = np.arange(1, 10, dtype=np.float32)
    counted = weights * (presence(islands).numpy() if mask == "objects" else 1)
    squares = (expand(islands).reshape(-1, 9) - 0.5) ** 2
    expected = (squares * counted).sum(axis=1) / np.broadcast_to(counted, squares.shape).sum(axis=1)
    np.testing.assert_allclose(losses(islands, weights, mask=mask), expected, rtol=1e-5)


def test_weights_of_cells_follow_occupancy_or_kind(islands):
    statistics = Statistics.of(islands, np.ones(200))
    share = statistics.occupancy.reshape(-1) / 200
    assert (cell_weights(statistics, COUNTS, "uniform") == 1).all()
    np.testing.assert_allclose(cell_weights(statistics, COUNTS, "occupancy"), share / share.mean(), rtol=1e-6)
    by_kind = cell_weights(statistics, COUNTS, "block")
    block = physics_blocks(COUNTS).reshape(-1)
    sums = np.array([(by_kind * share)[block == number].sum() for number in range(len(PHYSICS_BLOCKS))])
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)
    assert by_kind.mean() == pytest.approx(1)


def test_what_a_network_adds_to_the_loss_is_added(islands):
    network = build(Model(name="vae", latent=2, beta=3.0), 9).eval()
    learner = Learner(network)
    found = event_losses(learner, PLAIN, Training(), CPU)(islands)
    events = torch.from_numpy(expand(islands).reshape(-1, 9))
    expected = (network(events) - events).square().mean(dim=1) + 3.0 * network.divergence(events) / 2
    torch.testing.assert_close(found, expected)

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tailshard.errors import ConfigError, StateError
from tailshard.models import build
from tailshard.store.catalog import read_catalog
from tailshard.store.read import statistics
from tailshard.store.stream import Stream
from tailshard.train.checkpoint import TrainingState
from tailshard.train.loop import Task, fit, train_rank
from tailshard.train.objective import WEIGHT_TREATMENTS
from tailshard.train.scaling import fit as fit_scaler

CPU = torch.device("cpu")
CHANNELS = ("diboson", "top")


@pytest.fixture
def task(store, pipeline):
    def make(model: str = "ae_small", **training: object) -> Task:
        made = pipeline(model, **training)
        scaler = fit_scaler(statistics(store, read_catalog(store), CHANNELS), "minmax")
        return Task(store, CHANNELS, (1, 1, 1, 1), made.model, made.training, scaler)

    return make


def train(task: Task, state: TrainingState | None = None) -> list[TrainingState]:
    states: list[TrainingState] = []
    train_rank(task, 0, 1, CPU, states.append, state)
    return states


def events_of(task: Task, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    stream = Stream(task.store, task.channels, split, 10_000, 1, shuffle=False)
    (batch,) = stream.epoch(0)
    return task.scaler.on("cpu")(torch.from_numpy(batch.features)), torch.from_numpy(batch.weight)


def same_weights(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_network_learns_the_background(task):
    first, *_, last = [state.history[-1] for state in train(task(epochs=15))]
    assert last.validation_loss < 0.2 * first.validation_loss
    assert last.training_loss < 0.2 * first.training_loss


def test_validation_loss_is_the_weighted_mean_over_the_validation_events(task):
    made = task(epochs=1)
    (state,) = train(made)
    network = build(made.model, 25)
    network.load_state_dict(state.network)
    events, weight = events_of(made, "validation")
    with torch.no_grad():
        errors = (network(events) - events).square().mean(dim=1)
    expected = (errors * weight.abs()).sum() / weight.abs().sum()
    assert state.history[0].validation_loss == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("treatment", "expected"),
    [
        ("absolute", [2.0, 1.0, 0.0]),
        ("clip", [0.0, 1.0, 0.0]),
        ("signed", [-2.0, 1.0, 0.0]),
        ("uniform", [1.0, 1.0, 1.0]),
    ],
)
def test_weights_are_treated_as_the_pipeline_says(treatment, expected):
    np.testing.assert_array_equal(WEIGHT_TREATMENTS[treatment](np.array([-2.0, 1.0, 0.0])), expected)


@pytest.mark.parametrize("treatment", WEIGHT_TREATMENTS)
def test_the_gradient_is_that_of_the_weighted_mean_over_the_batch(task, treatment):
    made = task(epochs=1, batch_size=1000, weights=treatment)
    torch.manual_seed(1)
    network = build(made.model, 25)
    by_hand = build(made.model, 25)
    by_hand.load_state_dict(network.state_dict())
    training, validation = (
        Stream(made.store, CHANNELS, split, 1000, 1) for split in ("training", "validation")
    )
    fit(network, made.scaler, made.training, training, validation, CPU, lambda state: None)

    events, weight = events_of(made, "training")
    treated = torch.from_numpy(WEIGHT_TREATMENTS[treatment](weight.numpy()))
    errors = (by_hand(events) - events).square().mean(dim=1)
    ((errors * treated).sum() / treated.abs().sum()).backward()
    for parameter, expected in zip(network.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-4, atol=1e-7)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(task):
    one, other = train(task()), train(task())
    assert same_weights(one[-1].network, other[-1].network)
    assert not same_weights(one[-1].network, train(task(seed=2))[-1].network)


class Noisy(nn.Module):
    """Draws random numbers and keeps buffers: what a resumed run could get wrong."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(cells, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, cells)
        )

    def forward(self, events: torch.Tensor) -> torch.Tensor:
        return self.layers(events)


@pytest.mark.parametrize("model", ["ae_small", "noisy"])
@pytest.mark.parametrize("stop", [1, 3])
def test_resuming_ends_with_the_weights_of_the_undisturbed_run(task, tmp_path, monkeypatch, model, stop):
    monkeypatch.setitem(
        __import__("tailshard.models", fromlist=["MODELS"]).MODELS, "noisy", lambda cells, model: Noisy(cells)
    )
    undisturbed = train(task(model, epochs=4))
    undisturbed[stop - 1].save(tmp_path / "state.pt")
    resumed = train(task(model, epochs=4), TrainingState.load(tmp_path / "state.pt"))
    assert len(resumed) == 4 - stop
    assert same_weights(resumed[-1].network, undisturbed[-1].network)
    assert same_weights(resumed[-1].best.network, undisturbed[-1].best.network)
    assert [metrics.validation_loss for metrics in resumed[-1].history] == [
        metrics.validation_loss for metrics in undisturbed[-1].history
    ]


@pytest.mark.parametrize("model", ["ae_small", "noisy"])
def test_resuming_in_the_middle_of_an_epoch_ends_with_the_same_weights(task, tmp_path, monkeypatch, model):
    monkeypatch.setitem(
        __import__("tailshard.models", fromlist=["MODELS"]).MODELS, "noisy", lambda cells, model: Noisy(cells)
    )
    undisturbed = train(task(model))
    every_batch = train(task(model, checkpoint_minutes=1e-9))
    batches = Stream(task().store, CHANNELS, "training", task().training.batch_size, 1).batches
    assert len(every_batch) == 3 * batches
    for number in (0, batches + 1, 2 * batches - 2):  # in the first epoch there is no best network yet
        assert every_batch[number].unfinished["weight"] > 0
        every_batch[number].save(tmp_path / "state.pt")
        resumed = train(task(model), TrainingState.load(tmp_path / "state.pt"))
        assert same_weights(resumed[-1].network, undisturbed[-1].network)
        assert same_weights(resumed[-1].best.network, undisturbed[-1].best.network)
        assert [(metrics.training_loss, metrics.validation_loss) for metrics in resumed[-1].history] == [
            (metrics.training_loss, metrics.validation_loss) for metrics in undisturbed[-1].history
        ]


@pytest.mark.parametrize("microbatch", [1, 7, 1000])
def test_batches_taken_in_parts_have_the_gradient_of_the_whole(task, microbatch):
    whole = train(task(epochs=1))[-1]
    parts = train(task(epochs=1, microbatch=microbatch))[-1]
    assert parts.history[0].training_loss == pytest.approx(whole.history[0].training_loss, rel=1e-4)
    for name, weight in whole.network.items():
        torch.testing.assert_close(parts.network[name], weight, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.jit")  # torch warns of itself
def test_a_compiled_network_learns_the_same(task):
    eager, compiled = (train(task(epochs=2, compile=choice))[-1] for choice in (False, True))
    assert compiled.network.keys() == eager.network.keys()
    assert compiled.history[-1].validation_loss == pytest.approx(eager.history[-1].validation_loss, rel=1e-3)


def test_a_finished_state_is_not_trained_any_further(task):
    last = train(task())[-1]
    assert train(task(), last) == []


def test_training_stops_when_patience_is_over_and_keeps_the_best(task):
    states = train(task(epochs=40, learning_rate=0.5, patience=2))
    losses = [metrics.validation_loss for metrics in states[-1].history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 2 < 40
    assert states[-1].best.epoch == best + 1
    assert same_weights(states[-1].best.network, states[best].network)
    assert train(task(epochs=40, learning_rate=0.5, patience=2), states[-1]) == []


def test_a_state_of_another_seed_is_refused(task):
    state = train(task(epochs=1))[-1]
    with pytest.raises(StateError, match="seed"):
        train(task(epochs=2, seed=9), state)


def test_a_learning_rate_that_diverges_says_so(task):
    with pytest.raises(ConfigError, match=r"diverged in epoch 1.*learning_rate"):
        train(task(learning_rate=1e30))


def test_batches_larger_than_the_data_are_fine(task):
    states = train(task(batch_size=100_000))
    assert len(states) == 3


def test_metrics_describe_the_epoch(task):
    metrics = train(task(epochs=2))[-1].history[1]
    assert (metrics.epoch, metrics.workers, metrics.device) == (2, 1, "cpu")
    assert metrics.learning_rate == 0.01
    assert metrics.events_per_second == pytest.approx(420 / metrics.seconds)
    assert 0 <= metrics.waited <= metrics.seconds


def test_bfloat16_trains_where_it_is_asked_for(task):
    exact, rounded = (train(task(epochs=1, precision=precision))[-1] for precision in ("float32", "bfloat16"))
    assert not same_weights(exact.network, rounded.network)
    assert rounded.network["encoder.0.weight"].dtype == torch.float32
    assert rounded.history[0].validation_loss == pytest.approx(exact.history[0].validation_loss, rel=0.1)


def test_training_leaves_the_callers_random_numbers_alone(task):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(task(epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_path_of_the_store_stays_small_enough_to_send(task):
    import pickle

    assert len(pickle.dumps(task())) < 5000
    assert isinstance(task().store, Path)

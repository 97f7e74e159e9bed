import json

import numpy as np
import pytest
import torch

from tailshard.errors import ConfigError, StateError
from tailshard.features.islands import Islands, expand, pack
from tailshard.store.cells import Statistics
from tailshard.train.scaling import (
    QUARTILES_OF_NORMAL,
    SCALERS,
    Scaler,
    expand_on_device,
    fit,
    presence,
    presence_of,
    quantile,
    varying,
)


@pytest.fixture
def events() -> np.ndarray:
    events = np.random.default_rng(1).gamma(2.0, 3.0, (500, 3, 3)).astype(np.float32)
    events[:, 2, 2] = 0.1  # not exact in binary: its variance may come out tiny rather than zero
    events[:, 0, 1] = 0
    return events


def as_islands(events: np.ndarray, objects: int = 2) -> Islands:
    return pack(events, np.full((len(events), 1), objects, np.uint8), (2,))


def statistics(events: np.ndarray) -> Statistics:
    return Statistics.of(as_islands(events), np.ones(len(events)))


def scaled(scaler: Scaler, events: np.ndarray) -> np.ndarray:
    return scaler.on("cpu")(torch.from_numpy(events)).numpy()


VARYING = np.array([0, 2, 3, 4, 5, 6, 7])


def test_minmax_maps_training_events_onto_the_unit_interval(events):
    result = scaled(fit(statistics(events), "minmax"), events)[:, VARYING]
    np.testing.assert_allclose(result.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(result.max(axis=0), 1, atol=1e-6)


def test_standard_gives_mean_zero_and_unit_variance(events):
    result = scaled(fit(statistics(events), "standard"), events)[:, VARYING].astype(np.float64)
    np.testing.assert_allclose(result.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(result.std(axis=0), 1, atol=1e-5)


def test_other_events_are_not_clipped(events):
    result = scaled(fit(statistics(events), "minmax"), events * 3)
    assert result.max() > 2


@pytest.mark.parametrize("name", ["minmax", "standard"])
def test_a_cell_that_training_never_filled_is_seen_on_the_scale_of_its_kind(events, name):
    found = statistics(events)
    scaler = fit(found, name)
    factor = scaler.factor.reshape(3, 3)
    np.testing.assert_array_equal(~varying(found), [[0, 1, 0], [0, 0, 0], [0, 0, 1]])
    assert factor[0, 1] == pytest.approx(np.median([factor[0, 2], factor[1, 2]]))
    assert factor[2, 2] == pytest.approx(np.median([factor[0, 0], factor[1, 1]]))
    assert not scaled(scaler, events)[:, 1].any()
    assert np.all(scaled(scaler, events + 7)[:, [1, 8]] > 0.1)


def test_cells_that_all_stand_still_are_not_scaled(events):
    still = np.broadcast_to(events[:1], events.shape)
    np.testing.assert_array_equal(fit(statistics(still), "minmax").factor, 1)


@pytest.mark.parametrize("name", SCALERS)
def test_scalers_survive_json_bit_for_bit(events, name):
    scaler = fit(statistics(events), name)
    restored = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    assert restored.name == name
    np.testing.assert_array_equal(restored.offset, scaler.offset)
    np.testing.assert_array_equal(restored.factor, scaler.factor)
    np.testing.assert_array_equal(restored.absent, scaler.absent)
    np.testing.assert_array_equal(restored.unit, scaler.unit)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({}, id="empty"),
        pytest.param(
            {"name": "minmax", "offset": [1.0], "factor": [1.0, 2.0], "absent": [], "unit": []},
            id="lengths_differ",
        ),
        pytest.param({"name": "minmax", "offset": ["a"], "factor": [1.0]}, id="not_numbers"),
    ],
)
def test_what_is_no_scaler_is_refused(content):
    with pytest.raises(StateError, match="saved scaler"):
        Scaler.from_dict(content)


def test_an_unknown_scaler_names_the_known_ones(events):
    with pytest.raises(ConfigError, match="minmax, standard"):
        fit(statistics(events), "clipped")


# -- scalers of cells that exist -------------------------------------------------------------------


@pytest.fixture
def some() -> Islands:
    """Events of none, one or two objects, with tails."""
    rng = np.random.default_rng(2)
    matrices = rng.lognormal(0, 1.5, (4000, 3, 3)).astype(np.float32)
    multiplicity = rng.integers(0, 3, (4000, 1)).astype(np.uint8)
    absent = np.arange(3) > multiplicity
    matrices[absent[:, :, None] | absent[:, None, :]] = 0
    return pack(matrices, multiplicity, (2,))


def filled(some: Islands) -> tuple[np.ndarray, np.ndarray]:
    matrices = expand(some).reshape(len(some), 9)
    return matrices.astype(np.float64), presence(some).numpy()


def test_quantiles_are_those_of_the_filled_cells_to_the_width_of_a_bin(some):
    matrices, present = filled(some)
    found = Statistics.of(some, np.ones(len(some)))
    for share in (0.25, 0.5, 0.9):
        exact = [np.quantile(matrices[present[:, cell], cell], share) for cell in range(9)]
        np.testing.assert_allclose(quantile(found, share).reshape(-1), exact, rtol=0.05)


def by_hand(name: str, values: np.ndarray) -> np.ndarray:
    """What a scaler makes of the filled values of one cell."""
    if name == "log":
        values = np.log1p(values / np.median(values))
    if name == "robust":
        lower, middle, upper = np.quantile(values, (0.25, 0.5, 0.75))
        return (values - middle) / (upper - lower) * QUARTILES_OF_NORMAL
    return (values - values.mean()) / values.std()


@pytest.mark.parametrize("name", ["occupied", "robust", "log"])
def test_scalers_of_filled_cells_ask_what_a_cell_is_like_when_there_is_one(some, name):
    matrices, present = filled(some)
    scaler = fit(Statistics.of(some, np.ones(len(some))), name)
    result = scaler.on("cpu")(some).numpy()
    assert not result[~present].any()
    for cell in range(9):
        there = present[:, cell]
        expected = by_hand(name, matrices[there, cell])
        np.testing.assert_allclose(result[there, cell], expected, rtol=0.08, atol=0.05)


def test_scaling_with_logarithms_keeps_the_order_of_tails(some):
    scaler = fit(Statistics.of(some, np.ones(len(some))), "log")
    one = pack(np.full((1, 3, 3), 1e3, np.float32), np.full((1, 1), 2, np.uint8), (2,))
    more = pack(np.full((1, 3, 3), 1e5, np.float32), np.full((1, 1), 2, np.uint8), (2,))
    scale = scaler.on("cpu")
    assert (scale(more).clone() > scale(one).clone() + 1).all()


@pytest.mark.parametrize("name", SCALERS)
def test_whole_matrices_islands_and_the_device_path_are_scaled_alike(some, name):
    scaler = fit(Statistics.of(some, np.ones(len(some))), name)
    from_islands = scaler.on("cpu")(some).clone()
    whole = torch.from_numpy(expand(some))
    torch.testing.assert_close(scaler.on("cpu")(whole), from_islands, rtol=1e-5, atol=1e-5)
    parts = torch.from_numpy(some.multiplicity), torch.from_numpy(some.cells), some.counts
    assert torch.equal(expand_on_device(*parts), whole)
    assert torch.equal(presence_of(parts[0], parts[2]), presence(whole))


def test_presence_follows_multiplicities_and_not_zeros():
    events = pack(np.zeros((2, 3, 3), np.float32), np.array([[0], [1]], np.uint8), (2,))
    assert presence(events).sum(dim=1).tolist() == [1, 4]

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tailshard.errors import ConfigError, StateError
from tailshard.train.scaling import Scaler, fit, varying


@pytest.fixture
def events() -> np.ndarray:
    events = np.random.default_rng(1).gamma(2.0, 3.0, (500, 3, 3)).astype(np.float32)
    events[:, 2, 2] = 0.1  # not exact in binary: its variance may come out tiny rather than zero
    events[:, 0, 1] = 0
    return events


def statistics(events: np.ndarray) -> SimpleNamespace:
    exact = events.astype(np.float64)
    return SimpleNamespace(
        minimum=exact.min(axis=0),
        maximum=exact.max(axis=0),
        mean=exact.mean(axis=0),
        variance=exact.var(axis=0),
    )


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


@pytest.mark.parametrize("name", ["minmax", "standard"])
def test_scalers_survive_json_bit_for_bit(events, name):
    scaler = fit(statistics(events), name)
    restored = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    assert restored.name == name
    np.testing.assert_array_equal(restored.offset, scaler.offset)
    np.testing.assert_array_equal(restored.factor, scaler.factor)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({}, id="empty"),
        pytest.param({"name": "minmax", "offset": [1.0], "factor": [1.0, 2.0]}, id="lengths_differ"),
        pytest.param({"name": "minmax", "offset": ["a"], "factor": [1.0]}, id="not_numbers"),
    ],
)
def test_what_is_no_scaler_is_refused(content):
    with pytest.raises(StateError, match="saved scaler"):
        Scaler.from_dict(content)


def test_an_unknown_scaler_names_the_known_ones(events):
    with pytest.raises(ConfigError, match="minmax, standard"):
        fit(statistics(events), "robust")

import numpy as np
import pytest
import torch
from torch import nn

from tailshard.errors import ProcessingError
from tailshard.features.islands import expand
from tailshard.learning import Model, Score
from tailshard.store.catalog import read_catalog
from tailshard.store.layout import events_group
from tailshard.store.read import ShardReader, read_rows, statistics
from tailshard.train.checkpoint import LoadedModel
from tailshard.train.scaling import SCALERS, fit, varying
from tailshard.tune import merit as module
from tailshard.tune.disturb import DISTURBANCES
from tailshard.tune.merit import Reconstruction, Separation, Validation, explained, unscaled

CHANNELS = ("diboson", "top")


class Affine(nn.Module):
    """A network whose reconstruction is ``factor * events + shift``, cell by cell."""

    def __init__(self, factor, shift) -> None:
        super().__init__()
        self.factor, self.shift = (nn.Parameter(torch.as_tensor(each).float()) for each in (factor, shift))

    def forward(self, events):
        return self.factor * events + self.shift


def model(scaler, factor=1.0, shift=0.0) -> LoadedModel:
    return LoadedModel(Affine(factor, shift).eval(), scaler, Model(), 5, 1, 0.0, "")


@pytest.fixture
def events(store) -> Validation:
    return Validation(store, read_catalog(store), CHANNELS)


@pytest.fixture
def scalers(store):
    found = statistics(store, read_catalog(store), CHANNELS)
    return {name: fit(found, name) for name in SCALERS}


def test_chunks_are_small_and_hold_every_validation_event_once(events):
    chunks = list(events.chunks())
    assert all(
        len(rows.islands) <= events.catalog.geometry.chunk == len(chunks[0].islands) for rows in chunks
    )
    assert sum(len(rows.islands) for rows in chunks) == 60 + 30
    weight = np.concatenate([read_rows(events.store, "diboson", ["weight"], 300, 360)["weight"]])
    np.testing.assert_array_equal(np.concatenate([rows.weight for rows in chunks])[:60], weight)
    assert len({rows.place for rows in chunks}) == len(chunks)


@pytest.mark.parametrize("name", SCALERS)
def test_a_scaling_can_be_undone(store, scalers, name):
    islands = ShardReader(store).read_islands("diboson", 0, 100)
    found = unscaled(scalers[name], scalers[name].on("cpu")(islands).double())
    np.testing.assert_allclose(found, expand(islands).reshape(100, -1), rtol=1e-4, atol=1e-5)


# -- reconstruction --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCALERS)
def test_a_perfect_reconstruction_explains_everything_whatever_the_scaler(events, scalers, name):
    found = Reconstruction(events)(model(scalers[name]))
    assert found.value == pytest.approx(1, abs=1e-6)
    assert found.parts == {"explained": found.value}


def test_the_mean_explains_nothing(events, scalers):
    assert Reconstruction(events)(model(scalers["occupied"], factor=0.0)).value == 0


def test_equal_reconstructions_are_equally_good_whatever_the_scaler(events, scalers):
    """What one network does in one scaling, another does in another: losses differ, the merit does not."""
    here, there = scalers["minmax"], scalers["occupied"]
    ratio = torch.from_numpy(there.factor / here.factor).double()
    # In the scaling of `occupied`, y = 0.7 x + 0.1.
    moved = torch.from_numpy((here.offset - there.offset) * there.factor).double()
    shift = (0.7 * moved + 0.1 - moved) / ratio
    one = Reconstruction(events)(model(there, 0.7, 0.1))
    other = Reconstruction(events)(model(here, 0.7, shift))
    assert one.value == pytest.approx(other.value, rel=1e-4)
    assert one.uncertainty == pytest.approx(other.uncertainty, rel=1e-3)
    assert 0.5 < one.value < 0.95


def test_the_explained_share_is_that_of_the_formula(events, scalers, store):
    found = Reconstruction(events)(model(scalers["occupied"], 0.5))
    of_cells = statistics(store, read_catalog(store), CHANNELS)
    rows = {
        channel: read_rows(store, channel, ["rmm", "weight"], *where)
        for channel, where in (("diboson", (300, 360)), ("top", (120, 150)))
    }
    matrices = np.concatenate([each["rmm"] for each in rows.values()]).astype(float)
    weight = np.abs(np.concatenate([each["weight"] for each in rows.values()]))
    varies = varying(of_cells)
    x = (matrices - of_cells.mean)[:, varies] / np.sqrt(of_cells.variance[varies])  # no cell is ever zero
    missed, total = weight @ np.square(0.5 * x).sum(axis=1), weight @ np.square(x).sum(axis=1)
    assert found.value == pytest.approx(1 - missed / total, rel=1e-4) == pytest.approx(0.75, rel=1e-4)


def test_the_uncertainty_is_the_spread_over_samples():
    random = np.random.default_rng(1)
    values, told = [], []
    for _ in range(400):
        d = random.exponential(1, 300)
        n = d * random.uniform(0, 0.5, 300)
        found = explained(n.sum(), d.sum(), (n * n).sum(), (n * d).sum(), (d * d).sum())
        values.append(found.value)
        told.append(found.uncertainty)
    assert np.mean(told) == pytest.approx(np.std(values), rel=0.1)


def test_what_is_not_finite_is_refused(events, scalers):
    with pytest.raises(ProcessingError, match="not finite"):
        Reconstruction(events)(model(scalers["minmax"], float("nan")))
    with pytest.raises(ProcessingError, match="not finite"):
        Separation(events, Score(), 1)(model(scalers["minmax"], float("inf")))


# -- separation ------------------------------------------------------------------------------------


def test_the_area_is_that_of_the_scores_of_the_events_themselves(events, scalers):
    judged, judge = model(scalers["occupied"], 0.3), Separation(events, Score(), seed=5)
    found = judge(judged)
    for name, disturb in DISTURBANCES.items():
        ordinary, anomalous, weights = [], [], []
        for rows in events.chunks():
            disturbed = disturb(rows.islands, judge._generator(name, rows.place))
            ordinary.append(judged.errors(rows.islands)[disturbed.rows])
            anomalous.append(judged.errors(disturbed.islands))
            weights.append(rows.weight[disturbed.rows])
        s, b, w = (np.concatenate(each) for each in (anomalous, ordinary, weights))
        area = w @ (s[:, None] > b).astype(float) @ w / w.sum() ** 2
        assert found.parts[name] == pytest.approx(area, abs=5e-3)
    assert found.value == pytest.approx(np.mean(list(found.parts.values())))
    assert 0 < found.uncertainty < 0.2


def test_every_trial_is_asked_about_the_same_events(events, scalers):
    judged = model(scalers["occupied"], 0.3)
    one, same, other = (Separation(events, Score(), seed)(judged) for seed in (1, 1, 2))
    assert one == same
    assert one.parts["energetic"] == other.parts["energetic"]
    assert one.parts["shuffled"] != other.parts["shuffled"]


def test_a_score_that_knows_nothing_is_chance(events, scalers):
    found = Separation(events, Score(), 1)(model(scalers["occupied"]))  # every error is rounding or zero
    assert found.parts["shuffled"] == pytest.approx(0.5, abs=0.1)


def test_nothing_of_the_signal_is_read(events, scalers, monkeypatch):
    asked = set()

    class Recording(ShardReader):
        def read(self, channel, name, start, stop, out=None):
            asked.add(channel)
            return super().read(channel, name, start, stop, out)

        def read_islands(self, channel, *arguments):
            asked.add(channel)
            return super().read_islands(channel, *arguments)

    monkeypatch.setattr(module, "ShardReader", Recording)
    Reconstruction(events)(model(scalers["standard"]))
    Separation(events, Score(), 1)(model(scalers["standard"], 0.5))
    assert asked == set(CHANNELS)
    assert (events_group(events.store) / "signal").is_dir()

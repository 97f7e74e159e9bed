import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tailshard.errors import StateError, WorkdirError
from tailshard.features.islands import Islands, expand
from tailshard.learning import Model
from tailshard.models import build
from tailshard.train.checkpoint import Best, TrainingState, load_model, save_model, weights_of
from tailshard.train.metrics import EpochMetrics
from tailshard.train.scaling import Scaler

SIZE = 4
CELLS = SIZE**2
MODEL = Model(latent=3)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(1)
    return build(MODEL, CELLS)


@pytest.fixture
def scaler() -> Scaler:
    rng = np.random.default_rng(1)
    factor = rng.random(CELLS, np.float32)
    factor[3] = 0
    return Scaler("minmax", rng.random(CELLS, np.float32), factor)


@pytest.fixture
def model_file(tmp_path, network, scaler):
    path = tmp_path / "model.pt"
    save_model(path, Best(2, 0.25, weights_of(network)), MODEL, scaler, SIZE, "snapshot")
    return path


def test_a_loaded_model_gives_the_sum_of_squared_scaled_differences(model_file, network, scaler):
    features = np.random.default_rng(2).random((7, SIZE, SIZE), np.float32)
    scaled = (features.reshape(7, CELLS) - scaler.offset) * scaler.factor
    with torch.no_grad():
        reconstruction = network(torch.from_numpy(scaled)).numpy()
    errors = load_model(model_file).errors(features)
    assert errors.dtype == np.float32
    np.testing.assert_allclose(errors, ((scaled - reconstruction) ** 2).sum(axis=1), rtol=1e-5)


def test_no_events_have_no_errors(model_file):
    assert load_model(model_file).errors(np.empty((0, SIZE, SIZE), np.float32)).shape == (0,)


def test_a_read_only_array_is_scored_without_a_warning(model_file):
    features = np.ones((2, SIZE, SIZE), np.float32)
    features.flags.writeable = False
    assert load_model(model_file).errors(features).shape == (2,)


def test_a_model_remembers_where_it_comes_from(model_file):
    loaded = load_model(model_file)
    assert (loaded.epoch, loaded.validation_loss, loaded.snapshot) == (2, 0.25, "snapshot")
    assert (loaded.model, loaded.size) == (MODEL, SIZE)
    assert not loaded.network.training


def test_a_model_file_holds_only_tensors_and_plain_values(model_file):
    assert set(torch.load(model_file, weights_only=True)) >= {"state_dict", "model", "scaler", "features"}


@pytest.mark.parametrize("shape", [(2, SIZE + 1, SIZE + 1), (2, CELLS), (SIZE, SIZE)])
def test_matrices_of_another_size_are_refused(model_file, shape):
    with pytest.raises(StateError, match="4 x 4"):
        load_model(model_file).errors(np.zeros(shape, np.float32))


def test_a_model_that_was_never_trained_is_a_missing_stage(tmp_path):
    with pytest.raises(WorkdirError, match="train one first"):
        load_model(tmp_path / "model.pt")


def corrupt(path, how):
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "text":
        path.write_text("not a model")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "bare_tensor":
        torch.save(torch.ones(3), path)
    elif how == "pickled_module":
        torch.save(nn.Linear(2, 2), path)
    else:
        content = torch.load(path, weights_only=True)
        if how == "foreign_dictionary":
            content = {"state_dict": {}}
        elif how == "wrong_size":
            content["features"] = SIZE + 1
        elif how == "wrong_latent":
            content["model"]["latent"] = 5
        elif how == "no_scaler":
            del content["scaler"]
        torch.save(content, path)


@pytest.mark.parametrize(
    "how",
    [
        "truncated",
        "text",
        "empty",
        "bare_tensor",
        "pickled_module",
        "foreign_dictionary",
        "wrong_size",
        "wrong_latent",
        "no_scaler",
    ],
)
def test_a_file_that_is_no_model_of_ours_is_refused_by_name(model_file, how):
    corrupt(model_file, how)
    with pytest.raises(StateError, match=r"model\.pt"):
        load_model(model_file)


@pytest.fixture
def state(network) -> TrainingState:
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(2, CELLS)).sum().backward()
    optimizer.step()
    return TrainingState(
        network=weights_of(network),
        optimizer=optimizer.state_dict(),
        position={"snapshot": "abc", "seed": 1, "epoch": 1, "batch": 0},
        best=Best(1, 0.5, weights_of(network)),
        history=(EpochMetrics(1, 0.6, 0.5, 1.0, 0.1, 0.0, 100.0, 1e-3, 1, "cpu"),),
        unfinished={},
    )


def test_a_training_state_survives_the_disk_bit_for_bit(tmp_path, state, network):
    state.save(tmp_path / "state.pt")
    restored = TrainingState.load(tmp_path / "state.pt")
    assert restored.history == state.history
    assert restored.position == state.position
    assert (restored.best.epoch, restored.best.validation_loss) == (1, 0.5)
    for name, value in state.network.items():
        assert torch.equal(restored.network[name], value)
        assert torch.equal(restored.best.network[name], state.best.network[name])
    optimizer = torch.optim.Adam(network.parameters())
    optimizer.load_state_dict(restored.optimizer)
    assert torch.equal(optimizer.state_dict()["state"][0]["exp_avg"], state.optimizer["state"][0]["exp_avg"])


def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trap"),)

    for holds in ({"version": 2, "state_dict": Trap()}, Trap()):
        torch.save(holds, tmp_path / "model.pt")
        with pytest.raises(StateError, match="damaged or was not written by tailshard"):
            load_model(tmp_path / "model.pt")
        with pytest.raises(StateError, match="damaged or was not written by tailshard"):
            TrainingState.load(tmp_path / "model.pt")
    assert not (tmp_path / "trap").exists()


def test_a_network_of_somebodys_own_is_imported_only_where_the_pipeline_names_it(
    tmp_path, network, scaler, monkeypatch
):
    (tmp_path / "trap_module.py").write_text(
        "from pathlib import Path\n"
        "from tailshard.models import ae\n"
        "Path(__file__).with_name('imported').touch()\n"
        "def network(cells, model):\n"
        "    return ae(cells, model)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    named = Model(name="trap_module:network", latent=3)
    path = tmp_path / "model.pt"
    weights = weights_of(build(Model(name="ae", latent=3), CELLS))
    save_model(path, Best(1, 0.1, weights), named, scaler, SIZE, "snapshot")
    for others in ("", "ae_small", "trap_module:other"):
        with pytest.raises(StateError, match="made by 'trap_module:network', which is code"):
            load_model(path, others)
    assert not (tmp_path / "imported").exists()
    assert load_model(path, "trap_module:network").model == named
    assert (tmp_path / "imported").exists()


def test_kept_weights_do_not_change_with_the_network(network):
    kept = weights_of(network)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    assert not torch.equal(kept["encoder.0.weight"], network.state_dict()["encoder.0.weight"])


def test_a_state_of_another_version_is_refused(tmp_path, state, monkeypatch):
    monkeypatch.setattr("tailshard.train.checkpoint.STATE_VERSION", 99)
    state.save(tmp_path / "state.pt")
    monkeypatch.undo()
    with pytest.raises(StateError, match="version 99"):
        TrainingState.load(tmp_path / "state.pt")


def test_a_damaged_state_is_refused(tmp_path, state):
    replace(state).save(tmp_path / "state.pt")
    corrupt(tmp_path / "state.pt", "truncated")
    with pytest.raises(StateError, match="damaged"):
        TrainingState.load(tmp_path / "state.pt")


def test_an_incomplete_state_is_refused(tmp_path):
    torch.save({"version": 2, "network": {}}, tmp_path / "state.pt")
    with pytest.raises(StateError, match="not a whole training state"):
        TrainingState.load(tmp_path / "state.pt")


@pytest.mark.parametrize("name", ["minmax", "log"])
def test_a_reconstruction_is_in_the_units_of_the_cells_and_blank_where_nothing_is(
    tmp_path, network, name
) -> None:
    rng = np.random.default_rng(3)
    offset, factor, unit = rng.uniform(0.5, 2, (3, CELLS)).astype(np.float32)
    scaler = Scaler(name, offset, factor, unit=unit if name == "log" else np.zeros(0, np.float32))
    save_model(tmp_path / "model.pt", Best(1, 0.1, weights_of(network)), MODEL, scaler, SIZE, "snapshot")
    loaded = load_model(tmp_path / "model.pt")
    multiplicity = np.array([[3], [1]], np.uint8)
    cells = rng.uniform(-1, 5, 16 + 4).astype(np.float32)
    events = Islands((3,), multiplicity, cells)
    found = loaded.reconstruct(events)
    whole = expand(events).reshape(2, CELLS)
    scaled = whole
    if name == "log":
        scaled = np.sign(scaled) * np.log1p(np.abs(scaled) / unit)
    scaled = (scaled - offset) * factor
    with torch.no_grad():
        made = network.eval()(torch.from_numpy(scaled)).numpy()
    np.testing.assert_allclose(found.difference[0].reshape(-1), (scaled - made)[0], rtol=1e-4, atol=1e-5)
    plain = made / factor + offset
    plain = np.sign(plain) * np.expm1(np.abs(plain)) * unit if name == "log" else plain
    np.testing.assert_allclose(found.cells[0].reshape(-1), plain[0], rtol=1e-4, atol=1e-5)
    assert np.isnan(found.cells[1]).sum() == 16 - 4
    assert np.isfinite(found.cells[1, :2, :2]).all()

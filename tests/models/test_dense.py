import pytest
import torch
from torch import nn

from tailshard.errors import ConfigError
from tailshard.learning import Model
from tailshard.models import MODELS, build

CELLS = 529


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        pytest.param("ae_small", 439_749, id="small_as_published"),
        # The published code has 350 units where its text has 300: 1,241,599 minus 50 x (200 + 1 + 450).
        pytest.param("ae_large", 1_241_599 - 50 * (200 + 1 + 450), id="large_as_described_in_the_text"),
    ],
)
def test_networks_have_the_parameters_of_the_original_search(name, count):
    network = build(Model(name=name), CELLS)
    assert parameters(network) == count
    assert f"{count:,}" in MODELS[name].__doc__


def test_small_network_is_tanh_then_leaky_layers():
    network = build(Model(name="ae_small", latent=10), 16)
    events = torch.rand(5, 16)
    first, _, narrow, _ = network.encoder
    (last, _) = network.decoder
    by_hand = nn.functional.leaky_relu(narrow(torch.tanh(first(events))), 0.3)
    by_hand = nn.functional.leaky_relu(last(by_hand), 0.3)
    torch.testing.assert_close(network(events), by_hand)
    assert narrow.out_features == 10


def test_the_same_seed_builds_the_same_network():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build(Model(), 16).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    def write(source: str) -> None:
        (tmp_path / "my_models.py").write_text("from torch import nn\n" + source)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_models", raising=False)
    return write


def test_a_model_of_the_user_is_built_by_its_name(plugin):
    plugin("def linear(cells, model): return nn.Linear(cells, cells)")
    assert isinstance(build(Model(name="my_models:linear"), 9), nn.Linear)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("def make(cells, model): return nn.Linear(cells, 3)", r"to \(2, 3\)", id="wrong_output"),
        pytest.param(
            "def make(cells, model): return nn.Linear(4, cells)", "fails on an input", id="wrong_input"
        ),
        pytest.param("def make(cells, model): return 'network'", "gives a str", id="not_a_network"),
        pytest.param(
            "def make(cells): return nn.Linear(cells, cells)", "cannot be made", id="wrong_signature"
        ),
        pytest.param("def make(cells, model): return nn.Identity()", "no parameters", id="nothing_to_train"),
    ],
)
def test_a_model_of_the_user_that_cannot_work_is_refused(plugin, source, message):
    plugin(source)
    with pytest.raises(ConfigError, match=message):
        build(Model(name="my_models:make"), 9)


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(ConfigError, match="ae_small, ae_large"):
        build(Model(name="ae_tiny"), CELLS)

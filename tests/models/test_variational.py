import pytest
import torch

from tailshard.learning import Model
from tailshard.models import MODELS, build

CELLS = 16
VARIATIONAL = ("vae_small", "vae_large", "vae")


@pytest.mark.parametrize(
    ("name", "count"),
    # The published code of the large one had a layer of 529 + 529 x 529 parameters that led nowhere.
    [("vae_small", 519_249), ("vae_large", 875_829)],
)
def test_networks_have_the_parameters_of_the_original_search(name, count):
    network = build(Model(name=name), 529)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert f"{count:,}" in MODELS[name].__doc__


@pytest.mark.parametrize("name", VARIATIONAL)
def test_the_whole_network_is_restored_and_has_one_reconstruction(name):
    model = Model(name=name, latent=3)
    torch.manual_seed(1)
    network, other = build(model, CELLS).eval(), build(model, CELLS).eval()
    events = torch.rand(5, CELLS)
    assert torch.equal(network(events), network(events))
    assert not torch.equal(network(events), other(events))
    other.load_state_dict(network.state_dict())
    assert torch.equal(network(events), other(events))
    torch.testing.assert_close(network(events), network.decoder(network.latent(events)))


@pytest.mark.parametrize("name", VARIATIONAL)
def test_training_draws_and_the_random_seed_decides(name):
    network = build(Model(name=name, latent=3), CELLS)
    network.train()
    events = torch.rand(5, CELLS)
    torch.manual_seed(4)
    first = network(events)
    assert not torch.equal(network(events), first)
    torch.manual_seed(4)
    assert torch.equal(network(events), first)


def test_the_divergence_is_that_of_normal_distributions():
    network = build(Model(name="vae", latent=3, widths=(8,)), CELLS)
    events = torch.rand(50, CELLS)
    mean, log_variance = network._encode(events)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    exact = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(network.divergence(events), exact)


@pytest.mark.parametrize("latent", [2, 6])
def test_beta_weighs_the_mean_divergence_of_a_latent_variable(latent):
    network = build(Model(name="vae", latent=latent, beta=0.25), CELLS).eval()
    events = torch.rand(7, CELLS)
    _, penalty = network.learn(events)
    torch.testing.assert_close(penalty, 0.25 * network.divergence(events) / latent)


def test_an_event_far_outside_does_not_overflow():
    network = build(Model(name="vae_small", latent=3), CELLS).train()
    for output in network.learn(torch.full((2, CELLS), 1e6)):
        assert torch.isfinite(output).all()


@pytest.mark.parametrize("widths", [(), (8,), (12, 8)])
@pytest.mark.parametrize("name", ["ae", "vae"])
def test_widths_lead_down_and_back_up(name, widths):
    network = build(Model(name=name, latent=2, widths=widths), CELLS)
    linear = [layer.out_features for layer in network.encoder if isinstance(layer, torch.nn.Linear)]
    assert linear[: len(widths)] == list(widths)
    back = [layer.out_features for layer in network.decoder if isinstance(layer, torch.nn.Linear)]
    assert back == [*reversed(widths), CELLS]
    assert network.latent(torch.rand(3, CELLS)).shape == (3, 2)

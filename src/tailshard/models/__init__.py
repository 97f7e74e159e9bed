"""Networks that learn to reconstruct events, and nothing else.

A model is a callable ``(cells, learning.Model) -> torch.nn.Module``. A pipeline names a built-in one or its
own ``module:object``. What tailshard asks of the module:

``forward(events)``
    Scaled events (n, cells) to reconstructions (n, cells).
``latent(events)``, if it has one
    Latent variables (n, k), without chance; for scores in the latent space.
``learn(events)``, if it has one
    Reconstructions, and a penalty (n,) that training adds to the loss of each event.
``divergence(events)``, if it has one
    Divergence (n,) of the latent distribution from its prior in nats, without chance; for scores.

In evaluation mode ``forward`` must not draw random numbers: an event has one score.
"""

from collections.abc import Callable

import torch
from torch import nn

from ..errors import ConfigError
from ..learning import Model
from ..registry import resolve
from .dense import Autoencoder, ae, ae_large, ae_small
from .variational import VariationalAutoencoder, vae, vae_large, vae_small

__all__ = ["MODELS", "Autoencoder", "VariationalAutoencoder", "build"]

MODELS: dict[str, Callable[[int, Model], nn.Module]] = {
    "ae_small": ae_small,
    "ae_large": ae_large,
    "vae_small": vae_small,
    "vae_large": vae_large,
    "ae": ae,
    "vae": vae,
}


def build(model: Model, cells: int) -> nn.Module:
    """Make the untrained network that a pipeline names, in float32 on the CPU.

    Parameters
    ----------
    model
        Name and size.
    cells
        Numbers that describe an event: the square of the matrix's size.

    Raises
    ------
    ConfigError
        There is no such model, or it is not a network from `cells` to `cells` numbers.
    """
    maker = resolve("model", model.name, MODELS)
    try:
        network = maker(cells, model)
    except Exception as error:
        raise ConfigError(f"model '{model.name}' cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"model '{model.name}' gives a {type(network).__name__}; expected a torch.nn.Module "
            "from a callable (cells, model)"
        )
    _check(network, model.name, cells)
    return network


def _check(network: nn.Module, name: str, cells: int) -> None:
    """Let two empty events through, so that a wrong shape shows before any worker starts."""
    training = network.training
    try:
        with torch.no_grad():
            output = network.eval()(torch.zeros(2, cells))
    except Exception as error:
        raise ConfigError(
            f"model '{name}' fails on an input of shape (2, {cells}): {type(error).__name__}: {error}"
        ) from error
    network.train(training)
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != (2, cells):
        raise ConfigError(f"model '{name}' maps (2, {cells}) to {shape}; expected (2, {cells})")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError(f"model '{name}' has no parameters to train")

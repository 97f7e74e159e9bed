"""Variational autoencoders: the latent layer is a normal distribution for each event.

D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", arXiv:1312.6114, with the weight beta
of I. Higgins et al., "beta-VAE" (ICLR 2017). The loss of an event is

    mean over cells of (x - reconstruction)^2  +  beta x mean over latent variables of KL(q || N(0, 1)),

two means, so that beta means the same for every batch size, matrix and latent layer. A decoder of normal
distributions with variance v is beta = 2 v x latent / cells.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..learning import Model
from .dense import Layer, dense, leaky

LARGEST_LOG_VARIANCE = 10.0
"""Bound on the logarithm of variances, either way: an event far outside must not overflow."""


class VariationalAutoencoder(nn.Module):
    """Encoder to mean and log variance, and decoder, in one module: saved and restored together.

    Training draws the latent variables, evaluation takes their mean: an event has one reconstruction.

    Parameters
    ----------
    cells
        Width of input and output.
    encoder, decoder
        Layers before and after the latent one; the last of the decoder must be `cells` wide.
    latent
        Latent variables.
    beta
        Weight of the divergence, see the head of this module.
    """

    def __init__(
        self, cells: int, encoder: Sequence[Layer], latent: int, decoder: Sequence[Layer], beta: float
    ) -> None:
        super().__init__()
        width = encoder[-1][0] if encoder else cells
        self.encoder = dense(cells, encoder)
        self.mean = dense(width, [(latent, nn.Identity)])
        self.log_variance = dense(width, [(latent, nn.Identity)])
        self.decoder = dense(latent, decoder)
        self.beta = beta

    def forward(self, events: Tensor) -> Tensor:
        """Reconstruct scaled events, (n, cells) to (n, cells)."""
        return self.learn(events)[0]

    def learn(self, events: Tensor) -> tuple[Tensor, Tensor]:
        """Give reconstructions (n, cells) and what the divergence adds to the loss of each event (n,)."""
        mean, log_variance = self._encode(events)
        latent = mean
        if self.training:
            latent = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        penalty = self.beta * _divergence(mean, log_variance) / mean.shape[1]
        return self.decoder(latent), penalty

    def latent(self, events: Tensor) -> Tensor:
        """Give the mean of the latent variables of scaled events, (n, cells) to (n, latent)."""
        return self._encode(events)[0]

    def divergence(self, events: Tensor) -> Tensor:
        """Give KL(q || N(0, 1)) in nats, summed over the latent variables, (n, cells) to (n,)."""
        return _divergence(*self._encode(events))

    def _encode(self, events: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(events)
        bound = LARGEST_LOG_VARIANCE
        return self.mean(hidden), self.log_variance(hidden).clamp(-bound, bound)


def _divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    mean, log_variance = mean.float(), log_variance.float()
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2


def vae_small(cells: int, model: Model) -> VariationalAutoencoder:
    """One layer as wide as the event, the latent variables, and back: 519,249 parameters at 529 cells.

    The original's output was a sigmoid, which reaches no scaled cell outside [0, 1]; here it is leaky as
    in the autoencoders, for every scaler.
    """
    return VariationalAutoencoder(cells, [(cells, nn.ReLU)], model.latent, [(cells, leaky)], model.beta)


def vae_large(cells: int, model: Model) -> VariationalAutoencoder:
    """Three layers down and four up: 875,829 parameters at 529 cells; output as in `vae_small`."""
    down: list[Layer] = [(400, nn.Tanh), (300, nn.ReLU), (200, leaky)]
    return VariationalAutoencoder(cells, down, model.latent, [*reversed(down), (cells, leaky)], model.beta)


def vae(cells: int, model: Model) -> VariationalAutoencoder:
    """Layers of the pipeline's own widths down and up, tanh between them; the last one is linear."""
    down: list[Layer] = [(width, nn.Tanh) for width in model.widths]
    up: list[Layer] = [*reversed(down), (cells, nn.Identity)]
    return VariationalAutoencoder(cells, down, model.latent, up, model.beta)

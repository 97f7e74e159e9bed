"""Dense autoencoders: fully connected layers down to a narrow one and back up."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ..learning import Model

Layer = tuple[int, Callable[[], nn.Module]]
"""Width and activation."""


def leaky() -> nn.Module:
    """LeakyReLU with the slope 0.3 for negative values, as in the networks of the original search."""
    return nn.LeakyReLU(0.3)


class Autoencoder(nn.Module):
    """An encoder and a decoder of dense layers.

    Weights start as Glorot uniform and biases at zero, the way the original search's networks did.

    Parameters
    ----------
    cells
        Width of input and output.
    encoder, decoder
        Layers in order; the last of the decoder must be `cells` wide.
    """

    def __init__(self, cells: int, encoder: Sequence[Layer], decoder: Sequence[Layer]) -> None:
        super().__init__()
        self.encoder = dense(cells, encoder)
        self.decoder = dense(encoder[-1][0], decoder)

    def forward(self, events: Tensor) -> Tensor:
        """Reconstruct scaled events, (n, cells) to (n, cells)."""
        reconstruction: Tensor = self.decoder(self.encoder(events))
        return reconstruction

    def latent(self, events: Tensor) -> Tensor:
        """Give the latent variables of scaled events, (n, cells) to (n, latent)."""
        latent: Tensor = self.encoder(events)
        return latent


def ae_small(cells: int, model: Model) -> Autoencoder:
    """One layer as wide as the event, the latent layer, and back: 439,749 parameters at 529 cells."""
    return Autoencoder(cells, encoder=[(cells, nn.Tanh), (model.latent, leaky)], decoder=[(cells, leaky)])


def ae_large(cells: int, model: Model) -> Autoencoder:
    """Four layers down and four up: 1,209,049 parameters at 529 cells.

    The decoder mirrors the encoder's 300, as the thesis describes it; its code had 350.
    """
    return Autoencoder(
        cells,
        encoder=[(cells, nn.Tanh), (450, nn.Tanh), (300, leaky), (200, nn.ReLU), (model.latent, leaky)],
        decoder=[(200, nn.ReLU), (300, leaky), (450, nn.Tanh), (cells, leaky)],
    )


def ae(cells: int, model: Model) -> Autoencoder:
    """Layers of the pipeline's own widths down and up, tanh between them; the last one is linear.

    The latent layer is tanh as well: bounded, so that the network cannot follow an event beyond those it
    has learned from.
    """
    down: list[Layer] = [(width, nn.Tanh) for width in model.widths]
    return Autoencoder(cells, [*down, (model.latent, nn.Tanh)], [*reversed(down), (cells, nn.Identity)])


def dense(width: int, layers: Sequence[Layer]) -> nn.Sequential:
    """Make fully connected layers behind an input of some width."""
    modules: list[nn.Module] = []
    for next_width, activation in layers:
        linear = nn.Linear(width, next_width)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        modules += [linear, activation()]
        width = next_width
    return nn.Sequential(*modules)

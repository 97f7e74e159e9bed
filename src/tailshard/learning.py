"""The network of a search, and how it learns."""

from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field, model_validator

from .parts import Name, Part, PluginName, Positive

WHERE_IT_RUNS = frozenset(
    {"workers", "use_gpu", "maximum_restarts", "reader_threads", "cache", "checkpoint_minutes"}
)
"""Fields of `Training` that do not decide what is learned; an interrupted run may change them."""


class Model(Part):
    """The network."""

    name: PluginName = "ae_small"
    """ae_small, ae_large, vae_small, vae_large, ae and vae with `widths` of your own, or 'module:object'."""
    latent: Positive = 150
    """Width of the latent layer."""
    widths: tuple[Positive, ...] = (64,)
    """Widths of the layers of ae and vae before the latent layer; the same ones lead back up."""
    beta: float = Field(default=1e-3, ge=0)
    """Weight of the divergence of a vae: its mean over the latent layer (nats), beside the mean squared error
    over the cells. Depends neither on the batch size nor on the numbers of cells and latent variables."""


ScoreKind = Literal[
    "sum", "mean", "masked_mean", "relative", "excess", "divergence", "latent_distance", "blocks"
]


class Score(Part):
    """How anomalous an event is, given what the network makes of it."""

    kind: ScoreKind = "sum"
    """The error that the search is made with. sum: of the squared differences over all cells. mean: of them.
    masked_mean: over the cells of objects that exist. relative: their sum, each in units of the background's
    mean squared difference. excess: of energies and masses above their reconstruction, in the same units,
    each kind of cell alike. divergence: of the latent distribution (vae). latent_distance: squared
    Mahalanobis distance of the latent variables from the background."""
    also: tuple[ScoreKind, ...] = ()
    """Other scores to write beside it, each an array score_<kind>; blocks is (events, blocks): relative, by
    kind of cell."""
    add_divergence: bool = False
    """Add the divergence to sum, mean and masked_mean, weighted as in training."""

    @model_validator(mode="after")
    def _error_is_one_number(self) -> "Score":
        if self.kind == "blocks":
            raise ValueError("score.kind must be one number for each event; put blocks into score.also")
        return self

    @property
    def kinds(self) -> tuple[ScoreKind, ...]:
        """Everything to compute, the error first."""
        return tuple(dict.fromkeys((self.kind, *self.also)))


class Sampling(Part):
    """How often an epoch of training reads the events of a channel.

    Weights are scaled along, so that the channel counts for as much as before.
    """

    factor: float = Field(default=1.0, gt=0)
    """Times that each event is read: 0.5 reads half of them, other ones in every epoch."""
    at_most: Positive | None = None
    """Events read in an epoch."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Part of the channel's events that training sees at all: the same ones in every epoch, by the seed.
    `factor` counts from them: a share of 0.01 with a factor of 100 makes an epoch of the usual length."""


Seed = Annotated[int, Field(ge=0)]


class Training(Part):
    """How the network is trained."""

    channels: tuple[Name, ...] | None = None
    """Channels to learn from; every background where left out."""
    epochs: Positive = 10
    batch_size: Positive = 1024
    """Events in a global batch, over all workers."""
    learning_rate: float = Field(default=1.5e-3, gt=0)
    scaler: Literal["minmax", "standard", "occupied", "robust", "log"] = "minmax"
    """minmax: onto [0, 1]. standard: mean 0, variance 1. occupied: the same, of cells that are not zero.
    robust: by their median and quartiles. log: their logarithm, then as occupied."""
    cell_weights: Literal["uniform", "occupancy", "block"] = "uniform"
    """What a cell counts in the loss. uniform: all alike. occupancy: as the share of training events in which
    it is not zero. block: every kind of cell (MET, mT, hL, ET, dET, m, h) alike."""
    mask: Literal["none", "objects"] = "none"
    """objects: cells of absent objects are left out of the loss."""
    weights: Literal["absolute", "clip", "signed", "uniform"] = "absolute"
    """Treatment of event weights in the loss. absolute: |w|. clip: negative weights become zero.
    signed: as they are (unbiased, may diverge). uniform: one for each event."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where a GPU has it, float32 elsewhere."""
    microbatch: Positive | None = None
    """Events that a worker computes at once, where its part of a batch does not fit into memory; the
    gradients of the parts add up."""
    compile: bool | Literal["auto"] = "auto"
    """Compile the network with torch.compile; auto: on a GPU (on a CPU it was not faster)."""
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    """Minutes between two saved states within an epoch; the end of an epoch is always saved."""
    patience: Positive = 5
    """Epochs without a better validation loss before training stops."""
    seed: Seed = 1
    """Decides the weights that the network begins with and the order of events."""
    seeds: tuple[Seed, ...] = ()
    """Seeds of an ensemble: one network for each. The search is made with the first, `seed`; the others say
    how far its numbers hang on chance."""
    workers: Positive | Literal["auto"] = "auto"
    """Data-parallel workers; auto: one for each GPU, or one for every two CPUs and 256 events of a batch."""
    use_gpu: bool | Literal["auto"] = "auto"
    shuffle_chunks: Positive = 64
    """Chunks in the shuffle window; its memory is shuffle_chunks x store.chunk events."""
    sampling: dict[Name, Sampling] = Field(default_factory=dict)
    """Channels of which an epoch reads more or less than all events."""
    reader_threads: Positive = 1
    """Threads of each worker that read and decode; they do not change the order of events."""
    cache: Annotated[ByteSize, Field(ge=0)] = ByteSize(1_000_000_000)
    """Memory of each worker for events kept from one epoch to the next, such as 4 GB; 0 reads all anew."""
    maximum_restarts: int = Field(default=2, ge=0)
    """Worker failures survived by restarting from the last checkpoint."""

    @model_validator(mode="before")
    @classmethod
    def _seed_is_the_first(cls, content: Any) -> Any:
        seeds = content.get("seeds") if isinstance(content, dict) else None
        if isinstance(seeds, list | tuple) and seeds and "seed" not in content:
            return {**content, "seed": seeds[0]}
        return content

    @model_validator(mode="after")
    def _seeds_agree(self) -> "Training":
        if twice := sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1}):
            raise ValueError(f"training.seeds names {twice} more than once; a seed gives one network")
        if self.seeds and self.seed != self.seeds[0]:
            raise ValueError(
                f"training.seed is {self.seed} and training.seeds begins with {self.seeds[0]}; leave seed "
                "out, or begin seeds with it: the search is made with the first"
            )
        return self

    def of_seed(self, seed: int) -> "Training":
        """Give the training of one network of an ensemble: the same but for the seed."""
        return self.model_copy(update={"seed": seed, "seeds": ()})

"""The network of a search, and how it learns."""

from typing import Annotated, Literal

from pydantic import ByteSize, Field

from .parts import Name, Part, PluginName, Positive

WHERE_IT_RUNS = frozenset(
    {"workers", "use_gpu", "maximum_restarts", "reader_threads", "cache", "checkpoint_minutes"}
)
"""Fields of `Training` that do not decide what is learned; an interrupted run may change them."""


class Model(Part):
    """The network."""

    name: PluginName = "ae_small"
    """ae_small, ae_large or 'module:object'."""
    latent: Positive = 150
    """Width of the latent layer."""


class Sampling(Part):
    """How often an epoch of training reads the events of a channel.

    Weights are scaled along, so that the channel counts for as much as before.
    """

    factor: float = Field(default=1.0, gt=0)
    """Times that each event is read: 0.5 reads half of them, other ones in every epoch."""
    at_most: Positive | None = None
    """Events read in an epoch."""


class Training(Part):
    """How the network is trained."""

    channels: tuple[Name, ...] | None = None
    """Channels to learn from; every background where left out."""
    epochs: Positive = 10
    batch_size: Positive = 1024
    """Events in a global batch, over all workers."""
    learning_rate: float = Field(default=1.5e-3, gt=0)
    scaler: Literal["minmax", "standard"] = "minmax"
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
    seed: int = Field(default=1, ge=0)
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

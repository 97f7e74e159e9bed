"""How the settings of a network are sought: the space that `tailshard tune` draws from, and the judge."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, JsonValue, Tag, ValidationError, model_validator

from .learning import WHERE_IT_RUNS, Seed
from .parts import Part, Positive

FIXED = frozenset({"seed", "seeds", "epochs", "channels", "sampling"}) | WHERE_IT_RUNS
"""Fields of `Training` that are not sought: chance, what `tune` says itself, what the events are, and where
training runs."""

SomePart = TypeVar("SomePart", bound=Part)


class Range(Part):
    """Numbers between two ends; exactly one of the three."""

    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    """Uniform in the logarithm; both ends are positive."""
    integer: tuple[int, int] | None = None
    """Whole numbers, both ends included."""

    @model_validator(mode="after")
    def _rises(self) -> "Range":
        if [self.uniform, self.log_uniform, self.integer].count(None) != 2:
            raise ValueError(
                "write one of uniform, log_uniform and integer, with two ends: {uniform: [0, 1]}"
            )
        low, high = self.ends
        if not low < high:
            raise ValueError(f"a range must rise, found [{low:g}, {high:g}]")
        if self.log_uniform and low <= 0:
            raise ValueError(f"a logarithmic range has positive ends, found [{low:g}, {high:g}]")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest number."""
        return self.uniform or self.log_uniform or self.integer or (0.0, 0.0)

    def at(self, place: float) -> float | int:
        """Give the number at a place from 0 (the lower end) to 1."""
        low, high = self.ends
        if self.log_uniform:
            return float(low * (high / low) ** place)
        if self.integer:
            return min(int(low) + int(place * (int(high) - int(low) + 1)), int(high))
        return float(low + place * (high - low))


def _what_it_is(values: Any) -> str:
    return "list" if isinstance(values, list | tuple) else "range"


Choice = Annotated[tuple[JsonValue, ...], Field(min_length=1)]
Values = Annotated[
    Annotated[Choice, Tag("list")] | Annotated[Range, Tag("range")], Discriminator(_what_it_is)
]
"""Of a field: a list, one of which is drawn, or a range."""


class Tune(Part):
    """The search of `tailshard tune` for good settings, on background alone."""

    space: dict[str, Values] = Field(min_length=1)
    """Dotted field of model, training or score -> its values: a list, one of which is drawn, or a range."""
    trials: Positive = 16
    """Settings to draw and train with, beside the pipeline's own."""
    epochs: Positive = 5
    """Epochs of every trial, in place of training.epochs."""
    seed: Seed = 1
    """Of the draws and of the disturbances; the network's is training.seed, for all trials."""
    scheduler: Literal["asha", "none"] = "asha"
    """asha: stop a trial that is behind the others after 1, 3, 9 ... epochs (Asynchronous Successive
    Halving). none: train all to the end."""
    figure_of_merit: Literal["separation", "reconstruction"] = "separation"
    """How a trial is judged, on validation events of what it learns from. separation: AUC of score.kind
    between these events and the same ones disturbed. reconstruction: explained share of the variance."""

    @model_validator(mode="after")
    def _fields_can_be_sought(self) -> "Tune":
        for name in self.space:
            part, dot, key = name.partition(".")
            if part not in ("model", "training", "score") or not dot:
                raise ValueError(f"space.{name}: only fields of model, training and score can be sought")
            if part == "training" and key in FIXED:
                raise ValueError(f"space.{name}: this is not sought; tune itself has seed and epochs")
            if part == "score" and self.figure_of_merit == "reconstruction":
                raise ValueError(f"space.{name}: the figure of merit 'reconstruction' knows no score")
            if name == "score.also":
                raise ValueError(f"space.{name}: trials are judged by score.kind alone")
        return self

    def check(self, parts: Mapping[str, Part]) -> None:
        """Try every value, and both ends of ranges, alone.

        Parameters
        ----------
        parts
            The pipeline's own: model, training, score.

        Raises
        ------
        ValueError
            A part has no such field, or cannot have such a value.
        """
        for name, values in self.space.items():
            part, _, key = name.partition(".")
            if key not in type(parts[part]).model_fields:
                known = ", ".join(sorted(set(type(parts[part]).model_fields) - FIXED))
                raise ValueError(f"tune.space.{name}: {part} has no field '{key}'; it has {known}")
            for value in _tried(values):
                try:
                    changed(parts[part], {key: value})
                except ValidationError as error:
                    problem = error.errors(include_url=False)[0]
                    raise ValueError(
                        f"tune.space.{name} cannot be {value!r}: {problem['msg'].lower()}"
                    ) from None


def _tried(values: Values) -> Iterator[Any]:
    yield from (values.at(0), values.at(1)) if isinstance(values, Range) else values


def changed(part: SomePart, values: Mapping[str, Any]) -> SomePart:
    """Copy a part with other values of some fields, validated."""
    return type(part).model_validate({**part.model_dump(mode="json"), **values})

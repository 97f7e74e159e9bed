"""Settings drawn from the space of a pipeline: pure functions of the pipeline."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..config import Pipeline
from ..tuning import Range, Tune, changed

Settings = Mapping[str, Any]
"""Dotted field -> value."""

_DRAWS_FOR_A_NEW_ONE = 200


def draw(tune: Tune) -> list[dict[str, Any]]:
    """Draw the settings of every trial; those of trial 0 are empty, it is the pipeline as it stands.

    A value depends on the seed, the number of the draw and the name of the field, so that more trials are
    the same ones and some new ones. No settings are drawn twice; a small space may give fewer than asked for.
    """
    trials: list[dict[str, Any]] = [{}]
    number = 0
    for _ in range(tune.trials):
        for _ in range(_DRAWS_FOR_A_NEW_ONE):
            number += 1
            settings = {name: _value(tune, name, number) for name in tune.space}
            if settings not in trials:
                trials.append(settings)
                break
        else:
            break
    return trials


def _value(tune: Tune, name: str, number: int) -> Any:
    key = hashlib.blake2b(f"{tune.seed}/{number}/{name}".encode(), digest_size=8).digest()
    generator = np.random.default_rng(int.from_bytes(key, "little"))
    values = tune.space[name]
    if isinstance(values, Range):
        value = values.at(float(generator.random()))
        return float(f"{value:.4g}") if isinstance(value, float) else value
    return values[int(generator.integers(len(values)))]


def with_settings(pipeline: Pipeline, settings: Settings) -> Pipeline:
    """Give the pipeline of a trial: one network, the epochs of a trial, and its settings.

    Raises
    ------
    pydantic.ValidationError
        The settings do not go together.
    """
    assert pipeline.tune is not None
    parts: dict[str, Any] = {
        "model": pipeline.model,
        "score": pipeline.score,
        "training": pipeline.training.of_seed(pipeline.training.seed).model_copy(
            update={"epochs": pipeline.tune.epochs}
        ),
    }
    for name, part in parts.items():
        mine = {key.partition(".")[2]: value for key, value in settings.items() if key.startswith(f"{name}.")}
        parts[name] = changed(part, mine) if mine else part
    return pipeline.model_copy(update=parts)


def as_options(settings: Settings) -> list[str]:
    """Write settings as what follows ``--set``."""
    return [f"{name}={json.dumps(value)}" for name, value in settings.items()]


def as_fragment(settings: Settings) -> dict[str, dict[str, Any]]:
    """Nest settings as they stand in a pipeline file."""
    fragment: dict[str, dict[str, Any]] = {}
    for part, key, value in _parted(settings):
        fragment.setdefault(part, {})[key] = value
    return fragment


def _parted(settings: Settings) -> Iterator[tuple[str, str, Any]]:
    for name, value in settings.items():
        part, _, key = name.partition(".")
        yield part, key, value

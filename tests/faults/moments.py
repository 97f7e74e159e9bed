"""When to disturb: seeded moments, spread over the phases of a run as long as they take undisturbed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .driver import STAGE_OF


@dataclass(frozen=True)
class Moment:
    """A time after a run has begun with a phase."""

    phase: str
    delay: float
    """Seconds."""

    def __str__(self) -> str:
        return f"{self.delay:.2f} s into '{self.phase}'"


def durations(phases: Mapping[str, float], end: float) -> dict[str, float]:
    """Turn the times at which phases began, and that of the end, into how long each took."""
    names = list(phases)
    times = [*phases.values(), end]
    return {name: times[number + 1] - times[number] for number, name in enumerate(names)}


def draw(seed: int, count: int, lasted: Mapping[str, float], *, longest: float = 6.0) -> list[Moment]:
    """Draw moments in the order of the run.

    Every stage has its turn before one has a second; within a stage a phase comes as often as it is long.

    Parameters
    ----------
    seed, count
        Of the random numbers; of moments.
    lasted
        Phase -> seconds, undisturbed.
    longest
        Delays in seconds are at most this, so that a long campaign does not only wait.
    """
    random = np.random.default_rng([seed, 1])
    stages: dict[str, list[str]] = {}
    for phase in lasted:
        stages.setdefault(STAGE_OF[phase], []).append(phase)
    moments = []
    for number in range(count):
        phases = list(stages.values())[number % len(stages)]
        seconds = np.array([lasted[phase] for phase in phases])
        phase = phases[random.choice(len(phases), p=seconds / seconds.sum())]
        moments.append(Moment(phase, float(random.uniform(0, min(lasted[phase], longest)))))
    order = list(STAGE_OF)
    return sorted(moments, key=lambda moment: (order.index(moment.phase), moment.delay))

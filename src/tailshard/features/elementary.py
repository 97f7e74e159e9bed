"""Elementary functions that vectorise, and give the same bits on every machine.

Cosines, sines and exponentials are Taylor series in reduced arguments. Only correctly rounded operations
(+ - * /) remain, where a mathematics library may do as it likes; they agree with it to 2e-14.
"""

import math

from .compilation import compiled

_ONE_TURN = 2 * math.pi
# Taylor coefficients, highest power first.
_SINE = tuple((-1) ** (n // 2) / math.factorial(n) for n in range(17, 0, -2))
_COSINE = tuple((-1) ** (n // 2) / math.factorial(n) for n in range(16, -1, -2))
_EXPONENTIAL = tuple(1 / math.factorial(n) for n in range(12, -1, -1))


@compiled
def polynomial(coefficients: tuple[float, ...], x: float) -> float:
    """Value of a polynomial, coefficients of the highest power first."""
    total = 0.0
    for coefficient in coefficients:
        total = total * x + coefficient
    return total


@compiled
def cosine_and_sine(phi: float) -> tuple[float, float]:
    """Cosine and sine of any finite angle, from those of a quarter of it."""
    turn = phi - _ONE_TURN * math.floor(phi / _ONE_TURN + 0.5)
    # Angles beyond 1e15 have lost their meaning in float64; the limit keeps them finite.
    quarter = min(max(turn, -math.pi), math.pi) / 4
    square = quarter * quarter
    sine = quarter * polynomial(_SINE, square)
    cosine_of_half = 1 - 2 * sine * sine
    sine_of_half = 2 * sine * polynomial(_COSINE, square)
    return 1 - 2 * sine_of_half * sine_of_half, 2 * sine_of_half * cosine_of_half


@compiled
def exponential(x: float) -> float:
    """exp(x) for 0 <= x <= 20, as exp(x/64)^64."""
    power = polynomial(_EXPONENTIAL, x / 64)
    for _ in range(6):
        power *= power
    return power


@compiled
def limited(value: float, lowest: float, highest: float) -> float:
    """Nearest value that is allowed."""
    return min(max(value, lowest), highest)

import pytest

from tailshard.report.wording import (
    NOTHING,
    candidates_in_words,
    count,
    listed,
    measured,
    number,
    observed,
    percent,
    plural,
    probability,
)


@pytest.mark.parametrize(
    ("value", "uncertainty", "words"),
    [
        (0.93412, 0.01234, "0.934\u00a0±\u00a00.012"),
        (15.784, 0.5617, "15.78\u00a0±\u00a00.56"),
        (4587.375, 88.447, "4\u202f587\u00a0±\u00a088"),
        (123456.0, 2345.0, "123\u202f456\u00a0±\u00a02\u202f345"),
        (0.98, 0.0996, "0.98\u00a0±\u00a00.10"),
        (-3.21, 0.4, "−3.21\u00a0±\u00a00.40"),
        (0.0, 1.7, "0.0\u00a0±\u00a01.7"),
        (4.2e-6, 3e-7, "(4.20\u00a0±\u00a00.30) × 10⁻⁶"),
        (1.5e9, 2e8, "(1.50\u00a0±\u00a00.20) × 10⁹"),
        (1.0, 20.0, "1\u00a0±\u00a020"),
        (2.0, 0.0, "2.00"),
        (2.0, None, "2.00"),
        (None, None, NOTHING),
        (float("nan"), 1.0, NOTHING),
    ],
)
def test_a_value_is_rounded_with_its_uncertainty(value, uncertainty, words) -> None:
    assert measured(value, uncertainty) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (1.23456, "1.23"),
        (1234.5, "1\u202f234"),
        (-0.244, "−0.244"),
        (9.999, "10.0"),
        (0.00012, "1.20 × 10⁻⁴"),
        (-1.2e8, "−1.20 × 10⁸"),
        (None, NOTHING),
        (float("inf"), NOTHING),
    ],
)
def test_a_number_keeps_three_digits(value, words) -> None:
    assert number(value) == words


def test_whole_numbers_are_parted_in_thousands() -> None:
    assert count(1234567) == "1\u202f234\u202f567"
    assert count(None) == observed(None) == NOTHING
    assert observed(7096.0) == "7\u202f096"
    assert observed(12.5) == "12.50"


def test_shares_are_written_in_per_cent() -> None:
    assert percent(0.744) == "74.4 %"
    assert percent(None) == NOTHING


def test_words_are_joined_as_in_a_sentence() -> None:
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert [plural(1, "worker"), plural(2, "worker")] == ["1 worker", "2 workers"]


def test_candidates_are_named_by_their_share_unless_a_limit_left_some_out() -> None:
    facts = {"count": 100, "fraction": 0.01, "limited": False}
    assert candidates_in_words(facts) == "the most anomalous 1 % of the data, 100 events"
    assert "maximum_candidates allows no more" in candidates_in_words({**facts, "limited": True})


def test_a_p_value_too_small_to_be_meant_is_only_bounded() -> None:
    assert probability(0.0456) == "0.046"
    assert probability(3e-15) == probability(0.0) == "< 10⁻¹²"
    assert probability(None) == NOTHING

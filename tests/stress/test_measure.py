"""Slots become spectra, the same for any number of workers."""

from typing import Any

import numpy as np
import pytest
from tests.clusters import threads_of_this_process
from tests.collisions import GEOMETRY

from tailshard.errors import ProcessingError
from tailshard.progress import silent
from tailshard.search.filling import ERROR, log10_error
from tailshard.store.layout import SPLITS
from tailshard.store.read import ShardReader
from tailshard.stress.disturbances import DISTURBANCES, OF_CELLS
from tailshard.stress.measure import EVENTS, KEPT, TAKEN, Sums, measure, quantities_of, spectrum_of
from tailshard.train.checkpoint import load_model


def _measured(
    small: Any, client: Any, names: tuple[str, ...] = DISTURBANCES, seed: int = 1
) -> dict[str, Sums]:
    search = (small.pipeline, small.store, small.catalog, small.model)
    return measure(*search, {"zjets": names, "ttbar": names, "heavy": ()}, seed, client, silent)


@pytest.fixture(scope="module")
def sums(small: Any, client: Any) -> dict[str, Sums]:
    return _measured(small, client)


def test_the_undisturbed_events_are_the_test_events(small: Any, sums: dict[str, Sums]) -> None:
    reader, network = ShardReader(small.store), load_model(small.model)
    for channel, its in sums.items():
        errors, weights, met = [], [], []
        for slot in small.catalog.slots_of(channel):
            where = small.catalog.geometry.split_range(slot, "test")
            if where[0] == where[1]:
                continue
            errors.append(network.errors(reader.read_islands(channel, *where)))
            weights.append(reader.read(channel, "weight", *where) * small.catalog.scale(slot))
            met.append(reader.read(channel, "met", *where))
        weight = np.concatenate(weights)
        for quantity, values in ((ERROR, log10_error(np.concatenate(errors))), ("met", np.concatenate(met))):
            edges = its[KEPT, quantity].axes[0].edges
            expected, _ = np.histogram(values, np.concatenate([[-np.inf], edges, [np.inf]]), weights=weight)
            found = sum(spectrum_of(its, sample, quantity).values for sample in (KEPT, TAKEN))
            # Float32 products in another order may move an event by a bin.
            assert np.abs(np.cumsum(found - expected)).max() <= 1.01 * np.abs(weight).max()
        assert its[KEPT, EVENTS] + its[TAKEN, EVENTS] == small.catalog.rows(channel, "test") == len(weight)


def test_half_of_the_events_is_disturbed_and_loses_no_weight(small: Any, sums: dict[str, Sums]) -> None:
    assert {sample for sample, _ in sums["heavy"]} == {KEPT, TAKEN}, "signals are left as they are"
    for its in (sums["zjets"], sums["ttbar"]):
        taken = spectrum_of(its, TAKEN, ERROR).values.sum()
        for name in DISTURBANCES:
            known = {quantity for sample, quantity in its if sample == name}
            assert known == {EVENTS, *quantities_of(name)}
            total = spectrum_of(its, name, ERROR).values.sum()
            if name in ("noise", "gaussian"):
                assert total == its[name, EVENTS] == its[KEPT, EVENTS] + its[TAKEN, EVENTS]
            else:
                assert its[name, EVENTS] == its[TAKEN, EVENTS]
                assert total == pytest.approx(taken)
        assert abs(its[KEPT, EVENTS] - its[TAKEN, EVENTS]) <= len(SPLITS)


def test_harder_leptons_have_more_met_and_larger_errors(sums: dict[str, Sums]) -> None:
    def mean(sample: str, quantity: str) -> float:
        values = spectrum_of(sums["zjets"], sample, quantity).values
        return float(values @ np.arange(len(values)) / values.sum())

    for quantity in (ERROR, "met", "m_eff"):
        order = [mean(sample, quantity) for sample in (TAKEN, "momentum_3", "momentum_10")]
        assert order == sorted(order), quantity


def test_one_worker_and_two_give_the_same_numbers(small: Any, sums: dict[str, Sums]) -> None:
    with threads_of_this_process(1) as alone:
        again = _measured(small, alone)
    assert again.keys() == sums.keys()
    for channel, its in sums.items():
        assert its.keys() == again[channel].keys()
        for name, value in its.items():
            assert value == again[channel][name], (channel, name)


def test_the_seed_decides_what_is_disturbed(small: Any, client: Any, sums: dict[str, Sums]) -> None:
    other = _measured(small, client, OF_CELLS, seed=2)["zjets"]
    assert other[KEPT, ERROR] != sums["zjets"][KEPT, ERROR]
    assert other["noise", ERROR] != sums["zjets"]["noise", ERROR]


def test_an_error_that_is_no_number_is_refused(small: Any, client: Any, tmp_path: Any) -> None:
    import torch

    content = torch.load(small.model, weights_only=True)
    content["state_dict"] = {
        name: torch.full_like(value, torch.nan) for name, value in content["state_dict"].items()
    }
    (tmp_path / "model").mkdir()
    torch.save(content, tmp_path / "model" / "model.pt")
    broken = small._replace(model=tmp_path / "model" / "model.pt")
    with pytest.raises(ProcessingError, match=r"slot \d, events 'kept': .* have no finite error"):
        _measured(broken, client, ())


def test_a_chunk_is_smaller_than_a_slot(small: Any) -> None:
    """Else none of these tests would see a boundary of chunks."""
    assert max(small.catalog.rows(name, "test") for name in small.pipeline.channels) > GEOMETRY.chunk

"""The robustness tests of a small search, with the real training and the real workers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.collisions import make_model, make_pipeline, make_store

from tailshard.errors import ConfigError
from tailshard.stress.disturbances import DISTURBANCES, MOMENTUM
from tailshard.stress.stage import TESTS, Places, Plan, stress


class Workdir:
    """A work directory, and how often workers were asked for."""

    def __init__(self, folder: Path, client: Any, **changes: Any) -> None:
        self.pipeline, self.client, self.asked = make_pipeline(**changes), client, 0
        self.places = Places(*(folder / name for name in ("store", "model", "results", "report", "stress")))
        catalog = make_store(self.places.store, self.pipeline)
        make_model(self.places.model, self.pipeline, self.places.store, catalog)

    @contextmanager
    def workers(self) -> Iterator[Any]:
        self.asked += 1
        yield self.client

    def stress(self, *tests: str, **plan: Any) -> dict[str, Any]:
        chosen = Plan(tests or TESTS, **plan)
        return stress(self.pipeline, self.places, chosen, self.workers, in_process=True)


@pytest.fixture(scope="module")
def workdir(client: Any, tmp_path_factory: pytest.TempPathFactory) -> Workdir:
    return Workdir(tmp_path_factory.mktemp("work"), client)


def test_tests_add_up_and_nothing_is_done_twice(workdir: Workdir) -> None:
    first = workdir.stress("removal", channels=("ttbar",))
    assert list(first["removed"]) == ["ttbar"]
    assert first["removed"]["ttbar"]["training"]["channels"] == ["zjets"]
    assert set(first["networks"]) == {"full"}
    assert first["networks"]["full"]["disturbed"] == {}
    assert set(first["networks"]["full"]["channels"]) == {"zjets", "ttbar"}
    assert not (workdir.places.stress / "without-zjets").exists()

    everything = workdir.stress(channels=("ttbar",))
    assert list(everything["networks"]["full"]["disturbed"]) == list(DISTURBANCES)
    assert set(everything["networks"]["small"]["signals"]) == {"heavy", "heavier"}
    assert everything["removed"]["ttbar"] == first["removed"]["ttbar"]
    for row in everything["networks"]["full"]["disturbed"].values():
        assert 0 <= row["auc"]["error"]["value"] <= 1
        assert row["auc"]["error"]["uncertainty"] > 0
    assert workdir.asked == 2

    again = workdir.stress("momentum")
    assert workdir.asked == 2, "everything was there"
    assert again == everything, "what was not asked for again is still shown"
    assert again == json.loads((workdir.places.results / "stress.json").read_text())
    page = (workdir.places.report / "stress.html").read_text()
    for told in ("Channel removal", "electrons and muons swapped", "ttbar", "Fewer training events"):
        assert told in page
    assert page.count("data:image/svg+xml") == 3

    other = workdir.stress("momentum", seed=2)
    assert other["removed"] == {}
    assert list(other["networks"]["full"]["disturbed"]) == list(MOMENTUM)
    assert other["networks"]["full"]["disturbed"] != again["networks"]["full"]["disturbed"]


def test_a_network_that_never_learned_a_channel_needs_no_other(client: Any, tmp_path: Path) -> None:
    workdir = Workdir(tmp_path, client, training={"channels": ["zjets"]})
    found = workdir.stress("removal", channels=("ttbar",))
    assert found["removed"]["ttbar"]["model"] == found["networks"]["full"]["model"]
    assert found["removed"]["ttbar"]["row"] == found["networks"]["full"]["channels"]["ttbar"]
    assert not workdir.places.stress.joinpath("without-ttbar").exists()
    with pytest.raises(ConfigError, match="without zjets there is nothing to learn from"):
        workdir.stress("removal", channels=("zjets",))


def test_a_single_background_has_nothing_to_be_removed(client: Any, tmp_path: Path) -> None:
    workdir = Workdir(tmp_path, client, channels=("zjets",))
    assert workdir.stress("removal", "unphysical")["removed"] == {}
    page = (workdir.places.report / "stress.html").read_text()
    assert "No channel was removed" in page
    assert "none is needed here" in page


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ({"tests": ("removel",)}, r"no robustness test \['removel'\]; choose from removal, momentum"),
        ({"share": 1.0}, "must be between 0 and 1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Plan(**plan)


def test_a_channel_that_is_not_there_is_refused(workdir: Workdir) -> None:
    with pytest.raises(ConfigError, match="heavy: no background channel with test events; choose from zjets"):
        workdir.stress("removal", channels=("heavy",))

"""Networks that learn from less."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.collisions import make_pipeline

from tailshard.progress import silent
from tailshard.stress.networks import Network, on_share, train_missing, without_channel
from tailshard.train.checkpoint import load_model


def test_a_removed_channel_is_not_learned_from() -> None:
    pipeline = make_pipeline(training={"sampling": {"zjets": {"factor": 0.5}, "ttbar": {"factor": 2}}})
    learned = without_channel(pipeline, "zjets")
    assert learned.training_channels == ("ttbar",)
    assert list(learned.training.sampling) == ["ttbar"]
    assert learned.model_copy(update={"training": pipeline.training}) == pipeline, "nothing else changed"


def test_a_share_is_read_as_often_as_everything_was() -> None:
    pipeline = make_pipeline(training={"sampling": {"ttbar": {"factor": 2, "share": 0.5, "at_most": 7}}})
    sampling = on_share(pipeline, 0.01).training.sampling
    assert sampling["zjets"].model_dump() == {"factor": 100, "at_most": None, "share": 0.01}
    assert sampling["ttbar"].model_dump() == {"factor": 200, "at_most": 7, "share": 0.005}
    assert set(sampling) == {"zjets", "ttbar"}


@pytest.fixture(scope="module")
def folder(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("networks")
    networks = [
        Network("without ttbar", without_channel(small.pipeline, "ttbar"), folder / "without"),
        Network("small", on_share(small.pipeline, 0.1), folder / "small"),
    ]
    train_missing(networks, small.store, small.catalog, silent, in_process=True)
    return folder


def _told(network: Network, small: Any) -> list[str]:
    told: list[str] = []
    train_missing([network], small.store, small.catalog, lambda what, *_: told.append(what), in_process=True)
    return [what for what in told if what.startswith("Training the network")]


def test_networks_are_trained_once(small: Any, folder: Path) -> None:
    network = Network("small", on_share(small.pipeline, 0.1), folder / "small")
    assert network.is_trained(small.catalog)
    assert _told(network, small) == []
    facts = network.facts(small.catalog)
    rows = {name: small.catalog.rows(name, "training") for name in ("zjets", "ttbar")}
    assert facts["events"] == {name: round(0.1 * many) for name, many in rows.items()}
    assert facts["epochs"] == 2
    load_model(network.model)


@pytest.mark.parametrize("change", ["share", "settings", "events", "model"])
def test_a_network_is_trained_again_when_what_it_comes_from_changed(
    small: Any, folder: Path, tmp_path: Path, change: str
) -> None:
    shutil.copytree(folder / "small", tmp_path / "small")
    pipeline = on_share(small.pipeline, 0.2 if change == "share" else 0.1)
    if change == "settings":
        training = pipeline.training.model_copy(update={"learning_rate": 0.01})
        pipeline = pipeline.model_copy(update={"training": training})
    catalog = small.catalog
    if change == "events":
        catalog = catalog.changed(scales={})
    if change == "model":
        (tmp_path / "small" / "model.pt").write_bytes(b"other")
    network = Network("small", pipeline, tmp_path / "small")
    assert not network.is_trained(catalog)


def test_where_it_trains_does_not_matter(small: Any, folder: Path) -> None:
    training = small.pipeline.training.model_copy(update={"workers": 2, "cache": 0})
    pipeline = small.pipeline.model_copy(update={"training": training})
    assert Network("small", on_share(pipeline, 0.1), folder / "small").is_trained(small.catalog)

import json
import shutil
from functools import partial

import pytest

from tailshard.errors import ConfigError, StoreError
from tailshard.store.catalog import read_catalog, write_catalog
from tailshard.train.checkpoint import load_model
from tailshard.train.distributed import train
from tailshard.train.ensemble import train_all
from tailshard.train.members import (
    all_member_folders,
    hash_of_all,
    member_models,
    model_hash,
)


@pytest.fixture
def short(pipeline):
    """A pipeline of one epoch."""
    return partial(pipeline, epochs=1)


def train_here(pipeline, store, out, told=None):
    def progress(what, done, total):
        if told is not None:
            told.append((what, done, total))

    return train_all(pipeline, store, out, progress, in_process=True)


def test_a_pipeline_without_seeds_has_one_network_as_ever(store, short, tmp_path):
    alone = train(short(), store, tmp_path / "alone", in_process=True)
    result = train_here(short(), store, tmp_path / "out")
    assert result["model"] == alone.model == model_hash(tmp_path / "out" / "model.pt")
    assert hash_of_all(tmp_path / "out" / "model.pt", {}) == alone.model
    assert all_member_folders(tmp_path / "out") == []


def test_every_member_is_the_network_that_its_seed_alone_would_give(store, short, tmp_path):
    out = tmp_path / "out"
    made = short(seeds=[3, 1])
    result = train_here(made, store, out)
    alone = {
        seed: train(short(seed=seed), store, tmp_path / f"{seed}", in_process=True).model for seed in (3, 1)
    }
    assert alone[3] != alone[1]
    models = member_models(made.training, out)
    assert {seed: model_hash(path) for seed, path in models.items()} == alone
    # The search is made with the first.
    assert model_hash(out / "model.pt") == alone[3]
    assert load_model(out / "model.pt").epoch == result["members"]["3"]["best_epoch"]
    assert result["model"] == hash_of_all(out / "model.pt", alone)
    whole = {str(path.relative_to(out)) for path in out.rglob("m*") if path.is_file()}
    folders = ("", *(f"seed_{seed}/" for seed in made.training.seeds))
    assert {f"{folder}{name}" for folder in folders for name in ("model.pt", "metrics.jsonl")} <= whole
    assert json.loads(json.dumps(result)) == result


def test_a_seed_that_is_added_costs_its_own_training_alone(store, short, tmp_path):
    out, told = tmp_path / "out", []
    train_here(short(seeds=[1]), store, out)
    first = (out / "seed_1" / "model.pt").stat().st_mtime_ns
    result = train_here(short(seeds=[1, 2]), store, out, told)
    assert result["trained"] == [2]
    assert (out / "seed_1" / "model.pt").stat().st_mtime_ns == first
    assert {what for what, _, _ in told} == {"train, seed 2"}
    # Another order is another search with the same networks.
    other = train_here(short(seeds=[2, 1]), store, out)
    assert other["trained"] == []
    assert other["model"] != result["model"]
    assert model_hash(out / "model.pt") == model_hash(out / "seed_2" / "model.pt")
    assert train_here(short(seeds=[2]), store, out)["trained"] == []
    assert [folder.name for folder in all_member_folders(out)] == ["seed_2"]


def test_an_interrupted_ensemble_goes_on_with_the_member_in_hand(store, pipeline, tmp_path):
    out, made = tmp_path / "out", pipeline(seeds=[1, 2], epochs=2)

    def interrupt(what, done, total):
        if what == "train, seed 2" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_all(made, store, out, interrupt, in_process=True)
    assert not (out / "model.pt").exists()
    result = train_here(made, store, out)
    assert result["trained"] == [2]
    undisturbed = train_here(made, store, tmp_path / "undisturbed")
    assert result["model"] == undisturbed["model"]


def test_a_member_that_is_not_what_is_asked_for_is_trained_again(store, short, tmp_path):
    out, made = tmp_path / "out", short(seeds=[1, 2])
    train_here(made, store, out)
    assert train_here(made, store, out)["trained"] == []
    model = out / "seed_2" / "model.pt"
    model.write_bytes(model.read_bytes()[:-1])
    assert train_here(made, store, out)["trained"] == [2]
    (out / "seed_1" / "metrics.jsonl").unlink()
    assert train_here(made, store, out)["trained"] == [1]
    made = short(seeds=[1, 2], learning_rate=0.02)
    assert train_here(made, store, out)["trained"] == [1, 2]
    write_catalog(store, read_catalog(store).changed(scales={"top": 2.0}))
    assert train_here(made, store, out)["trained"] == [1, 2]


def test_one_network_and_an_ensemble_leave_nothing_of_each_other(store, short, tmp_path):
    out = tmp_path / "out"
    train_here(short(), store, out)
    assert (out / "tensorboard").is_dir()
    train_here(short(seeds=[5]), store, out)
    assert not (out / "tensorboard").exists()
    train_here(short(), store, out)
    assert all_member_folders(out) == []


def test_a_mistake_is_found_before_anything_is_removed(store, short, tmp_path):
    out = tmp_path / "out"
    train_here(short(seeds=[1]), store, out)
    with pytest.raises(ConfigError, match="ae_small"):
        train_all(short("ae_tiny", seeds=[1]), store, out)
    assert (out / "model.pt").is_file()
    shutil.rmtree(store)
    with pytest.raises(StoreError, match="tailshard ingest"):
        train_all(short(seeds=[1]), store, out)
    assert (out / "seed_1" / "finished.json").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
def test_an_ensemble_under_ray_is_the_one_of_this_process(store, pipeline, tmp_path):
    made = pipeline(seeds=[1, 2], workers=1, epochs=2)
    result = train_all(made, store, tmp_path / "out")
    assert result["trained"] == [1, 2]
    assert not (tmp_path / "out" / "seed_1" / "ray").exists()
    assert result["model"] == train_here(made, store, tmp_path / "here")["model"]

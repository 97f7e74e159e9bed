import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch

from tailshard.errors import ClusterError, ConfigError, ProcessingError, StateError, StoreError
from tailshard.store.catalog import read_catalog, write_catalog
from tailshard.store.read import ShardReader, read_rows
from tailshard.train.checkpoint import load_model
from tailshard.train.distributed import _last_state, train
from tailshard.train.metrics import read_metrics

# Ray warns of its own settings on every use of its trainer.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")


def epochs_in(out) -> list[int]:
    return [metrics.epoch for metrics in read_metrics(out)]


# -- one rank in this process ---------------------------------------------------------------------


def test_training_leaves_a_model_that_scores_the_store(store, pipeline, tmp_path):
    result = train(pipeline(), store, tmp_path / "out", in_process=True)
    model = load_model(result.path)
    features = read_rows(store, "diboson", ["rmm"], 0, 300)["rmm"]
    assert model.errors(features).mean() < model.errors(features[::-1, ::-1].copy()).mean()
    assert model.snapshot == read_catalog(store).snapshot_id(["diboson", "top"])
    assert (model.epoch, model.validation_loss) == (result.best_epoch, result.validation_loss)
    assert not (tmp_path / "out" / "ray").exists()


def test_a_model_knows_the_background_it_learned_from(store, pipeline, tmp_path):
    training = {"scaler": "occupied", "mask": "objects", "cell_weights": "block"}
    made = pipeline("vae", **training)
    model = load_model(train(made, store, tmp_path / "out", in_process=True).path)
    islands = ShardReader(store).read_islands("diboson", 0, 300)
    kinds = ("sum", "relative", "excess", "blocks", "divergence", "latent_distance")
    scores = model.scores(islands, kinds, add_divergence=True)
    assert all(np.isfinite(score).all() for score in scores.values())
    assert scores["blocks"].shape == (300, 7)
    # In units of the background, an existing cell of the background is 1 on average.
    assert scores["relative"].mean() == pytest.approx(25, rel=0.2)
    assert scores["latent_distance"].mean() == pytest.approx(4, rel=0.2)
    np.testing.assert_array_equal(model.errors(islands), model.scores(islands, ("sum",))["sum"])


def test_the_result_is_plain_json(store, pipeline, tmp_path):
    content = train(pipeline(), store, tmp_path / "out", in_process=True).to_dict()
    assert json.loads(json.dumps(content)) == content


def test_every_epoch_is_reported(store, pipeline, tmp_path):
    told = []
    train(pipeline(), store, tmp_path / "out", lambda *progress: told.append(progress), in_process=True)
    assert told == [("train", done, 3) for done in range(4)]
    assert epochs_in(tmp_path / "out") == [1, 2, 3]


def test_training_again_gives_the_same_file(store, pipeline, tmp_path):
    first = train(pipeline(), store, tmp_path / "one", in_process=True)
    other = train(pipeline(), store, tmp_path / "other", in_process=True)
    assert first.model == other.model
    assert train(pipeline(seed=2), store, tmp_path / "other", in_process=True).model != first.model


def test_a_new_training_removes_what_the_old_one_left(store, pipeline, tmp_path):
    out = tmp_path / "out"
    train(pipeline(epochs=4), store, out, in_process=True)
    (out / "ray" / "0123456789abcdef").mkdir(parents=True)
    with pytest.raises(ConfigError, match="diverged"):
        train(pipeline(learning_rate=1e30), store, out, in_process=True)
    assert not (out / "model.pt").exists()
    assert not (out / "ray" / "0123456789abcdef").exists()
    assert epochs_in(out) == []


def test_the_signal_is_not_learned_from(store, pipeline, tmp_path):
    before = train(pipeline(), store, tmp_path / "before", in_process=True)
    catalog = read_catalog(store)
    write_catalog(store, catalog.changed(scales={"signal": 100.0}))
    assert train(pipeline(), store, tmp_path / "after", in_process=True).model == before.model
    write_catalog(store, catalog.changed(scales={"top": 100.0}))
    assert train(pipeline(), store, tmp_path / "after", in_process=True).model != before.model


# -- what a user may get wrong --------------------------------------------------------------------


@pytest.mark.parametrize("split", [0, 1], ids=["training", "validation"])
def test_a_store_without_events_of_a_split_is_refused(store, pipeline, tmp_path, split):
    catalog = read_catalog(store)

    def without(slot):
        rows = list(slot.rows)
        rows[split] = 0
        return slot.model_copy(update={"rows": tuple(rows)})

    write_catalog(store, catalog.changed(slots=tuple(without(slot) for slot in catalog.slots)))
    with pytest.raises(StoreError, match=f"no {('training', 'validation')[split]} events in diboson, top"):
        train(pipeline(), store, tmp_path / "out")


def test_training_before_ingest_is_refused(pipeline, tmp_path):
    with pytest.raises(StoreError, match="tailshard ingest"):
        train(pipeline(), tmp_path / "store", tmp_path / "out")


def test_an_unknown_model_is_refused_before_any_worker_starts(store, pipeline, tmp_path):
    with pytest.raises(ConfigError, match="ae_small"):
        train(pipeline("ae_tiny"), store, tmp_path / "out")


# -- under Ray ------------------------------------------------------------------------------------


def no_process_is_left() -> bool:
    return not [process for process in psutil.Process().children(recursive=True) if "ray" in process.name()]


@pytest.mark.slow
def test_a_killed_worker_costs_at_most_an_epoch(store, pipeline, tmp_path, capfd):
    """Two workers, one of them killed: the same network as from one undisturbed rank."""
    killed = []

    def kill_one(what, done, total):
        if done >= 2 and not killed:
            workers = [
                one for one in psutil.Process().children(recursive=True) if "RayTrainWorker" in one.name()
            ]
            assert len(workers) == 2
            killed.append(os.kill(workers[1].pid, signal.SIGKILL))

    small = {"epochs": 30, "patience": 30}
    result = train(pipeline(workers=2, **small), store, tmp_path / "out", kill_one)
    assert killed
    assert no_process_is_left()
    assert capfd.readouterr().out == ""
    assert epochs_in(tmp_path / "out") == list(range(1, 31))
    assert read_metrics(tmp_path / "out")[-1].workers == 2

    undisturbed = train(pipeline(**small), store, tmp_path / "undisturbed", in_process=True)
    for one, other in zip(
        read_metrics(tmp_path / "out"), read_metrics(tmp_path / "undisturbed"), strict=True
    ):
        assert one.training_loss == pytest.approx(other.training_loss, rel=1e-3)
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-3)
    assert result.workers == 2
    expected = torch.load(undisturbed.path, weights_only=True)["state_dict"]
    for name, value in torch.load(result.path, weights_only=True)["state_dict"].items():
        torch.testing.assert_close(value, expected[name], rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_where_it_stopped(store, pipeline, tmp_path):
    out = tmp_path / "out"
    made = pipeline(epochs=40, patience=40)

    def interrupt(what, done, total):
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(made, store, out, interrupt)
    assert no_process_is_left()
    assert not (out / "model.pt").exists()
    shutil.copytree(out, tmp_path / "copy")

    told = []
    result = train(made, store, out, lambda *progress: told.append(progress))
    stopped = int(told[0][0].removeprefix("Training goes on after epoch "))
    assert 3 <= stopped < 40
    assert told[1] == ("train", stopped, 40)
    assert epochs_in(out) == list(range(1, 41))
    assert result.model == train(made, store, tmp_path / "undisturbed", in_process=True).model

    # A checkpoint that is damaged is no use, and the user is told.
    for state in (tmp_path / "copy").glob("ray/*/*/state.pt"):
        state.write_bytes(b"")
    told = []
    with pytest.raises(ConfigError, match="GPU"):
        train(
            made.model_copy(update={"training": made.training.model_copy(update={"use_gpu": True})}),
            store,
            tmp_path / "copy",
            lambda *progress: told.append(progress[0]),
        )
    (text,) = told
    assert text.startswith("Training starts anew")
    assert "damaged" in text
    assert not list((tmp_path / "copy").glob("ray/*/*/state.pt"))


KILLED = """
import sys
from pathlib import Path
from tailshard.config import Pipeline
from tailshard.train.distributed import train
if __name__ == "__main__":
    pipeline, store, out = sys.argv[1:]
    train(Pipeline.model_validate_json(Path(pipeline).read_text()), Path(store), Path(out))
"""


def is_registered(out) -> bool:
    """Tell whether Ray knows a checkpoint: it hears of one some time after it was written."""
    try:
        return any(_last_state(run).unfinished for run in out.glob("ray/*"))
    except StateError:
        return False


@pytest.mark.slow
def test_a_training_killed_in_mid_epoch_ends_with_the_weights_of_the_undisturbed(store, pipeline, tmp_path):
    out = tmp_path / "out"
    made = pipeline(epochs=3, batch_size=2)
    often = pipeline(epochs=3, batch_size=2, checkpoint_minutes=1e-9)
    (tmp_path / "pipeline.json").write_text(often.model_dump_json())
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, tmp_path / "killed.py", tmp_path / "pipeline.json", store, out]
    driver = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 120
    while not is_registered(out) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(driver.pid, signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    assert read_metrics(out) == []  # the first epoch was not over

    told = []
    result = train(made, store, out, lambda *progress: told.append(progress[0]))
    assert re.fullmatch(r"Training goes on after epoch 0 and \d+ batches", told[0])
    assert epochs_in(out) == [1, 2, 3]
    undisturbed = train(made, store, tmp_path / "undisturbed", in_process=True)
    assert result.model == undisturbed.model


@pytest.mark.slow
def test_what_a_worker_raises_reaches_the_user_as_it_is(store, pipeline, tmp_path):
    (shard,) = (file for file in (store / "events.zarr" / "top" / "rmm" / "c").rglob("*") if file.is_file())
    content = bytearray(shard.read_bytes())
    content[: len(content) // 2] = np.random.default_rng(1).bytes(len(content) // 2)
    shard.write_bytes(content)
    with pytest.raises(StoreError, match="top/rmm"):
        train(pipeline(maximum_restarts=0), store, tmp_path / "out")
    assert no_process_is_left()


@pytest.mark.slow
def test_a_model_of_the_user_that_fails_on_a_worker_is_named(store, pipeline, tmp_path, monkeypatch):
    (tmp_path / "fragile.py").write_text(
        "from torch import nn\n"
        "class Fragile(nn.Linear):\n"
        "    def forward(self, events):\n"
        "        if self.training:\n"
        "            raise ValueError('cannot learn')\n"
        "        return super().forward(events)\n"
        "def make(cells, model):\n"
        "    return Fragile(cells, cells)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ProcessingError, match=r"fragile:make.*cannot learn"):
        train(pipeline("fragile:make", maximum_restarts=0), store, tmp_path / "out")


@pytest.mark.slow
def test_workers_that_die_too_often_are_a_cluster_error(store, pipeline, tmp_path):
    def kill_all(what, done, total):
        if done >= 1:
            for process in psutil.Process().children(recursive=True):
                if "RayTrainWorker" in process.name():
                    process.kill()

    with pytest.raises(ClusterError, match=r"maximum_restarts \(0\)"):
        train(pipeline(epochs=200, patience=200, maximum_restarts=0), store, tmp_path / "out", kill_all)
    assert no_process_is_left()

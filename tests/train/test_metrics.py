import json
from dataclasses import replace

import pytest

from tailshard.errors import WorkdirError
from tailshard.train.metrics import EpochMetrics, Journal, read_metrics

FIRST = EpochMetrics(1, 0.6, 0.5, 1.0, 0.1, 0.02, 100.0, 1e-3, 2, "cpu")


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path)
    yield journal
    journal.close()


def test_metrics_are_one_json_line_for_each_epoch(tmp_path, journal):
    history = [FIRST, replace(FIRST, epoch=2, training_loss=0.3)]
    journal.write(history[:1])
    journal.write(history)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert read_metrics(tmp_path) == history


def test_epochs_that_are_trained_again_replace_their_metrics(tmp_path, journal):
    journal.write([FIRST, replace(FIRST, epoch=2)])
    journal.write([FIRST])
    assert read_metrics(tmp_path) == [FIRST]


def test_tensorboard_gets_the_losses(tmp_path, journal):
    journal.write([FIRST])
    journal.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"validation_loss" in events.read_bytes()


def test_before_the_first_epoch_there_are_no_metrics(tmp_path):
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize("text", ["not json\n", '{"epoch": 1}\n', "[1]\n"])
def test_foreign_metrics_are_refused(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(WorkdirError, match="cannot be read"):
        read_metrics(tmp_path)

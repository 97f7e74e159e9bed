"""The loss and its gradient do not depend on the number of ranks: real processes, real all-reduce.

Run as a script, this file is one of the ranks.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tailshard.learning import Model, Training
from tailshard.models import build
from tailshard.store.catalog import read_catalog
from tailshard.store.read import statistics
from tailshard.store.stream import Stream
from tailshard.train.loop import fit
from tailshard.train.scaling import fit as fit_scaler

CASES = {
    # One batch, so that what is left in the gradients is that of the first step.
    "one_batch": {"channels": ("diboson", "top"), "batch_size": 1000, "epochs": 1},
    # Five training events in one block: the second rank never has a row.
    "a_rank_without_rows": {"channels": ("signal",), "batch_size": 1000, "epochs": 1},
    # Batches of three events: now and then a rank has none. Many steps, so rounding adds up.
    "many_small_batches": {"channels": ("diboson", "top"), "batch_size": 3, "epochs": 2},
}


def results(store: Path, rank: int, ranks: int) -> dict[str, dict]:
    found = {}
    for name, case in CASES.items():
        channels = case["channels"]
        training = Training(**{key: case[key] for key in ("batch_size", "epochs")}, weights="signed")
        scaler = fit_scaler(statistics(store, read_catalog(store), channels), "minmax")
        torch.manual_seed(1)
        network = build(Model(latent=4), 25)
        rows = []

        class Counted(Stream):
            def epoch(self, epoch, start=0, rows=rows):
                for batch in super().epoch(epoch, start):
                    rows.append(len(batch.weight))
                    yield batch

        streams = [
            Counted(store, channels, split, training.batch_size, 1, rank=rank, ranks=ranks)
            for split in ("training", "validation")
        ]
        state = fit(network, scaler, training, *streams, torch.device("cpu"), lambda state: None)
        found[name] = {
            "gradients": [parameter.grad for parameter in network.parameters()],
            "losses": [[one.training_loss, one.validation_loss] for one in state.history],
            "rows": rows,
        }
    return found


@pytest.mark.slow
def test_two_ranks_give_the_loss_and_the_gradients_of_one(store, tmp_path):
    processes = [
        subprocess.Popen([sys.executable, __file__, str(store), str(tmp_path), str(rank)])
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    alone = results(store, 0, 1)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]

    assert set(ranks[1]["a_rank_without_rows"]["rows"]) == {0}
    assert 0 in ranks[0]["many_small_batches"]["rows"]
    for name, tolerance in {
        "one_batch": 1e-6,
        "a_rank_without_rows": 1e-6,
        "many_small_batches": 1e-3,
    }.items():
        expected = alone[name]
        for rank in ranks:
            assert rank[name]["losses"] == ranks[0][name]["losses"]
            for losses, same in zip(rank[name]["losses"], expected["losses"], strict=True):
                assert losses == pytest.approx(same, rel=tolerance)
            for gradient, same in zip(rank[name]["gradients"], expected["gradients"], strict=True):
                torch.testing.assert_close(
                    gradient, same, rtol=tolerance, atol=tolerance * same.abs().max().item()
                )
        assert expected["rows"] == [
            sum(rows) for rows in zip(*(rank[name]["rows"] for rank in ranks), strict=True)
        ]


if __name__ == "__main__":
    store, folder, rank = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.save(results(store, rank, 2), folder / f"{rank}.pt")
    dist.destroy_process_group()

"""Every fault at seeded moments: the disturbed run equals the undisturbed one, or ends in one clear error.

The table is written to the folder that the environment variable TAILSHARD_FAULTS names.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from tailshard.launch import WORKER_SETTINGS

from .campaign import Campaign
from .record import Disturbance

pytestmark = pytest.mark.slow

KILLS = {"drivers": 6, "workers": 44}
SEED = 1


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    campaign = Campaign(tmp_path_factory.mktemp("faults"), SEED)
    with dask.config.set(WORKER_SETTINGS):
        yield campaign
    if folder := os.environ.get("TAILSHARD_FAULTS"):
        campaign.record().write(Path(folder))


def _good(done: list[Disturbance], least: int) -> None:
    assert [each for each in done if each.outcome == "wrong"] == []
    assert len(done) >= least, f"only {len(done)} of {least} were disturbed"


def test_drivers_can_be_killed_at_any_moment(campaign: Campaign) -> None:
    _good(campaign.drivers(KILLS["drivers"]), KILLS["drivers"])


def test_workers_can_be_killed_again_and_again(campaign: Campaign) -> None:
    _good(campaign.workers(KILLS["workers"]), KILLS["workers"])


def test_a_scheduler_of_its_own_can_be_killed(campaign: Campaign) -> None:
    _good(campaign.schedulers(1), 1)


def test_the_head_of_ray_can_be_killed(campaign: Campaign) -> None:
    _good(campaign.heads(1), 2)


def test_at_least_fifty_processes_were_killed(campaign: Campaign) -> None:
    assert campaign.record().kills >= 50, campaign.record().table()


def test_damaged_inputs_are_never_read_without_a_word(campaign: Campaign) -> None:
    _good(campaign.inputs(12), 12)


def test_damaged_shards_are_noticed_by_everybody_who_reads_them(campaign: Campaign) -> None:
    _good(campaign.shards(8), 8)


def test_damaged_outputs_are_made_again_or_refused(campaign: Campaign) -> None:
    _good(campaign.outputs(18), 18)


def test_full_and_read_only_disks_end_in_a_clear_error(campaign: Campaign) -> None:
    done = campaign.disks(1)
    if campaign.skipped:
        pytest.skip(campaign.skipped[-1])
    _good(done, 12)

"""Fixtures that every test may use."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import dask
import pytest
from distributed import Client
from tests.servers import storage as servers

from tailshard.config import Pipeline
from tailshard.launch import WORKER_SETTINGS, DaskProfile, LocalProfile, dask_client
from tailshard.pipeline_files import load, shipped

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def worker_settings() -> Iterator[None]:
    """Give the workers of every test what those of a run have."""
    with dask.config.set(WORKER_SETTINGS):
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real ntuples and reference numbers; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("TAILSHARD_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real ntuples: {folder}/data does not exist (set TAILSHARD_SHARED)")
    return folder


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    """Folder with real ntuples."""
    return shared / "data"


@pytest.fixture(scope="session")
def reference(shared: Path) -> Path:
    """Folder with published numbers to reproduce."""
    return shared / "reference"


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of small toy ntuples: some thousand events a sample, two files each."""
    from tailshard.toys import make_toys

    folder = tmp_path_factory.mktemp("toys")
    make_toys(folder, events=6000, signal_events=1000, files=2)
    return folder


@pytest.fixture(scope="session")
def susy_toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of small toys in the layout of the SUSY group."""
    from tailshard.toys import make_toys

    folder = tmp_path_factory.mktemp("susy-toys")
    make_toys(folder, events=6000, signal_events=1000, files=2, layout="susy-skim")
    return folder


@pytest.fixture
def toy_pipeline(toys: Path) -> Pipeline:
    """The demo on the small toys, with slots so small that every file fills several."""
    overrides = ["store.slot=512", "store.chunk=128", "training.epochs=2", "training.batch_size=128"]
    return load(shipped("demo"), overrides, str(toys))


@pytest.fixture(scope="session")
def dask_workers() -> Iterator[Client]:
    """Two Dask workers, processes of their own, shared by all tests that need a cluster."""
    profile = LocalProfile(dask=DaskProfile(workers=2, dashboard="127.0.0.1:0"))
    with dask_client(profile) as client:
        yield client


@pytest.fixture(scope="session")
def profile(dask_workers: Client) -> Iterator[LocalProfile]:
    """Where searches run that need not start workers of their own, which takes seconds for each stage."""
    # A scheduler that runs already is talked to by Dask's own configuration.
    own, tls = dask_workers.security, "distributed.comm.tls"
    keys = {f"{tls}.client.key": own.tls_client_key, f"{tls}.client.cert": own.tls_client_cert}
    with dask.config.set({f"{tls}.ca-file": own.tls_ca_file, **keys}):
        yield LocalProfile(dask=DaskProfile(address=dask_workers.scheduler.address, workers=2))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Environment by which clients find an S3 server on this machine."""
    with servers.moto(tmp_path_factory.mktemp("moto")) as environment:
        yield environment


@pytest.fixture
def bucket(s3_server: Mapping[str, str], request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty bucket of that server, which all clients of this process find."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    with servers.new_bucket(s3_server, name) as url:
        yield url

"""Files from elsewhere are data: reading one runs nothing of it. SECURITY.md says what is promised."""

import ast
import json
import os
import pickle
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from tailshard import verbs
from tailshard.errors import ConfigError, WorkdirError
from tailshard.launch import load_profile
from tailshard.pipeline_files import load
from tailshard.search.cells import Cells, read_cells
from tailshard.store.read import open_channel

SOURCE = Path(__file__).parents[1] / "src" / "tailshard"


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    pickle.loads(pickle.dumps(Trap(tmp_path / "works")))
    assert (tmp_path / "works").is_dir()
    return tmp_path / "trap"


def test_a_pipeline_or_profile_is_no_program(tmp_path: Path, trap: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(f"name: !!python/object/apply:os.mkdir [{trap}]\n")
    with pytest.raises(ConfigError):
        load(file)
    with pytest.raises(ConfigError):
        load_profile(file)
    with pytest.raises(ConfigError):
        verbs.status("demo.yaml", overrides=[f"name=!!python/object/apply:os.mkdir [{trap}]"])
    assert not trap.exists()


def test_arrays_of_a_result_are_no_program(tmp_path: Path, trap: Path) -> None:
    names = [field.name for field in fields(Cells)]
    with (tmp_path / "cells.npz").open("wb") as file:
        np.savez(file, **{name: np.array([Trap(trap)], dtype=object) for name in names})
    with pytest.raises(WorkdirError, match="allow_pickle=False"):
        read_cells(tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize("place", ["filters", "compressor"])
@pytest.mark.filterwarnings("ignore")  # of Zarr, about old formats
def test_a_store_of_an_old_format_that_unpickles_is_refused(tmp_path: Path, trap: Path, place: str) -> None:
    array = tmp_path / "events.zarr" / "data" / "met"
    array.mkdir(parents=True)
    for group in (array.parent, array.parents[1]):
        (group / ".zgroup").write_text('{"zarr_format": 2}')
    codec = {"id": "pickle"}
    content = {
        "zarr_format": 2,
        "shape": [4],
        "chunks": [4],
        "dtype": "<f4",
        "order": "C",
        "fill_value": 0,
        "filters": [codec] if place == "filters" else None,
        "compressor": codec if place == "compressor" else None,
    }
    (array / ".zarray").write_text(json.dumps(content))
    (array / "0").write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever Zarr calls it
        open_channel(tmp_path, "data")["met"][:]
    assert not trap.exists()


def test_nothing_that_runs_what_it_reads_is_called() -> None:
    found = [
        f"{path.relative_to(SOURCE)}, line {node.lineno}: {ast.unparse(node.func)}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and runs_what_it_reads(node)
    ]
    assert found == []


def runs_what_it_reads(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    module, name = called.split(".")[0], called.split(".")[-1]
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    return (
        called in ("eval", "exec", "compile", "__import__", "os.system", "yaml.load", "yaml.unsafe_load")
        or name == "read_pickle"
        or (module in ("pickle", "cloudpickle", "joblib", "dill") and name in ("load", "loads"))
        or (called == "torch.load" and given.get("weights_only") != "True")
        or given.get("allow_pickle", "False") != "False"
        or given.get("shell", "False") != "False"
    )


@pytest.mark.parametrize(
    "line",
    [
        *("eval(text)", "pickle.load(file)", "torch.load(path)", "torch.load(path, weights_only=False)"),
        *("np.load(path, allow_pickle=True)", "subprocess.run(line, shell=True)", "yaml.load(text, Loader)"),
    ],
)
def test_such_a_call_would_be_found(line: str) -> None:
    assert runs_what_it_reads(ast.parse(line, mode="eval").body)

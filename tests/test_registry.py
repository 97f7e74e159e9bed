import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tailshard.errors import ConfigError
from tailshard.registry import resolve, source_of

WriteModule = Callable[[str], None]


@pytest.fixture
def write_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModule]:
    """``write_plugin(text)`` makes a fresh module ``users_plugin`` of that text."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> None:
        (tmp_path / "users_plugin.py").write_text(text)
        importlib.invalidate_caches()
        sys.modules.pop("users_plugin", None)

    yield write
    sys.modules.pop("users_plugin", None)


def test_a_built_in_name_has_no_source() -> None:
    assert source_of("two_lepton") == ""


def test_the_source_of_a_dialect_instance_is_its_file(write_plugin: WriteModule) -> None:
    text = (
        "from dataclasses import replace\n"
        "from tailshard.ntuples.dialects import ATLAS_2025\n"
        "mine = replace(ATLAS_2025, name='mine', tree='{tree}')\n"
    )
    write_plugin(text.format(tree="mini"))
    assert resolve("dialect", "users_plugin:mine", {}).tree == "mini"
    assert source_of("users_plugin:mine") == text.format(tree="mini")
    write_plugin(text.format(tree="nominal"))
    assert source_of("users_plugin:mine") == text.format(tree="nominal")


def test_a_constant_beside_a_function_belongs_to_its_source(write_plugin: WriteModule) -> None:
    text = "THRESHOLD = {threshold}\n\ndef cut(events, objects):\n    return events.met > THRESHOLD\n"
    write_plugin(text.format(threshold=50))
    before = source_of("users_plugin:cut")
    write_plugin(text.format(threshold=60))
    assert source_of("users_plugin:cut") != before


def test_a_partial_function_has_a_source(write_plugin: WriteModule) -> None:
    text = (
        "from functools import partial\n"
        "def above(threshold, events, objects):\n    return events.met > threshold\n"
        "cut = partial(above, {threshold})\n"
    )
    write_plugin(text.format(threshold=50))
    before = source_of("users_plugin:cut")
    write_plugin(text.format(threshold=60))
    assert "partial(above, 60)" in source_of("users_plugin:cut") != before


@pytest.mark.parametrize("name", ["itertools:chain", "math:sqrt"])
def test_an_object_without_a_source_file_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="has no source file"):
        source_of(name)


def test_an_object_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no 'nothing'"):
        source_of("math:nothing")
